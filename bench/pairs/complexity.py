"""Complexity: is the attribution in few pixels?"""

import math

from metrics.complexity import Complexity, EffectiveComplexity, Sparseness

from ..crosscheck import Case, Ours, Pair, Theirs
from .matching import ABSOLUTE, by_ours, scores_of


def _sparseness(case: Case) -> tuple[Ours, Theirs]:
    sizes = case.explanation.attributions.abs()
    return by_ours(Sparseness(), case.judging(sizes + 1e-7)), lambda: scores_of(
        case.ask("Sparseness", sizes, settings=ABSOLUTE)
    )


def _complexity(case: Case) -> tuple[Ours, Theirs]:
    sizes = case.explanation.attributions.abs()
    ours = by_ours(Complexity(), case.judging(sizes), math.log(sizes[0].numel()))
    return ours, lambda: scores_of(case.ask("Complexity", sizes, settings=ABSOLUTE))


def _effective_complexity(case: Case) -> tuple[Ours, Theirs]:
    sizes = case.explanation.attributions.abs()
    ours = by_ours(EffectiveComplexity(), case.judging(sizes), sizes[0].numel())
    return ours, lambda: scores_of(case.ask("EffectiveComplexity", sizes, settings=ABSOLUTE))


PAIRS: tuple[Pair, ...] = (
    Pair("sparseness", "Sparseness", "|a| + 1e-7, which Quantus adds", _sparseness),
    Pair("complexity", "Complexity", "times log(H·W), by which Quantus does not divide", _complexity),
    Pair(
        *("effective_complexity", "EffectiveComplexity", "times H·W", _effective_complexity),
        "differs by definition: Quantus counts pixels above 1e-5, in the unit of the map",
    ),
)
