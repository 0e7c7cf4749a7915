"""Study: which LRP composite is best on which network, and is the favourite (EpsilonPlusFlat, by eye) among the best?

Ranks by duels, never means of raw scores: see `leaderboard.standings`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from ..charts.marks import beneath
from ..comparison import Comparison, compare_explainers
from ..comparison_page import p_text
from ..duels import OVERALL
from ..record import Results
from ..standings import Standing, Standings, standings
from ..statistics import LEVEL
from ..style import COLOURS, Style
from .page import Page, listed, shortened, value

_ROW = 0.075
"""Height of a network's row, inches."""

ALL = "all networks"

LEGEND = (
    "Mean rank by duels: on every sample, by every metric, each composite against each other one; 1 wins them all; its "
    "95 % interval over samples. Letters: composites that share one cannot be told apart (paired tests over samples, "
    "Holm over the column, 5 %). Overall each family of metrics counts the same. †: not significantly better than "
    "every control. Which metrics decide: share of samples that the favourite wins (ties half), mean over networks, "
    "and in how many of them that is significant (Holm over all networks and metrics)."
)
LIMITS = (
    "A rank is among these composites and by these metrics: other metrics, or other weights, may rank otherwise; see "
    "the winner without each family.",
    "It speaks of other samples of these tasks; with so few networks nothing general is said of an architecture.",
    "Faithfulness by removing pixels depends on the imputer; conservation is a property of rules, not of sight.",
    "How pleasant a map is to the eye is not measured.",
)


@dataclass(frozen=True)
class CompositeStudy:
    """What was found."""

    favourite: str
    columns: dict[str, Standings]
    """`ALL`, then by task."""
    without: dict[str, Standings]
    """Family of metrics -> the standings over all networks without it."""
    rival: str
    """The best composite that is not the favourite, over all networks."""
    against: Comparison
    """The favourite and its rival, side by side."""


def composite_study(results: Results, tasks: Sequence[str], favourite: str) -> CompositeStudy:
    """Rank the composites by network and over all.

    Args:
        results: Of the composites, and of controls, alone.
        tasks: A network each.
        favourite: One of the composites.

    Raises:
        ValueError: there are not two composites with scores, or the favourite is none of them.
    """
    overall = standings(results, tasks)
    ranked = _ranked(overall)
    if len(ranked) < 2 or favourite not in ranked:
        raise ValueError(f"two composites or more, {favourite} among them, need scores; there are: {listed(ranked)}")
    families = [column.column for column in overall.columns if column.column != OVERALL]
    without = {family: standings(results, tasks, weights={family: 0.0}) for family in families if len(families) > 1}
    rival = next(name for name in ranked if name != favourite)
    columns = {ALL: overall, **{task: standings(results, [task]) for task in tasks}}
    return CompositeStudy(favourite, columns, without, rival, compare_explainers(results, [favourite, rival], tasks))


def _ranked(found: Standings) -> list[str]:
    """The composites that have a rank, the best first."""
    ranks = found.columns[0].mean_rank[:, 0] if found.columns else np.empty(0)
    return [
        found.explainers.names[at] for at in found.order() if at < found.explainers.n_ranked and np.isfinite(ranks[at])
    ]


def page(study: CompositeStudy) -> Page:
    """The study in words and tables."""
    tables = [
        ("Overall mean rank, by network", _by_network(study)),
        ("Mean rank over all networks, by family of metrics", _by_family(study.columns[ALL])),
        (f"Which metrics decide: {study.favourite} against {study.rival}", _by_metric(study)),
    ]
    title = f"Which LRP composite is best, and is it {study.favourite}?"
    return Page(title, (("", tuple(_verdicts(study))),), tuple(tables), LIMITS, LEGEND)


def _verdicts(study: CompositeStudy) -> Iterator[str]:
    for name, found in study.columns.items():
        yield f"{name}: {_verdict(found, study.favourite)}"
    yield f"By family of metrics: {_leaders(study.columns[ALL])}."
    if study.without:
        winners = {family: _ranked(found)[0] for family, found in study.without.items()}
        usual = _ranked(study.columns[ALL])[0]
        others = [f"without {family} {winner} leads" for family, winner in winners.items() if winner != usual]
        yield f"Which metrics decide: {listed(others) or f'none alone, {usual} leads without any one family'}."
    overall = next(verdict for verdict in study.against.verdicts if verdict.family == OVERALL)
    beaten = "cannot be told apart" if not overall.separable else f"{overall.winner} is better"
    yield (
        f"{study.favourite} and its best rival {study.rival}: {beaten}, {p_text(overall.p_value)}, "
        f"{study.favourite} wins {100 * overall.share_won:.0f} % of the duels, n = {overall.n}."
    )


def _leaders(found: Standings) -> str:
    """Who has the best mean rank in each family."""
    told = []
    for column in found.columns[1:]:
        ranks = np.nan_to_num(column.mean_rank[: found.explainers.n_ranked, 0], nan=np.inf)
        told.append(f"{found.explainers.names[int(ranks.argmin())]} leads in {column.column}")
    return listed(told)


