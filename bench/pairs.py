"""What `bench crosscheck` compares: metrics of ours and of Quantus, and what has to be matched between them.

A pair more is a line more in `PAIRS`. Quantus counts each channel of a pixel as a feature and cuts steps through
pixels; where it removes, it is therefore given an image of one channel that says what is there, 1, and what is not, 0,
and a network that puts the real image in (`Revealed`). So a feature is a pixel, or a cell, and what stands for removed
ones is the same on both sides.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from scipy import stats
from torch import Tensor, nn

from metrics.axiomatic import Completeness, InputInvariance, NonSensitivity
from metrics.base import Decisions, Explanation, Metric
from metrics.complexity import Complexity, EffectiveComplexity, Sparseness
from metrics.correlated_removal import (
    FaithfulnessCorrelation,
    FaithfulnessEstimate,
    Infidelity,
    MonotonicityCorrelation,
    SensitivityN,
)
from metrics.faithfulness import Deletion, PixelFlipping
from metrics.linear_imputation import ExactLinearImputer
from metrics.localization import (
    PointingGame,
    RelevanceMassAccuracy,
    RelevanceRankAccuracy,
    RocAuc,
    TopKIntersection,
)
from metrics.perturb import BaselineImputer, MeanImputer, UniformImputer, ZeroImputer
from metrics.reference.faithfulness import features_in_step
from metrics.regions import cells, sums
from metrics.removals import preset_subsets, rounded, single_cells, subset_size
from metrics.removed_regions import IterativeRemovalOfFeatures, RegionPerturbation, Selectivity
from metrics.road import RemoveAndDebias

from .crosscheck import Case, NotComparableError, Ours, Pair, Theirs

_MEAN = MeanImputer()
_GRID = 8
_SHARE, _SUBSETS = 0.05, 100
_DRAWS = 5
_PATCHES, _TOLERANCE = 14, 0.01
_PERCENTAGES = range(10, 60, 10)
_ABSOLUTE = {"abs": True}
"""Where the map is not negative in any case: Quantus prints a complaint otherwise."""


class Revealed(nn.Module):
    """The network on what is revealed of the images of a batch.

    (N, 1, h, w) -> (N, K) logits, where 1 says that a cell is there and 0, −1, … that the first, the second … baseline
    stands for it. A cell is a pixel where h, w are the image's sides. For a task with several labels the logits are
    (N, 2), 0 and the target's, so that the softmax is its sigmoid.
    """

    def __init__(self, case: Case, *imputers: BaselineImputer, scale: Tensor | None = None) -> None:
        super().__init__()
        self.network, self.scale = case.model, scale
        self.decisions = case.decisions
        self.baselines = torch.stack([imputer.baseline(case.decisions) for imputer in imputers])
        self.eval()

    def forward(self, kept: Tensor) -> Tensor:
        inputs = self.decisions.inputs
        height, width = inputs.shape[2:]
        if kept.shape[2:] != inputs.shape[2:]:
            place = cells(height, width, kept.shape[2]).to(kept.device)
            kept = kept.flatten(1)[:, place].view(-1, 1, height, width)
        number = int(kept.min().clamp(max=0).neg())
        logits: Tensor = self.network(torch.where(kept == 1, inputs, self.baselines[number]))
        if self.scale is not None:
            logits = logits * self.scale[:, None].to(logits)
        if not self.decisions.multi_label:
            return logits
        target = self.decisions.target_logits(logits)
        return torch.stack([torch.zeros_like(target), target], dim=1)

    @property
    def targets(self) -> Tensor:
        """(N,) of these logits."""
        decisions = self.decisions
        return torch.ones_like(decisions.targets) if decisions.multi_label else decisions.targets


def _removing(case: Case, name: str, imputer: BaselineImputer, settings: dict[str, Any], softmax: bool) -> Tensor:
    """What Quantus answers where it takes pixels of the revealed image away."""
    model = Revealed(case, imputer)
    everything = torch.ones_like(case.decisions.inputs[:, :1])
    settings = {"perturb_baseline": 0.0, **settings}
    answer = case.ask(
        name,
        case.explanation.attributions,
        everything,
        model=model,
        targets=model.targets,
        settings=settings,
        softmax=softmax,
    )
    return _scores(answer)


def _scores(answer: Any) -> Tensor:
    return torch.from_numpy(np.asarray(answer, dtype=float))


def _ours(metric: Metric, explanation: Explanation, factor: float = 1.0) -> Ours:
    return lambda: factor * metric(explanation)


def _steps(case: Case) -> tuple[int, int]:
    """How many pixels go at a time, and how many times: both take whole steps only."""
    n_pixels = case.decisions.inputs[0, 0].numel()
    size = features_in_step(n_pixels, 32)
    return size, n_pixels // size


def _whole(decisions: Decisions, softmax: bool) -> Tensor:
    """(N, 1) what Quantus's curves begin with and do not contain."""
    logits = decisions.original_logits
    values = decisions.target_probabilities(logits) if softmax else decisions.target_logits(logits)
    return values.double().cpu()[:, None]


