"""Grad-CAM a second time, by the paper's formula in numpy; which layer it is at."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from captum.attr import LayerGradCam
from torch import Tensor, nn

from explainers.cam import grad_cam, last_convolution

LAYER = {
    "plain": "4",
    "in_place": "third",
    "residual": "6.shortcut.0",
    "dense": "convolutions.2",
    "squeezenet": "network.classifier.1",
    "vgg": "network.features.28",
}


def upsampled(coarse: np.ndarray, side: int) -> np.ndarray:
    """(h, w) -> (side, side), bilinear between the centres of the cells."""
    weights = np.zeros((side, len(coarse)))
    for row in range(side):
        position = min(max((row + 0.5) * len(coarse) / side - 0.5, 0), len(coarse) - 1)
        lower = int(position)
        weights[row, lower] += 1 - (position - lower)
        weights[row, min(lower + 1, len(coarse) - 1)] += position - lower
    return weights @ coarse @ weights.T


def by_the_paper(model: nn.Module, layer: nn.Module, image: Tensor, target: int) -> np.ndarray:
    """One image's map: maps weighted with the mean slope, summed, negative values to 0, enlarged."""
    kept: list[Tensor] = []

    def keep(_module: nn.Module, _inputs: object, output: Tensor) -> Tensor:
        kept.append(output)
        return output.clone()  # what comes may overwrite this one

    handle = layer.register_forward_hook(keep)
    logit = model(image[None].clone().requires_grad_())[0, target]
    handle.remove()
    (slopes,) = torch.autograd.grad(logit, kept[-1])
    maps, slopes = kept[-1][0].detach().numpy(), slopes[0].numpy()
    total = sum(slopes[channel].mean() * maps[channel] for channel in range(len(maps)))
    return upsampled(np.maximum(total, 0), image.shape[-1])


def test_layer_is_the_last_convolution(architecture: str, network: nn.Module, images: Tensor) -> None:
    name, layer = last_convolution(network, images)
    assert name == LAYER[architecture]
    assert layer is network.get_submodule(name)
    assert grad_cam.describe(network, images) == {"layer": name}


def test_map_is_the_papers_formula(architecture: str, network: nn.Module, images: Tensor, targets: Tensor) -> None:
    network, images = network.double(), images.double()
    layer = network.get_submodule(LAYER[architecture])
    maps = grad_cam(network, images, targets)[:, 0].numpy()
    for index, image in enumerate(images):
        wanted = by_the_paper(network, layer, image, int(targets[index]))
        np.testing.assert_allclose(maps[index], wanted, atol=1e-9 * max(1, wanted.max()))


def test_captum_says_the_same(build: Callable[[str], nn.Module], draw: Callable[..., Tensor], targets: Tensor) -> None:
    model, images = build("vgg"), draw(4, 64)
    layer = model.get_submodule(LAYER["vgg"])
    coarse = LayerGradCam(model, layer).attribute(images.clone().requires_grad_(), target=targets).relu()
    wanted = F.interpolate(coarse.detach(), size=(64, 64), mode="bilinear")
    torch.testing.assert_close(grad_cam(model, images, targets), wanted)


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
    assert last_convolution(model, draw(2))[0] == "second"
    assert grad_cam(model, draw(2), torch.tensor([0, 1])).shape == (2, 1, 16, 16)


def test_network_without_convolution_has_no_map(draw: Callable[..., Tensor]) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(768, 4))
    assert grad_cam.inapplicable(model) == "the model has no convolution"
    with pytest.raises(ValueError, match="more than one pixel"):
        last_convolution(nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(3, 4, 1), nn.Flatten()), draw(1))


def test_class_without_evidence_has_an_empty_map(draw: Callable[..., Tensor]) -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    nn.init.constant_(model[4].weight, -1.0)
    nn.init.ones_(model[0].weight)
    assert not grad_cam(model.eval(), draw(1), torch.tensor([0])).any()


@pytest.mark.parametrize("in_place", [True, False])
def test_convolution_is_seen_before_a_function_overwrites_it(draw: Callable[..., Tensor], in_place: bool) -> None:
    class Overwriting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.convolution, self.relu = nn.Conv2d(3, 6, 3), nn.ReLU(inplace=in_place)
            self.linear = nn.Linear(6, 4)

        def forward(self, inputs: Tensor) -> Tensor:
            maps = self.convolution(inputs)
            active = self.relu(maps)
            return self.linear((active + (maps if in_place else active)).mean((2, 3)))

    torch.manual_seed(0)
    model = Overwriting().double().eval()
    image = draw(1).double()
    wanted = by_the_paper(model, model.convolution, image[0], 2)
    np.testing.assert_allclose(grad_cam(model, image, torch.tensor([2]))[0, 0].numpy(), wanted, atol=1e-12)
