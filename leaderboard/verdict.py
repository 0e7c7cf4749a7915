"""The verdict of the standings in words: who leads a column, who cannot be told apart from it, and what it costs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from .duels import OVERALL
from .standings import Standing, Standings
from .summary import span


@dataclass(frozen=True)
class Verdict:
    """What a column of the standings says."""

    column: str
    leader: str
    mean_rank: float
    low: float
    high: float
    n_ranked: int
    """Ranked explainers that have scores in the column."""
    tied: tuple[str, ...]
    """Who cannot be told apart from the leader, in order; all others where nothing can be told."""
    told: bool
    """Whether there are enough samples to tell any two apart."""
    unproven: tuple[str, ...]
    """Ranked explainers that are not significantly better than every control."""
    lacking: Mapping[str, float]
    """Family -> the share of its scores that the leader has, where others have more."""


@dataclass(frozen=True)
class Cost:
    """What an explainer costs."""

    explainer: str
    times: float
    """In units of the fastest ranked explainer."""
    seconds: str
    """An image, with its unit."""


def verdicts(found: Standings) -> list[Verdict]:
    """Of every column, overall first; a column that ranks nobody has none."""
    return [_verdict(column, found) for column in found.columns if np.isfinite(_ranks(column, found)).any()]


def cost(found: Standings, explainer: str) -> Cost | None:
    """None: not measured."""
    at = found.explainers.names.index(explainer)
    times, seconds = found.costs[["times", "seconds"]].to_numpy(dtype=np.float64)[at]
    return Cost(explainer, float(times), span(float(seconds))) if np.isfinite(times) else None


def cheapest(found: Standings, among: Sequence[str]) -> Cost | None:
    """The cheapest of some explainers; None: of none the cost is known."""
    known = [one for one in (cost(found, name) for name in among) if one is not None]
    return min(known, key=lambda one: (one.times, one.explainer)) if known else None


def front(found: Standings, column: Standing) -> list[str]:
    """The ranked explainers than which none is both cheaper and better in the column, from the cheapest on.

    Those of equal cost and rank are on it together.
    """
    names = found.explainers.ranked
    times, ranks = found.costs.times.to_numpy()[: len(names)], _ranks(column, found)
    known = np.flatnonzero(np.isfinite(times) & np.isfinite(ranks))
    kept = [
        int(at)
        for at in known
        if not any(
            times[other] <= times[at]
            and ranks[other] <= ranks[at]
            and (times[other] < times[at] or ranks[other] < ranks[at])
            for other in known
        )
    ]
    return [names[at] for at in sorted(kept, key=lambda at: (times[at], ranks[at], names[at]))]


def _ranks(column: Standing, found: Standings) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return column.mean_rank[: found.explainers.n_ranked, 0]


def _verdict(column: Standing, found: Standings) -> Verdict:
    names = found.explainers.ranked
    ranks = _ranks(column, found)
    order = [int(at) for at in np.argsort(ranks, kind="stable") if np.isfinite(ranks[at])]
    first = order[0]
    told = column.over_samples.too_few == ""
    shared = set(column.letters[first])
    tied = [names[at] for at in order[1:] if not told or shared & set(column.letters[at])]
    unproven = [names[at] for at in order if column.beats_controls[at] is False]
    rank, low, high = (float(value) for value in column.mean_rank[first])
    families = found.covered if column.column == OVERALL else (column.column,)
    lacking = {name: float(found.covered[name][first]) for name in families if found.covered[name][first] < 1}
    return Verdict(
        column.column, names[first], rank, low, high, len(order), tuple(tied), told, tuple(unproven), lacking
    )
