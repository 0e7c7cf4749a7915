"""Quantus's metrics of robustness. All explain again, once a random sample: 200 times by default."""

from dataclasses import dataclass
from typing import ClassVar

from ..base import Category
from .adapter import Reference


@dataclass(frozen=True)
class _Robustness(Reference):
    category: ClassVar[Category] = Category.ROBUSTNESS
    higher_is_better: ClassVar[bool] = False


@dataclass(frozen=True)
class Continuity(_Robustness):
    """Quantus's Continuity: largest change of the map over that of the image, moved sideways; 28 explanations more."""

    nr_steps: int = 28


@dataclass(frozen=True)
class LocalLipschitzEstimate(_Robustness):
    """Quantus's LocalLipschitzEstimate: largest change of the map over that of the image, under Gaussian noise."""

    nr_samples: int = 200


@dataclass(frozen=True)
class MaxSensitivity(_Robustness):
    """Quantus's MaxSensitivity: largest relative change of the map under uniform noise."""

    nr_samples: int = 200


@dataclass(frozen=True)
class AvgSensitivity(_Robustness):
    """Quantus's AvgSensitivity: mean relative change of the map under uniform noise."""

    nr_samples: int = 200


@dataclass(frozen=True)
class Consistency(_Robustness):
    """Quantus's Consistency: it compares the samples of a batch, so a sample has no score. Always fails."""

    impossible: ClassVar[str] = "compares the samples of a batch: a sample has no score of its own"


@dataclass(frozen=True)
class _Relative(_Robustness):
    """The maps are compared pixel by pixel, relatively; nan where the prediction changes under any of the noises."""

    nr_samples: int = 200


@dataclass(frozen=True)
class RelativeInputStability(_Relative):
    """Quantus's RelativeInputStability: largest relative change of the map over that of the image, under noise."""


@dataclass(frozen=True)
class RelativeOutputStability(_Relative):
    """Quantus's RelativeOutputStability: largest relative change of the map over that of the logits, under noise."""


@dataclass(frozen=True)
class RelativeRepresentationStability(_Relative):
    """Quantus's RelativeRepresentationStability: the same over the change of what all layers answer."""


quantus_continuity = Continuity()
quantus_local_lipschitz_estimate = LocalLipschitzEstimate()
quantus_max_sensitivity = MaxSensitivity()
quantus_avg_sensitivity = AvgSensitivity()
quantus_consistency = Consistency()
quantus_relative_input_stability = RelativeInputStability()
quantus_relative_output_stability = RelativeOutputStability()
quantus_relative_representation_stability = RelativeRepresentationStability()
