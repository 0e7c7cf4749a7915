"""Results of several machines: what agrees is joined, what does not is told, and nothing of the sources is changed."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leaderboard.exchange import merging
from leaderboard.exchange.merging import Prefer, merge, write_merged
from leaderboard.exchange.tolerance import ABSOLUTE, RELATIVE, deviations
from leaderboard.record import Status, load, path_of

NAN = float("nan")


@pytest.fixture
def a(tmp_path) -> Path:
    return tmp_path / "a"


@pytest.fixture
def b(tmp_path) -> Path:
    return tmp_path / "b"


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.parquet")}


def scores(merged: merging.Merged, explainer: str = "grad_cam", shard: str = "00000") -> dict[tuple[str, str], float]:
    rows = merged.records["toy", shard, explainer].scores
    return {(metric, name): score for name, metric, score in rows.itertuples(index=False, name=None)}


def lines(merged: merging.Merged) -> list[str]:
    return [conflict.line() for conflict in merged.conflicts]


@pytest.mark.parametrize("first_knows", [True, False])
def test_patients_stay_known(make, a, b, tmp_path, first_knows):
    knowing, older = (a, b) if first_knows else (b, a)
    make(knowing, patients=["Miller", None, "Maier"])
    make(knowing, shard="00001", patients=["Maier"] * 3)
    make(older, "noise", family="controls")
    write_merged(merge([a, b]), tmp_path / "c")
    known = load(tmp_path / "c").samples.set_index("sample").patient
    assert known.isna()["00000-1"]
    assert known.dropna().to_dict() == {
        **{"00000-0": "Miller", "00000-2": "Maier"},
        **{f"00001-{index}": "Maier" for index in range(3)},
    }


def test_tasks_shards_explainers_and_metrics_are_joined(make, a, b, tmp_path):
    make(a, metrics={"srg": [0.1, 0.2, 0.3]})
    make(b, metrics={"iou": [1.0, NAN, 0.5]}, all_zero=["00000-2"])
    make(b, "noise", family="controls")
    make(b, shard="00001")
    make(b, task="other", weights="bbbb")
    before = contents(a), contents(b)
    merged = merge([a, b])
    assert (merged.conflicts, merged.notes, merged.n_twice) == ([], [], 0)
    assert list(merged.records) == [
        ("other", "00000", "grad_cam"),
        ("toy", "00000", "grad_cam"),
        ("toy", "00000", "noise"),
        ("toy", "00001", "grad_cam"),
    ]
    both = merged.records["toy", "00000", "grad_cam"]
    assert set(both.cells) == {"srg", "iou"}
    assert both.origin["all_zero"] == '["00000-2"]'
    assert scores(merged)["srg", "00000-1"] == 0.2
    assert np.isnan(scores(merged)["iou", "00000-1"])
    write_merged(merged, tmp_path / "out")
    assert (contents(a), contents(b)) == before
    whole = load(tmp_path / "out")
    assert len(whole.scores) == 15
    assert len(whole.samples) == 9


def test_a_cell_in_two_folders_is_taken_once(make, a, b):
    make(a, metrics={"srg": [0.1, NAN, 0.3]})
    make(b, metrics={"srg": [0.1 + 1e-6, NAN, 0.3]})
    merged = merge([a, b])
    assert (merged.conflicts, merged.n_twice) == ([], 1)
    assert scores(merged)["srg", "00000-0"] == 0.1
    assert len(scores(merged)) == 3


def test_more_samples_of_a_shard_extend_the_cell(make, a, b):
    make(a, metrics={"srg": [0.1]})
    make(b, metrics={"srg": [0.1, 0.2, 0.3]})
    for folders in ([a, b], [b, a]):
        merged = merge(folders)
        assert merged.conflicts == []
        assert list(scores(merged).values()) == [0.1, 0.2, 0.3]
        assert set(merged.records["toy", "00000", "grad_cam"].samples) == {"00000-0", "00000-1", "00000-2"}
        assert len(merged.samples["toy", "00000"]) == 3


@pytest.mark.parametrize(
    ("other", "told"),
    [
        ({"weights": "bbbb"}, "toy: weights: aaaa in {a}, but bbbb in {b} (grad_cam of shard 00000)"),
        ({"seed": "7"}, "toy: seed: 0 in {a}, but 7 in {b}"),
        ({"versions": "torch=9"}, "toy, grad_cam: versions: torch=2.6 numpy=2.0 in {a}, but torch=9 in {b}"),
        ({"device": "H200"}, "toy, grad_cam: device: cpu x86_64 in {a}, but H200 in {b}"),
        ({"explainer_settings": "CAM(3)"}, "toy, grad_cam: settings: grad_cam() c0de in {a}, but CAM(3) in {b}"),
        ({"content": "beef"}, "toy: data of sample 00000-0 and 2 others: f00d in {a}, but beef in {b}"),
        ({"settings": {"srg": "SRG(2)"}}, "toy, srg: settings: srg() c0de in {a}, but SRG(2) in {b}"),
        ({"metrics": {"srg": [0.5, 0.25, 0.9]}}, "grad_cam by srg: score of sample 00000-2: 1 in {a}, but 0.9 in {b}"),
        ({"metrics": {"srg": [0.5, NAN, 1.0]}}, "score of sample 00000-1: 0.25 in {a}, but nan in {b}"),
        ({"metrics": {}, "inapplicable": {"srg": "no"}}, "grad_cam by srg: status: scored in {a}, but inapplicable in"),
    ],
)
def test_what_is_told_differently_is_one_line_with_both_values(other, told, make, a, b):
    made = make(a)
    make(b, **other)
    (line,) = lines(merge([a, b]))
    assert told.format(a=a, b=b) in line
    pd.testing.assert_frame_equal(
        merge([a, b]).records["toy", "00000", "grad_cam"].scores.reset_index(drop=True), made.scores
    )


@pytest.mark.parametrize("other", [{"weights": "bbbb"}, {"seed": "7"}, {"content": "beef"}])
def test_a_task_is_one_network_on_one_set_of_data_with_one_seed(other, make, a, b):
    """Also where no record is in both folders: a table would compare what cannot be compared."""
    make(a)
    make(b, **({"explainer": "noise", **other} if "content" in other else {"shard": "00001", **other}))
    merged = merge([a, b])
    assert len(merged.conflicts) == 1
    assert list(merged.records) == [("toy", "00000", "grad_cam")]


def test_shards_of_an_explainer_or_metric_have_one_setting(make, a, b):
    make(a)
    make(b, shard="00001", explainer="grad_cam", settings={"srg": "SRG(2)"})
    make(b, shard="00002", metrics={"iou": [1.0]})
    merged = merge([a, b])
    assert [conflict.where for conflict in merged.conflicts] == ["toy, srg"]
    assert merged.records["toy", "00001", "grad_cam"].cells == {}
    assert set(merged.records["toy", "00002", "grad_cam"].cells) == {"iou"}


def test_the_preferred_folder_or_record_stays(make, a, b):
    make(a, metrics={"srg": [0.1] * 3}, made="2026-05-01T00:00:00+00:00")
    make(a, "noise", metrics={"srg": [0.2] * 3}, made="2026-05-03T00:00:00+00:00")
    make(b, metrics={"srg": [0.8] * 3}, made="2026-05-02T00:00:00+00:00")

    def kept(folders: list[Path], prefer: Prefer) -> float:
        merged = merge(folders, prefer)
        assert len(merged.conflicts) == 1
        return scores(merged)["srg", "00000-0"]

    assert kept([a, b], Prefer.FIRST) == 0.1
    assert kept([b, a], Prefer.FIRST) == 0.8
    assert kept([a, b], Prefer.NEWEST) == kept([b, a], Prefer.NEWEST) == 0.8


def test_a_record_without_a_date_is_older_than_any(make, a, b):
    make(a, metrics={"srg": [0.1] * 3}, made="")
    make(b, metrics={"srg": [0.8] * 3}, made="1999-01-01T00:00:00+00:00")
    assert scores(merge([a, b], Prefer.NEWEST))["srg", "00000-0"] == 0.8


def test_a_failed_cell_gives_way_whoever_is_first(make, a, b):
    make(a, metrics={"iou": [1.0] * 3}, failed={"srg": "CUDA out of memory"})
    make(b)
    for folders in ([a, b], [b, a]):
        merged = merge(folders)
        assert merged.conflicts == []
        record = merged.records["toy", "00000", "grad_cam"]
        assert {metric: cell.status for metric, cell in record.cells.items()} == dict.fromkeys(
            ("iou", "srg"), Status.SCORED
        )
        assert scores(merged)["srg", "00000-2"] == 1


def test_a_task_that_failed_in_one_folder_gives_way(make, a, b):
    make(a, metrics={}, failed={"srg": "task: no data"}, weights="")
    make(b)
    merged = merge([a, b])
    assert merged.conflicts == []
    assert merged.records["toy", "00000", "grad_cam"].cells["srg"].status is Status.SCORED
    assert merged.notes == ["records that tell of failures only, and gave way to others: 1"]
    assert merge([a]).records["toy", "00000", "grad_cam"].cells["srg"].reason == "task: no data"


def test_runtimes_of_different_devices_are_told(make, a, b):
    make(a, metrics={"seconds": [0.1] * 3, "srg": [0.5] * 3})
    make(b, "noise", metrics={"seconds": [0.001] * 3}, device="H200", versions="torch=9")
    merged = merge([a, b])
    assert merged.conflicts == []
    both = ("versions: torch=2.6 numpy=2.0 (grad_cam); torch=9 (noise)", "devices: cpu x86_64 (grad_cam); H200 (noise)")
    assert merged.notes == [f"toy: made with several {what}; do not compare their seconds" for what in both]


def test_runtimes_measured_twice_on_one_kind_of_device_are_no_conflict(make, a, b):
    make(a, metrics={"seconds": [0.1] * 3})
    make(b, metrics={"seconds": [0.2] * 3})
    merged = merge([a, b])
    assert merged.conflicts == []
    assert set(scores(merged).values()) == {0.1}
    assert merged.notes == ["runtime was measured in several folders, and one measurement is kept: toy, seconds"]


def test_a_decision_that_differs_is_told(make, a, b):
    make(a)
    make(b, "noise", prediction="right")
    merged = merge([a, b])
    assert merged.notes == [
        "toy: another class is explained in another folder, of 3 samples of shard 00000, 00000-0 first: a close "
        "decision that rounding has moved"
    ]
    assert set(merged.samples["toy", "00000"].prediction) == {"left"}


def test_one_folder_may_contradict_itself(make, a):
    make(a, made="2026-01-01T00:00:00+00:00")
    make(a, "noise", weights="bbbb", made="2026-01-02T00:00:00+00:00")
    merged = merge([a])
    assert len(merged.conflicts) == 1
    assert list(merged.records) == [("toy", "00000", "noise")]


@settings(max_examples=6, derandomize=True, deadline=None)
@given(st.lists(st.integers(0, 3), min_size=8, max_size=8))
def test_however_a_run_is_split_and_overlaps_the_whole_comes_back(tmp_path_factory, request, places):
    """Each cell goes to folder 0, to folder 1, or to both."""
    make = request.getfixturevalue("make")
    root = tmp_path_factory.mktemp("split")
    cells = [(e, s, m) for e in ("grad_cam", "noise") for s in ("00000", "00001") for m in ("srg", "iou")]
    values = {cell: [index / 7, NAN, 1.0] for index, cell in enumerate(cells)}
    for folder in ("whole", "0", "1"):
        for explainer, shard in {cell[:2] for cell in cells}:
            chosen = {
                cell[2]: values[cell]
                for cell, place in zip(cells, places, strict=True)
                if cell[:2] == (explainer, shard) and (folder == "whole" or place in (int(folder), 2, 3))
            }
            if chosen:
                make(root / folder, explainer, shard, chosen)
    folders = [root / name for name in ("0", "1") if (root / name).exists()]
    merged = merge(folders)
    assert merged.conflicts == []
    assert merged.n_twice == sum(place > 1 for place in places)
    write_merged(merged, root / "out")
    columns = ["explainer", "metric", "sample", "score"]
    found, expected = (
        load(root / name).scores[columns].astype(dict.fromkeys(columns[:3], str)).sort_values(columns[:3])
        for name in ("out", "whole")
    )
    pd.testing.assert_frame_equal(found.reset_index(drop=True), expected.reset_index(drop=True))


def test_a_single_folder_merged_is_the_same_files(make, a, tmp_path):
    make(a, metrics={"iou": [0.5] * 3, "srg": [0.1, NAN, 0.3]})
    write_merged(merge([a]), tmp_path / "out")
    assert contents(tmp_path / "out") == contents(a)


def test_the_folder_is_new_and_whole_or_absent(make, a, tmp_path, monkeypatch):
    make(a)
    with pytest.raises(ValueError, match="is there already"):
        write_merged(merge([a]), a)

    def full(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(merging, "write_samples", full)
    with pytest.raises(OSError, match="disk full"):
        write_merged(merge([a]), tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_folder_without_records_and_a_broken_record_are_named(make, a, tmp_path):
    make(a)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"no records in .*empty"):
        merge([a, tmp_path / "empty"])
    path_of(a, "toy", "00000", "grad_cam").write_bytes(b"PAR1")
    with pytest.raises(ValueError, match=r"grad_cam\.parquet cannot be read"):
        merge([a])


def test_deviations_are_in_units_of_what_is_tolerated():
    assert deviations([0, 1, NAN, NAN], [0, 1, NAN, 0]).tolist() == [0, 0, 0, np.inf]
    np.testing.assert_allclose(
        deviations([0, -100], [1, 100]), [1 / (ABSOLUTE + RELATIVE), 200 / (ABSOLUTE + 100 * RELATIVE)]
    )
    np.testing.assert_allclose(deviations(100, 99), 1 / (ABSOLUTE + 100 * RELATIVE))
