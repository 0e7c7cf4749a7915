"""Quantus's metrics of faithfulness."""

from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from ..base import Category, Decisions
from .adapter import Reference


@dataclass(frozen=True)
class _Faithfulness(Reference):
    category: ClassVar[Category] = Category.FAITHFULNESS


@dataclass(frozen=True)
class _InSteps(_Faithfulness):
    """Removes values of the image in steps.

    Quantus counts each channel of a pixel as a feature, removes one a step by default, 150,528 forward passes at 224
    pixels, and wants the number of pixels to be a multiple of the features in a step. Here a step has the largest
    divisor of the number of pixels that makes at least n_steps steps a channel. Costs 3 · n_steps forward passes or a
    few more.

    Args:
        n_steps: Steps a channel.
    """

    n_steps: int = 32

    def settings(self, decisions: Decisions) -> dict[str, Any]:
        """Quantus's, with as many features in a step as n_steps says."""
        whole = super().settings(decisions)
        n_steps, n_pixels = whole.pop("n_steps"), decisions.inputs[0, 0].numel()
        return {**whole, "features_in_step": features_in_step(n_pixels, n_steps)}


def features_in_step(n_pixels: int, n_steps: int) -> int:
    """The largest divisor of the number of pixels that is at most its n_steps-th part, at least 1.

    >>> features_in_step(224 * 224, 32), features_in_step(25, 32)
    (1568, 1)
    """
    return next(count for count in range(max(1, n_pixels // n_steps), 0, -1) if n_pixels % count == 0)


def _area(answer: Any) -> float:
    """Of one sample's curve, a step 1 wide: Quantus's own area calls np.trapz, which numpy has no more."""
    return float(np.trapezoid(np.asarray(answer, dtype=float)[0]))


@dataclass(frozen=True)
class FaithfulnessCorrelation(_Faithfulness):
    """Quantus's FaithfulnessCorrelation: Pearson over random subsets of 224 values, which leave pixels half removed."""

    higher_is_better: ClassVar[bool] = True
    nr_runs: int = 100
    subset_size: int = 224


@dataclass(frozen=True)
class FaithfulnessEstimate(_InSteps):
    """Quantus's FaithfulnessEstimate: Pearson of attributions and falls over steps of similar attribution."""

    higher_is_better: ClassVar[bool] = True


@dataclass(frozen=True)
class PixelFlipping(_InSteps):
    """Quantus's PixelFlipping: area under the probability, a step 1 wide, while values of the image turn black."""

    higher_is_better: ClassVar[bool] = False

    def reduced(self, answer: Any) -> float:
        """The area under the curve."""
        return _area(answer)


@dataclass(frozen=True)
class RegionPerturbation(_Faithfulness):
    """Quantus's RegionPerturbation: area under the falls of the probability, a step 1 wide, patch after patch.

    Quantus declares that lower is better; its values are falls, of which more is better.
    """

    higher_is_better: ClassVar[bool] = False
    patch_size: int = 8
    regions_evaluation: int = 100

    def reduced(self, answer: Any) -> float:
        """The area under the curve."""
        return _area(answer)


@dataclass(frozen=True)
class Monotonicity(_InSteps):
    """Quantus's Monotonicity: whether the probability never falls while values are put in, the least relevant first.

    Always 1: Quantus begins with a black image and replaces black by black.
    """

    higher_is_better: ClassVar[bool] = True


@dataclass(frozen=True)
class MonotonicityCorrelation(_InSteps):
    """Quantus's MonotonicityCorrelation: Spearman of attributions and squared changes; nr_samples passes a step."""

    higher_is_better: ClassVar[bool] = True
    nr_samples: int = 100


@dataclass(frozen=True)
class Selectivity(_Faithfulness):
    """Quantus's Selectivity: area under the probability, a step 1 wide, while patch after patch turns black."""

    higher_is_better: ClassVar[bool] = False
    patch_size: int = 8

    def reduced(self, answer: Any) -> float:
        """The area under the curve."""
        return _area(answer)


@dataclass(frozen=True)
class SensitivityN(_InSteps):
    """Quantus's SensitivityN: it correlates over the samples of a batch, so a sample has no score. Always fails."""

    higher_is_better: ClassVar[bool] = True
    impossible: ClassVar[str] = "correlates over the samples of a batch: a sample has no score of its own"


@dataclass(frozen=True)
class IROF(_Faithfulness):
    """Quantus's IROF: area over the relative probability, superpixel after superpixel. Fails on RGB images."""

    higher_is_better: ClassVar[bool] = True
    fault: ClassVar[str] = "fails on images of three channels, and calls np.trapz, which numpy has no more"


@dataclass(frozen=True)
class ROAD(_Faithfulness):
    """Quantus's ROAD: share of 50 percentages at which the prediction stands. Fails on RGB images."""

    higher_is_better: ClassVar[bool] = False
    fault: ClassVar[str] = "fails on images of three channels: it takes places in all of them for places in one"
    noise: float = 0.01

    def reduced(self, answer: Any) -> float:
        """The mean over the percentages."""
        return float(np.mean(list(answer.values())))


@dataclass(frozen=True)
class Infidelity(_Faithfulness):
    """Quantus's Infidelity: squared error of a · Δx as a forecast of the fall, in the unit of the map.

    Patches are blackened one after another and stay black. The ten samples that Quantus takes by default are all the
    same, so that one is enough.
    """

    higher_is_better: ClassVar[bool] = False
    perturb_patch_sizes: tuple[int, ...] = field(default=(4,))
    n_perturb_samples: int = 1


@dataclass(frozen=True)
class Sufficiency(_Faithfulness):
    """Quantus's Sufficiency: it compares the samples of a batch, so a sample has no score. Always fails.

    `sufficiency` compares with companions that are the same for every batch.
    """

    higher_is_better: ClassVar[bool] = True
    impossible: ClassVar[str] = "compares the samples of a batch: a sample has no score of its own"


quantus_faithfulness_correlation = FaithfulnessCorrelation()
quantus_faithfulness_estimate = FaithfulnessEstimate()
quantus_pixel_flipping = PixelFlipping()
quantus_region_perturbation = RegionPerturbation()
quantus_monotonicity = Monotonicity()
quantus_monotonicity_correlation = MonotonicityCorrelation()
quantus_selectivity = Selectivity()
quantus_sensitivity_n = SensitivityN()
quantus_irof = IROF()
quantus_road = ROAD()
quantus_infidelity = Infidelity()
quantus_sufficiency = Sufficiency()
