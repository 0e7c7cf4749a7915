"""Quantus's metrics of complexity."""

from dataclasses import dataclass
from typing import ClassVar

from ..base import Category
from .adapter import Reference


@dataclass(frozen=True)
class Sparseness(Reference):
    """Quantus's Sparseness: Gini index of |a| + 1e-7, after division by the largest."""

    category: ClassVar[Category] = Category.COMPLEXITY
    higher_is_better: ClassVar[bool] = True


@dataclass(frozen=True)
class Complexity(Reference):
    """Quantus's Complexity: entropy of the absolute attributions, which grows with the image."""

    category: ClassVar[Category] = Category.COMPLEXITY
    higher_is_better: ClassVar[bool] = False


@dataclass(frozen=True)
class EffectiveComplexity(Reference):
    """Quantus's EffectiveComplexity: number of pixels above eps of the largest absolute attribution."""

    category: ClassVar[Category] = Category.COMPLEXITY
    higher_is_better: ClassVar[bool] = False
    eps: float = 1e-5


quantus_sparseness = Sparseness()
quantus_complexity = Complexity()
quantus_effective_complexity = EffectiveComplexity()
