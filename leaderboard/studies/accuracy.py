"""Study: does a network that classifies better also look at the lesion?

Networks of one data set, each with its accuracy on the held-out part and the localization of its maps: one point a
network. Spearman's correlation over them, with what is not known of it: other samples, and other networks.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import permutations
from math import factorial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from numpy.typing import NDArray
from scipy import stats

from ..charts.marks import panels, per_row
from ..record import Results
from ..signed_rank import compare
from ..statistics import LEVEL, holm, intervals, resample_counts
from ..style import COLOURS, CONTROL, Style
from ..units import means_of_units, units_of
from .page import Page, each, interval, listed, named, p_cell, shortened, signed, value
from .scores import column, of_task, samples_of, who

_LEAST, _HEIGHT = 1.5, 1.6
"""Width and height of a panel, inches."""

N_EXACT = 8
"""Up to so many networks the test of the correlation tries every order."""
N_RESAMPLES = 2_000
_SEED = 20240229

LEGEND = (
    "rho: Spearman's correlation over the networks of accuracy and mean localization. Its intervals, 95 %, by drawing "
    "again the samples (of the maps; the accuracy by its binomial error) and the networks. p: permutation test over "
    "networks, Holm over explainers. right only: rho by the decisions that are right (of a control: what that "
    "choice of samples does alone). best less worst: localization of "
    "the network with the highest accuracy less that with the lowest, on the same samples, with its interval and a "
    "paired signed-rank test, Holm over explainers. Behind a network's scores stand 95 % intervals over samples."
)

Array = NDArray[np.float64]


class Accuracy(NamedTuple):
    """How well a network classifies."""

    value: float
    """In [0, 1]; for several labels an image the mean ROC AUC."""
    n: int
    """Samples that it was measured on."""
    counts: bool = True
    """Whether it is a share of the samples, which has a binomial error."""

    def interval(self) -> tuple[float, float]:
        """Wilson's, 95 %; nan where it is not a share."""
        if not self.counts:
            return float("nan"), float("nan")
        ends = stats.binomtest(round(self.value * self.n), self.n).proportion_ci(1 - LEVEL, method="wilson")
        return float(ends.low), float(ends.high)


@dataclass(frozen=True)
class AccuracyStudy:
    """What was found."""

    metric: str
    higher_is_better: bool
    accuracies: dict[str, Accuracy]
    """By task, the worst first."""
    points: pd.DataFrame
    """task, explainer, control, n, mean, low, high: localization, a row a network and explainer."""
    table: pd.DataFrame
    """explainer, control, n_networks, rho, sample_low, sample_high, network_low, network_high, p_value (Holm; of
    controls nan), rho_right, difference, low, high, p_difference (Holm; of controls nan): a row an explainer."""

    @property
    def least_p(self) -> float:
        """The smallest p-value that so many networks can have."""
        return min(1.0, 2 / factorial(len(self.accuracies)))


def accuracy_study(results: Results, accuracies: dict[str, Accuracy], metric: str) -> AccuracyStudy:
    """Set accuracy against localization.

    Args:
        results: Of networks that decide about the same samples.
        accuracies: Task -> how well its network classifies.
        metric: Of localization.

    Raises:
        ValueError: fewer than two networks have scores of the metric, or they share no sample.
    """
    ordered = dict(sorted(accuracies.items(), key=lambda item: item[1].value))
    matrices = {task: of_task(results, task) for task in ordered}
    cells = results.cells[results.cells.metric == metric]
    if sum(metric in matrix for matrix in matrices.values()) < 2:
        raise ValueError(f"{metric}: fewer than two networks have scores of it; does the data set have masks?")
    higher = bool(cells.higher_is_better.iloc[0])
    samples = {task: samples_of(results, task) for task in ordered}
    names = next(iter(matrices.values())).index
    for matrix in matrices.values():
        names = names.intersection(matrix.index)
    if not len(names):
        raise ValueError(f"{', '.join(ordered)} share no sample: choose networks of one data set")
    right = np.array(
        [(known.label == known.prediction).reindex(names).to_numpy(dtype=bool) for known in samples.values()]
    )
    units = units_of(next(iter(samples.values())), names)
    people = who(results)
    points, rows = [], []
    for at, explainer in enumerate(people.names):
        scores = np.array([column(matrix, metric, explainer, names) for matrix in matrices.values()])
        control = at >= people.n_ranked
        points += list(_points(scores, list(ordered), units, explainer, control))
        rows.append(
            {"explainer": explainer, "control": control, **_row(scores, right, units, list(ordered.values()), higher)}
        )
    table = pd.DataFrame(rows)
    for name in ("p_value", "p_difference"):
        counted = ~table.control.to_numpy(dtype=bool) & table[name].notna().to_numpy()
        adjusted = np.full(len(table), np.nan)
        adjusted[counted] = holm(table[name].to_numpy(dtype=np.float64)[counted])
        table[name] = adjusted
    return AccuracyStudy(metric, higher, ordered, pd.DataFrame(points), table)


