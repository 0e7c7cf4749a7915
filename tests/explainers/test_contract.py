"""What every entry must keep, whatever its method: found as the catalogue finds them, on every kind of network."""

import importlib
import pkgutil
import random
from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import explainers
from explainers.base import Explainer

FEW = {
    **{"n_steps": 8, "n_samples": 6, "n_baselines": 2, "n_channels": 3, "n_masks": 12, "n_segments": 5},
    **{"window": 0.5, "stride": 0.25},
}
"""What stands for the counts of the entries here: the contract does not depend on them, its duration does."""


def cheaper(entry: Explainer) -> Explainer:
    counts: Any = {setting.name: FEW[setting.name] for setting in fields(entry) if setting.name in FEW}
    return replace(entry, **counts)


ENTRIES = {
    name: cheaper(entry)
    for module in pkgutil.iter_modules(explainers.__path__)
    for name, entry in vars(importlib.import_module(f"explainers.{module.name}")).items()
    if isinstance(entry, Explainer) and not name.startswith("_")
}
CONTROLS = {name for name, entry in ENTRIES.items() if type(entry).__module__ == "explainers.controls"}
OF_THE_MODEL = sorted(ENTRIES.keys() - CONTROLS)
OF_THE_CLASS = sorted(set(OF_THE_MODEL) - {"eigen_cam"})
"""Eigen-CAM looks at the feature maps only."""

every_entry = pytest.mark.parametrize("name", sorted(ENTRIES))
every_method = pytest.mark.parametrize("name", OF_THE_MODEL)


def close(maps: Tensor, wanted: Tensor, tolerance: float = 1e-4) -> bool:
    return bool((maps - wanted).abs().max() <= tolerance * wanted.abs().max())


def fail_in_call(model: nn.Module, n: int) -> None:
    """The model's last layer with weights raises when it is called for the n-th time."""
    calls: list[int] = []

    def count(*_: Any) -> None:
        calls.append(1)
        if len(calls) == n:
            raise ArithmeticError("the model fails")

    layers = [module for module in model.modules() if isinstance(module, nn.Linear | nn.Conv2d)]
    layers[-1].register_forward_pre_hook(count)


def test_the_first_milestone_is_there() -> None:
    assert ENTRIES.keys() >= {"noise", "center", "edges", "gradient", "input_x_gradient", "integrated_gradients"}
    assert ENTRIES.keys() >= {"grad_cam", "lrp_epsilon_plus", "lrp_epsilon_plus_flat"}


@every_entry
def test_entry_applies_to_every_network_here(name: str, network: nn.Module, images: Tensor) -> None:
    assert ENTRIES[name].inapplicable(network) is None
    assert all(isinstance(text, str) for item in ENTRIES[name].describe(network, images).items() for text in item)


@every_entry
def test_attributions_are_finite_maps_of_the_inputs_size_and_type(
    name: str, network: nn.Module, images: Tensor, targets: Tensor
) -> None:
    maps = ENTRIES[name](network, images, targets)
    assert maps.shape == (4, 1, *images.shape[2:])
    assert (maps.dtype, maps.device, maps.requires_grad) == (torch.float32, images.device, False)
    assert bool(maps.isfinite().all())
    assert bool(maps.any())
    exact = ENTRIES[name](network.double(), images.double(), targets)
    assert exact.dtype == torch.float64
    gap = (maps - exact).abs().sum() / exact.abs().sum()
    assert gap < 0.01, "little: a point at a ReLU's kink may round to its other side"


@every_entry
def test_image_gets_the_same_map_in_any_batch_and_order(
    name: str, network: nn.Module, images: Tensor, targets: Tensor
) -> None:
    network, images = network.double(), images.double()
    whole = ENTRIES[name](network, images, targets)
    for rows in ([2], [1, 3, 1]):
        assert close(ENTRIES[name](network, images[rows], targets[rows]), whole[rows], 1e-9), rows


@every_entry
@pytest.mark.parametrize("frozen", [True, False])
def test_call_leaves_nothing_behind(
    name: str,
    frozen: bool,
    network: nn.Module,
    images: Tensor,
    targets: Tensor,
    traces: Callable[..., list[Any]],
    same: Callable[[Any, Any], bool],
) -> None:
    network.requires_grad_(not frozen)
    images.requires_grad_(not frozen)
    before = traces(network, images, targets)
    ENTRIES[name].inapplicable(network)
    ENTRIES[name].describe(network, images)
    ENTRIES[name](network, images, targets)
    for then, now in zip(before, traces(network, images, targets), strict=True):
        assert same(then, now)


@every_method
@pytest.mark.parametrize("n", [1, 2])
def test_failure_within_a_call_leaves_nothing_behind(
    name: str,
    n: int,
    network: nn.Module,
    images: Tensor,
    targets: Tensor,
    traces: Callable[..., list[Any]],
    same: Callable[[Any, Any], bool],
) -> None:
    fail_in_call(network, n)
    before = traces(network, images, targets)
    try:
        ENTRIES[name](network, images, targets)
    except ArithmeticError:
        pass
    else:
        assert n == 2, "the first call fails"
    for then, now in zip(before, traces(network, images, targets), strict=True):
        assert same(then, now)


