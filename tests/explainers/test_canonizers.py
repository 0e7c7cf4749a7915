"""The canonized model answers what the model answers, and the model does not notice."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision import models, transforms
from torchvision.transforms import Normalize, v2
from zennit.layer import Sum

from explainers.canonizers import NotCanonizableError, as_convolution, canonized, target_output
from explainers.lrp import lrp_epsilon_plus, lrp_epsilon_plus_flat

TORCHVISION = ("resnet18", "vgg11_bn", "densenet121", "squeezenet1_0", "mobilenet_v2")
Build = Callable[[str], nn.Module]
Trained = Callable[..., nn.Module]
Draw = Callable[..., Tensor]


class Step(nn.Module):
    """A convolution, some step, and a linear layer on the means."""

    def __init__(self, step: Callable[[Tensor], Tensor], n: int = 6) -> None:
        super().__init__()
        self.convolution, self.step, self.linear = nn.Conv2d(3, n, 3, padding=1), step, nn.Linear(n, 4)

    def forward(self, inputs: Tensor) -> Tensor:
        maps = self.step(self.convolution(inputs))
        return self.linear(F.adaptive_avg_pool2d(maps, 1).flatten(1))


def kinds(model: nn.Module) -> list[str]:
    return [type(module).__name__ for module in model.modules()]


def difference(model: nn.Module, images: Tensor) -> float:
    """Largest difference of the canonized model's logits, relative to the largest logit."""
    rebuilt, _ = canonized(model)
    logits = model(images).detach()
    return float((rebuilt(images) - logits).abs().max() / logits.abs().max())


def test_logits_are_the_models(network: nn.Module, images: Tensor) -> None:
    assert difference(network, images) < 1e-5
    assert difference(network.double(), images.double()) < 1e-13


@pytest.mark.parametrize("name", TORCHVISION)
def test_logits_of_torchvisions_networks_are_the_models(
    name: str, trained: Trained, draw: Draw, traces: Callable[..., list[Any]], same: Callable[[Any, Any], bool]
) -> None:
    with torch.device("meta"):  # nothing is initialised, and VGG's large classifier never made
        model = models.get_model(name, weights=None, num_classes=5)
        if name == "vgg11_bn":
            model.avgpool, model.classifier = nn.AdaptiveAvgPool2d(1), nn.Linear(512, 5)
    model = trained(model.to_empty(device="cpu"))
    before = traces(model)
    rebuilt, preprocessing = canonized(model)
    images = draw(2, 64)
    assert difference(model, images) < (2e-4 if name == "mobilenet_v2" else 1e-5)
    assert preprocessing == ()
    assert not {"BatchNorm2d", "BatchNorm1d"} & {*kinds(rebuilt)}
    assert same(before, traces(model))
    assert difference(model.double(), images.double()) < 1e-12


def test_model_is_untouched_and_its_memory_shared(
    architecture: str, network: nn.Module, images: Tensor, traces: Callable[..., list[Any]], same: Callable[..., bool]
) -> None:
    network.requires_grad_()
    before = traces(network)
    rebuilt, _ = canonized(network)
    rebuilt(images)
    assert same(before, traces(network))
    own = {parameter.data_ptr() for parameter in network.parameters()}
    new = {parameter.data_ptr() for parameter in rebuilt.parameters()}
    assert new == own if architecture in ("plain", "in_place", "squeezenet", "vgg") else new & own
    assert not any(parameter.requires_grad for parameter in rebuilt.parameters())
    assert not any(getattr(module, "inplace", False) for module in rebuilt.modules())


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("plain", {"ReLU": 2, "MaxPool2d": 1, "AvgPool2d": 1, "Normalize": 1}),
        ("in_place", {"ReLU": 4, "MaxPool2d": 1, "AvgPool2d": 1, "AdaptiveAvgPool2d": 1}),
        ("residual", {"ReLU": 5, "Sum": 2, "Conv2d": 6, "MaxPool2d": 1}),
        ("dense", {"ReLU": 4, "Sum": 0, "Conv2d": 8, "AvgPool2d": 1, "AdaptiveAvgPool2d": 1}),
    ],
)
def test_every_step_is_a_module_of_its_own(name: str, counts: dict[str, int], build: Build) -> None:
    rebuilt, preprocessing = canonized(build(name))
    found = kinds(rebuilt)
    assert {kind: found.count(kind) for kind in counts} == counts
    called = [node.target for node in rebuilt.graph.nodes if node.op == "call_module"]
    assert len(called) == len({*called})
    assert [type(rebuilt.get_submodule(part)) for part in preprocessing] == [Normalize]


