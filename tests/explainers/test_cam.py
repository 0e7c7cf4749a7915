"""Class activation maps a second time, by the papers' formulas in numpy; which layers they are at."""

import copy
import warnings
from collections.abc import Callable
from dataclasses import replace

import captum.attr
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from captum.attr import LayerGradCam
from torch import Tensor, nn
from torchvision import models

from explainers import cam
from explainers.base import InapplicableError
from explainers.cam import CAM, eigen_cam, grad_cam, guided_grad_cam, hires_cam, score_cam, xgrad_cam
from explainers.layers import feature_maps, stages
from tasks.networks.architectures import with_preprocessing

ENTRIES = {name: entry for name, entry in vars(cam).items() if isinstance(entry, CAM)}
LAYER = {
    "plain": "5",
    "in_place": "third, relu",
    "residual": "6",
    "dense": "last_norm, relu",
    "squeezenet": "network.classifier.2",
    "vgg": "network.features.29",
}
Maps = np.ndarray
Step = Callable[[nn.Module, Tensor], Tensor]


def in_place_trunk(model: nn.Module, inputs: Tensor) -> Tensor:
    maps = F.max_pool2d(F.relu(model.first(model.preprocessing(inputs))), 2)
    return F.relu(model.third(F.avg_pool2d(F.relu(model.second(maps)), 2)))


def in_place_head(model: nn.Module, maps: Tensor) -> Tensor:
    return model.linear(F.relu(model.hidden(F.adaptive_avg_pool2d(maps, 2).flatten(1))))


def dense_trunk(model: nn.Module, inputs: Tensor) -> Tensor:
    maps = model.stem(model.preprocessing(inputs))
    for norm, convolution in zip(model.norms, model.convolutions, strict=True):
        maps = torch.cat([maps, convolution(F.relu(norm(maps)))], dim=1)
    return F.relu(model.last_norm(F.avg_pool2d(maps, 2)))


def vgg_head(model: nn.Module, maps: Tensor) -> Tensor:
    network = model.network
    return network.classifier(network.avgpool(network.features[30](maps)).flatten(1))


def squeezenet_trunk(model: nn.Module, inputs: Tensor) -> Tensor:
    return model.network.classifier[:3](model.network.features(model.preprocessing(inputs)))


TRUNK: dict[str, Step] = {
    "plain": lambda model, inputs: model[:6](inputs),
    "in_place": in_place_trunk,
    "residual": lambda model, inputs: model[:7](inputs),
    "dense": dense_trunk,
    "squeezenet": squeezenet_trunk,
    "vgg": lambda model, inputs: model.network.features[:30](model.preprocessing(inputs)),
}
"""From the images to the last feature map, and from there to the logits: each network cut by hand."""
HEAD: dict[str, Step] = {
    "plain": lambda model, maps: model[6:](maps),
    "in_place": in_place_head,
    "residual": lambda model, maps: model[7:](maps),
    "dense": lambda model, maps: model.linear(maps.mean((2, 3))),
    "squeezenet": lambda _model, maps: maps.mean((2, 3)),
    "vgg": vgg_head,
}


def upsampled(coarse: Maps, side: int) -> Maps:
    """(h, w) -> (side, side), bilinear between the centres of the cells."""
    weights = np.zeros((side, len(coarse)))
    for row in range(side):
        position = min(max((row + 0.5) * len(coarse) / side - 0.5, 0), len(coarse) - 1)
        lower = int(position)
        weights[row, lower] += 1 - (position - lower)
        weights[row, min(lower + 1, len(coarse) - 1)] += position - lower
    return weights @ coarse @ weights.T


def cut(name: str, model: nn.Module, image: Tensor, target: int) -> tuple[Maps, Maps]:
    """(C, h, w) last feature map of one image, and the slope of the logit there."""
    maps = TRUNK[name](model, image[None]).detach().requires_grad_()
    (slopes,) = torch.autograd.grad(HEAD[name](model, maps)[0, target], maps)
    return maps[0].detach().numpy(), slopes[0].numpy()


def grad_cam_plus_plus_weight(channel: Maps, slope: Maps) -> float:
    """With α as the paper has it: of two sums of powers, not simplified."""
    weight = 0.0
    for g in slope.ravel():
        denominator = 2 * g**2 + channel.sum() * g**3
        weight += (g**2 / denominator if denominator else 0.0) * max(g, 0.0)
    return weight


def relu(values: Maps) -> Maps:
    return np.maximum(values, 0)


