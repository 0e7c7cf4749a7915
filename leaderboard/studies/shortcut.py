"""Study: does an explainer reveal that a network rests on a planted cue?

A network that has learnt the cue is set beside its honest twin, on the same samples. Where the first decides
by the cue and the second does not, an explainer that reveals the cue puts more of its relevance on it in the first.
Since both have the same cue in the same place, what geometry alone puts there (the controls) cancels.

Reference: Lapuschkin et al., Unmasking Clever Hans predictors, Nature Communications 10 (2019); the comparison of twins
is our own.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from numpy.typing import NDArray

from ..charts.marks import beneath, panels, per_row
from ..record import Results
from ..signed_rank import compare, least_n
from ..statistics import LEVEL, holm, intervals, resample_counts
from ..style import COLOURS, Style
from ..units import means_of_units, units_of
from .page import Page, each, interval, listed, named, p_cell, value
from .scores import CUE, NOT_RESTING, RESTING, column, of_task, samples_of, who

_LEAST = 2.8
"""Width of a panel, inches."""
_ROW, _HEAD = 0.2, 0.5
"""Height of a row, and of title and axis; inches."""

LEGEND = (
    "Mass on the cue: share of the positive relevance there, mean over the samples and its 95 % bootstrap interval. "
    "AUC: chance that the map of a decision that rests on the cue has more on it than the honest twin's of a sample of "
    "the same set; 0.5 tells nothing; interval by drawing the samples again (of no width where the two do not overlap: "
    "n says how much that is worth). p: paired signed-rank test on the same samples, two-sided, Holm over all rows of "
    "explainers. false alarm: mass on the cue of decisions of the shortcut network that do not rest on it. above "
    "controls: significantly more on the cue, where the decision rests on it, than every control."
)

LIMITS = (
    "The twins share the samples' ids, patients and cues. On the phantoms the shortcut network's images show fainter "
    "evidence, so the images are not the same pixel for pixel; what that moves shows in the control edges.",
    "A mass on the cue says nothing alone: center and edges look good or bad by geometry, wherever the cue lies.",
    "The cues are planted and plain; a subtler one, or one on the lesion itself, may be missed.",
    "It speaks of other samples of these tasks, not of other networks: there is one of each kind.",
)
_FALSE_ALARM = "false alarm"
_SERIES = ((0.12, "rests on the cue", "mass", COLOURS[1]), (-0.12, "honest twin", "honest", COLOURS[0]))

Array = NDArray[np.float64]


class Twins(NamedTuple):
    """Two tasks with the same samples."""

    shortcut: str
    """Its network has learnt the cue."""
    honest: str


@dataclass(frozen=True)
class ShortcutStudy:
    """What was found, a row a pair of twins and explainer."""

    pairs: tuple[Twins, ...]
    table: pd.DataFrame
    """shortcut, honest, explainer, control, n (samples with the cue, that the one network rests on and the other does
    not), mass, mass_low, mass_high (of the shortcut network), honest_mass, honest_low, honest_high, auc, auc_low,
    auc_high, p_value (Holm; nan for controls), n_unused, unused_mass (of the shortcut network's decisions that do not
    rest on the cue), above_controls (None: no control, or too few samples)."""
    too_few: str
    """Why nothing can be told, whatever the scores; empty where something can."""

    def reveals(self) -> pd.Series:
        """Whether each row's explainer tells the networks apart, in the right direction."""
        found = self.table
        return (found.p_value < LEVEL) & (found.auc > 0.5) & (found.auc_low > 0.5)


def shortcut_study(results: Results, pairs: Sequence[Twins]) -> ShortcutStudy:
    """Compare the mass on the cue between each network that has learnt it and its honest twin.

    Args:
        results: With the metrics `shortcut_mass` and `unused_shortcut_mass`, and the controls.
        pairs: Twins; their samples are matched by id.

    Raises:
        ValueError: a pair has no sample with a cue that the one network rests on and the other does not.
    """
    table = pd.DataFrame([row for pair in pairs for row in _rows(results, pair)])
    ranked = ~table.control.to_numpy(dtype=bool) & (table.n > 0).to_numpy()
    adjusted = np.full(len(table), np.nan)
    adjusted[ranked] = holm(table.p_value.to_numpy(dtype=np.float64)[ranked])
    n, needed = int(table.n_units[ranked].max()) if ranked.any() else 0, least_n(max(int(ranked.sum()), 1), LEVEL)
    too_few = f"too few samples: {n}, and {ranked.sum()} comparisons need at least {needed}" if n < needed else ""
    return ShortcutStudy(tuple(pairs), table.assign(p_value=adjusted).drop(columns="n_units"), too_few)