def test_module_used_several_times_becomes_several_on_the_same_weights(draw: Draw) -> None:
    convolution, relu = nn.Conv2d(3, 3, 3, padding=1), nn.ReLU()
    model = nn.Sequential(convolution, relu, convolution, relu, nn.Flatten(), nn.Linear(768, 4)).eval()
    rebuilt, _ = canonized(model)
    convolutions = [module for module in rebuilt.modules() if isinstance(module, nn.Conv2d)]
    assert len(convolutions) == 2
    assert len({part.weight.data_ptr() for part in convolutions}) == 1
    assert kinds(rebuilt).count("ReLU") == 2
    assert difference(model, draw(2)) == 0


def test_batch_norm_behind_a_convolution_in_two_uses_is_not_folded_into_it(trained: Trained, draw: Draw) -> None:
    class Fork(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.convolution, self.norm, self.linear = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(8, 4)

        def forward(self, inputs: Tensor) -> Tensor:
            maps = self.convolution(inputs)
            return self.linear(F.adaptive_avg_pool2d(torch.cat([maps, self.norm(maps)], dim=1), 1).flatten(1))

    model = trained(Fork())
    assert difference(model, draw(2)) < 1e-5
    assert kinds(canonized(model)[0]).count("Conv2d") == 2


@pytest.mark.parametrize("affine", [True, False])
def test_batch_norm_is_a_channelwise_convolution(affine: bool) -> None:
    norm = nn.BatchNorm2d(5, eps=0.1, affine=affine).eval().double()
    norm.running_mean, norm.running_var = torch.rand(5).double(), 0.01 + torch.rand(5).double()
    if affine:
        norm.weight.data.normal_()
        norm.bias.data.normal_()
    maps = torch.rand(2, 5, 3, 3).double()
    convolution = as_convolution(norm)
    assert convolution.weight.shape == (5, 1, 1, 1)
    torch.testing.assert_close(convolution(maps), norm(maps))


def test_batch_norm_behind_a_linear_layer_is_folded(trained: Trained, draw: Draw) -> None:
    layers = nn.Sequential(nn.Flatten(), nn.Linear(768, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 4))
    assert difference(trained(layers), draw(2)) < 1e-5
    assert "BatchNorm1d" not in kinds(canonized(layers)[0])


def relu_twice(maps: Tensor) -> Tensor:
    active = F.relu(maps, inplace=True)
    return active + maps


def relu_by_the_way(maps: Tensor) -> Tensor:
    torch.relu_(maps)
    return maps


def sum_by_the_way(maps: Tensor) -> Tensor:
    maps.add_(maps.relu())
    return maps


STEPS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu_twice": relu_twice,
    "relu_by_the_way": relu_by_the_way,
    "sum_by_the_way": sum_by_the_way,
    "sum_with_itself": lambda maps: maps + maps,
    "broadcast": lambda maps: maps + F.adaptive_avg_pool2d(maps, 1),
    "method": lambda maps: maps.add(maps.relu()),
    "torch": lambda maps: torch.add(maps, torch.relu(maps)),
    "relu6": F.relu6,
    "dropout": lambda maps: F.dropout(maps, 0.5, training=False),
    "max_pool": lambda maps: F.max_pool2d(maps, 3, 2, 1, ceil_mode=True),
    "avg_pool": lambda maps: F.avg_pool2d(maps, 3, 2, 1, True, False),
    "reshape": lambda maps: maps.reshape(maps.shape[0], 6, 8, 32),
    "slices": lambda maps: torch.cat([maps[:, :2], maps[:, 2:]], 1),
}


@pytest.mark.parametrize("name", STEPS)
def test_step_called_as_a_function_stays_what_it_was(name: str, trained: Trained, draw: Draw) -> None:
    model = trained(Step(STEPS[name]))
    images = draw(2)
    assert difference(model, images) < 1e-6
    for explainer in (lrp_epsilon_plus, lrp_epsilon_plus_flat):
        assert explainer.inapplicable(model) is None
        assert explainer(model, images, torch.tensor([0, 1])).any()


