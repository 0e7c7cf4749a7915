"""Robustness: how far does the map move with the image?

Both are given the same neighbours of the same images, and what makes no difference to the definitions but to their
edges is taken out (`_calm`): small divisors, of which ours makes a thousandth of the largest and Quantus 1e-6 where
they are exactly 0; the map's unit, by which Quantus divides over the batch; neighbours that change the decision.
"""

import copy
from collections.abc import Callable
from itertools import chain
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from metrics.base import Decisions, Explain, Explanation
from metrics.reference.adapter import array
from metrics.stability import (
    AvgSensitivity,
    Continuity,
    LocalLipschitzEstimate,
    MaxSensitivity,
    Neighbours,
    RelativeInputStability,
    RelativeOutputStability,
    RelativeRepresentationStability,
    Stability,
    noisy,
)

from ..crosscheck import Case, NotComparableError, Ours, Pair, Theirs
from .matching import by_ours, scores_of

_RADIUS, _DRAWS = 0.02, 4
_LEAST = 1e-3
_N_STEPS = 10


class _Lifted(nn.Module):
    """A network of the same logits, in which what enters the last linear layer is larger by 1: away from 0."""

    def __init__(self, origin: nn.Module) -> None:
        super().__init__()
        memo: dict[int, Any] = {id(tensor): tensor for tensor in chain(origin.parameters(), origin.buffers())}
        self.network = copy.deepcopy(origin, memo)
        self.origin = lambda: origin  # no part of this network
        self.entering: str | None = None
        """Name of the module that gives what enters the last layer; None: the last layer is not linear."""
        last = [(name, layer) for name, layer in self.named_modules() if isinstance(layer, (nn.Linear, nn.Conv2d))][-1:]
        for name, layer in last:
            if isinstance(layer, nn.Linear):
                above, _, own = name.rpartition(".")
                setattr(self.get_submodule(above), own, nn.Sequential(_PlusOne(), _without_ones(layer)))
                self.entering = f"{name}.0"
        self.eval()

    def forward(self, inputs: Tensor) -> Tensor:
        logits: Tensor = self.network(inputs)
        return logits


class _PlusOne(nn.Module):
    def forward(self, values: Tensor) -> Tensor:
        return values + 1


def _without_ones(layer: nn.Linear) -> nn.Linear:
    """The layer on values that are larger by 1."""
    made = nn.Linear(layer.in_features, layer.out_features).to(layer.weight)
    with torch.no_grad():
        made.weight.copy_(layer.weight)
        made.bias.copy_((0 if layer.bias is None else layer.bias) - layer.weight.sum(dim=1))
    return made.requires_grad_(False)


class _Steadfast(nn.Module):
    """A network that always decides the same, and asks the real one all the same."""

    def __init__(self, origin: nn.Module) -> None:
        super().__init__()
        self.network = origin
        self.origin = lambda: origin

    def forward(self, inputs: Tensor) -> Tensor:
        logits: Tensor = self.network(inputs) * 0
        logits[:, 0] += 1
        return logits


def _calm(explain: Explain) -> Explain:
    """Maps in double precision over their largest value, each value at least a thousandth of it away from 0.

    All-zero maps become 1.
    """

    def calm(model: Any, inputs: Tensor, targets: Tensor) -> Tensor:
        maps = explain(model.origin(), inputs, targets).double()
        largest = maps.abs().amax(dim=(1, 2, 3), keepdim=True)
        scaled = torch.where(largest > 0, maps / largest, 1.0)
        return scaled.where(scaled.abs() >= _LEAST, torch.where(scaled < 0, -_LEAST, _LEAST))

    return calm


def _judging(case: Case, kind: type[_Lifted] | type[_Steadfast], images: Tensor) -> Case:
    """The case with such a network and images: the decisions are shared by explainers, the explanation by metrics."""
    whole = case.decisions

    def decide() -> Decisions:
        return Decisions(
            kind(whole.model).eval(),
            images,
            whole.targets,
            whole.labels if kind is _Lifted else None,
            whole.ids,
            task=whole.task,
            seed=whole.seed,
            batch_size=whole.batch_size,
        )

    def explained() -> Explanation:
        decisions, explain = whole.shared(kind.__name__, decide), _calm(case.explanation.explain)
        return Explanation(decisions, explain(decisions.model, images, decisions.targets), explain)

    explanation = case.explanation.shared(kind.__name__, explained)
    return Case(explanation, case.library, kind(case.model).eval(), case.seed)


