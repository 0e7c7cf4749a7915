"""The canonized model answers what the model answers, and the model does not notice."""

import copy
import gc
import weakref
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision import models, transforms
from torchvision.transforms import Normalize, v2
from zennit.layer import Sum

from explainers.canonizers import NotCanonizableError, canonized, one_module_a_use
from explainers.conservation import conservation
from explainers.lrp import lrp_epsilon_plus, lrp_epsilon_plus_flat

TORCHVISION = ("vgg16", "vgg16_bn", "resnet18", "resnet50", "densenet121", "squeezenet1_0", "mobilenet_v2")
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
        if name.startswith("vgg"):
            model.avgpool, model.classifier = nn.AdaptiveAvgPool2d(1), nn.Linear(512, 5)
    model = trained(model.to_empty(device="cpu"))
    before = traces(model)
    rebuilt, preprocessing = canonized(model)
    images = draw(2, 64)
    found, logits = difference(model, images), model(images)
    assert preprocessing == ()
    assert not {"BatchNorm2d", "BatchNorm1d"} & {*kinds(rebuilt)}
    assert same(before, traces(model))
    assert difference(model.double(), images.double()) < 1e-12
    exact = model(images.double())
    rounding = float((logits - exact).abs().max() / exact.abs().max())
    assert found < max(1e-5, 3 * rounding), "the model's own is 1.1e-5 on MobileNet-V2"


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("efficientnet_b0", "no rule for SiLU features.0.2, nor for Sigmoid, mul"),
        ("convnext_tiny", "no rule for layer_norm in LayerNorm2d features.0.1, nor for LayerNorm, GELU, mul"),
    ],
)
def test_steps_without_a_rule_in_torchvisions_networks_are_named(name: str, reason: str) -> None:
    with torch.device("meta"):
        model = models.get_model(name, weights=None).eval()
    for explainer in (lrp_epsilon_plus, lrp_epsilon_plus_flat):
        assert explainer.inapplicable(model) == reason
    images = torch.rand(1, 3, 32, 32, device="meta")
    assert one_module_a_use(model)(images).shape == (1, 1000)


class Users(nn.Module):
    """As one writes a network who has never heard of LRP."""

    def __init__(self) -> None:
        super().__init__()
        stem = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2), nn.BatchNorm2d(8))
        self.features = nn.Sequential(nn.Sequential(stem, nn.Sequential(nn.ReLU(inplace=True))))
        self.branches = nn.ModuleDict({"wide": nn.Conv2d(8, 8, 5, padding=2), "deep": nn.Conv2d(8, 8, 3, padding=1)})
        self.relu, self.hidden, self.linear = nn.ReLU(), nn.Linear(32, 16), nn.Linear(16, 4)
        self.norm, self.scale = nn.BatchNorm1d(16), 3

    def forward(self, inputs: Tensor) -> Tensor:
        maps = F.max_pool2d(F.relu(self.features(inputs)), kernel_size=2)
        for _ in range(self.scale - 1):
            maps += self.relu(self.branches["wide"](maps)) + self.branches["deep"](maps)
            maps = self.relu(maps)
        maps = F.dropout(nn.functional.adaptive_avg_pool2d(maps, 2), p=0.3, training=self.training)
        features = self.hidden(maps.view(maps.size(0), -1))
        return self.linear(torch.flatten(F.relu(self.norm(features)), start_dim=1))


def test_users_own_network_is_canonized(trained: Trained, draw: Draw, targets: Tensor) -> None:
    model, images = trained(Users()), draw(4, 32)
    assert difference(model, images) < 1e-5
    assert difference(model.double(), images.double()) < 1e-12
    found = kinds(canonized(model)[0])
    assert (found.count("ReLU"), found.count("Sum"), found.count("BatchNorm2d")) == (7, 4, 0)
    share = conservation(replace(lrp_epsilon_plus, epsilon=1e-12), model, images.double(), targets)
    torch.testing.assert_close(share.pixels + share.biases, torch.ones(4).double())


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
        ("dense", {"ReLU": 4, "Sum": 0, "Conv2d": 4, "Channelwise": 4, "AvgPool2d": 1, "AdaptiveAvgPool2d": 1}),
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
    found = kinds(canonized(model)[0])
    assert (found.count("Conv2d"), found.count("Channelwise")) == (1, 1)


