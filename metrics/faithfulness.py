"""Faithfulness: does the model lose the class when the pixels that are said to matter are taken away?

The entries remove pixels by the image's mean colour, or (`…_blur`) by the blurred image. All of them read the same
two curves, see `metrics.perturb`: six scores from four curves.
"""

from abc import ABC
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from .base import Category, Explanation, Metric
from .perturb import BlurImputer, Imputer, MeanImputer, area, lerf, morf


@dataclass(frozen=True)
class _PixelFlipping(Metric, ABC):
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
class Deletion(_PixelFlipping):
    """Area under p while the most relevant pixels are removed first (MoRF); in [0, 1], lower is better.

    deletion = ∫₀¹ p(x without its q·H·W most relevant pixels) dq, by the trapezoid rule. Petsiuk et al. replace
    the pixels by zeros, which in their network is the data set's mean colour; here the imputer says by what.

    Reference: Petsiuk, Das, Saenko, "RISE: Randomized Input Sampling for Explanation of Black-box Models",
    BMVC 2018.
    """

    higher_is_better: ClassVar[bool] = False

    def score(self, explanation: Explanation) -> Tensor:
        """(N,) area under the MoRF curve."""
        return self._most_relevant_first(explanation)


@dataclass(frozen=True)
class Insertion(_PixelFlipping):
    """Area under p while the most relevant pixels are put first into the baseline; in [0, 1], higher is better.

    insertion = ∫₀¹ p(baseline with the q·H·W most relevant pixels of x) dq, by the trapezoid rule. To insert the
    most relevant is to remove the least relevant (LeRF), read backwards: the area is the same. Petsiuk et al.
    insert into a blurred image; that is `insertion_blur`.

    Reference: Petsiuk, Das, Saenko, "RISE: Randomized Input Sampling for Explanation of Black-box Models",
    BMVC 2018.
    """

    higher_is_better: ClassVar[bool] = True

    def score(self, explanation: Explanation) -> Tensor:
        """(N,) area under the LeRF curve."""
        return self._least_relevant_first(explanation)


@dataclass(frozen=True)
class SymmetricRelevanceGain(_PixelFlipping):
    """Area between the LeRF and the MoRF curve; in [−1, 1], higher is better, a random order has 0 on average.

    srg = ∫₀¹ p_LeRF(q) − p_MoRF(q) dq. How hard the baseline itself hits the model cancels in the difference,
    so that the ranking of explainers depends less on the imputer than with deletion or insertion.

    Reference: Blücher, Vielhaben, Strodthoff, "Decoupling Pixel Flipping and Occlusion Strategy for Consistent
    XAI Benchmarks", TMLR 2024.
    """

    higher_is_better: ClassVar[bool] = True

    def score(self, explanation: Explanation) -> Tensor:
        """(N,) area under LeRF less area under MoRF."""
        return self._least_relevant_first(explanation) - self._most_relevant_first(explanation)


deletion = Deletion(MeanImputer())
insertion = Insertion(MeanImputer())
srg = SymmetricRelevanceGain(MeanImputer())
deletion_blur = Deletion(BlurImputer())
insertion_blur = Insertion(BlurImputer())
srg_blur = SymmetricRelevanceGain(BlurImputer())