@every_entry
def test_global_random_state_does_not_matter(name: str, build: Callable[[str], nn.Module], draw: Any) -> None:
    network, images, targets = build("dense"), draw(2), torch.tensor([0, 1])
    with torch.random.fork_rng():
        maps = []
        for seed in (0, 1):
            torch.manual_seed(seed)
            np.random.seed(seed)
            random.seed(seed)
            maps.append(ENTRIES[name](network, images, targets))
    assert torch.equal(*maps)


@every_entry
def test_caller_may_have_switched_gradients_off(name: str, build: Callable[[str], nn.Module], draw: Any) -> None:
    network, images, targets = build("residual"), draw(2), torch.tensor([0, 1])
    maps = ENTRIES[name](network, images, targets)
    with torch.no_grad():
        assert torch.equal(ENTRIES[name](network, images, targets), maps)
        assert not torch.is_grad_enabled()


@every_entry
@pytest.mark.parametrize(
    ("inputs", "targets"),
    [
        (torch.rand(3, 16, 16), torch.tensor([0, 1, 2])),
        (torch.rand(2, 3, 16, 16), torch.tensor([0])),
        (torch.rand(2, 3, 16, 16), torch.tensor([[0], [1]])),
        (torch.rand(2, 3, 16, 16), torch.tensor(0)),
        (torch.rand(2, 3, 16, 16), torch.tensor([0.0, 1.0])),
        (torch.zeros(2, 3, 16, 16, dtype=torch.uint8), torch.tensor([0, 1])),
    ],
)
def test_wrong_arguments_name_the_explainer(
    name: str, inputs: Tensor, targets: Tensor, build: Callable[[str], nn.Module]
) -> None:
    with pytest.raises(ValueError, match=type(ENTRIES[name]).__name__):
        ENTRIES[name](build("plain"), inputs, targets)


@every_method
def test_weights_that_are_nan_name_the_explainer(
    name: str, network: nn.Module, images: Tensor, targets: Tensor
) -> None:
    for parameter in network.parameters():
        parameter.data.fill_(torch.nan)
    with pytest.raises(ValueError, match=rf"{type(ENTRIES[name]).__name__}.*not finite"):
        ENTRIES[name](network, images, targets)


@pytest.mark.parametrize(
    ("answer", "complaint"),
    [
        (torch.zeros(2, 3, 16, 16), r"\(2, 1, 16, 16\), not \(2, 3, 16, 16\)"),
        (torch.zeros(1, 1, 16, 16), r"\(2, 1, 16, 16\), not \(1, 1, 16, 16\)"),
        (torch.zeros(2, 1, 16, 16, dtype=torch.float64), "float64"),
        (torch.full((2, 1, 16, 16), torch.inf), "not finite"),
    ],
)
def test_wrong_answers_name_the_explainer(answer: Tensor, complaint: str) -> None:
    class Wrong(Explainer):
        def attribute(self, model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:  # noqa: ARG002
            return answer

    with pytest.raises(ValueError, match=rf"Wrong.*{complaint}"):
        Wrong()(nn.Identity(), torch.rand(2, 3, 16, 16), torch.tensor([0, 1]))


@pytest.mark.parametrize("name", OF_THE_CLASS)
def test_another_target_has_another_map(name: str, network: nn.Module, images: Tensor) -> None:
    one, other = (ENTRIES[name](network, images, torch.full((4,), target)) for target in (0, 1))
    assert all(not torch.equal(*pair) for pair in zip(one, other, strict=True) if pair[0].any() or pair[1].any())
    assert not torch.equal(one, other)


@pytest.mark.parametrize("name", sorted(CONTROLS))
def test_control_knows_nothing_of_model_and_target(name: str, build: Callable[[str], nn.Module], draw: Any) -> None:
    images = draw(2)
    one = ENTRIES[name](build("plain"), images, torch.tensor([0, 1]))
    assert torch.equal(one, ENTRIES[name](build("dense"), images, torch.tensor([2, 2])))


@every_method
def test_another_network_has_another_map(name: str, trained: Any, build: Callable[[str], nn.Module], draw: Any) -> None:
    images, targets = draw(2), torch.tensor([0, 1])
    one = ENTRIES[name](build("residual"), images, targets)
    assert not close(one, ENTRIES[name](trained(build("residual"), seed=5), images, targets), 0.1)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@every_entry
def test_cuda_answers_as_the_cpu_does(name: str, network: nn.Module, images: Tensor, targets: Tensor) -> None:
    here = ENTRIES[name](network.double(), images.double(), targets)
    there = ENTRIES[name](network.cuda(), images.double().cuda(), targets.cuda())
    assert there.device.type == "cuda"
    assert close(there.cpu(), here)
