"""All pairs, in the order of the table. A pair more is a line more in `PAIRS` of its family's file."""

from ..crosscheck import Pair
from . import axiomatic, companions, complexity, correlation, localization, randomization, removal, robustness

PAIRS: tuple[Pair, ...] = (
    *removal.PAIRS,
    *correlation.PAIRS,
    *robustness.PAIRS,
    *localization.PAIRS,
    *complexity.PAIRS,
    *randomization.PAIRS,
    *axiomatic.PAIRS,
    *companions.PAIRS,
)