def _points(
    scores: Array, tasks: Sequence[str], units: NDArray[np.intp], explainer: str, control: bool
) -> Iterator[dict[str, object]]:
    n, mean, low, high = intervals(scores.T, units)
    for at, task in enumerate(tasks):
        yield {
            **{"task": task, "explainer": explainer, "control": control, "n": int(n[at])},
            **{"mean": float(mean[at]), "low": float(low[at]), "high": float(high[at])},
        }


def _row(
    scores: Array, right: NDArray[np.bool_], units: NDArray[np.intp], accuracies: Sequence[Accuracy], higher: bool
) -> dict[str, float]:
    """The row of an explainer with scores (networks, N), the worst network first."""
    sign = 1 if higher else -1
    values = np.array([accuracy.value for accuracy in accuracies])
    means = sign * _means(scores)
    known = np.isfinite(means)
    drawn = sign * _means(scores, resample_counts(int(units.max()) + 1, N_RESAMPLES)[units])
    over_samples = _quantiles(_spearman(_drawn_accuracies(accuracies)[known], drawn[known]))
    over_networks = _quantiles(_over_networks(values[known], means[known]))
    of_units = means_of_units((scores[-1] - scores[0])[None], units)
    _, difference, low, high = intervals((scores[-1] - scores[0])[:, None], units)
    return {
        "n_networks": int(known.sum()),
        "rho": float(_spearman(values[known][:, None], means[known][:, None])[0]),
        **dict(zip(("sample_low", "sample_high"), over_samples, strict=True)),
        **dict(zip(("network_low", "network_high"), over_networks, strict=True)),
        "p_value": _permuted(values[known], means[known]),
        "rho_right": float(_spearman(values[:, None], sign * _means(np.where(right, scores, np.nan))[:, None])[0]),
        **{"difference": float(difference[0]), "low": float(low[0]), "high": float(high[0])},
        "p_difference": float(compare(of_units).p_value[0]) if np.isfinite(of_units).any() else float("nan"),
    }


def _means(scores: Array, counts: Array | None = None) -> Array:
    """Means of (networks, N) over the samples, (networks,); over resamples with counts (N, B), (networks, B)."""
    weights = np.ones((scores.shape[1], 1)) if counts is None else counts
    defined = np.isfinite(scores)
    n = defined.astype(np.float64) @ weights
    means = np.where(n > 0, np.where(defined, scores, 0) @ weights / np.where(n > 0, n, 1), np.nan)
    return np.asarray(means[:, 0] if counts is None else means)


def _drawn_accuracies(accuracies: Sequence[Accuracy]) -> Array:
    """(networks, B), each drawn again from its binomial distribution."""
    rng = np.random.default_rng(_SEED)
    drawn = [
        rng.binomial(one.n, one.value, N_RESAMPLES) / one.n if one.counts else np.full(N_RESAMPLES, one.value)
        for one in accuracies
    ]
    return np.array(drawn)


def _spearman(first: Array, second: Array) -> Array:
    """Of each column of (networks, B) with that of the other, (B,); nan where one is constant or has a nan."""
    if len(first) < 2:
        return np.full(first.shape[1], np.nan)
    # Equal values must not differ by the order of summing.
    ranked = [stats.rankdata(values.round(12), axis=0, nan_policy="propagate") for values in (first, second)]
    a, b = (values - values.mean(axis=0) for values in ranked)
    size = np.sqrt((a**2).sum(axis=0) * (b**2).sum(axis=0))
    return np.where(size > 0, (a * b).sum(axis=0) / np.where(size > 0, size, 1), np.nan)


