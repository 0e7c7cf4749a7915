"""The human ceiling: a second reader's masks stand beside the explainers in localization, and nowhere else."""

import re

import numpy as np
import pandas as pd
import pytest

from leaderboard import record
from leaderboard.exchange.export import scores_table
from leaderboard.standings import standings
from leaderboard.table import leaderboard, render

READERS = """
@dataclass(frozen=True)
class ReadTwice(ToyTask):
    reader: str = "same"

    def sample(self, index):
        sample = super().sample(index)
        seconds = {
            "same": sample.mask,
            "apart": ~sample.mask,
            "half": sample.mask & (torch.arange(SIDE)[:, None] < SIDE // 2),
            "some": sample.mask if index < 2 else None,
            "wrong": sample.mask[:, 1:],
            "none": None,
        }
        return sample._replace(second=seconds[self.reader])


same, apart, half, some, wrong, none = (ReadTwice(reader=name) for name in ("same apart half some wrong none".split()))
weights = Weights()
"""
METRICS = "iou,pointing_game,relevance_mass_accuracy,border_mass,sparseness,deletion"
SCORED = ["iou", "pointing_game", "relevance_mass_accuracy"]


@pytest.fixture
def run(bench, write, tmp_path):
    plugin = write(READERS)

    def ran(tasks: str, *options: object, metrics: str = METRICS, status: int = 0):
        answer = bench(
            *("run", "--plugins", plugin, "--tasks", tasks, "--explainers", "weights,noise,edges"),
            *("--metrics", metrics, "--results", tmp_path / "r", *options),
        )
        assert answer.status == status, answer.out + answer.err
        return answer

    return ran


def human(folder) -> pd.DataFrame:
    table = leaderboard(record.load(folder))
    return table[table.family == "human"].set_index(["task", "metric"])


def test_readers_who_agree_score_one_and_those_who_do_not_zero(run, tmp_path):
    run("same,apart,half")
    rows = human(tmp_path / "r")
    assert rows.loc["same", "mean"][SCORED].tolist() == [1, 1, 1]
    assert rows.loc["apart", "mean"][SCORED].tolist() == [0, 0, 0]
    assert rows.loc["half", "mean"][SCORED].tolist() == [0.5, 1, 1]
    assert rows.loc[("same", "border_mass"), ["n", "status"]].tolist() == [0, "inapplicable"]
    assert set(rows.index.get_level_values("metric")) == {*SCORED, "border_mass"}  # localization only
    assert set(rows.explainer) == {"human"}
    assert rows.control.all()
    assert rows[["rank", "beats_controls"]].isna().all(axis=None)
    assert not rows.best.any()


def test_images_that_were_not_read_again_are_undefined_and_no_zero_maps(run, tmp_path):
    run("some")
    row = human(tmp_path / "r").loc[("some", "iou")]
    assert row[["n", "n_undefined", "mean", "n_zero_maps"]].tolist() == [2, 4, 1, 0]


def test_a_task_that_nobody_read_again_shows_nothing(run, tmp_path):
    answer = run("none", "--by-task")
    assert "human" not in answer.out
    assert not list((tmp_path / "r").rglob("human.parquet"))
    run("same", metrics="sparseness,deletion")  # no localization was asked for
    assert not list((tmp_path / "r").rglob("human.parquet"))


def test_a_reader_takes_no_part_in_any_comparison(run, tmp_path):
    run("same", "--by-task")
    with_human = record.load(tmp_path / "r")
    found, table = standings(with_human), leaderboard(with_human)
    assert "human" not in found.explainers.names
    (tmp_path / "r" / "same" / "00000" / "human.parquet").unlink()
    without = record.load(tmp_path / "r")
    assert without.human is None
    pd.testing.assert_frame_equal(with_human.scores, without.scores)
    pd.testing.assert_frame_equal(with_human.cells, without.cells)
    again = leaderboard(without)
    others = table[table.family != "human"].reset_index(drop=True)
    pd.testing.assert_frame_equal(others.astype(again.dtypes), again)
    bare = standings(without)
    for one, other in zip(found.columns, bare.columns, strict=True):
        assert (one.letters, one.beats_controls) == (other.letters, other.beats_controls)
        np.testing.assert_array_equal(one.mean_rank, other.mean_rank)
    np.testing.assert_array_equal(found.place, bare.place)


def test_tables_show_the_reader_below_the_controls_and_say_who_it_is(run, tmp_path, bench):
    answer = run("same", "--by-task")
    told = "human: a second reader's masks, judged as if they were maps"
    assert answer.out.count(told) == 1
    localization = answer.out.split("same · localization")[1]
    assert re.search(r"weights(.|\n)+noise(.|\n)+human", localization)
    table = leaderboard(record.load(tmp_path / "r"))
    assert "| human (second reader) |" in render(table, "markdown")
    assert "human (second reader)" in render(table, "latex")
    assert render(table, "csv").count(",human,human,True,") == 4
    page = tmp_path / "report.html"
    assert bench("report", "--results", tmp_path / "r", "--out", page).status == 0
    assert told in page.read_text().replace("&#39;", "'")
    assert "human <small>second reader</small>" in page.read_text()
    rows = scores_table(tmp_path / "r")
    assert rows[rows.family == "human"].control.all()


def test_records_are_used_again_and_extended(run, tmp_path):
    run("same", "--samples", 2)
    path = tmp_path / "r" / "same" / "00000" / "human.parquet"
    written = path.stat().st_mtime_ns
    assert "Cells: 0 computed" in run("same", "--samples", 2).out
    assert path.stat().st_mtime_ns == written
    answer = run("same", "--samples", 4)
    assert "stale" not in answer.out
    assert human(tmp_path / "r").loc[("same", "iou"), "n"] == 4


def test_a_mask_of_another_size_is_one_line(run):
    answer = run("wrong", status=1)
    assert "toy-0: its second mask is (1, 16, 16) bool, not (1, 15, 16)" in answer.out


def test_results_with_a_reader_are_merged_submitted_and_verified(run, tmp_path, bench):
    run("same")
    again = bench("merge", tmp_path / "r", tmp_path / "r", "--out", tmp_path / "both")
    assert again.status == 0, again.err
    assert (tmp_path / "both" / "same" / "00000" / "human.parquet").exists()
    assert bench("submit", "--results", tmp_path / "both", "--out", tmp_path / "r.zip").status == 0
    plugin = tmp_path / "plugins" / "mine.py"
    verified = bench("verify", tmp_path / "r.zip", "--plugins", plugin, "--device", "cpu", "--cells", 40)
    assert verified.status == 0, verified.out + verified.err
    assert "human" not in verified.out
