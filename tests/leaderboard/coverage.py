"""How often intervals hold the truth, simulated: python -m tests.leaderboard.coverage [simulations]

For each kind of scores and each number of them a row of methods, with coverage and mean width; then mean ranks. The
leaderboard's own intervals are called as they are, the others are short replicas.
"""

import sys
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

from leaderboard.duels import all_pairs, fight
from leaderboard.scores import Cube, Explainers
from leaderboard.standings import _columns
from leaderboard.statistics import intervals, resample_counts, widened

Array = NDArray[np.float64]
Ends = tuple[Array, Array]
SIZES = (8, 12, 16, 32, 64)


class Scores(NamedTuple):
    """Simulated columns."""

    values: Array
    """(N, S): a column a simulation."""
    truth: Array
    """(S,), of the mean."""
    patients: NDArray[np.intp] | None = None


def _drawn_from(draw: Callable[[np.random.Generator, tuple[int, int]], Array], truth: float) -> Callable[..., Scores]:
    return lambda rng, n, count: Scores(draw(rng, (n, count)), np.full(count, truth))


def _hits(rng: np.random.Generator, n: int, count: int) -> Scores:
    """Hits and misses, the share of hits anywhere from a fifth to four fifths."""
    share = rng.uniform(0.2, 0.8, size=count)
    return Scores((rng.uniform(size=(n, count)) < share).astype(float), share)


def _of_patients(skewed: bool, rng: np.random.Generator, n: int, count: int) -> Scores:
    """One to six images of each of n patients, alike but for a third of their deviation."""
    patients = np.repeat(np.arange(n), np.resize([1, 6, 2, 5, 3, 4], n))
    own = rng.exponential(size=(n, count)) - 1 if skewed else rng.normal(size=(n, count))
    return Scores(own[patients] + 0.3 * rng.normal(size=(len(patients), count)), np.zeros(count), patients)


KINDS: dict[str, Callable[..., Scores]] = {
    "normal": _drawn_from(lambda rng, shape: rng.normal(size=shape), 0),
    "uniform": _drawn_from(lambda rng, shape: rng.uniform(size=shape), 0.5),
    "skewed (gamma 4)": _drawn_from(lambda rng, shape: rng.gamma(4, size=shape), 4),
    "exponential": _drawn_from(lambda rng, shape: rng.exponential(size=shape), 1),
    "hits and misses": _hits,
    "patients, normal": partial(_of_patients, False),
    "patients, exponential": partial(_of_patients, True),
}


def ours(scores: Scores) -> Ends:
    _, _, low, high = intervals(scores.values, scores.patients)
    return low, high


def student(scores: Scores) -> Ends:
    """The t interval of patients' totals over sizes."""
    mean, influence = _linear(*_totals(scores))
    n = len(influence)
    half = stats.t.ppf(0.975, n - 1) * np.sqrt(np.square(influence).sum(axis=0) * n / (n - 1))
    return mean - half, mean + half


def bca(scores: Scores) -> Ends:
    """Efron's bias-corrected and accelerated interval, at levels for few samples (Hesterberg 2015)."""
    totals, sizes = _totals(scores)
    mean, influence = _linear(totals, sizes)
    n = len(totals)
    counts = resample_counts(n)
    drawn = np.sort((totals.T @ counts) / (sizes.T @ counts), axis=1)
    near = 1e-12 * np.abs(mean)[:, None]
    below = ((drawn < mean[:, None] - near).mean(axis=1) + (drawn <= mean[:, None] + near).mean(axis=1)) / 2
    bias = special.ndtri(np.clip(below, 1e-3, 1 - 1e-3))
    spread = np.square(influence).sum(axis=0)
    acceleration = (influence**3).sum(axis=0) / (6 * np.where(spread > 0, spread, 1) ** 1.5)
    ends = []
    for z in (-widened(n, n - 1), widened(n, n - 1)):
        levels = special.ndtr(bias + (bias + z) / (1 - acceleration * (bias + z)))
        ends.append(drawn[np.arange(len(drawn)), np.round(levels * (drawn.shape[1] - 1)).astype(int)])
    return ends[0], ends[1]