def _over_networks(values: Array, means: Array) -> Array:
    """Spearman's of networks drawn again (B,); nan where all drawn are equal."""
    if len(values) < 2:
        return np.full(1, np.nan)
    chosen = np.random.default_rng(_SEED).integers(len(values), size=(len(values), N_RESAMPLES))
    return _spearman(values[chosen], means[chosen])


def _quantiles(drawn: Array) -> tuple[float, float]:
    known = drawn[np.isfinite(drawn)]
    if not len(known):
        return float("nan"), float("nan")
    low, high = np.quantile(known, [LEVEL / 2, 1 - LEVEL / 2])
    return float(low), float(high)


def _permuted(values: Array, means: Array) -> float:
    """Two-sided permutation p-value: every order up to `N_EXACT` networks, beyond 10,000 drawn; nan where undefined."""
    n = len(values)
    if n < 2:
        return float("nan")
    found = _spearman(values[:, None], means[:, None])[0]
    if np.isnan(found):
        return float("nan")
    if n <= N_EXACT:
        orders = np.array(list(permutations(range(n)))).T
        extra = 0
    else:
        orders, extra = np.random.default_rng(_SEED).permuted(np.tile(np.arange(n)[:, None], (1, 10_000)), axis=0), 1
    others = _spearman(np.repeat(values[:, None], orders.shape[1], axis=1), means[orders])
    n_extreme = int((np.abs(others) >= abs(found) - 1e-9).sum())
    return float((n_extreme + extra) / (orders.shape[1] + extra))


def page(study: AccuracyStudy) -> Page:
    """The study in words and tables."""
    n = len(study.accuracies)
    headings = {"explainer": [named(row) for row in each(study.table)]}
    numbers = pd.DataFrame([_cells(row) for _, row in study.table.iterrows()])
    limits = (
        f"{n} networks of one data set say nothing of other data sets, and networks that were trained on the same "
        "images are not independent; epochs of one training are so least of all.",
        "A correlation is no cause: what makes a network classify better may also make its maps lie elsewhere.",
        "Accuracy is that of the held-out part, localization that of the explained samples, with a mask, alone.",
        "A wrong decision is explained for the wrong class: see the column of those that are right.",
        "Localization judges explainer and network together: one explainer's rows are no measure of another's.",
    )
    title = f"Does a network that classifies better also look at the lesion? ({study.metric}, {n} networks)"
    tables = (("Correlation", pd.concat([pd.DataFrame(headings), numbers], axis=1)), ("Networks", _networks(study)))
    return Page(title, (("", tuple(_verdicts(study))),), tables, limits, LEGEND)


def _verdicts(study: AccuracyStudy) -> Iterator[str]:
    ranked = study.table[~study.table.control.astype(bool)]
    n = len(study.accuracies)
    if study.least_p * len(ranked) >= LEVEL:
        yield (
            f"Too few networks to tell: {n}, and even the same order by accuracy and by localization has p = "
            f"{study.least_p:.2g} for one of {len(ranked)} explainers. What follows is a description."
        )
    trainings = Counter(task.partition("@")[0] for task in study.accuracies)
    for training, n_epochs in trainings.items():
        if n_epochs > 1:
            yield (
                f"{n_epochs} of the {n} networks are epochs of one training, {training}: p-values and intervals count "
                "them as networks of their own, so they are too good."
            )
    known = ranked[ranked.rho.notna()]
    higher, lower = (known[(known.p_value < LEVEL) & (sign * known.rho > 0)] for sign in (1, -1))
    for word, rows in (("better", higher), ("worse", lower)):
        if len(rows):
            yield f"Networks that classify better localize {word} by {_rhos(rows)}."
    rest = known.drop([*higher.index, *lower.index])
    if len(rest):
        yield f"No correlation can be told by {_rhos(rest)}."
    yield f"Best less worst network, {_extremes(study)}, on the same samples: {_difference(ranked)}."


