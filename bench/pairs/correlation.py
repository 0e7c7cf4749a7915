"""Faithfulness: do attributions go with what the removal of their pixels changes?"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from metrics.base import Decisions
from metrics.correlated_removal import (
    FaithfulnessCorrelation,
    FaithfulnessEstimate,
    Infidelity,
    MonotonicityCorrelation,
    SensitivityN,
)
from metrics.perturb import UniformImputer, ZeroImputer
from metrics.removals import preset_subsets, rounded, subset_size

from ..crosscheck import Case, Ours, Pair, Theirs
from .matching import GRID, MEAN, STEPS, Revealed, by_ours, of_cells, removing, scores_of, side_of_cell, whole_steps

_SHARE, _SUBSETS = 0.05, 100
_DRAWS = 5


def _as_ours_rounds(decisions: Decisions) -> Callable[..., np.ndarray]:
    """Quantus's Pearson correlation of falls that are rounded as ours are: see `metrics.removals.fall`."""
    whole = decisions.target_logits(decisions.original_logits).double().cpu()

    def similarity(a: np.ndarray, b: np.ndarray, **_: Any) -> np.ndarray:
        correlation: np.ndarray = stats.pearsonr(a, rounded(torch.from_numpy(b), whole).numpy(), axis=1)[0]
        return correlation

    return similarity


def _faithfulness_correlation(case: Case) -> tuple[Ours, Theirs]:
    decisions = case.decisions
    n_pixels, size = decisions.inputs[0, 0].numel(), subset_size(decisions, _SHARE)
    draw, chosen = np.random.RandomState(case.seed), torch.zeros(_SUBSETS, len(decisions.inputs), n_pixels).bool()
    for subset in chosen:  # as Quantus will draw them
        for pixels in subset:
            pixels[draw.choice(n_pixels, size, replace=False)] = True
    preset_subsets(decisions, _SHARE, list(chosen))
    settings = {"nr_runs": _SUBSETS, "subset_size": size, "similarity_func": _as_ours_rounds(decisions)}

    def theirs() -> Tensor:
        return removing(case, "FaithfulnessCorrelation", MEAN, settings, softmax=False)

    return by_ours(FaithfulnessCorrelation(MEAN, _SHARE, _SUBSETS), case.explanation), theirs


def _faithfulness_estimate(case: Case) -> tuple[Ours, Theirs]:
    size, n_steps = whole_steps(case)
    settings = {"features_in_step": size, "similarity_func": _as_ours_rounds(case.decisions)}

    def theirs() -> Tensor:
        return removing(case, "FaithfulnessEstimate", MEAN, settings, softmax=False)

    return by_ours(FaithfulnessEstimate(MEAN, n_steps), case.explanation), theirs


def _sensitivity_n(case: Case) -> tuple[Ours, Theirs]:
    size, _ = whole_steps(case)

    def theirs() -> None:
        removing(case, "SensitivityN", MEAN, {"features_in_step": size}, softmax=False)

    return by_ours(SensitivityN(MEAN), case.explanation), theirs


def _monotonicity_correlation(case: Case) -> tuple[Ours, Theirs]:
    relevance = of_cells(case, GRID)

    def theirs() -> Tensor:
        model = Revealed(case, *(UniformImputer(draw) for draw in range(_DRAWS)))
        n_asked = 0

        def replaced(arr: np.ndarray, indices: np.ndarray, **_: Any) -> np.ndarray:
            nonlocal n_asked
            changed = arr.copy()
            np.put_along_axis(changed, indices, -(n_asked % _DRAWS), axis=1)
            n_asked += 1
            return changed

        settings = {"nr_samples": _DRAWS, "features_in_step": 1, "perturb_func": replaced}
        everything = torch.ones_like(relevance, dtype=torch.float32)
        answer = case.ask(
            "MonotonicityCorrelation", relevance, everything, model=model, targets=model.targets, settings=settings
        )
        return scores_of(answer)

    return by_ours(MonotonicityCorrelation(GRID, _DRAWS), case.explanation), theirs


def _infidelity(case: Case) -> tuple[Ours, Theirs]:
    maps, settings = (
        case.explanation.attributions,
        {"perturb_patch_sizes": [side_of_cell(case)], "n_perturb_samples": 1},
    )
    metric = Infidelity(ZeroImputer(), 1 / GRID)
    return by_ours(metric, case.explanation), lambda: scores_of(
        case.ask("Infidelity", maps, settings={"perturb_baseline": 0.0, **settings})
    )


PAIRS: tuple[Pair, ...] = (
    Pair(
        "faithfulness_correlation",
        "FaithfulnessCorrelation",
        "100 subsets of 5 % of the pixels, those that Quantus draws, mean colour; falls rounded as ours",
        _faithfulness_correlation,
    ),
    Pair("faithfulness_estimate", "FaithfulnessEstimate", f"{STEPS}; falls rounded as ours", _faithfulness_estimate),
    Pair(
        *("sensitivity_n", "SensitivityN", STEPS, _sensitivity_n),
        "differs by definition: Quantus removes in the map's order and correlates over the samples of the batch",
    ),
    Pair(
        "monotonicity_correlation",
        "MonotonicityCorrelation",
        "8 × 8 cells as features, the same 5 noises",
        _monotonicity_correlation,
    ),
    Pair(
        *("infidelity", "Infidelity", "squares of ⅛ of the side, black", _infidelity),
        "Quantus is wrong: patches stay removed when the next one goes, and its random samples are all the same",
    ),
)