def _verdict(found: Standings, favourite: str) -> str:
    column = found.columns[0]
    ranked = _ranked(found)
    best = ranked[0]
    told = f"{best} leads, mean rank {_rank(column, found, best)}"
    if column.over_samples.too_few:
        return f"{told}; {column.over_samples.too_few}."
    names = found.explainers.ranked
    apart = column.over_samples.separable(found.explainers.n_ranked)
    with_best = [name for name in ranked[1:] if not apart[names.index(best), names.index(name)]]
    told += f"; cannot be told apart from {_some(with_best)}" if with_best else ", significantly ahead of every other"
    if favourite == best:
        return f"{told}."
    if favourite not in ranked:
        return f"{told}; {favourite} has no score."
    where = "" if favourite in with_best else ", significantly behind the best"
    place = f"{_ordinal(ranked.index(favourite) + 1)} of {len(ranked)}"
    return f"{told}; {favourite} is {place}, mean rank {_rank(column, found, favourite)}{where}."


def _some(names: Sequence[str]) -> str:
    """The first three, and how many more."""
    return listed(names if len(names) <= 4 else [*names[:3], f"{len(names) - 3} more"])


def _ordinal(place: int) -> str:
    """
    >>> [_ordinal(place) for place in (1, 2, 3, 4, 11, 21)]
    ['1st', '2nd', '3rd', '4th', '11th', '21st']
    """
    ending = "th" if 10 <= place % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(place % 10, "th")
    return f"{place}{ending}"


def _rank(column: Standing, found: Standings, name: str) -> str:
    """Mean rank with interval and, for the ranked, letters."""
    at = found.explainers.names.index(name)
    rank, low, high = column.mean_rank[at]
    if np.isnan(rank):
        return "–"
    ranked = at < found.explainers.n_ranked
    letter = column.letters[at] if ranked else ""
    dagger = "†" if ranked and column.beats_controls[at] is False else ""
    return " ".join(filter(None, (f"{rank:.1f}", f"[{low:.1f}, {high:.1f}]", f"{letter}{dagger}")))


def _labels(found: Standings) -> list[tuple[str, str]]:
    """Name and heading of each row, the best first, controls last."""
    names = [found.explainers.names[at] for at in found.order()]
    return [(name, f"{name} (control)" if name in found.explainers.controls else name) for name in names]


def _by_network(study: CompositeStudy) -> pd.DataFrame:
    labels = _labels(study.columns[ALL])
    columns: dict[str, list[str]] = {"composite": [label for _, label in labels]}
    tasks = [task for task in study.columns if task != ALL]
    short = {ALL: ALL, **dict(zip(tasks, shortened(tasks), strict=True))}
    for task, found in study.columns.items():
        known = found.explainers.names
        columns[short[task]] = [_rank(found.columns[0], found, name) if name in known else "–" for name, _ in labels]
    return pd.DataFrame(columns)


def _by_family(found: Standings) -> pd.DataFrame:
    labels = _labels(found)
    columns: dict[str, list[str]] = {"composite": [label for _, label in labels]}
    for column in found.columns[1:]:
        columns[column.column] = [_rank(column, found, name) for name, _ in labels]
    return pd.DataFrame(columns)


def _by_metric(study: CompositeStudy) -> pd.DataFrame:
    rows = []
    for (family, metric), of_metric in study.against.details.groupby(["category", "metric"], sort=False):
        significant = of_metric[of_metric.p_value < LEVEL]
        ahead, behind = (int((sign * significant.effect > 0).sum()) for sign in (1, -1))
        rows.append(
            {
                **{"metric": str(metric), "family": str(family)},
                f"won by {study.favourite}": value(of_metric.share_won.mean(), lambda share: f"{100 * share:.0f} %"),
                **{"significantly better": f"{ahead} of {len(of_metric)}", "worse": f"{behind} of {len(of_metric)}"},
            }
        )
    return pd.DataFrame(rows)


def draw(study: CompositeStudy, path: Path, style: Style | None = None) -> Path:
    """Mean ranks with their intervals: a row a composite, a colour a network, black for all."""
    labels = _labels(study.columns[ALL])
    style = style or Style()
    shifts = np.linspace(0.3, -0.3, len(study.columns))
    with style.drawing(style.scale * (0.9 + _ROW * len(study.columns) * len(labels))) as figure:
        axis = figure.subplots()
        for index, (shift, (task, found)) in enumerate(zip(shifts, study.columns.items(), strict=True)):
            for place, (name, _) in enumerate(reversed(labels)):
                if name not in found.explainers.names:
                    continue
                rank, low, high = found.columns[0].mean_rank[found.explainers.names.index(name)]
                colour = "black" if task == ALL else COLOURS[(index - 1) % len(COLOURS)]
                ends = [[max(rank - low, 0)], [max(high - rank, 0)]]
                label = task if place == 0 else None
                axis.errorbar(rank, place + shift, xerr=ends, fmt="o", color=colour, label=label)
        axis.set_yticks(range(len(labels)), [label for _, label in reversed(labels)])
        axis.set_ylim(-0.5, len(labels) - 0.5)
        axis.set_xlabel("mean rank and 95 % interval")
        beneath(figure, axis.get_legend_handles_labels()[0])
        return style.save(figure, path)