PAPERS: dict[str, Callable[[Maps, Maps], Maps]] = {
    "grad_cam": lambda maps, slopes: relu(sum(g.mean() * a for a, g in zip(maps, slopes, strict=True))),
    "grad_cam_plus_plus": lambda maps, slopes: relu(
        sum(grad_cam_plus_plus_weight(a, g) * a for a, g in zip(maps, slopes, strict=True))
    ),
    "hires_cam": lambda maps, slopes: sum(g * a for a, g in zip(maps, slopes, strict=True)),
    "layer_cam": lambda maps, slopes: relu(sum(relu(g) * a for a, g in zip(maps, slopes, strict=True))),
    "xgrad_cam": lambda maps, slopes: sum(
        (g * a).sum() / a.sum() * a for a, g in zip(maps, slopes, strict=True) if a.any()
    ),
}


@pytest.mark.parametrize("method", PAPERS)
def test_map_is_the_papers_formula(
    method: str, architecture: str, network: nn.Module, images: Tensor, targets: Tensor
) -> None:
    network, images = network.double(), images.double()
    answers = ENTRIES[method](network, images, targets)[:, 0].numpy()
    for index, image in enumerate(images):
        coarse = PAPERS[method](*cut(architecture, network, image, int(targets[index])))
        wanted = upsampled(coarse, image.shape[-1])
        np.testing.assert_allclose(answers[index], wanted, atol=1e-9 * max(1, np.abs(wanted).max()))


@pytest.mark.parametrize("stage", [None, 1, 2])
@pytest.mark.parametrize("trainable", [False, True])
def test_second_map_of_a_model_is_like_its_first(
    stage: int | None, trainable: bool, network: nn.Module, images: Tensor, targets: Tensor
) -> None:
    """The first watches where the feature map is, the second knows."""
    network = network.double().requires_grad_(trainable)
    method = replace(hires_cam, stage=stage)
    first = method(network, images.double(), targets)
    torch.testing.assert_close(method(network, images.double(), targets), first, rtol=0, atol=1e-12)
    assert [parameter.grad for parameter in network.parameters()] == [None] * len(list(network.parameters()))


def test_feature_map_is_looked_for_again_where_the_model_or_the_size_has_changed(draw: Callable[..., Tensor]) -> None:
    torch.manual_seed(0)
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Sequential(nn.MaxPool2d(8), nn.Conv2d(4, 4, 1)), head
    ).eval()
    method = hires_cam
    for side, layer in ((16, "1"), (32, "2")):  # of 16 pixels, only one is left behind the pooling
        for _ in range(2):
            assert method.describe(model, draw(2, side)) == {"layer": layer}
            wanted = method(copy.deepcopy(model), draw(2, side), torch.tensor([0, 1]))
            torch.testing.assert_close(method(model, draw(2, side), torch.tensor([0, 1])), wanted)
    model[1] = nn.Sequential(nn.ReLU(), nn.Conv2d(4, 4, 3), nn.Sigmoid())
    wanted = hires_cam(copy.deepcopy(model), draw(2, 16), torch.tensor([0, 1]))
    torch.testing.assert_close(hires_cam(model, draw(2, 16), torch.tensor([0, 1])), wanted)


def test_block_that_runs_twice_is_taken_the_second_time(draw: Callable[..., Tensor]) -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.block, self.linear = nn.Sequential(nn.Conv2d(3, 3, 3), nn.ReLU()), nn.Linear(3, 2)

        def forward(self, inputs: Tensor) -> Tensor:
            return self.linear(self.block(self.block(inputs)).mean((2, 3)))

    torch.manual_seed(0)
    model, targets = Twice().double().eval(), torch.tensor([1])
    image = draw(1).double()
    maps = model.block(model.block(image))
    wanted = (model.linear.weight[1, :, None, None] * maps).sum(1, keepdim=True) / maps[0, 0].numel()
    for _ in ("watched", "known"):
        torch.testing.assert_close(hires_cam.coarse(model, image, targets), wanted)


def test_eigen_cam_is_numpys_first_component(
    architecture: str, network: nn.Module, images: Tensor, targets: Tensor
) -> None:
    network, images = network.double(), images.double()
    answers = eigen_cam(network, images, targets)[:, 0].numpy()
    for index, image in enumerate(images):
        maps, _ = cut(architecture, network, image, 0)
        values = maps.reshape(len(maps), -1).T
        projected = values @ np.linalg.svd(values, full_matrices=False)[2][0]
        coarse = (projected * np.sign(projected.sum())).reshape(maps.shape[1:])
        np.testing.assert_allclose(answers[index], upsampled(coarse, image.shape[-1]), atol=1e-6 * np.abs(coarse).max())


