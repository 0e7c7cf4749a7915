"""Networks with random layers: which layers, which numbers, once a task, and nothing left behind."""

import copy
import gc
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchvision.models import resnet18

from metrics.base import Decisions
from metrics.cascade import Cascade, cascade

LAYERS = ("0", "2", "5")


class Reversed(nn.Module):
    """Defined from the output to the input; one layer's weights are used by its parent."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(4, 2)
        self.inner = nn.Conv2d(3, 4, 3)
        self.unused = nn.Linear(2, 2)
        self.scale = nn.Parameter(torch.ones(3, 1, 1))

    def forward(self, inputs: Tensor) -> Tensor:
        return self.head(self.inner(inputs * self.scale).relu().mean((2, 3))) + self.unused.bias


class Own(nn.Module):
    """Layers without `reset_parameters`: of a spread, of one value."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.weights = nn.Parameter(5 + 2 * torch.randn(3, 24, 24, generator=generator), requires_grad=False)
        self.offset = nn.Parameter(torch.full((2,), 3.0), requires_grad=False)

    def forward(self, inputs: Tensor) -> Tensor:
        logit = (inputs * self.weights).sum((1, 2, 3))
        return torch.stack([logit, -logit], dim=1) + self.offset


@pytest.fixture
def decide(images: Tensor) -> Callable[..., Decisions]:
    def make(model: nn.Module, **settings: Any) -> Decisions:
        return Decisions(model, images, **settings)

    return make


def _whole(made: Cascade) -> nn.Module:
    return made.network(frozenset(made.layers))


def test_layers_follow_each_other_as_the_image_meets_them(network: nn.Module, decide: Callable[..., Decisions]) -> None:
    assert cascade(decide(network)).layers == LAYERS
    # The root comes first; what is never called, behind what was defined before it.
    assert cascade(decide(Reversed())).layers == ("", "inner", "unused", "head")


def test_both_directions_end_with_all_layers(network: nn.Module, decide: Callable[..., Decisions]) -> None:
    made = cascade(decide(network))
    assert [made.top_down(n) for n in range(4)] == [set(), {"5"}, {"5", "2"}, {"5", "2", "0"}]
    assert [made.bottom_up(n) for n in range(4)] == [set(), {"0"}, {"0", "2"}, {"0", "2", "5"}]
    assert made.network(made.top_down(3)) is made.network(made.bottom_up(3))


def test_layers_of_a_residual_network_are_those_with_weights(decide: Callable[..., Decisions]) -> None:
    model = resnet18(num_classes=2).eval()
    layers = cascade(decide(model)).layers
    assert len(layers) == 20 + 20 + 1
    assert (layers[0], layers[1], layers[-1]) == ("conv1", "bn1", "fc")
    block = [name for name in layers if name.startswith("layer2.0")]
    names = ("conv1", "bn1", "conv2", "bn2", "downsample.0", "downsample.1")
    assert block == [f"layer2.0.{name}" for name in names]


def test_random_layers_are_those_asked_for_and_the_others_are_the_models_own(
    network: nn.Module, decide: Callable[..., Decisions]
) -> None:
    made = cascade(decide(network))
    for randomized in (made.top_down(1), made.bottom_up(2), made.top_down(3)):
        for name in LAYERS:
            now, then = made.network(randomized).get_submodule(name), network.get_submodule(name)
            assert (now.weight is then.weight) == (name not in randomized)
            assert torch.equal(now.weight, then.weight) == (name not in randomized)
            assert torch.equal(now.bias, then.bias) == (name not in randomized)


def test_a_layer_is_random_in_one_way_in_all_networks(network: nn.Module, decide: Callable[..., Decisions]) -> None:
    """So that however many networks there are, they hold one more model."""
    made = cascade(decide(network))
    ways = [made.top_down(n) for n in (1, 2, 3)] + [made.bottom_up(n) for n in (1, 2)]
    tensors = [parameter for randomized in ways for parameter in made.network(randomized).parameters()]
    assert len({tensor.data_ptr() for tensor in tensors}) == 2 * len([*network.parameters()])