def _rows(results: Results, pair: Twins) -> list[dict[str, object]]:
    resting, honest = of_task(results, pair.shortcut), of_task(results, pair.honest)
    for task, matrix in ((pair.shortcut, resting), (pair.honest, honest)):
        if CUE not in matrix:
            raise ValueError(f"{task} has no score of {RESTING} and {NOT_RESTING}: its samples need masks of a cue")
    names = resting.index.intersection(honest.index)
    names = names[_defined(resting, RESTING, names) & _defined(honest, NOT_RESTING, names)]
    if not len(names):
        raise ValueError(
            f"{pair.shortcut} and {pair.honest}: no sample in common on whose cue the first rests and the second does "
            "not; ask for more --samples"
        )
    units = units_of(samples_of(results, pair.shortcut), names)
    people = who(results)
    masses = {name: column(resting, RESTING, name, names) for name in people.names}
    honest_masses = {name: column(honest, NOT_RESTING, name, names) for name in people.names}
    above = _above_controls([masses[name] for name in people.ranked], [masses[name] for name in people.controls], units)
    rows = []
    for at, name in enumerate(people.names):
        first, second = masses[name], honest_masses[name]
        both = np.isfinite(first) & np.isfinite(second)
        of_units = means_of_units((first - second)[None], units)
        unused = column(resting, NOT_RESTING, name, resting.index)
        area, low, high = _auc(first[both], second[both], units[both])
        rows.append(
            {
                **pair._asdict(),
                "explainer": name,
                "control": at >= people.n_ranked,
                "n": int(both.sum()),
                "n_units": int(np.isfinite(of_units).sum()),
                **_mean("mass", first[both], units[both]),
                **_mean("honest", second[both], units[both]),
                **{"auc": area, "auc_low": low, "auc_high": high},
                "p_value": float(compare(of_units).p_value[0]),
                "n_unused": int(np.isfinite(unused).sum()),
                "unused_mass": float(np.nanmean(unused)) if np.isfinite(unused).any() else np.nan,
                "above_controls": above[at] if at < people.n_ranked else None,
            }
        )
    return rows


def _defined(matrix: pd.DataFrame, metric: str, names: pd.Index) -> NDArray[np.bool_]:
    if metric not in matrix:
        return np.zeros(len(names), dtype=bool)
    return np.asarray(pd.DataFrame(matrix[metric]).reindex(names).notna().any(axis=1))


def _mean(name: str, values: Array, units: NDArray[np.intp]) -> dict[str, float]:
    _, mean, low, high = intervals(values[:, None], units)
    key = name if name == "mass" else f"{name}_mass"
    return {key: float(mean[0]), f"{name}_low": float(low[0]), f"{name}_high": float(high[0])}


def _auc(first: Array, second: Array, units: NDArray[np.intp]) -> tuple[float, float, float]:
    """Area under the ROC curve of (N,) against (N,) on the same samples, and its interval over units; nan: none."""
    if not len(first):
        return float("nan"), float("nan"), float("nan")
    above = (first[:, None] > second).astype(np.float64) + 0.5 * (first[:, None] == second)
    members = np.unique(units, return_inverse=True)[1]
    counts = resample_counts(int(members.max()) + 1)[members]
    drawn = (counts * (above @ counts)).sum(axis=0) / counts.sum(axis=0) ** 2
    low, high = np.quantile(drawn, [LEVEL / 2, 1 - LEVEL / 2])
    return float(above.mean()), float(low), float(high)


def _above_controls(ranked: Sequence[Array], controls: Sequence[Array], units: NDArray[np.intp]) -> list[bool | None]:
    differences = np.array([one - control for one in ranked for control in controls])
    if not differences.size:
        return [None] * len(ranked)
    found = compare(means_of_units(differences, units))
    if found.n.max() < least_n(len(differences), LEVEL) - 1:  # one-sided
        return [None] * len(ranked)
    beaten = np.all((holm(found.p_above) < LEVEL).reshape(len(ranked), len(controls)), axis=1)
    return [bool(beaten[at]) for at in range(len(ranked))]