def _totals(scores: Scores) -> tuple[Array, Array]:
    if scores.patients is None:
        return scores.values, np.ones_like(scores.values)
    members = np.equal.outer(np.unique(scores.patients), scores.patients).astype(float)
    return members @ scores.values, members @ np.ones_like(scores.values)


def _linear(totals: Array, sizes: Array) -> tuple[Array, Array]:
    size = sizes.sum(axis=0)
    mean = totals.sum(axis=0) / size
    return mean, (totals - sizes * mean) / size


METHODS = {"t": student, "BCa": bca, "bootstrap-t (ours)": ours}


def coverage(method: Callable[[Scores], Ends], scores: Scores) -> tuple[float, float]:
    """The share of intervals that hold the truth, and their mean width."""
    low, high = method(scores)
    near = 1e-9
    holds = (low <= scores.truth + near) & (scores.truth <= high + near)
    return float(holds.mean()), float((high - low).mean())


def simulated(kind: str, n: int, count: int) -> Scores:
    return KINDS[kind](np.random.default_rng([n, len(kind)]), n, count)


EFFECTS = np.array([0.0, 0.3, 0.6, 1.0, 1.5, 2.5])
"""Of six explainers, in deviations of their scores."""


def coverage_of_mean_ranks(n: int, n_tasks: int, n_metrics: int, count: int) -> tuple[Array, Array]:
    """Of each explainer (E,): how often the interval of its mean rank holds the truth, and the mean width."""
    rng = np.random.default_rng([n, n_tasks, n_metrics])
    n_explainers = len(EFFECTS)
    apart = (EFFECTS[:, None] - EFFECTS) / np.sqrt(2)
    truth = 0.5 + n_explainers - special.ndtr(apart).sum(axis=1)
    who = Explainers(tuple(f"e{at}" for at in range(n_explainers)), n_explainers)
    pairs = all_pairs(who)
    # Every simulation is a family of its own.
    families = tuple(f"f{family}" for family in range(count) for _ in range(n_metrics))
    metrics = tuple(f"m{at}" for at in range(len(families)))
    fights = []
    for task in range(n_tasks):
        scores = rng.normal(size=(len(metrics), n_explainers, n)) + EFFECTS[:, None]
        names = tuple(f"s{at}" for at in range(n))
        higher = (True,) * len(metrics)
        cube = Cube(f"t{task}", metrics, families, higher, names, np.arange(n), scores)
        fights.append(fight(cube, who, pairs, {}))
    columns = _columns(fights, who, pairs, list(dict.fromkeys(families)), {})[0][1:]
    found = np.array([column.mean_rank for column in columns])
    holds = (found[:, :, 1] <= truth + 1e-9) & (truth <= found[:, :, 2] + 1e-9)
    return holds.mean(axis=0), (found[:, :, 2] - found[:, :, 1]).mean(axis=0)


def main(count: int) -> None:
    print("| scores | n | " + " | ".join(METHODS) + " |\n|---|---|" + "---|" * len(METHODS))
    for kind in KINDS:
        for n in SIZES:
            scores = simulated(kind, n, count)
            told = [coverage(method, scores) for method in METHODS.values()]
            print(f"| {kind} | {n} | " + " | ".join(f"{100 * held:.1f} % ({width:.2f})" for held, width in told) + " |")
    print("\n| mean ranks: tasks | n | metrics | least | mean | most covered |\n|---|---|---|---|---|---|")
    for n_tasks in (1, 3, 16):
        for n in (8, 16, 32):
            for n_metrics in (1, 4):
                held, _ = coverage_of_mean_ranks(n, n_tasks, n_metrics, max(count // 4, 100))
                told = " | ".join(f"{100 * share:.1f} %" for share in (held.min(), held.mean(), held.max()))
                print(f"| {n_tasks} | {n} | {n_metrics} | {told} |", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 4000)
