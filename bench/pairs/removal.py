"""Faithfulness: pixels or regions go one after another, and the curve of what is left is judged."""

import numpy as np
import torch
from torch import Tensor, nn

from metrics.base import Decisions, Explanation
from metrics.faithfulness import Deletion, PixelFlipping
from metrics.linear_imputation import ExactLinearImputer
from metrics.removed_regions import IterativeRemovalOfFeatures, RegionPerturbation, Selectivity
from metrics.road import RemoveAndDebias

from ..crosscheck import Case, NotComparableError, Ours, Pair, Theirs
from .matching import CELLS, GRID, MEAN, STEPS, by_ours, removing, scores_of, side_of_cell, whole_steps

_PERCENTAGES = range(10, 60, 10)


def _untouched(decisions: Decisions, softmax: bool) -> Tensor:
    """(N, 1) what Quantus's curves begin with and do not contain."""
    logits = decisions.original_logits
    values = decisions.target_probabilities(logits) if softmax else decisions.target_logits(logits)
    return values.double().cpu()[:, None]


def _pixel_flipping(case: Case) -> tuple[Ours, Theirs]:
    size, n_steps = whole_steps(case)

    def theirs() -> Tensor:
        curve = removing(case, "PixelFlipping", MEAN, {"features_in_step": size}, softmax=False)
        return (_untouched(case.decisions, softmax=False) - curve).mean(dim=1)

    return by_ours(PixelFlipping(MEAN, n_steps), case.explanation), theirs


def _deletion(case: Case) -> tuple[Ours, Theirs]:
    size, n_steps = whole_steps(case)

    def theirs() -> Tensor:
        curve = removing(case, "PixelFlipping", MEAN, {"features_in_step": size}, softmax=True)
        return torch.trapezoid(torch.cat([_untouched(case.decisions, softmax=True), curve], dim=1), dx=1 / n_steps)

    return by_ours(Deletion(MEAN, n_steps), case.explanation), theirs


def _region_perturbation(case: Case) -> tuple[Ours, Theirs]:
    settings, n_regions = {"patch_size": side_of_cell(case)}, 16

    def theirs() -> Tensor:
        falls = removing(case, "RegionPerturbation", MEAN, {**settings, "regions_evaluation": n_regions}, softmax=False)
        return falls.sum(dim=1) / (n_regions + 1)

    return by_ours(RegionPerturbation(MEAN, GRID, n_regions), case.explanation), theirs


def _selectivity(case: Case) -> tuple[Ours, Theirs]:
    settings = {"patch_size": side_of_cell(case)}

    def theirs() -> Tensor:
        curve = removing(case, "Selectivity", MEAN, settings, softmax=True)
        return torch.trapezoid(torch.cat([_untouched(case.decisions, softmax=True), curve], dim=1), dx=1 / GRID**2)

    return by_ours(Selectivity(MEAN, GRID), case.explanation), theirs


def _irof(case: Case) -> tuple[Ours, Theirs]:
    maps = case.explanation.attributions
    return by_ours(IterativeRemovalOfFeatures(MEAN), case.explanation), lambda: scores_of(
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

    return by_ours(metric, Explanation(decisions, maps, case.explanation.explain)), theirs


PAIRS: tuple[Pair, ...] = (
    Pair("pixel_flipping", "PixelFlipping", f"{STEPS}; mean fall of its curve of logits", _pixel_flipping),
    Pair("deletion", "PixelFlipping", f"{STEPS}; area under its curve of probabilities", _deletion),
    Pair("region_perturbation", "RegionPerturbation", f"{CELLS}, the first 16; mean fall", _region_perturbation),
    Pair("selectivity", "Selectivity", f"{CELLS}; area under its curve", _selectivity),
    Pair(
        *("irof", "IROF", "as both are", _irof),
        "differs by definition: Quantus sums over superpixels, ours takes the mean",
    ),
    Pair("road", "ROAD", "first channel alone (it fails on three), 10 … 50 %, no noise, one sample at a time", _road),
)