def page(study: ShortcutStudy) -> Page:
    """The study in words and tables."""
    verdicts: list[tuple[str, tuple[str, ...]]] = [("", (study.too_few,))] if study.too_few else []
    tables = []
    for pair in study.pairs:
        mine = ((study.table.shortcut == pair.shortcut) & (study.table.honest == pair.honest)).to_numpy()
        rows = study.table.assign(reveals=study.reveals())[mine]
        heading = f"{pair.shortcut} beside {pair.honest}"
        verdicts.append((heading, tuple(_verdicts(rows))))
        cells = pd.DataFrame([_cells(row) for _, row in rows.iterrows()])
        if not (rows.n_unused > 0).any():
            cells = cells.drop(columns=_FALSE_ALARM)
        tables.append((heading, cells))
    title = "Does the explainer reveal the cue that the network rests on?"
    return Page(title, tuple(verdicts), tuple(tables), LIMITS, LEGEND)


def _verdicts(rows: pd.DataFrame) -> Iterator[str]:
    control = rows.control.to_numpy(dtype=bool)
    ranked, controls = rows[~control], rows[control]
    above = (ranked.above_controls == True).to_numpy()  # noqa: E712  # None where nobody knows
    tells = ranked.reveals.to_numpy(dtype=bool)
    shown, hidden = ranked[tells & above], ranked[tells & ~above]
    told = f": {_with_auc(shown)}" if len(shown) else ""
    yield f"Revealed by {len(shown)} of {len(ranked)} explainers{told}."
    if len(hidden):
        yield (
            "Told apart from its honest twin, but with no more on the cue than a control puts there, so that who sees "
            f"only this map cannot know: {_with_auc(hidden)}."
        )
    if not tells.all():
        yield f"Cannot be told apart from its honest twin by {_with_auc(ranked[~tells])}."
    if len(controls):
        masses = listed([f"{row.explainer} {row.mass:.3f}" for row in each(controls)])
        yield f"Controls have, by geometry alone, this much of their mass on the cue: {masses}."


def _with_auc(rows: pd.DataFrame) -> str:
    return listed([f"{row.explainer} (AUC {_area(row)})" for row in each(rows)])


def _area(row: Any) -> str:
    return "–" if np.isnan(row.auc) else f"{row.auc:.2f} [{row.auc_low:.2f}, {row.auc_high:.2f}]"


def _cells(row: pd.Series) -> dict[str, str]:
    known = row.above_controls is not None and not pd.isna(row.above_controls)
    return {
        "explainer": named(row),
        "n": str(row.n),
        "mass on the cue": f"{value(row.mass)} {interval(row.mass_low, row.mass_high)}",
        "honest twin": f"{value(row.honest_mass)} {interval(row.honest_low, row.honest_high)}",
        "AUC": _area(row),
        "p": p_cell(row.p_value),
        _FALSE_ALARM: f"{value(row.unused_mass)} (n={row.n_unused})",
        "above controls": ("yes" if row.above_controls else "no") if known else "–",
    }


def draw(study: ShortcutStudy, path: Path, style: Style | None = None) -> Path:
    """Mass on the cue of each explainer, in the shortcut network and in its honest twin; one panel a pair."""
    style = style or Style()
    least = _LEAST * style.scale
    n_rows = -(-len(study.pairs) // per_row(style.inches, len(study.pairs), least))
    height = n_rows * (_HEAD + _ROW * study.table.explainer.nunique())
    with style.drawing(style.scale * (0.2 + height)) as figure:
        axes = panels(figure, len(study.pairs), least, sharey=True)
        for axis, pair in zip(axes, study.pairs, strict=True):
            mine = (study.table.shortcut == pair.shortcut) & (study.table.honest == pair.honest)
            _draw_pair(axis, study.table[mine].iloc[::-1])
            axis.set_title(pair.shortcut, loc="left")
        beneath(figure, axes[0].get_legend_handles_labels()[0])
        return style.save(figure, path)


def _draw_pair(axis: Axes, rows: pd.DataFrame) -> None:
    places = np.arange(len(rows))
    for shift, label, key, colour in _SERIES:
        mean = rows["mass" if key == "mass" else "honest_mass"].to_numpy()
        ends = np.abs(np.array([mean - rows[f"{key}_low"], rows[f"{key}_high"] - mean]))
        axis.errorbar(mean, places + shift, xerr=ends, fmt="o", color=colour, label=label)
    axis.set_yticks(places, [named(row) for row in each(rows)])
    axis.set_xlim(-0.02, 1.02)
    axis.set_xlabel("share of the positive relevance on the cue")
