"""What every entry must keep, whatever its method: found as the catalogue finds them, on every kind of network."""

import importlib
import pkgutil
import re
from collections.abc import Callable
from dataclasses import fields, replace
from functools import cache, partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import explainers
from bench.contract.checks import is_a_map
from bench.contract.examine import Outcome, examine
from bench.contract.networks import NETWORKS, named
from bench.contract.trial import Case, Trial
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
OF_THE_MODEL = sorted(name for name, entry in ENTRIES.items() if type(entry).__module__ != "explainers.controls")
WITHOUT_RULES = {"efficientnet_b0", "convnext_tiny"}
"""Networks whose gates, activations and norms are outside the definitions of some methods."""

every_entry = pytest.mark.parametrize("name", sorted(ENTRIES))
every_method = pytest.mark.parametrize("name", OF_THE_MODEL)


@cache
def usual(network: str) -> Case:
    """`bench check` makes all checks on these."""
    return Case(network, partial(named, network))


def test_the_first_milestone_is_there() -> None:
    assert ENTRIES.keys() >= {"noise", "center", "edges", "gradient", "input_x_gradient", "integrated_gradients"}
    assert ENTRIES.keys() >= {"grad_cam", "lrp_epsilon_plus", "lrp_epsilon_plus_flat"}


@every_entry
def test_entry_applies_to_every_network_here(name: str, network: nn.Module, images: Tensor) -> None:
    assert ENTRIES[name].inapplicable(network) is None
    assert all(isinstance(text, str) for item in ENTRIES[name].describe(network, images).items() for text in item)


@every_entry
def test_entry_keeps_the_contract(name: str, case: Case) -> None:
    assert examine(ENTRIES[name], case) == Outcome()


@every_entry
@pytest.mark.parametrize("network", NETWORKS)
def test_entry_has_a_map_of_a_usual_network_or_names_the_layer(name: str, network: str) -> None:
    trial = Trial(ENTRIES[name], usual(network))
    model = trial.case.network()
    reason = ENTRIES[name].inapplicable(model)
    if reason is None:
        assert is_a_map(trial) is None
    else:
        assert network in WITHOUT_RULES
        assert set(re.split(r"[ ,]+", reason)) & dict(model.named_modules()).keys(), reason


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
