"""Faithfulness: does the model lose the class when the pixels that are said to matter are taken away?

The entries replace pixels by the image's mean colour, or (`…_blur`) by the blurred image. All of them read the same
two curves, see `metrics.perturb`: ten scores from four curves. With n_steps steps a curve costs n_steps − 1 forward
passes of the batch, and its end one for all explainers.
"""

from abc import ABC
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from .base import Category, Explanation, Metric
from .perturb import (
    BlurImputer,
    Imputer,
    MeanImputer,
    area,
    lerf,
    morf,
    most_relevant_first,
    pixels,
    target_logits,
)


@dataclass(frozen=True)
class _RemovalCurves(Metric, ABC):
    """Reads the removal curves of the target's probability p: the softmax; for a multi-label task the sigmoid.

    Pixels are removed in n_steps equal steps, whole pixels in exact number. Only the order of the attributions
    takes part, so any increasing function of the map scores the same; the sign counts: negative is less relevant
    than zero. Ties are removed in a random order that is the same for all explainers; a constant or all-zero map
    scores as a random order does. Always defined.

    Args:
        imputer: What replaces a removed pixel.
        n_steps: Into how many steps the removal of all pixels is divided.

    Raises:
        ValueError: n_steps is not positive.
    """

    category: ClassVar[Category] = Category.FAITHFULNESS
    imputer: Imputer
    n_steps: int = 32

    def __post_init__(self) -> None:
        if self.n_steps < 1:
            raise ValueError(f"{self}: n_steps is at least 1")

    def _most_relevant_first(self, explanation: Explanation) -> Tensor:
        return area(morf(explanation, self.imputer, self.n_steps), explanation.attributions[0].numel())

    def _least_relevant_first(self, explanation: Explanation) -> Tensor:
        return area(lerf(explanation, self.imputer, self.n_steps), explanation.attributions[0].numel())


@dataclass(frozen=True)
class Deletion(_RemovalCurves):
    """Probability of the class while the most relevant pixels are removed first, area under the curve; lower is better.

    deletion = ∫₀¹ p(x without its q·H·W most relevant pixels) dq, by the trapezoid rule; in [0, 1]. Petsiuk et al.
    replace the pixels by zeros, which in their network is the data set's mean colour; here the imputer says by what.

    Reference: Petsiuk, Das, Saenko, "RISE: Randomized Input Sampling for Explanation of Black-box Models",
    BMVC 2018.
    """

    higher_is_better: ClassVar[bool] = False
    has_curve: ClassVar[bool] = True

    def score(self, explanation: Explanation) -> Tensor:
        """(N,) area under the MoRF curve."""
        return self._most_relevant_first(explanation)

    def curve(self, explanation: Explanation) -> Tensor:
        """(N, n_steps + 1) probability over the share of pixels that are removed, the most relevant first."""
        return morf(explanation, self.imputer, self.n_steps)


@dataclass(frozen=True)
class Insertion(_RemovalCurves):
    """Probability of the class while the most relevant pixels are put in first, area under the curve; higher is better.

    insertion = ∫₀¹ p(baseline with the q·H·W most relevant pixels of x) dq, by the trapezoid rule; in [0, 1]. To insert
    the most relevant is to remove the least relevant (LeRF), read backwards: the area is the same. Petsiuk et al.
    insert into a blurred image; that is `insertion_blur`.

    Reference: Petsiuk, Das, Saenko, "RISE: Randomized Input Sampling for Explanation of Black-box Models",
    BMVC 2018.
    """

    higher_is_better: ClassVar[bool] = True
    has_curve: ClassVar[bool] = True

    def score(self, explanation: Explanation) -> Tensor:
        """(N,) area under the LeRF curve."""
        return self._least_relevant_first(explanation)

    def curve(self, explanation: Explanation) -> Tensor:
        """(N, n_steps + 1) probability over the share of pixels that are inserted, the most relevant first."""
        return lerf(explanation, self.imputer, self.n_steps).flip(1)


