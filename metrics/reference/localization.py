"""Quantus's metrics of localization."""

from dataclasses import dataclass
from typing import ClassVar

from ..base import Category
from .adapter import Reference


@dataclass(frozen=True)
class _Localization(Reference):
    category: ClassVar[Category] = Category.LOCALIZATION
    higher_is_better: ClassVar[bool] = True
    needs_masks: ClassVar[bool] = True


@dataclass(frozen=True)
class PointingGame(_Localization):
    """Quantus's PointingGame: whether a pixel of the highest attribution lies in the mask; an empty mask is hit."""


@dataclass(frozen=True)
class AttributionLocalisation(_Localization):
    """Quantus's AttributionLocalisation: share of the absolute attributions that lies in the mask."""

    weighted: bool = False
    positive_attributions: bool = False


@dataclass(frozen=True)
class TopKIntersection(_Localization):
    """Quantus's TopKIntersection: share of the 1000 highest attributions in the mask. Fails on images of fewer pixels.

    Args:
        k: How many, whatever the image's size.
    """

    k: int = 1000


@dataclass(frozen=True)
class RelevanceRankAccuracy(_Localization):
    """Quantus's RelevanceRankAccuracy: share of the K highest attributions in the mask of K pixels."""


@dataclass(frozen=True)
class RelevanceMassAccuracy(_Localization):
    """Quantus's RelevanceMassAccuracy: signed sum over the mask, over the whole signed sum; beyond [0, 1] at will."""


@dataclass(frozen=True)
class AUC(_Localization):
    """Quantus's AUC: area under the ROC curve of the pixels."""


@dataclass(frozen=True)
class Focus(Reference):
    """Quantus's Focus: it judges mosaics of four images, which no task of ours has. Always fails.

    `focus` makes them.
    """

    category: ClassVar[Category] = Category.LOCALIZATION
    higher_is_better: ClassVar[bool] = True
    impossible: ClassVar[str] = "judges mosaics of four images, and no task has them"


quantus_pointing_game = PointingGame()
quantus_attribution_localisation = AttributionLocalisation()
quantus_top_k_intersection = TopKIntersection()
quantus_relevance_rank_accuracy = RelevanceRankAccuracy()
quantus_relevance_mass_accuracy = RelevanceMassAccuracy()
quantus_auc = AUC()
quantus_focus = Focus()