@pytest.mark.parametrize("affine", [True, False])
def test_batch_norm_is_a_channelwise_convolution(affine: bool) -> None:
    norm = nn.BatchNorm2d(5, eps=0.1, affine=affine).eval().double()
    norm.running_mean, norm.running_var = torch.rand(5).double(), 0.01 + torch.rand(5).double()
    if affine:
        norm.weight.data.normal_()
        norm.bias.data.normal_()
    rebuilt, preprocessing = canonized(nn.Sequential(nn.ReLU(), norm).eval())
    convolution = next(module for module in rebuilt.modules() if isinstance(module, nn.Conv2d))
    maps = torch.rand(2, 5, 3, 3).double()
    assert (convolution.weight.shape, preprocessing) == ((5, 1, 1, 1), ())
    torch.testing.assert_close(convolution(maps), norm(maps))
    torch.testing.assert_close(convolution(maps), nn.Conv2d.forward(convolution, maps))


def test_batch_norm_of_features_without_a_linear_layer_is_channelwise(trained: Trained, draw: Draw) -> None:
    layers = (nn.Flatten(), nn.BatchNorm1d(768), nn.Linear(768, 8), nn.ReLU(), nn.BatchNorm1d(8), nn.Linear(8, 4))
    model = trained(nn.Sequential(*layers))
    assert difference(model, draw(2)) < 1e-5
    assert kinds(canonized(model)[0]).count("Channelwise") == 2
    assert lrp_epsilon_plus(model, draw(2), torch.tensor([0, 1])).any()


def test_batch_norm_of_the_pixels_is_preprocessing(trained: Trained, draw: Draw) -> None:
    model = trained(nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(784, 4)))
    assert canonized(model)[1] == ("0",)
    assert difference(model, draw(2)) < 1e-5


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
    "turned": lambda maps: maps.permute(0, 1, 3, 2).contiguous(),
    "chunks": lambda maps: torch.cat(maps.chunk(2, dim=1)[::-1], 1),
    "mean": lambda maps: maps.mean([2, 3], keepdim=True),
    "mean_flat": lambda maps: torch.mean(maps, dim=(-2, -1))[:, :, None, None],
    "adaptive_max_pool": lambda maps: F.adaptive_max_pool2d(maps, 2),
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
        (Gate(), "no rule for mul in Gate step"),
        (Normalize((0.5,) * 6, (0.5,) * 6), "no rule for Normalize step"),
        (DataDependent(), "cannot be traced .*control flow"),
        (lambda maps: F.silu(maps), "no rule for silu"),
        (lambda maps: maps + 1, "no rule for add"),
        (lambda maps: torch.add(maps, maps, alpha=2), "no rule for add"),
        (lambda maps: maps.add(maps, alpha=2), "no rule for add"),
        (lambda maps: maps - maps.relu(), "no rule for sub"),
        (lambda maps: F.dropout(maps, 0.5), "no rule for dropout"),
        (lambda maps: F.layer_norm(maps, (16,)), "no rule for layer_norm"),
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
    assert torch.equal(lrp_epsilon_plus.start(logits, torch.tensor([1, 0])), wanted)


def test_step_in_place_on_a_part_of_what_is_used_later_is_named() -> None:
    def relu_on_a_part(maps: Tensor) -> Tensor:
        maps[:, :2].relu_()
        return maps

    with pytest.raises(NotCanonizableError, match="computes in place on a part of what is used later"):
        canonized(Step(relu_on_a_part).eval())


def test_model_is_canonized_once(network: nn.Module, images: Tensor) -> None:
    rebuilt, _ = canonized(network)
    assert canonized(network)[0] is rebuilt
    assert one_module_a_use(network) is one_module_a_use(network)
    lrp_epsilon_plus(network, images, torch.tensor([0, 1, 2, 1]))
    assert canonized(network)[0] is rebuilt
    assert canonized(copy.deepcopy(network))[0] is not rebuilt


def change_in_place(model: nn.Module) -> None:
    with torch.no_grad():
        model[1].weight.mul_(2)


def change_data_in_place(model: nn.Module) -> None:
    model[1].weight.data.mul_(2)  # torch's version counter does not see this


def change_statistics(model: nn.Module) -> None:
    model[2].running_mean.numpy()[:] = 3


def swap_parameter(model: nn.Module) -> None:
    model[-1].weight = nn.Parameter(model[-1].weight * 2)


def swap_data(model: nn.Module) -> None:
    model[-1].weight.data = model[-1].weight.data * 2


def load_weights(model: nn.Module) -> None:
    model.load_state_dict({name: value * 2 for name, value in model.state_dict().items()})


def swap_activation(model: nn.Module) -> None:
    model[3] = nn.ReLU6()
    model[1].weight.data.mul_(100)


def change_setting(model: nn.Module) -> None:
    model[2].eps = 3.0


