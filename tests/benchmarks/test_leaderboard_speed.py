"""What the leaderboard costs: records read, ranked and written out; and how much memory that takes.

Skipped unless asked for: pytest tests/benchmarks/test_leaderboard_speed.py --benchmark-only. The full size is 12,288
records of 16 tasks with 1,000 samples each, 24 explainers (four of them controls) and 31 metrics: 12 million scores.
Nothing is asserted about time; the peak of memory stands in the column `mebibytes` of the extra information.
"""

import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest

from leaderboard.record import Cell, Record, Status, write, write_samples

pytestmark = [
    pytest.mark.skipif("not config.getoption('benchmark_only', False)", reason="asked for by --benchmark-only"),
]

SHARD = 32
METRICS = {
    "faithfulness": 8,
    "localization": 7,
    "robustness": 5,
    "randomization": 4,
    "complexity": 4,
    "axiomatic": 1,
    "runtime": 2,
}
N_CONTROLS = 4


class Size(NamedTuple):
    """Of a synthetic run."""

    n_tasks: int
    n_explainers: int
    n_samples: int


SMALL, FULL = Size(2, 12, 64), Size(16, 24, 1000)


def fill(folder: Path, size: Size, seed: int = 0) -> None:
    """Records as a run of that size writes them: explainers differ, metrics are correlated, some are hits."""
    metrics = {
        f"{category}_{index}": Cell(category, index % 2 == 0, "M()", Status.SCORED)
        for category, count in METRICS.items()
        for index in range(count)
    }
    rng = np.random.default_rng(seed)
    for task in (f"task_{index:02d}" for index in range(size.n_tasks)):
        for start in range(0, size.n_samples, SHARD):
            ids = [f"{task}/image-{index:05d}.png" for index in range(start, min(start + SHARD, size.n_samples))]
            shard = f"{start // SHARD:05d}"
            write_samples(folder, task, shard, pd.DataFrame({"sample": ids, "outcome": "true positive"}))
            for explainer in range(size.n_explainers):
                name = f"{'control' if explainer < N_CONTROLS else 'explainer'}_{explainer:02d}"
                family = "controls" if explainer < N_CONTROLS else "mine"
                scores = _scores(rng, explainer, metrics, ids)
                write(folder, Record(task, shard, name, family, {}, {}, dict.fromkeys(ids, "0"), metrics, scores))


def _scores(rng: np.random.Generator, explainer: int, metrics: dict[str, Cell], ids: list[str]) -> pd.DataFrame:
    shared = rng.normal(size=len(ids))
    values = np.array([0.02 * explainer + 0.5 * shared + rng.normal(size=len(ids)) for _ in metrics])
    for row, metric in zip(values, metrics, strict=True):
        if metric in ("localization_0", "localization_1"):
            row[:] = row > 0  # hits and misses
    return pd.DataFrame(
        {"sample": ids * len(metrics), "metric": np.repeat(list(metrics), len(ids)), "score": values.ravel()}
    )


@pytest.fixture(scope="module", params=[SMALL, FULL], ids=["small", "full"])
def results(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("results")
    fill(folder, request.param)
    return folder


LOAD = "from leaderboard.record import load; records = load(Path(sys.argv[1]))"
SUMMARY = (
    f"{LOAD}; from leaderboard.standings import standings; from leaderboard.summary import render_summary; "
    "render_summary(standings(records), 'text')"
)
TABLES = f"{LOAD}; from leaderboard.table import leaderboard, render; render(leaderboard(records), 'csv')"
COMPARISON = (
    f"{LOAD}; from leaderboard.comparison import compare_explainers; "
    "from leaderboard.comparison_page import render_comparison; "
    "render_comparison(compare_explainers(records, ['explainer_04', 'explainer_05']), 'text')"
)
COMMAND = "from bench.cli import app; app(['table', '--results', sys.argv[1]], standalone_mode=False)"
STEPS = {"load": LOAD, "summary": SUMMARY, "tables": TABLES, "comparison": COMPARISON, "command": COMMAND}


@pytest.mark.parametrize("step", STEPS)
def test_speed_of(step: str, results: Path, benchmark) -> None:
    """A process of its own for each, so that the peak of memory is its own; the start of Python is in the time."""
    told = "import resource; print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)"
    program = f"import sys; from pathlib import Path; {STEPS[step]}; {told}"

    def run() -> str:
        command = [sys.executable, "-c", program, str(results)]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    benchmark.extra_info["mebibytes"] = float(benchmark.pedantic(run, rounds=1).splitlines()[-1])