@pytest.mark.parametrize("n_channels", [3, 64])
def test_score_cam_asks_one_channel_after_another(
    n_channels: int, architecture: str, network: nn.Module, images: Tensor, targets: Tensor
) -> None:
    network, images = network.double(), images.double()
    answers = replace(score_cam, n_channels=n_channels)(network, images, targets)[:, 0].numpy()
    for index, image in enumerate(images):
        maps, _ = cut(architecture, network, image, 0)
        total = np.zeros(maps.shape[1:])
        for channel in sorted(maps, key=lambda values: -values.var())[:n_channels]:
            if channel.max() > channel.min():
                mask = upsampled((channel - channel.min()) / (channel.max() - channel.min()), image.shape[-1])
                score = network((image * torch.from_numpy(mask))[None]).softmax(1)[0, targets[index]].item()
                total += score * channel
        np.testing.assert_allclose(answers[index], upsampled(relu(total), image.shape[-1]), atol=1e-9)


def test_signed_methods_sum_to_the_logit_without_its_bias(build: Callable[[str], nn.Module], draw: Callable) -> None:
    model, images, targets = build("residual").double(), draw(4).double(), torch.tensor([0, 1, 2, 3])
    wanted = model(images).gather(1, targets[:, None])[:, 0] - model[9].bias[targets]
    for method in (hires_cam, xgrad_cam):
        torch.testing.assert_close(method.coarse(model, images, targets).sum((1, 2, 3)), wanted)


def test_captum_says_the_same(build: Callable[[str], nn.Module], draw: Callable[..., Tensor], targets: Tensor) -> None:
    model, images = build("vgg"), draw(4, 64)
    layer = model.get_submodule(LAYER["vgg"])
    coarse = LayerGradCam(model, layer).attribute(images.clone().requires_grad_(), target=targets).relu()
    wanted = F.interpolate(coarse.detach(), size=(64, 64), mode="bilinear")
    torch.testing.assert_close(grad_cam(model, images, targets), wanted)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        guided = captum.attr.GuidedGradCam(model, layer)
        product = guided.attribute(images.clone(), target=targets, interpolate_mode="bilinear")
    torch.testing.assert_close(guided_grad_cam(model, images, targets), product.detach().sum(1, keepdim=True))


@pytest.mark.parametrize("method", ENTRIES)
def test_layer_is_the_last_feature_map(method: str, architecture: str, network: nn.Module, images: Tensor) -> None:
    assert ENTRIES[method].describe(network, images) == {"layer": LAYER[architecture]}


STAGES = {
    "vgg16": [f"features.{index}" for index in (3, 8, 15, 22, 29)],
    "vgg16_bn": [f"features.{index}" for index in (5, 12, 22, 32, 42)],
    "resnet18": ["relu", "layer1", "layer2", "layer3", "layer4"],
    "resnet50": ["relu", "layer1", "layer2", "layer3", "layer4"],
    "densenet121": ["features.relu0", *(f"features.denseblock{n}" for n in (1, 2, 3)), "features, relu"],
    "squeezenet1_0": ["features.1", "features.5", "features.10", "classifier.2"],
    "mobilenet_v2": [*(f"features.{index}" for index in (1, 3, 6, 13)), "features"],
    "efficientnet_b0": [*(f"features.{index}" for index in (1, 2, 3, 5)), "features"],
    "convnext_tiny": [*(f"features.{index}" for index in (1, 3, 5)), "features"],
}


@pytest.mark.parametrize("name", STAGES)
def test_stages_are_what_the_papers_call_so(name: str) -> None:
    """On the meta device: shapes without numbers."""
    with torch.device("meta"):
        model = with_preprocessing(getattr(models, name)(weights=None, num_classes=7)).eval()
        _, found = feature_maps(model[1], torch.empty(2, 3, 128, 128))
    assert [stage.name for stage in stages(found)] == STAGES[name]
    assert stages(found)[-1] is found[-1]
    sizes = [stage.maps.shape[-1] for stage in stages(found)]
    assert sizes == sorted(sizes, reverse=True)


