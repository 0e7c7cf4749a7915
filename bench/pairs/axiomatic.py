"""Axioms: what a sum, a pixel without effect and a shifted image should do to the map."""

import torch
from torch import Tensor

from metrics.axiomatic import Completeness, InputInvariance, NonSensitivity
from metrics.base import Decisions
from metrics.removals import single_cells

from ..crosscheck import Case, Ours, Pair, Theirs
from .matching import MEAN, Revealed, by_ours, of_cells, scores_of

_PATCHES, _TOLERANCE = 14, 0.01


def _completeness(case: Case) -> tuple[Ours, Theirs]:
    maps = case.explanation.attributions

    def theirs() -> None:
        case.ask("Completeness", maps.expand_as(case.decisions.inputs) / 3, settings={"perturb_baseline": 0.0})

    return by_ours(Completeness(), case.explanation), theirs


def _scale(whole: Decisions, grid: int) -> Tensor:
    """(N,) one over the largest change that a cell makes."""
    apart = Decisions(whole.model, whole.inputs, whole.targets, whole.labels)  # ours shall not find its answers here
    largest = single_cells(apart, grid).falls(MEAN).abs().amax(dim=1)
    return 1 / largest.where(largest > 0, 1)


def _non_sensitivity(case: Case) -> tuple[Ours, Theirs]:
    grid: int = min(_PATCHES, *case.decisions.inputs.shape[2:])
    relevance = of_cells(case, grid)
    relevance = relevance / relevance.amax(dim=(2, 3), keepdim=True)
    scale = case.decisions.shared("scale of the crosscheck", lambda: _scale(case.decisions, grid))

    def theirs() -> Tensor:
        model = Revealed(case, MEAN, scale=scale)
        settings = {"features_in_step": 1, "eps": _TOLERANCE, "perturb_baseline": 0.0}
        everything = torch.ones_like(relevance, dtype=torch.float32)
        answer = case.ask(
            "NonSensitivity", relevance, everything, model=model, targets=model.targets, settings=settings
        )
        return scores_of(answer) / (grid * grid)

    return by_ours(NonSensitivity(MEAN, grid, _TOLERANCE), case.explanation), theirs


def _input_invariance(case: Case) -> tuple[Ours, Theirs]:
    maps = case.explanation.attributions
    return by_ours(InputInvariance(), case.explanation), lambda: scores_of(case.ask("InputInvariance", maps))


PAIRS: tuple[Pair, ...] = (
    Pair(
        *("completeness", "Completeness", "black", _completeness),
        "Quantus is wrong: it compares floats by ==, so that no map is complete",
    ),
    Pair(
        "non_sensitivity",
        "NonSensitivity",
        "14 × 14 cells as features, logits and map over their largest, as its threshold is absolute",
        _non_sensitivity,
    ),
    Pair(
        *("input_invariance", "InputInvariance", "shift −1", _input_invariance),
        "differs by definition: Quantus asks whether all pixels agree to 1e-4, in the unit of the map",
    ),
)
