"""Faithfulness by regions: does the model lose the class when whole regions are taken away, the most relevant first?

Square cells and superpixels leave fewer edges of single pixels behind than `metrics.faithfulness` does, and say less
about fine maps.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from .base import Category, Explanation, Metric
from .perturb import (
    Imputer,
    MeanImputer,
    Order,
    area,
    logits_of_nothing,
    most_relevant_first,
    removed,
    target_logits,
    target_probabilities,
)
from .regions import by_relevance, cells_of, superpixels


@dataclass(frozen=True)
class _Cells(Metric):
    """Removes square cells, that of the highest mean attribution first.

    The sign counts: negative is less relevant than zero. Ties are removed in a random order that is the same for all
    explainers; a constant or all-zero map scores as a random order does. Always defined. What the model answers is
    shared step by step by all metrics that remove the same cells.

    Args:
        imputer: What replaces a removed pixel.
        grid: The image is divided into grid × grid cells, equal up to rounding. 8 of 64 pixels are the cells of 8
            pixels that Quantus takes.

    Raises:
        ValueError: the grid is not positive, or finer than the image.
    """

    category: ClassVar[Category] = Category.FAITHFULNESS
    imputer: Imputer
    grid: int = 8

    def __post_init__(self) -> None:
        if self.grid < 1:
            raise ValueError(f"{self}: grid is at least 1")

    def _order(self, explanation: Explanation) -> Order:
        name = f"{self.grid} × {self.grid} cells"
        return explanation.shared(
            name, lambda: by_relevance(explanation, name, cells_of(explanation.decisions, self.grid), self.grid**2)
        )


@dataclass(frozen=True)
class RegionPerturbation(_Cells):
    """Mean fall of the target's logit f while the most relevant cells are removed first (AOPC); higher is better.

    aopc = 1/(L + 1) Σ_{k=0}^{L} f(x) − f(x without its k most relevant cells), L = n_regions. Unbounded, in units of
    the logit. Costs L forward passes of the batch. Samek et al. remove the first 100 of about 625 cells, the part in
    which explanations differ most; Quantus returns the L falls, without their mean.

    Args:
        n_regions: How many cells are removed.

    Raises:
        ValueError: there are fewer cells, or none is removed.

    Reference: Samek, Binder, Montavon, Lapuschkin, Müller, "Evaluating the Visualization of What a Deep Neural
    Network Has Learned", TNNLS 2017. They replace by uniform noise: `UniformImputer`.
    """

    higher_is_better: ClassVar[bool] = True
    n_regions: int = 16

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.n_regions <= self.grid**2:
            raise ValueError(f"{self}: n_regions is from 1 to {self.grid**2}, the number of cells")

    def score(self, explanation: Explanation) -> Tensor:
        """(N,) area over the perturbation curve."""
        spans = [(0, count) for count in range(self.n_regions + 1)]
        curve = target_logits(explanation, self._order(explanation), self.imputer, spans)
        return (curve[:, :1] - curve).mean(dim=1)


@dataclass(frozen=True)
class Selectivity(_Cells):
    """Probability of the class while the most relevant cells are removed first, area under the curve; lower is better.

    selectivity = ∫₀¹ p(x without its q·grid² most relevant cells) dq, by the trapezoid rule; in [0, 1]. Costs grid² − 1
    forward passes of the batch, less those that `RegionPerturbation` has made, and one for all explainers.

    Reference: Montavon, Samek, Müller, "Methods for Interpreting and Understanding Deep Neural Networks", Digital
    Signal Processing 2018. They set removed patches to zero: `ZeroImputer`.
    """

    higher_is_better: ClassVar[bool] = False
    on_request: ClassVar[bool] = True

    def score(self, explanation: Explanation) -> Tensor:
        """(N,) area under the curve."""
        order = self._order(explanation)
        spans = most_relevant_first(order, order.n_places)
        return area(target_probabilities(explanation, order, self.imputer, spans), order.n_places)


@dataclass(frozen=True)
class IterativeRemovalOfFeatures(Metric):
    """Share of the probability that is lost while the most relevant superpixels are removed first; higher is better.

    irof = 1 − ∫₀¹ p(x without its q·S most relevant superpixels) / p(x) dq, the area over the curve by the trapezoid
    rule, S the number of superpixels of the image: at most 1; 0 if nothing changes; negative if the probability rises.
    Superpixels are ordered by their mean attribution; ties are removed in a random order that is the same for all
    explainers, so a constant or all-zero map scores as a random order does. nan: p(x) is 0. Costs S − 1 forward passes
    of each image, and one for all explainers.

    Quantus sums over superpixels instead, so that an image of more superpixels scores higher, and fails on images of
    three channels.

    Args:
        imputer: What replaces a removed pixel.
        n_segments: About how many superpixels SLIC is to find (Achanta et al., TPAMI 2012; as in scikit-image).

    Reference: Rieger and Hansen, "IROF: a low resource evaluation metric for explanation methods", ICLR workshop on
    AI for Affordable Healthcare 2020.
    """

    category: ClassVar[Category] = Category.FAITHFULNESS
    higher_is_better: ClassVar[bool] = True
    on_request: ClassVar[bool] = True
    imputer: Imputer
    n_segments: int = 100

    def __post_init__(self) -> None:
        if self.n_segments < 1:
            raise ValueError(f"{self}: n_segments is at least 1")

    def score(self, explanation: Explanation) -> Tensor:
        """(N,) area over the curve, nan where the probability is 0 to begin with."""
        decisions = explanation.decisions
        regions = superpixels(decisions, self.n_segments)
        sizes = regions.amax(dim=1) + 1
        order = by_relevance(explanation, f"{self.n_segments} superpixels", regions, int(sizes.max()))
        logits = [self._logits(explanation, order, sizes, count) for count in range(order.n_places + 1)]
        curve = decisions.target_probabilities(torch.cat(logits)).view(-1, len(sizes)).T.double()
        counts = torch.arange(order.n_places + 1, device=sizes.device)
        shares = counts.minimum(sizes[:, None]) / sizes[:, None].double()
        whole = curve[:, :1].where(curve[:, :1] > 0, torch.nan)
        return 1 - torch.trapezoid(curve / whole, shares, dim=1)

    def _logits(self, explanation: Explanation, order: Order, sizes: Tensor, count: int) -> Tensor:
        """(N, K) logits without the most relevant superpixels; forwards only images of which something is left."""
        decisions = explanation.decisions
        if count == 0:
            return decisions.original_logits
        logits = logits_of_nothing(decisions, self.imputer).clone()
        left = sizes > count
        if bool(left.any()):
            images = self.imputer.without(decisions, removed(decisions, order, (0, count)))
            logits[left] = decisions.logits(images[left])
        return logits


region_perturbation = RegionPerturbation(MeanImputer())
selectivity = Selectivity(MeanImputer())
irof = IterativeRemovalOfFeatures(MeanImputer())