def test_preprocessing_is_no_stage_and_the_sweep_has_one_name_a_stage(
    build: Callable[[str], nn.Module], draw: Callable[..., Tensor], targets: Tensor
) -> None:
    model, images = build("vgg"), draw(4, 64)
    variants = grad_cam.variants()
    assert list(variants) == ["1", "2", "3", "4", "5"]
    layers = [variant.describe(model, images)["layer"] for variant in variants.values()]
    assert layers == [f"network.features.{index}" for index in (3, 8, 15, 22, 29)]
    assert torch.equal(variants["5"](model, images, targets), grad_cam(model, images, targets))
    layer = model.get_submodule(layers[1])
    coarse = LayerGradCam(model, layer).attribute(images.clone().requires_grad_(), target=targets).relu()
    wanted = F.interpolate(coarse.detach(), size=(64, 64), mode="bilinear")
    torch.testing.assert_close(variants["2"](model, images, targets), wanted)
    assert not variants["2"].variants()
    with pytest.raises(InapplicableError, match=r"has 3 stages .* no stage 4"):
        variants["4"](build("in_place"), draw(4), targets)


class Disordered(nn.Module):
    """Registered in the opposite order; a gate of 1 x 1 maps behind the last convolution of maps."""

    def __init__(self) -> None:
        super().__init__()
        self.linear, self.gate = nn.Linear(6, 4), nn.Conv2d(6, 6, 1)
        self.second, self.first = nn.Conv2d(6, 6, 3), nn.Conv2d(3, 6, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        maps = self.second(self.first(inputs).relu()).relu()
        maps = maps * self.gate(maps.mean((2, 3), keepdim=True)).sigmoid()
        return self.linear(maps.mean((2, 3)))


def test_last_is_by_running_and_passes_over_single_pixels(draw: Callable[..., Tensor]) -> None:
    torch.manual_seed(0)
    model = Disordered().eval()
    assert grad_cam.describe(model, draw(2)) == {"layer": "mul in the model"}
    assert grad_cam(model, draw(2), torch.tensor([0, 1])).shape == (2, 1, 16, 16)


def test_network_without_convolution_has_no_map(draw: Callable[..., Tensor]) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(768, 4))
    assert grad_cam.inapplicable(model) == "the model has no convolution"
    pooled = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(3, 4, 1), nn.Flatten())
    with pytest.raises(InapplicableError, match="more than one pixel"):
        grad_cam(pooled, draw(1), torch.tensor([0]))


def test_class_without_evidence_has_an_empty_map(draw: Callable[..., Tensor]) -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    nn.init.constant_(model[4].weight, -1.0)
    nn.init.ones_(model[0].weight)
    nn.init.ones_(model[0].bias)
    for name, method in ENTRIES.items():
        empty = not method(model.eval(), draw(1), torch.tensor([0])).any()
        assert empty == (name in {"grad_cam", "grad_cam_plus_plus", "layer_cam", "guided_grad_cam"}), name
    assert bool((hires_cam(model, draw(1), torch.tensor([0])) <= 0).all()), "signed: all evidence is against it"


def test_dead_feature_maps_have_empty_maps(draw: Callable[..., Tensor]) -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    nn.init.zeros_(model[0].weight)
    nn.init.constant_(model[0].bias, -1.0)
    for method in ENTRIES.values():
        assert not method(model.eval(), draw(2), torch.tensor([0, 1])).any()


@pytest.mark.parametrize("in_place", [True, False])
def test_map_is_what_becomes_of_a_convolution_that_is_overwritten(draw: Callable[..., Tensor], in_place: bool) -> None:
    """Grad-CAM of ReLU(maps) twice, whether the second is the first or its own tensor."""

    class Overwriting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.convolution, self.relu = nn.Conv2d(3, 6, 3), nn.ReLU(inplace=in_place)
            self.linear = nn.Linear(6, 4)

        def forward(self, inputs: Tensor) -> Tensor:
            maps = self.convolution(inputs)
            active = self.relu(maps)
            return self.linear((maps if in_place else active).mean((2, 3)))

    torch.manual_seed(0)
    model = Overwriting().double().eval()
    image = draw(1).double()
    maps = model.convolution(image).relu()[0]
    wanted = upsampled(relu((model.linear.weight[2, :, None, None] * maps).sum(0).detach().numpy() / 14**2), 16)
    for _ in ("watched", "known"):
        np.testing.assert_allclose(grad_cam(model, image, torch.tensor([2]))[0, 0].numpy(), wanted, atol=1e-12)
    assert grad_cam.describe(model, image) == {"layer": "relu"}
