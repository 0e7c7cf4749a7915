"""Critical-difference diagrams: bars go over those that cannot be told apart, and only over them."""

import re
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from leaderboard.charts.diagram import Over, bars, diagrams
from leaderboard.standings import Standings, standings
from leaderboard.style import Style

from .planted import normal, planted


def _found(n: int = 60) -> Standings:
    effects = {"good": 3.0, "fair": 0.0, "alike": 0.0, "poor": -3.0, "c_noise": -9.0}
    return standings(planted({("t", "f", "m", name): normal(n, at, x) for at, (name, x) in enumerate(effects.items())}))


def test_bars_join_those_that_cannot_be_told_apart() -> None:
    found = _found()
    column = found.column("f")
    rank = dict(zip(found.explainers.names, column.mean_rank[:, 0], strict=True))
    ((low, high),) = bars(found, column)
    assert {low, high} == {rank["fair"], rank["alike"]}


def test_too_few_samples_are_one_bar_over_all() -> None:
    found = _found(3)
    ranked = found.column("f").mean_rank[: found.explainers.n_ranked, 0]
    assert bars(found, found.column("f")) == [tuple(sorted(ranked))]


@pytest.mark.parametrize("suffix", [".png", ".svg"])
def test_diagrams_are_drawn_and_name_everybody(tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("matplotlib").rcParams, "svg.fonttype", "none")
    path = diagrams(_found(), [], tmp_path / "new" / f"cd{suffix}")
    if suffix == ".png":
        pixels = imread(path)
        assert np.ptp(pixels) > 0.9
        return
    text = path.read_text()
    for name in ("good", "fair", "alike", "poor", "c_noise (control)", "overall: mean rank"):
        assert name in text


EFFECTS = {"good": 1.0, "fair": 0.0, "alike": 0.0, "poor": -1.0}


def _over_tasks(n_tasks: int, patients: bool = False) -> Standings:
    scores = {
        (f"t{task:02d}", "f", "m", name): normal(8, 500 + 10 * task + at, effect)
        for task in range(n_tasks)
        for at, (name, effect) in enumerate(EFFECTS.items())
    }
    whose = {f"t{task:02d}": [f"p{index // 2}" for index in range(8)] for task in range(n_tasks)}
    return standings(planted(scores, patients=whose if patients else None))


def test_over_tasks_the_bars_are_of_the_tests_over_tasks() -> None:
    found = _over_tasks(12)
    column = found.column("f")
    rank = dict(zip(found.explainers.names, column.mean_rank[:, 0], strict=True))
    assert bars(found, column, "tasks") == [tuple(sorted((rank["fair"], rank["alike"])))]
    few = _over_tasks(4)
    assert len(bars(few, few.column("f"), "tasks")[0]) == len(EFFECTS)
    assert bars(few, few.column("f"), "samples") != bars(few, few.column("f"), "tasks")


@pytest.mark.parametrize(
    ("n_tasks", "patients", "over", "title"),
    [
        (12, False, "samples", "f: mean rank; joined by a bar: not separable over 96 samples of 12 tasks"),
        (12, True, "samples", "f: mean rank; joined by a bar: not separable over 48 patients of 12 tasks"),
        (12, True, "tasks", "f: mean rank; joined by a bar: not separable over 12 tasks"),
        (
            4,
            False,
            "tasks",
            "f: mean rank; nothing can be told apart: too few tasks: 4, and 6 comparisons need at least 8",
        ),
        (1, True, "samples", "f: mean rank; nothing can be told apart: too few patients: 4, and 6 comparisons need at"),
    ],
)
def test_the_title_says_over_what_and_how_many(
    tmp_path: Path, n_tasks: int, patients: bool, over: Over, title: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("matplotlib").rcParams, "svg.fonttype", "none")
    path = diagrams(_over_tasks(n_tasks, patients), ["f"], tmp_path / "cd.svg", Style(width=240), over)
    lines = re.findall(r"<text[^>]*>([^<]*)</text>", path.read_text())
    assert title in " ".join(lines)


def test_an_unknown_family_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no ranked family beauty in these results; there are: overall, f"):
        diagrams(_found(), ["beauty"], tmp_path / "x.png")
