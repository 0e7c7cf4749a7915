"""What scores say of the metrics that gave them: are they to be relied on?

Four questions, each asked of the scores of ranked explainers (controls are what they are compared with):

1. *Does it rank the controls last?* A map that knows nothing of the network must not do better than one that does [1].
2. *Does it tell a trained network from a random one?* The same explainer's map of a network with random weights must
   not do as well [2].
3. *Retest*: do the explainers keep their order on a sample, and their scores their value, where something changes that
   should not matter (seed, imputer, number of steps, size of the batch)? [1, 3]
4. *Does it agree with the other metrics of its family* on the order of the explainers? [4] See `leaderboard.agreement`.

Samples of several tasks are pooled: a difference is always one of the same sample.

References:
    [1] Tomsett et al., Sanity checks for saliency metrics, AAAI 2020.
    [2] Adebayo et al., Sanity checks for saliency maps, NeurIPS 2018.
    [3] Shrout and Fleiss, Intraclass correlations, Psychological Bulletin 86 (1979).
    [4] Krishna et al., The disagreement problem in explainable machine learning, 2022.
    [5] Kerby, The simple difference formula, Comprehensive Psychology 3 (2014).
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from .agreement import family_agreements, with_others
from .noise import NOISE, n_above, wide
from .record import Results
from .statistics import LEVEL, beats_controls, better
from .table import CONTROLS, COSTS
from .units import Units, means_of_units, units_over_tasks

RETESTS = ("seed", "imputer", "steps", "batch")
"""What is changed to ask again, in the order of the tables."""

STEADY = 0.7
"""Rank correlation of a retest from which on a metric counts as steady."""

FINE, UNDEFINED, TOO_FEW, BLIND = "holds", "no scores", "too few samples", "cannot tell noise"
"""Verdicts that stand alone."""

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Trials:
    """The records of one choice of tasks, explainers and metrics, made under several conditions."""

    usual: Results
    random: Results
    """The explainers' maps are those of a network with random weights; judged as explanations of the trained one's."""
    retests: Mapping[str, Results]
    """One of `RETESTS` -> with that changed. Metrics that do not have it are not there."""


class Controls(NamedTuple):
    """Where the controls stand."""

    n_explainers: int
    n_above_noise: int | None
    """Explainers significantly better than noise; None: too few samples to say."""
    n_above_all: int
    """Explainers significantly better than every control."""
    most_above: float
    """Share of samples on which more than half of the explainers beat the control that is best on the task."""
    every_above: float
    """The same for every explainer."""
    rival: str
    """The control that is the best of its task for most samples."""


class Trained(NamedTuple):
    """Whether the maps of the trained network do better than those of a random one."""

    n: int
    """Samples."""
    share: float
    """Of samples and explainers: where the trained network's map does better; equal scores count half."""
    effect: float
    """Rank-biserial correlation [5] of the differences, averaged over the explainers, then over the samples of a
    patient where patients are known: in [-1, 1]."""
    p_value: float
    """One-sided Wilcoxon test of the same: small where trained is better."""


class Retest(NamedTuple):
    """What became of the scores where something changed."""

    n: int
    """Samples on which both have an order of the explainers."""
    correlation: float
    """Spearman's, over the explainers of a sample, averaged over the samples; 1 where no score moved."""
    icc: float
    """Intraclass correlation ICC(A,1) of scores, over samples and explainers, averaged over the tasks."""
    moved: float
    """Share of the scores that are not exactly what they were."""


def chosen(results: Results, tasks: Collection[str], explainers: Collection[str], metrics: Collection[str]) -> Results:
    """The results of these alone: a folder may hold more than one choice."""
    parts = {"task": tasks, "explainer": explainers, "metric": metrics}

    def cut(frame: pd.DataFrame) -> pd.DataFrame:
        keep = np.logical_and.reduce([frame[column].isin(list(names)) for column, names in parts.items()])
        return frame[keep]

    return replace(results, scores=cut(results.scores), cells=cut(results.cells))


def reliability(trials: Trials) -> pd.DataFrame:
    """A row a metric, by category: what is answered, and a verdict in words.

    Returns:
        metric; category; n_tasks, n_samples (with any score); the fields of `Controls`, of `Trained` (with the prefix
        `trained_`) and, for each of `RETESTS`, of `Retest` (with the prefix `seed_`, …; missing where the metric does
        not have what changes); agreement: mean Kendall's tau with the others of the family; verdict.

        Metrics of category runtime are left out: they measure a cost and judge no explanation.
    """
    about = trials.usual.cells.drop_duplicates("metric").sort_values(["category", "metric"])
    about = about[about.category != COSTS]
    controls = set(trials.usual.cells.explainer[trials.usual.cells.family == CONTROLS])
    agreed = [with_others(matrix) for matrix in family_agreements(trials.usual).values()]
    shared = pd.concat(agreed or [pd.Series(dtype=float)])
    rows = [
        _row(str(metric), bool(higher), trials, controls) | {"category": category, "agreement": shared.get(metric)}
        for metric, category, higher in zip(about.metric, about.category, about.higher_is_better, strict=True)
    ]
    table = pd.DataFrame(rows, columns=_columns())
    table["verdict"] = [verdict(row) for row in table.to_dict("records")]
    return table


