"""Quantus's axiomatic metrics."""

from dataclasses import dataclass
from typing import ClassVar

from ..base import Category
from .adapter import Reference


@dataclass(frozen=True)
class Completeness(Reference):
    """Quantus's Completeness: whether the map, over its largest value, sums to the logit's fall, compared by `==`."""

    category: ClassVar[Category] = Category.AXIOMATIC
    higher_is_better: ClassVar[bool] = True


@dataclass(frozen=True)
class NonSensitivity(Reference):
    """Quantus's NonSensitivity: number of values of the image where just one of map and model is indifferent.

    Costs a forward pass a channel of a pixel, 12,288 a sample at 64 pixels and 150,528 at 224: with more than one
    feature in a step it fails (its shapes do not fit).
    """

    category: ClassVar[Category] = Category.AXIOMATIC
    higher_is_better: ClassVar[bool] = False
    eps: float = 1e-5


@dataclass(frozen=True)
class InputInvariance(Reference):
    """Quantus's InputInvariance: whether the map stays where image and first layer are shifted. Seldom runs.

    The first module of the network has to be a convolution with a bias: the networks of the tasks begin with their
    normalization.
    """

    category: ClassVar[Category] = Category.AXIOMATIC
    higher_is_better: ClassVar[bool] = True
    fault: ClassVar[str] = "fails where the network does not begin with a convolution that has a bias"
    input_shift: float = -1


quantus_completeness = Completeness()
quantus_non_sensitivity = NonSensitivity()
quantus_input_invariance = InputInvariance()
