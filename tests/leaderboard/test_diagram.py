"""Critical-difference diagrams: bars go over those that cannot be told apart, and only over them."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from leaderboard.charts.diagram import bars, diagrams
from leaderboard.standings import Standings, standings

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


def test_an_unknown_family_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no ranked family beauty in these results; there are: overall, f"):
        diagrams(_found(), ["beauty"], tmp_path / "x.png")