def _same_noise(decisions: Decisions) -> Neighbours:
    """The neighbours that ours will draw; it shall not find them here."""

    def compute() -> Neighbours:
        apart = Decisions(
            decisions.model,
            decisions.inputs,
            decisions.targets,
            decisions.labels,
            decisions.ids,
            task=decisions.task,
            seed=decisions.seed,
            batch_size=decisions.batch_size,
        )
        return noisy(apart, _RADIUS, _DRAWS)

    return decisions.shared("same noise", compute)


def _noise(
    metric: Stability, name: str, settings: dict[str, Any], by_layer: bool = False
) -> Callable[[Case], tuple[Ours, Theirs]]:
    """Both meet the same neighbours; samples that one of them changes the decision of are left out."""

    def prepare(case: Case) -> tuple[Ours, Theirs]:
        calm = _judging(case, _Lifted, 0.1 + 0.8 * case.decisions.inputs)
        layer = getattr(calm.model, "entering", None)
        if by_layer and layer is None:
            raise NotComparableError("the network's last layer with weights is not linear")
        neighbours = _same_noise(calm.decisions)
        own = {"nr_samples": _DRAWS, **settings, **({"layer_names": [layer]} if by_layer else {})}

        def ours() -> Tensor:
            return metric(calm.explanation).where(neighbours.kept.all(dim=0).cpu(), torch.nan)

        def theirs() -> Tensor:
            draws = iter(neighbours.images)

            def perturbed(arr: np.ndarray, **_: Any) -> np.ndarray:
                return array(next(draws)).reshape(arr.shape)

            maps = calm.explanation.attributions
            return scores_of(calm.ask(name, maps, settings={**own, "perturb_func": perturbed}))

        return ours, theirs

    return prepare


def _continuity(case: Case) -> tuple[Ours, Theirs]:
    images = case.decisions.inputs.clone()
    images[:, :, 0, 0] = 0  # Quantus's black is the darkest value there is
    width = images.shape[3]
    step = (2 * width + 1) // _N_STEPS
    if step * _N_STEPS >= 2 * width:
        raise NotComparableError(f"the last of Quantus's {_N_STEPS} shifts leaves nothing of {width} pixels")
    shifts = tuple((step * number - width) / width for number in range(1, _N_STEPS + 1))
    calm = _judging(case, _Steadfast, images)
    return by_ours(Continuity(shifts), calm.explanation), lambda: scores_of(
        calm.ask("Continuity", calm.explanation.attributions, settings={"nr_steps": _N_STEPS})
    )


_SAME = "maps over their largest, 0.001 at least; images 0.1 + 0.8 x; the same 4 draws of noise"
_LEAVES = {"return_nan_when_prediction_changes": False}
PAIRS: tuple[Pair, ...] = (
    Pair(
        *("max_sensitivity", "MaxSensitivity", _SAME),
        _noise(MaxSensitivity(_RADIUS, _DRAWS), "MaxSensitivity", _LEAVES),
    ),
    Pair(
        *("avg_sensitivity", "AvgSensitivity", _SAME),
        _noise(AvgSensitivity(_RADIUS, _DRAWS), "AvgSensitivity", _LEAVES),
    ),
    Pair(
        *("local_lipschitz_estimate", "LocalLipschitzEstimate", _SAME),
        _noise(LocalLipschitzEstimate(_RADIUS, _DRAWS), "LocalLipschitzEstimate", _LEAVES),
    ),
    Pair(
        *("relative_input_stability", "RelativeInputStability", _SAME),
        _noise(RelativeInputStability(_RADIUS, _DRAWS), "RelativeInputStability", {}),
    ),
    Pair(
        *("relative_output_stability", "RelativeOutputStability", _SAME),
        _noise(RelativeOutputStability(_RADIUS, _DRAWS), "RelativeOutputStability", {}),
    ),
    Pair(
        "relative_representation_stability",
        "RelativeRepresentationStability",
        f"{_SAME}; what enters the last layer, plus 1 (the layer takes it off again)",
        _noise(RelativeRepresentationStability(_RADIUS, _DRAWS), "RelativeRepresentationStability", {}, by_layer=True),
    ),
    Pair(
        "continuity",
        "Continuity",
        "Quantus's 10 shifts, a black pixel in the corner; maps as above; a network that never decides otherwise",
        _continuity,
    ),
)
