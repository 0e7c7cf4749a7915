"""Runs the command in this process, on plugins written to a temporary folder."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import pytest

from bench.cli import main
from leaderboard import record

TOYS = Path(__file__).with_name("toys.py")


class Answer(NamedTuple):
    status: int
    out: str
    err: str


Bench = Callable[..., Answer]
Write = Callable[[str], Path]


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Bench:
    """Run `bench …` as a stranger without data: exit status, what it printed, what it complained about."""
    monkeypatch.delenv("BENCH_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments: object) -> Answer:
        monkeypatch.setattr(sys, "argv", ["bench", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            main()
        printed = capsys.readouterr()
        assert isinstance(stop.value.code, int)
        return Answer(stop.value.code, printed.out, printed.err)

    return run


@pytest.fixture
def write(tmp_path: Path) -> Iterator[Write]:
    """Write a plugin that has the toys at hand; it is forgotten after the test."""
    before = set(sys.modules)
    folder = tmp_path / "plugins"
    folder.mkdir()

    def plugin(entries: str, name: str = "mine") -> Path:
        sys.modules.pop(name, None)
        path = folder / f"{name}.py"
        path.write_text(TOYS.read_text() + "\n\n" + entries)
        return path

    yield plugin
    for name in set(sys.modules) - before:
        if getattr(sys.modules[name], "__file__", None) and str(folder) in str(sys.modules[name].__file__):
            del sys.modules[name]


@pytest.fixture
def scores() -> Callable[[Path], pd.DataFrame]:
    """All scores of a results folder but those of runtime, in one order."""

    def read(results: Path) -> pd.DataFrame:
        loaded = record.load(results)
        frame = loaded.scores.astype(dict.fromkeys(("task", "explainer", "metric", "sample"), str))
        costs = loaded.cells.loc[loaded.cells.category == "runtime", "metric"].unique()
        frame = frame[~frame.metric.isin(costs)]
        return frame.sort_values(["task", "explainer", "metric", "sample"], ignore_index=True)

    return read