@dataclass(frozen=True)
class SymmetricRelevanceGain(_RemovalCurves):
    """Gap between removing the least and the most relevant pixels first: area between the curves; higher is better.

    srg = ∫₀¹ p_LeRF(q) − p_MoRF(q) dq, least and most relevant first; in [−1, 1], 0 on average for a random order. How
    hard the baseline itself hits the model cancels in the difference, so that the ranking of explainers depends less on
    the imputer than with deletion or insertion.

    Reference: Blücher, Vielhaben, Strodthoff, "Decoupling Pixel Flipping and Occlusion Strategy for Consistent
    XAI Benchmarks", TMLR 2024.
    """

    higher_is_better: ClassVar[bool] = True

    def score(self, explanation: Explanation) -> Tensor:
        """(N,) area under LeRF less area under MoRF."""
        return self._least_relevant_first(explanation) - self._most_relevant_first(explanation)


@dataclass(frozen=True)
class AreaBetweenCurves(_RemovalCurves):
    """Gap between removing the least and the most relevant pixels first, as share of the whole drop; higher is better.

    abpc = ∫₀¹ p_LeRF(q) − p_MoRF(q) dq / (p(x) − p(baseline)): both curves are rescaled to begin at 1 and to end at 0.
    This is `SymmetricRelevanceGain` over the whole drop of the sample: every image counts the same, however sure the
    model is of it and however hard the baseline hits. 0 on average for a random order; 1 where the first pixel removed
    takes all with it in the one order, and only the last one in the other; beyond [−1, 1] where a curve leaves the
    range of its ends.

    nan: removing all pixels lowers the probability by less than min_drop, so that there is nothing to share out.
    No forward passes beyond the two curves.

    Args:
        min_drop: The least drop of the probability that is divided by.

    Reference: Schulz, Sixt, Tombari, Landgraf, "Restricting the Flow: Information Bottlenecks for Attribution",
    ICLR 2020. They degrade tiles, and rescale by the means of a data set; here single pixels are removed, and each
    sample is rescaled by its own ends. Without rescaling: Samek, Binder, Montavon, Lapuschkin, Müller, "Evaluating
    the Visualization of What a Deep Neural Network Has Learned", TNNLS 2017.
    """

    higher_is_better: ClassVar[bool] = True
    min_drop: float = 0.1

    def score(self, explanation: Explanation) -> Tensor:
        """(N,) area between the rescaled curves, nan where the whole removal changes too little."""
        between = self._least_relevant_first(explanation) - self._most_relevant_first(explanation)
        curve = morf(explanation, self.imputer, self.n_steps)
        drop = curve[:, 0] - curve[:, -1]
        return (between / drop).where(drop >= self.min_drop, torch.nan)


@dataclass(frozen=True)
class PixelFlipping(_RemovalCurves):
    """Mean fall of the target's logit f while the most relevant pixels are removed first; higher is better.

    pixel_flipping = 1/L Σ_{k=1}^{L} f(x) − f(x without its k/L·H·W most relevant pixels), L = n_steps. Unbounded, in
    units of the logit, which no other class takes part in: unlike `Deletion` it still falls where the probability
    is near 0 or 1. Reads the logits of deletion's curve: no forward passes beyond that.

    Reference: Bach, Binder, Montavon, Klauschen, Müller, Samek, "On Pixel-Wise Explanations for Non-Linear Classifier
    Decisions by Layer-Wise Relevance Propagation", PLOS ONE 2015. They flip the binary pixels of digits.
    """

    higher_is_better: ClassVar[bool] = True

    def score(self, explanation: Explanation) -> Tensor:
        """(N,) mean fall of the logit."""
        order = pixels(explanation)
        curve = target_logits(explanation, order, self.imputer, most_relevant_first(order, self.n_steps))
        return (curve[:, :1] - curve[:, 1:]).mean(dim=1)


deletion = Deletion(MeanImputer())
insertion = Insertion(MeanImputer())
srg = SymmetricRelevanceGain(MeanImputer())
abpc = AreaBetweenCurves(MeanImputer())
pixel_flipping = PixelFlipping(MeanImputer())
deletion_blur = Deletion(BlurImputer())
insertion_blur = Insertion(BlurImputer())
srg_blur = SymmetricRelevanceGain(BlurImputer())
abpc_blur = AreaBetweenCurves(BlurImputer())
pixel_flipping_blur = PixelFlipping(BlurImputer())