def _columns() -> list[str]:
    prefixed = [f"trained_{name}" for name in Trained._fields]
    prefixed += [f"{retest}_{name}" for retest in RETESTS for name in Retest._fields]
    return ["metric", "category", "n_tasks", "n_samples", *Controls._fields, *prefixed, "agreement"]


def _row(metric: str, higher_is_better: bool, trials: Trials, controls: set[str]) -> dict[str, object]:
    usual = _scores(trials.usual, metric, higher_is_better)
    ranked = [name for name in usual if name not in controls]
    counted = usual.dropna(how="all").index
    units = units_over_tasks(trials.usual.samples, usual.index)
    row: dict[str, object] = {
        "metric": metric,
        "n_tasks": counted.get_level_values("task").nunique(),
        "n_samples": len(counted),
        **controls_of(usual[ranked], usual[[name for name in usual if name in controls]], units)._asdict(),
    }
    random = _scores(trials.random, metric, higher_is_better)
    row |= _prefixed("trained", trained_of(usual[ranked], random, units))
    for name, results in trials.retests.items():
        if (results.cells.metric == metric).any():
            row |= _prefixed(name, retest_of(usual[ranked], _scores(results, metric, higher_is_better)))
    return row


def _prefixed(name: str, answer: Trained | Retest) -> dict[str, object]:
    return {f"{name}_{key}": value for key, value in answer._asdict().items()}


def _scores(results: Results, metric: str, higher_is_better: bool) -> pd.DataFrame:
    """Task and sample × explainers, the higher the better."""
    matrix = wide(results.scores[(results.scores.metric == metric).to_numpy()])
    return matrix if higher_is_better else -matrix


def controls_of(scores: pd.DataFrame, controls: pd.DataFrame, units: Units | None = None) -> Controls:
    """Where the controls stand.

    Args:
        scores: (N, K), rows indexed by task and sample, a column a ranked explainer, the higher the better.
        controls: (N, C), the same of controls.
        units: (N,), which samples are of one patient: tests count patients; None: no two are.
    """
    none = Controls(scores.shape[1], None, 0, float("nan"), float("nan"), "")
    if scores.isna().all(axis=None) or controls.isna().all(axis=None):
        return none
    noise = controls[NOISE] if NOISE in controls else pd.Series(np.nan, index=controls.index)
    names = _best_of_task(controls)
    best = pd.Series([controls.at[row, name] for row, name in names.items()], index=names.index)
    beaten = scores.gt(best, axis=0).where(scores.notna() & best.notna().to_numpy()[:, None])
    share = beaten.astype(float).mean(axis=1).dropna()
    return Controls(
        n_explainers=scores.shape[1],
        n_above_noise=n_above(scores, noise, True, units),
        n_above_all=int(beats_controls(scores.dropna(axis=1, how="all"), controls, True, units).sum()),
        most_above=float((share > 0.5).mean()),
        every_above=float((share == 1).mean()),
        rival=str(names.mode().iloc[0]),
    )


def _best_of_task(controls: pd.DataFrame) -> "pd.Series[str]":
    """(N,) the control whose mean is the best on the sample's task."""
    means = controls.groupby(level="task").mean().fillna(-np.inf)
    return pd.Series(means.idxmax(axis=1).loc[controls.index.get_level_values("task")].to_numpy(), controls.index)


def trained_of(trained: pd.DataFrame, random: pd.DataFrame, units: Units | None = None) -> Trained:
    """Compare the same explainers' scores: rows indexed by task and sample, a column an explainer, higher is better.

    The units of the rows of `trained` say which are of one patient: the test and its effect count patients.
    """
    first, second = trained.align(random, join="inner")
    differences = first - second
    per_sample = differences.mean(axis=1)
    known = differences.to_numpy(dtype=np.float64)
    known = known[np.isfinite(known)]
    if not len(known):
        return Trained(0, float("nan"), float("nan"), float("nan"))
    of_units = pd.Series(np.arange(len(trained)) if units is None else units, trained.index)[first.index]
    per_unit = means_of_units(per_sample.to_numpy(dtype=np.float64), pd.factorize(of_units)[0])
    per_unit = per_unit[np.isfinite(per_unit)]
    return Trained(
        n=int(per_sample.notna().sum()),
        share=float(((known > 0) + (known == 0) / 2).mean()),
        effect=rank_biserial(per_unit),
        p_value=better(per_unit, np.zeros_like(per_unit)).p_above,
    )


