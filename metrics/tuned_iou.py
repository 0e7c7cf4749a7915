"""Intersection over union at a threshold that was tuned on other samples."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from .base import Category, Explanation, Metric
from .companions import companions, explained, others

EQUAL = 1e-9
"""Means that differ by no more are equal: rounding does not choose among thresholds."""


@dataclass(frozen=True)
class TunedIntersectionOverUnion(Metric):
    """Intersection over union of the mask and the map, cut at the share of its maximum that suits other samples best.

    For a threshold t the map says {a ≥ t · max a}. t is that one of n_thresholds evenly spaced ones in (0, 1) (of 19:
    0.05, 0.10, …, 0.95) with the largest mean IoU over the task's companions (see `companions`) that have evidence and
    a positive attribution, the sample itself left out; of several the lowest. In [0, 1], higher is better. So a map is
    cut as one would who has some maps with known evidence: between Otsu's rule, the same for all explainers (`iou`),
    and the threshold that the mask itself chooses (`iou_best`).

    Negative attributions are below every threshold. A constant positive map is taken whole and scores the mask's share
    of the image. Scaling by a positive number changes nothing; shifting and other increasing functions do. nan: the
    mask is empty, no attribution is positive, or no companion is left to tune by.

    How to read it. A threshold is tuned over few companions of all classes, so single scores are coarse; and explainers
    whose maps have one shape in all samples gain most.

    Costs, once a task and explainer, the explanation of all companions, shared with `sufficiency`, and once a task a
    forward pass of them.

    Reference: Saporta et al., "Benchmarking saliency methods for chest X-ray interpretation", Nature Machine
    Intelligence 2022, who tune one threshold for each finding on the validation set, from 0.2 to 0.8, of maps that are
    scaled to [0, 1].

    Args:
        n_thresholds: How many there are to choose from.

    Raises:
        ValueError: n_thresholds is not positive; there are no masks or no companions, or these are of another size.
    """

    category: ClassVar[Category] = Category.LOCALIZATION
    higher_is_better: ClassVar[bool] = True
    needs_masks: ClassVar[bool] = True
    needs_companions: ClassVar[bool] = True
    on_request: ClassVar[bool] = True
    n_thresholds: int = 19

    def __post_init__(self) -> None:
        if self.n_thresholds < 1:
            raise ValueError(f"{self}: n_thresholds is at least 1")

    def score(self, explanation: Explanation) -> Tensor:
        """(N,) intersection over union at the tuned threshold."""
        decisions = explanation.decisions
        if companions(decisions).masks is None:
            return torch.full(decisions.targets.shape, torch.nan)
        overlaps = _overlaps(explained(explanation), self.n_thresholds)
        counted = others(decisions) & overlaps.isfinite().all(dim=1)
        means = counted.double() @ overlaps.nan_to_num(0.0) / counted.sum(dim=1, keepdim=True)
        best = means.amax(dim=1, keepdim=True)
        lowest = (means >= best - EQUAL).int().argmax(dim=1, keepdim=True)
        own = _overlaps(explanation, self.n_thresholds).gather(1, lowest)[:, 0]
        return own.where(counted.any(dim=1), torch.nan)


def _overlaps(explanation: Explanation, n_thresholds: int) -> Tensor:
    """(N, n_thresholds) float64 IoU at each threshold; nan: the mask is empty, or nothing is positive."""
    masks = explanation.decisions.masks
    if masks is None:
        raise ValueError("localization needs masks, and the task has none")
    maps, inside = explanation.attributions.flatten(1).double(), masks.flatten(1)
    peaks = maps.amax(dim=1, keepdim=True)
    defined = (peaks[:, 0] > 0) & inside.any(dim=1)
    overlaps = []
    for number in range(1, n_thresholds + 1):
        taken = maps >= number / (n_thresholds + 1) * peaks
        overlap = (taken & inside).sum(dim=1).double() / (taken | inside).sum(dim=1)
        overlaps.append(overlap.where(defined, torch.nan))
    return torch.stack(overlaps, dim=1)


iou_tuned = TunedIntersectionOverUnion()