def _extremes(study: AccuracyStudy) -> str:
    (worst, low), *_, (best, high) = study.accuracies.items()
    return f"{best} (accuracy {high.value:.3f}) less {worst} ({low.value:.3f})"


def _difference(ranked: pd.DataFrame) -> str:
    separable = ranked[ranked.p_difference < LEVEL]
    told = [f"{row.explainer} {signed(row.difference)} {interval(row.low, row.high)}" for row in each(separable)]
    n_others = len(ranked) - len(separable)
    if not told:
        return "cannot be told apart by any explainer"
    return f"{listed(told)}{f'; {n_others} explainers cannot tell them apart' if n_others else ''}"


def _rhos(rows: pd.DataFrame) -> str:
    told = [f"{row.explainer} (rho {row.rho:+.2f} {_between(row.network_low, row.network_high)})" for row in each(rows)]
    return listed(told)


def _between(low: float, high: float) -> str:
    return "–" if np.isnan(low) else f"[{low:+.2f}, {high:+.2f}]"


def _cells(row: pd.Series) -> dict[str, str]:
    def plain(of: float) -> str:
        return value(of, lambda known: f"{known:+.2f}")

    return {
        "rho": plain(row.rho),
        "over samples": _between(row.sample_low, row.sample_high),
        "over networks": _between(row.network_low, row.network_high),
        "p": p_cell(row.p_value),
        "right only": plain(row.rho_right),
        "best less worst": f"{signed(row.difference)} {interval(row.low, row.high)}",
        "p of that": p_cell(row.p_difference),
    }


def _networks(study: AccuracyStudy) -> pd.DataFrame:
    """A row a network, the best first."""
    rows = []
    tasks = list(study.accuracies)
    for task, name in reversed(list(zip(tasks, shortened(tasks), strict=True))):
        accuracy, points = study.accuracies[task], study.points[study.points.task == task]
        told = f"{accuracy.value:.3f}" + ("" if accuracy.counts else " (ROC AUC)")
        rows.append(
            {
                **{"network": name, "accuracy": told + _beneath(*accuracy.interval(), 3), "n": str(points.n.max())},
                **{named(row): f"{row.mean:.2f}{_beneath(row.low, row.high, 2)}" for row in each(points)},
            }
        )
    return pd.DataFrame(rows)


def _beneath(low: float, high: float, n_digits: int) -> str:
    if np.isnan(low):
        return ""
    return "\n" + f"{low:.{n_digits}f}–{high:.{n_digits}f}".replace("0.", ".")


def draw(study: AccuracyStudy, path: Path, style: Style | None = None) -> Path:
    """Accuracy against localization, a panel an explainer, a point a network."""
    explainers = list(dict.fromkeys(study.points.explainer))
    style = style or Style()
    least = _LEAST * style.scale
    n_rows = -(-len(explainers) // per_row(style.inches, len(explainers), least))
    with style.drawing(style.scale * (0.2 + _HEIGHT * n_rows)) as figure:
        axes = panels(figure, len(explainers), least, sharex=True, sharey=True)
        for axis, explainer in zip(axes, explainers, strict=True):
            _draw_explainer(axis, study, explainer)
        figure.supxlabel("accuracy on the held-out part")
        figure.supylabel(study.metric)
        return style.save(figure, path)


def _draw_explainer(axis: Axes, study: AccuracyStudy, explainer: str) -> None:
    rows = study.points[study.points.explainer == explainer]
    across = [study.accuracies[task].value for task in rows.task]
    beside = np.array([study.accuracies[task].interval() for task in rows.task]).T
    axis.errorbar(
        across,
        rows["mean"],
        xerr=np.abs(beside - across) if np.isfinite(beside).all() else None,
        yerr=np.abs(rows[["low", "high"]].to_numpy().T - rows["mean"].to_numpy()),
        fmt="o",
        elinewidth=0.8,
        color=CONTROL if rows.control.any() else COLOURS[0],
    )
    rho = study.table.set_index("explainer").rho[explainer]
    axis.set_title(explainer if np.isnan(rho) else f"{explainer}\nrho {rho:+.2f}", loc="left")