def test_numbers_are_those_of_reset_parameters(network: nn.Module, decide: Callable[..., Decisions]) -> None:
    decisions = decide(network, seed=3, task="toy")
    made = cascade(decisions)
    for name in LAYERS:
        layer = copy.deepcopy(network.get_submodule(name))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(decisions.task_generator(f"random weights/{name}").initial_seed())
            layer.reset_parameters()
        found = _whole(made).get_submodule(name)
        assert torch.equal(found.weight, layer.weight)
        assert torch.equal(found.bias, layer.bias)
        assert float(found.weight.abs().max()) <= layer.weight[0].numel() ** -0.5


def test_layers_of_one_shape_get_different_weights(decide: Callable[..., Decisions]) -> None:
    """Quantus seeds every layer alike."""
    model = nn.Sequential(nn.Conv2d(3, 3, 3), nn.Conv2d(3, 3, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    found = _whole(cascade(decide(model)))
    assert not torch.equal(found[0].weight, found[1].weight)


def test_batch_norm_forgets_what_it_has_seen(decide: Callable[..., Decisions]) -> None:
    norm = nn.BatchNorm2d(3)
    for tensor in (norm.weight.data, norm.bias.data, norm.running_mean, norm.running_var):
        tensor.uniform_(0.5, 2)
    model = nn.Sequential(norm, nn.Conv2d(3, 2, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    made = cascade(decide(model))
    found = _whole(made)[0]
    for tensor, wanted in ((found.weight, 1.0), (found.bias, 0.0), (found.running_mean, 0.0), (found.running_var, 1.0)):
        assert bool((tensor == wanted).all())
    assert made.network(made.top_down(1))[0].running_mean is norm.running_mean
    assert bool((norm.running_mean >= 0.5).all())


def test_what_cannot_be_reset_is_drawn_like_what_was_there(decide: Callable[..., Decisions]) -> None:
    model = Own().eval()
    found = _whole(cascade(decide(model)))
    assert abs(float(found.weights.mean()) - 5) < 0.2
    assert abs(float(found.weights.std()) - 2) < 0.2
    correlation = torch.corrcoef(torch.stack([found.weights.flatten(), model.weights.flatten()]))[0, 1]
    assert abs(float(correlation)) < 0.1
    assert torch.equal(found.offset, model.offset)


@pytest.mark.filterwarnings("ignore:.*weight_norm:FutureWarning")
def test_what_a_reset_does_not_reach_is_drawn(decide: Callable[..., Decisions]) -> None:
    """The weights of a convolution that is normalized the old way: its `reset_parameters` writes into a product."""
    plain = nn.Conv2d(3, 2, 3).requires_grad_(False)
    model = nn.Sequential(torch.nn.utils.weight_norm(plain), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    model.requires_grad_(False)
    decisions = decide(model)
    found = _whole(cascade(decisions))
    assert not torch.allclose(found[0].weight_v, model[0].weight_v)
    assert not torch.allclose(found(decisions.inputs), decisions.original_logits)


def test_numbers_belong_to_seed_and_task_and_not_to_the_object(
    network: nn.Module, decide: Callable[..., Decisions]
) -> None:
    def weights(**settings: Any) -> Tensor:
        return _whole(cascade(decide(copy.deepcopy(network), **settings)))[2].weight

    first = weights(seed=1, task="a")
    assert torch.equal(first, weights(seed=1, task="a"))
    for other in ({"seed": 2, "task": "a"}, {"seed": 1, "task": "b"}):
        assert not torch.equal(first, weights(**other))


def test_numbers_do_not_depend_on_layout_or_precision(network: nn.Module, images: Tensor) -> None:
    wanted = _whole(cascade(Decisions(copy.deepcopy(network), images)))
    laid_out = copy.deepcopy(network).to(memory_format=torch.channels_last)
    found = _whole(cascade(Decisions(laid_out, images)))
    assert found[2].weight.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(found[2].weight, wanted[2].weight)
    exact = _whole(cascade(Decisions(copy.deepcopy(network).double(), images.double())))
    assert exact[2].weight.dtype == torch.float64
    assert torch.equal(exact[2].weight, wanted[2].weight.double())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_numbers_do_not_depend_on_the_device(network: nn.Module, images: Tensor) -> None:
    wanted = _whole(cascade(Decisions(copy.deepcopy(network), images)))
    torch.cuda.manual_seed(5)
    found = _whole(cascade(Decisions(copy.deepcopy(network).cuda(), images.cuda())))
    assert torch.cuda.initial_seed() == 5
    assert found[2].weight.is_cuda
    assert torch.equal(found[2].weight.cpu(), wanted[2].weight)


def test_the_model_and_the_random_state_are_left_as_they_were(
    network: nn.Module, decide: Callable[..., Decisions]
) -> None:
    network[0].requires_grad_(True)
    network[1].register_forward_hook(lambda *_: None)
    state = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    decisions = decide(network)
    random_state = torch.get_rng_state()
    made = cascade(decisions)
    found = _whole(made)
    assert torch.equal(torch.get_rng_state(), random_state)
    assert all(torch.equal(tensor, state[name]) for name, tensor in network.state_dict().items())
    assert [parameter.requires_grad for parameter in network.parameters()] == [True, True, *[False] * 4]
    assert [parameter.requires_grad for parameter in found.parameters()] == [True, True, *[False] * 4]
    for model in (network, found):
        assert not model.training
        assert not any(module._forward_pre_hooks for module in model.modules())
        assert [len(module._forward_hooks) for module in model] == [0, 1, 0, 0, 0, 0]


def test_networks_are_made_once_for_all_batches(network: nn.Module, images: Tensor) -> None:
    first, second = Decisions(network, images[:4]), Decisions(network, images[4:])
    assert cascade(first) is cascade(second)
    assert _whole(cascade(first)) is _whole(cascade(second))


def _written(model: nn.Module) -> None:
    with torch.no_grad():
        model[2].weight.add_(1)


def _loaded(model: nn.Module) -> None:
    model.load_state_dict({name: tensor + 1 for name, tensor in model.state_dict().items()})


def _replaced_weight(model: nn.Module) -> None:
    model[2].weight = nn.Parameter(model[2].weight + 1, requires_grad=False)


def _replaced_module(model: nn.Module) -> None:
    model[1] = nn.GELU()


@pytest.mark.parametrize("change", [_written, _loaded, _replaced_weight, _replaced_module])
def test_networks_are_made_anew_where_the_model_has_changed(
    network: nn.Module, decide: Callable[..., Decisions], change: Callable[[nn.Module], None]
) -> None:
    before = cascade(decide(network))
    change(network)
    decisions = decide(network)
    after = cascade(decisions)
    assert after is not before
    # All but the output layer are the model's as it is now.
    partly = after.network(after.top_down(1))
    assert torch.equal(partly[:5](decisions.inputs), network[:5](decisions.inputs))
    assert cascade(decide(network)) is after


def test_another_seed_or_task_has_other_networks(network: nn.Module, decide: Callable[..., Decisions]) -> None:
    first = cascade(decide(network, seed=1))
    assert cascade(decide(network, seed=2)) is not first
    assert cascade(decide(network, seed=2, task="a")) is not first


def test_networks_go_when_their_model_goes(network: nn.Module, images: Tensor) -> None:
    model = copy.deepcopy(network)
    gone = weakref.ref(_whole(cascade(Decisions(model, images))))
    gc.collect()
    assert gone() is not None
    del model
    gc.collect()
    assert gone() is None


def test_a_model_without_parameters_has_none(decide: Callable[..., Decisions]) -> None:
    with pytest.raises(ValueError, match="the model has no parameters that could be randomized"):
        cascade(decide(nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())))


@pytest.mark.filterwarnings("ignore:.*torch.jit.trace:FutureWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize("kind", ["script", "export"])
def test_networks_that_were_made_elsewhere(network: nn.Module, images: Tensor, kind: str) -> None:
    if kind == "script":
        model = torch.jit.trace(network, images)
    else:
        batch = {0: torch.export.Dim("batch", min=1)}
        model = torch.export.export(network, (images,), dynamic_shapes=(batch,)).module()
    decisions = Decisions(model, images)
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    made = cascade(decisions)
    assert len(made.layers) == 3
    answers = [made.network(randomized)(images) for randomized in (made.top_down(1), made.top_down(3))]
    assert not torch.allclose(answers[0], decisions.original_logits)
    assert not torch.allclose(answers[1], answers[0])
    assert torch.equal(model(images), decisions.original_logits)
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())
    assert cascade(Decisions(model, images)) is made
