"""Quantus's metrics of randomization. All explain copies of the model whose layers are set at random."""

from dataclasses import dataclass
from typing import Any, ClassVar

from ..base import Category, Decisions
from .adapter import Reference


@dataclass(frozen=True)
class MPRT(Reference):
    """Quantus's MPRT: mean Spearman of the maps of the model and of its copies, randomized layer by layer.

    Quantus returns a list a layer by default, which is no score; its mean counts the model itself as a layer, which
    adds a correlation of 1. An explanation more a layer, from the top down.
    """

    category: ClassVar[Category] = Category.RANDOMIZATION
    higher_is_better: ClassVar[bool] = False
    return_average_correlation: bool = True


@dataclass(frozen=True)
class SmoothMPRT(Reference):
    """Quantus's SmoothMPRT: it explains by its own gradient, whatever explainer it is given. Always fails."""

    category: ClassVar[Category] = Category.RANDOMIZATION
    higher_is_better: ClassVar[bool] = False
    impossible: ClassVar[str] = "explains by its own quantus.explain and never asks the explainer that it is given"


@dataclass(frozen=True)
class EfficientMPRT(Reference):
    """Quantus's EfficientMPRT: relative rise of the map's histogram entropy once all layers are randomized."""

    category: ClassVar[Category] = Category.RANDOMIZATION
    higher_is_better: ClassVar[bool] = True


@dataclass(frozen=True)
class RandomLogit(Reference):
    """Quantus's RandomLogit: SSIM of the maps of two classes, of the pixels in one row.

    Quantus takes the network for one of 1000 classes; here it is told how many there are.
    """

    category: ClassVar[Category] = Category.RANDOMIZATION
    higher_is_better: ClassVar[bool] = False

    def settings(self, decisions: Decisions) -> dict[str, Any]:
        """Quantus's, with the network's number of classes."""
        return {**super().settings(decisions), "num_classes": decisions.original_logits.shape[1]}


quantus_mprt = MPRT()
quantus_smooth_mprt = SmoothMPRT()
quantus_efficient_mprt = EfficientMPRT()
quantus_random_logit = RandomLogit()