def test_relu_module_in_place_changes_what_comes_after(trained: Trained, draw: Draw) -> None:
    class Preactivation(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.relu, self.convolution = nn.ReLU(inplace=True), nn.Conv2d(6, 6, 3, padding=1)

        def forward(self, maps: Tensor) -> Tensor:
            return self.convolution(self.relu(maps)) + maps

    assert difference(trained(Step(Preactivation())), draw(2)) < 1e-6


class Gate(nn.Module):
    def forward(self, maps: Tensor) -> Tensor:
        return maps * F.adaptive_avg_pool2d(maps, 1)


class DataDependent(nn.Module):
    def forward(self, maps: Tensor) -> Tensor:
        return maps if maps.sum() > 0 else -maps


@pytest.mark.parametrize(
    ("step", "reason"),
    [
        (nn.SiLU(), "no rule for SiLU step"),
        (nn.GELU(), "no rule for GELU step"),
        (nn.LeakyReLU(), "no rule for LeakyReLU step"),
        (nn.LayerNorm((16, 16)), "no rule for LayerNorm step"),
        (nn.GroupNorm(2, 6), "no rule for GroupNorm step"),
        (nn.Softmax(dim=1), "no rule for Softmax step"),
        (nn.ConvTranspose2d(6, 6, 2), "no rule for ConvTranspose2d step"),
        (models.efficientnet.SqueezeExcitation(6, 2), "no rule for Sigmoid step"),
        (Gate(), "no rule for mul"),
        (Normalize((0.5,) * 6, (0.5,) * 6), "no rule for Normalize step"),
        (DataDependent(), "cannot be traced .*control flow"),
        (lambda maps: F.silu(maps), "no rule for silu"),
        (lambda maps: maps + 1, "no rule for add"),
        (lambda maps: torch.add(maps, maps, alpha=2), "no rule for add"),
        (lambda maps: maps.add(maps, alpha=2), "no rule for add"),
        (lambda maps: maps - maps.relu(), "no rule for sub"),
        (lambda maps: F.dropout(maps, 0.5), "no rule for dropout"),
        (lambda maps: maps.permute(0, 1, 3, 2), "no rule for permute"),
        (lambda maps: maps @ maps, "no rule for matmul"),
        (nn.BatchNorm2d(6, track_running_stats=False), "no running statistics"),
        (nn.Sequential(nn.ReLU(), nn.BatchNorm2d(6, track_running_stats=False)), "running statistics"),
        (nn.Sequential(nn.Conv2d(6, 6, 1), nn.InstanceNorm2d(6)), "no rule for InstanceNorm2d"),
    ],
)
def test_step_without_a_rule_is_named(step: Callable[[Tensor], Tensor], reason: str) -> None:
    model = Step(step).eval()
    with pytest.raises(NotCanonizableError, match=reason):
        canonized(model)
    for explainer in (lrp_epsilon_plus, lrp_epsilon_plus_flat):
        answer = explainer.inapplicable(model)
        assert answer is not None
        assert "\n" not in answer


class Arithmetic(nn.Module):
    def forward(self, inputs: Tensor) -> Tensor:
        return (inputs - 0.5) / 0.25


@pytest.mark.parametrize(
    ("first", "reason"),
    [
        (Arithmetic(), "no rule for sub"),
        (transforms.Resize(16), "no rule for Resize 0"),
        (v2.CenterCrop(16), "no rule for CenterCrop 0"),
    ],
)
def test_preprocessing_other_than_normalization_is_named(first: nn.Module, reason: str, build: Build) -> None:
    assert str(lrp_epsilon_plus.inapplicable(nn.Sequential(first, build("plain")))).startswith(reason)


def test_preprocessing_is_every_normalization_in_front(build: Build, draw: Draw) -> None:
    model = nn.Sequential(v2.Normalize([0.1] * 3, [0.9] * 3), build("plain"))
    assert canonized(model)[1] == ("0", "1.0")
    assert lrp_epsilon_plus(model, draw(1), torch.tensor([0])).any()


def test_bias_of_its_own_is_a_branch_of_the_sum(trained: Trained, draw: Draw) -> None:
    class Biased(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.bias = nn.Parameter(torch.rand(1, 6, 1, 1))

        def forward(self, maps: Tensor) -> Tensor:
            return maps + self.bias

    model = trained(Step(Biased()))
    assert difference(model, draw(2)) < 1e-6
    assert any(isinstance(module, Sum) for module in canonized(model)[0].modules())
    assert lrp_epsilon_plus(model, draw(2), torch.tensor([0, 1])).any()


def test_relevance_starts_as_the_logit_of_the_target() -> None:
    logits = torch.tensor([[1.0, -2.0, 3.0], [4.0, 5.0, 6.0]])
    wanted = torch.tensor([[0.0, -2.0, 0.0], [4.0, 0.0, 0.0]])
    assert torch.equal(target_output(torch.tensor([1, 0]))(logits), wanted)