def _pixel_flipping(case: Case) -> tuple[Ours, Theirs]:
    size, n_steps = _steps(case)

    def theirs() -> Tensor:
        curve = _removing(case, "PixelFlipping", _MEAN, {"features_in_step": size}, softmax=False)
        return (_whole(case.decisions, softmax=False) - curve).mean(dim=1)

    return _ours(PixelFlipping(_MEAN, n_steps), case.explanation), theirs


def _deletion(case: Case) -> tuple[Ours, Theirs]:
    size, n_steps = _steps(case)

    def theirs() -> Tensor:
        curve = _removing(case, "PixelFlipping", _MEAN, {"features_in_step": size}, softmax=True)
        return torch.trapezoid(torch.cat([_whole(case.decisions, softmax=True), curve], dim=1), dx=1 / n_steps)

    return _ours(Deletion(_MEAN, n_steps), case.explanation), theirs


def _patch(case: Case) -> int:
    height, width = case.decisions.inputs.shape[2:]
    if height != width or height % _GRID:
        raise NotComparableError(f"images of {height} × {width} pixels are not {_GRID} × {_GRID} squares")
    return int(height // _GRID)


def _region_perturbation(case: Case) -> tuple[Ours, Theirs]:
    settings, n_regions = {"patch_size": _patch(case)}, 16

    def theirs() -> Tensor:
        falls = _removing(
            case, "RegionPerturbation", _MEAN, {**settings, "regions_evaluation": n_regions}, softmax=False
        )
        return falls.sum(dim=1) / (n_regions + 1)

    return _ours(RegionPerturbation(_MEAN, _GRID, n_regions), case.explanation), theirs


def _selectivity(case: Case) -> tuple[Ours, Theirs]:
    settings = {"patch_size": _patch(case)}

    def theirs() -> Tensor:
        curve = _removing(case, "Selectivity", _MEAN, settings, softmax=True)
        return torch.trapezoid(torch.cat([_whole(case.decisions, softmax=True), curve], dim=1), dx=1 / _GRID**2)

    return _ours(Selectivity(_MEAN, _GRID), case.explanation), theirs


def _irof(case: Case) -> tuple[Ours, Theirs]:
    maps = case.explanation.attributions
    return _ours(IterativeRemovalOfFeatures(_MEAN), case.explanation), lambda: _scores(
        case.ask("IROF", maps, softmax=True)
    )


class _OneChannel(nn.Module):
    """The network on images of one channel."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, inputs: Tensor) -> Tensor:
        logits: Tensor = self.network(inputs.expand(-1, 3, -1, -1))
        return logits


def _road(case: Case) -> tuple[Ours, Theirs]:
    whole, maps = case.decisions, case.explanation.attributions
    if whole.multi_label:
        raise NotComparableError("Quantus's ROAD knows the class of the highest logit only")
    grey, model = whole.inputs[:, :1], _OneChannel(case.model).eval()
    decisions = Decisions(_OneChannel(whole.model).eval(), grey, whole.targets, ids=whole.ids)
    metric = RemoveAndDebias(ExactLinearImputer(noise=0), _PERCENTAGES)

    def theirs() -> Tensor:
        scores = []
        settings = {"percentages": list(_PERCENTAGES), "noise": 0.0}
        for index in range(len(grey)):
            one = slice(index, index + 1)
            answer = case.ask("ROAD", maps[one], grey[one], model=model, targets=whole.targets[one], settings=settings)
            scores.append(float(np.mean(list(answer.values()))))
        return torch.tensor(scores)

    return _ours(metric, Explanation(decisions, maps, case.explanation.explain)), theirs


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
        return _removing(case, "FaithfulnessCorrelation", _MEAN, settings, softmax=False)

    return _ours(FaithfulnessCorrelation(_MEAN, _SHARE, _SUBSETS), case.explanation), theirs


def _faithfulness_estimate(case: Case) -> tuple[Ours, Theirs]:
    size, n_steps = _steps(case)
    settings = {"features_in_step": size, "similarity_func": _as_ours_rounds(case.decisions)}

    def theirs() -> Tensor:
        return _removing(case, "FaithfulnessEstimate", _MEAN, settings, softmax=False)

    return _ours(FaithfulnessEstimate(_MEAN, n_steps), case.explanation), theirs


def _sensitivity_n(case: Case) -> tuple[Ours, Theirs]:
    size, _ = _steps(case)

    def theirs() -> None:
        _removing(case, "SensitivityN", _MEAN, {"features_in_step": size}, softmax=False)

    return _ours(SensitivityN(_MEAN), case.explanation), theirs


def _of_cells(case: Case, grid: int) -> Tensor:
    """(N, 1, grid, grid) sums of the absolute attributions."""
    sizes = case.explanation.attributions.abs()
    place = cells(sizes.shape[2], sizes.shape[3], grid).to(sizes.device).expand(len(sizes), -1)
    return sums(sizes.flatten(1), place, grid**2).view(-1, 1, grid, grid)


def _monotonicity_correlation(case: Case) -> tuple[Ours, Theirs]:
    relevance = _of_cells(case, _GRID)

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
        return _scores(answer)

    return _ours(MonotonicityCorrelation(_GRID, _DRAWS), case.explanation), theirs


def _infidelity(case: Case) -> tuple[Ours, Theirs]:
    maps, settings = case.explanation.attributions, {"perturb_patch_sizes": [_patch(case)], "n_perturb_samples": 1}
    metric = Infidelity(ZeroImputer(), 1 / _GRID)
    return _ours(metric, case.explanation), lambda: _scores(
        case.ask("Infidelity", maps, settings={"perturb_baseline": 0.0, **settings})
    )


def _plain(
    metric: Metric, name: str, settings: dict[str, Any] | None = None, of: Callable[[Tensor], Tensor] = torch.clone
) -> Callable[[Case], tuple[Ours, Theirs]]:
    """Both judge the map alone, or what is made of it."""

    def prepare(case: Case) -> tuple[Ours, Theirs]:
        maps = of(case.explanation.attributions)
        return _ours(metric, case.judging(maps)), lambda: _scores(case.ask(name, maps, settings=settings))

    return prepare


def _top_k(case: Case) -> tuple[Ours, Theirs]:
    """Small enough for the smallest mask: ours divides by what is possible, Quantus by K."""
    masks, maps = case.decisions.masks, case.explanation.attributions
    if masks is None:
        raise NotComparableError("the task has no masks")
    counts, n_pixels = masks.flatten(1).sum(dim=1), masks[0].numel()
    if not bool((counts > 0).any()):
        raise NotComparableError("all masks are empty")
    k = max(1, min(int(counts[counts > 0].min()), round(0.02 * n_pixels)))
    return _ours(TopKIntersection(k / n_pixels), case.explanation), lambda: _scores(
        case.ask("TopKIntersection", maps, settings={"k": k})
    )


def _sparseness(case: Case) -> tuple[Ours, Theirs]:
    sizes = case.explanation.attributions.abs()
    return _ours(Sparseness(), case.judging(sizes + 1e-7)), lambda: _scores(
        case.ask("Sparseness", sizes, settings=_ABSOLUTE)
    )


def _complexity(case: Case) -> tuple[Ours, Theirs]:
    sizes = case.explanation.attributions.abs()
    ours = _ours(Complexity(), case.judging(sizes), math.log(sizes[0].numel()))
    return ours, lambda: _scores(case.ask("Complexity", sizes, settings=_ABSOLUTE))


def _effective_complexity(case: Case) -> tuple[Ours, Theirs]:
    sizes = case.explanation.attributions.abs()
    ours = _ours(EffectiveComplexity(), case.judging(sizes), sizes[0].numel())
    return ours, lambda: _scores(case.ask("EffectiveComplexity", sizes, settings=_ABSOLUTE))


def _completeness(case: Case) -> tuple[Ours, Theirs]:
    maps = case.explanation.attributions

    def theirs() -> None:
        case.ask("Completeness", maps.expand_as(case.decisions.inputs) / 3, settings={"perturb_baseline": 0.0})

    return _ours(Completeness(), case.explanation), theirs


def _scale(whole: Decisions, grid: int) -> Tensor:
    """(N,) one over the largest change that a cell makes."""
    apart = Decisions(whole.model, whole.inputs, whole.targets, whole.labels)  # ours shall not find its answers here
    largest = single_cells(apart, grid).falls(_MEAN).abs().amax(dim=1)
    return 1 / largest.where(largest > 0, 1)


def _non_sensitivity(case: Case) -> tuple[Ours, Theirs]:
    grid: int = min(_PATCHES, *case.decisions.inputs.shape[2:])
    relevance = _of_cells(case, grid)
    relevance = relevance / relevance.amax(dim=(2, 3), keepdim=True)
    scale = case.decisions.shared("scale of the crosscheck", lambda: _scale(case.decisions, grid))

    def theirs() -> Tensor:
        model = Revealed(case, _MEAN, scale=scale)
        settings = {"features_in_step": 1, "eps": _TOLERANCE, "perturb_baseline": 0.0}
        everything = torch.ones_like(relevance, dtype=torch.float32)
        answer = case.ask(
            "NonSensitivity", relevance, everything, model=model, targets=model.targets, settings=settings
        )
        return _scores(answer) / (grid * grid)

    return _ours(NonSensitivity(_MEAN, grid, _TOLERANCE), case.explanation), theirs


def _input_invariance(case: Case) -> tuple[Ours, Theirs]:
    maps = case.explanation.attributions
    return _ours(InputInvariance(), case.explanation), lambda: _scores(case.ask("InputInvariance", maps))


_STEPS = "pixels in 32 steps, mean colour"
_CELLS = "8 × 8 cells, mean colour"
PAIRS: tuple[Pair, ...] = (
    Pair("pixel_flipping", "PixelFlipping", f"{_STEPS}; mean fall of its curve of logits", _pixel_flipping),
    Pair("deletion", "PixelFlipping", f"{_STEPS}; area under its curve of probabilities", _deletion),
    Pair("region_perturbation", "RegionPerturbation", f"{_CELLS}, the first 16; mean fall", _region_perturbation),
    Pair("selectivity", "Selectivity", f"{_CELLS}; area under its curve", _selectivity),
    Pair(
        *("irof", "IROF", "as both are", _irof),
        "differs by definition: Quantus sums over superpixels, ours takes the mean",
    ),
    Pair("road", "ROAD", "first channel alone (it fails on three), 10 … 50 %, no noise, one sample at a time", _road),
    Pair(
        "faithfulness_correlation",
        "FaithfulnessCorrelation",
        "100 subsets of 5 % of the pixels, those that Quantus draws, mean colour; falls rounded as ours",
        _faithfulness_correlation,
    ),
    Pair("faithfulness_estimate", "FaithfulnessEstimate", f"{_STEPS}; falls rounded as ours", _faithfulness_estimate),
    Pair(
        *("sensitivity_n", "SensitivityN", _STEPS, _sensitivity_n),
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
    Pair(
        "relevance_mass_accuracy",
        "RelevanceMassAccuracy",
        "|a|: Quantus sums signed values",
        _plain(RelevanceMassAccuracy(), "RelevanceMassAccuracy", of=torch.abs),
        needs_masks=True,
    ),
    Pair(
        "relevance_mass_accuracy",
        "AttributionLocalisation",
        "positive attributions",
        _plain(RelevanceMassAccuracy(), "AttributionLocalisation", _ABSOLUTE, torch.relu),
        needs_masks=True,
    ),
    Pair(
        "relevance_rank_accuracy",
        "RelevanceRankAccuracy",
        "as both are",
        _plain(RelevanceRankAccuracy(), "RelevanceRankAccuracy"),
        needs_masks=True,
    ),
    Pair("pointing_game", "PointingGame", "as both are", _plain(PointingGame(), "PointingGame"), needs_masks=True),
    Pair("top_k_intersection", "TopKIntersection", "K at most the smallest mask", _top_k, needs_masks=True),
    Pair("roc_auc", "AUC", "as both are", _plain(RocAuc(), "AUC"), needs_masks=True),
    Pair("sparseness", "Sparseness", "|a| + 1e-7, which Quantus adds", _sparseness),
    Pair("complexity", "Complexity", "times log(H·W), by which Quantus does not divide", _complexity),
    Pair(
        *("effective_complexity", "EffectiveComplexity", "times H·W", _effective_complexity),
        "differs by definition: Quantus counts pixels above 1e-5, in the unit of the map",
    ),
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