def rank_biserial(differences: Array) -> float:
    """In [-1, 1]: ranks of |differences| (N,) that are positive less those that are negative, over all [5].

    Zero differences are dropped; 0 where nothing is left.

    >>> rank_biserial(np.array([3.0, 2.0, -1.0, 0.0]))
    0.6666666666666666
    """
    changed = differences[differences != 0]
    if not len(changed):
        return 0.0
    ranks = stats.rankdata(np.abs(changed))
    return float((ranks * np.sign(changed)).sum() / ranks.sum())


def retest_of(usual: pd.DataFrame, again: pd.DataFrame) -> Retest:
    """Compare the same explainers' scores: rows indexed by task and sample, a column an explainer.

    A sample on which fewer than three explainers have both scores, or all of them one and the same, has no order.
    """
    first, second = usual.align(again, join="inner")
    pairs = list(zip(first.to_numpy(dtype=np.float64), second.to_numpy(dtype=np.float64), strict=True))
    known = (first.notna() & second.notna()).to_numpy()
    if not known.any():
        return Retest(0, float("nan"), float("nan"), float("nan"))
    moved = float((first.to_numpy() != second.to_numpy())[known].mean())
    correlations = np.array([_spearman(*pair) for pair in pairs])
    defined = correlations[np.isfinite(correlations)]
    tasks = first.index.get_level_values("task")
    iccs = np.array([icc(first[tasks == task], second[tasks == task]) for task in tasks.unique()])
    correlation = 1.0 if moved == 0 else float(defined.mean()) if len(defined) else float("nan")
    of_tasks = iccs[np.isfinite(iccs)]
    return Retest(len(defined), correlation, float(of_tasks.mean()) if len(of_tasks) else float("nan"), moved)


def _spearman(first: Array, second: Array) -> float:
    known = np.isfinite(first) & np.isfinite(second)
    ranks = np.array([stats.rankdata(first[known]), stats.rankdata(second[known])])
    if known.sum() < 3 or (np.ptp(ranks, axis=1) == 0).any():
        return float("nan")
    return float(np.corrcoef(ranks)[0, 1])


def icc(first: pd.DataFrame, second: pd.DataFrame) -> float:
    """Intraclass correlation ICC(A,1) [3], there ICC(2,1): do single scores agree, in their values too?

    Two-way analysis of variance, absolute agreement, of n pairs of scores (all that both have): 1 where each score is
    what it was, 0 where the two have nothing in common; below 0 they disagree. nan with fewer than two pairs, or where
    all scores are one number.
    """
    pairs = np.stack([first.to_numpy(dtype=np.float64).ravel(), second.to_numpy(dtype=np.float64).ravel()], axis=1)
    pairs = pairs[np.isfinite(pairs).all(axis=1)]
    n, k = pairs.shape
    if n < 2 or np.ptp(pairs) == 0:
        return float("nan")
    rows, columns, mean = pairs.mean(axis=1), pairs.mean(axis=0), pairs.mean()
    between_rows = k * ((rows - mean) ** 2).sum() / (n - 1)
    between_columns = n * ((columns - mean) ** 2).sum() / (k - 1)
    rest = ((pairs - rows[:, None] - columns + mean) ** 2).sum() / ((n - 1) * (k - 1))
    return float((between_rows - rest) / (between_rows + (k - 1) * rest + k / n * (between_columns - rest)))


def verdict(row: Mapping[Any, Any]) -> str:
    """A row of `reliability` in words.

    A metric that has no score, had too few samples, or cannot tell noise is not asked further. Of any other it is
    said what it fails at: not more than half of the explainers are significantly better than every control; the trained
    network's maps are not significantly better than a random one's; a retest's rank correlation is below `STEADY`.
    """
    if not row["n_samples"]:
        return UNDEFINED
    if pd.isna(row["n_above_noise"]):
        return TOO_FEW
    if row["n_above_noise"] == 0:
        return BLIND
    found = []
    if 2 * row["n_above_all"] <= row["n_explainers"]:
        found.append(f"the control {row['rival']} does as well")
    if not row["trained_p_value"] < LEVEL:
        found.append("cannot tell a random network")
    moves = [name for name in RETESTS if row[f"{name}_correlation"] < STEADY]
    if moves:
        found.append(f"moves with {', '.join(moves)}")
    return "; ".join(found) or FINE