def change_stride(model: nn.Module) -> None:
    model[1].stride = (2, 2)


def change_input(model: nn.Module) -> None:
    model[0].mean = (0.0, 0.0, 0.0)


def add_hook(model: nn.Module) -> None:
    model[4].register_forward_hook(lambda _module, _inputs, output: output * 2)


def append_layer(model: nn.Module) -> None:
    model.append(nn.ReLU())


def change_type(model: nn.Module) -> None:
    model.double()


CHANGES = (
    *(change_in_place, change_data_in_place, change_statistics, swap_parameter, swap_data, load_weights),
    *(swap_activation, change_setting, change_stride, change_input, add_hook, append_layer, change_type),
)


@pytest.mark.parametrize("change", CHANGES)
def test_changed_model_is_followed(change: Callable[[nn.Module], None], build: Build, draw: Draw) -> None:
    model, images, targets = build("residual"), draw(2), torch.tensor([0, 1])
    before = lrp_epsilon_plus(model, images, targets), one_module_a_use(model)(images)
    change(model)
    images = images.to(model[-1].weight.dtype if hasattr(model[-1], "weight") else images.dtype)
    after = lrp_epsilon_plus(model, images, targets)
    if change is not change_type and change is not append_layer:
        assert not torch.equal(after, before[0])
    if change is not append_layer:
        assert torch.equal(after, lrp_epsilon_plus(copy.deepcopy(model), images, targets))
    assert difference(model, images) < 1e-5
    assert torch.equal(one_module_a_use(model)(images), model(images))


def test_forward_that_was_replaced_on_the_object_is_not_overlooked(build: Build) -> None:
    model = build("plain")
    assert lrp_epsilon_plus.inapplicable(model) is None
    model.forward = lambda inputs: nn.Sequential.forward(model, inputs * 0.5)
    assert "its forward was replaced" in str(lrp_epsilon_plus.inapplicable(model))


def test_folding_again_does_not_disturb_a_graph_of_gradients(build: Build, draw: Draw) -> None:
    model, images = build("residual"), draw(2).requires_grad_()
    logits = canonized(model)[0](images)
    canonized(model)
    logits.sum().backward()
    assert images.grad is not None


def test_model_is_not_kept_alive(network: nn.Module, images: Tensor) -> None:
    canonized(network)
    one_module_a_use(network)
    model = copy.deepcopy(network)
    lrp_epsilon_plus(model, images, torch.tensor([0, 1, 2, 1]))
    one_module_a_use(model)
    memory = [weakref.ref(part) for part in model.modules()]
    del model
    gc.collect()
    assert [part() for part in memory] == [None] * len(memory)


def test_model_canonized_in_inference_mode_can_be_explained_outside(build: Build, draw: Draw) -> None:
    model, other = build("residual"), build("residual")
    with torch.inference_mode():
        assert lrp_epsilon_plus.inapplicable(model) is None
        other.load_state_dict({name: value.clone() for name, value in other.state_dict().items()}, assign=True)
    images, targets = draw(2), torch.tensor([0, 1])
    wanted = lrp_epsilon_plus(model, images, targets)
    assert torch.equal(lrp_epsilon_plus(other, images, targets), wanted)
    with torch.inference_mode():
        other[-1].weight.mul_(2)
    assert not torch.equal(lrp_epsilon_plus(other, images, targets), wanted)


@pytest.mark.parametrize("name", ["in_place", "residual", "dense"])
def test_one_module_a_use_leaves_norms_and_answers_bit_for_bit(name: str, build: Build, draw: Draw) -> None:
    model, images = build(name), draw(2)
    rebuilt = one_module_a_use(model)
    assert torch.equal(rebuilt(images), model(images))
    assert not any(getattr(module, "inplace", False) for module in rebuilt.modules())
    n_relus, n_norms = {"in_place": (4, 0), "residual": (5, 6), "dense": (4, 4)}[name]
    assert (kinds(rebuilt).count("ReLU"), kinds(rebuilt).count("BatchNorm2d")) == (n_relus, n_norms)
    called = [id(rebuilt.get_submodule(node.target)) for node in rebuilt.graph.nodes if node.op == "call_module"]
    assert len(called) == len({*called})


def test_one_module_a_use_needs_no_rules(draw: Draw) -> None:
    model, images = Step(nn.SiLU(inplace=True)).eval(), draw(2)
    assert torch.equal(one_module_a_use(model)(images), model(images))
    with pytest.raises(NotCanonizableError, match="cannot be traced"):
        one_module_a_use(Step(DataDependent()))
