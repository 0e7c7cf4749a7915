"""Tables for other programs: every score with its sample, in three formats that say the same, documented columns."""

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from leaderboard import table
from leaderboard.exchange.export import MEANS, SCORES, SUFFIXES, cut, means_table, scores_table, write_table
from leaderboard.record import load

DOCS = Path(__file__).parents[2] / "docs" / "exchange.md"
NAN = float("nan")


@pytest.fixture
def results(make, tmp_path) -> Path:
    folder = tmp_path / "results"
    make(folder, metrics={"srg": [0.1, NAN, 1 / 3], "seconds": [0.2] * 3}, failed={"iou": "ValueError: no, or\n“so”"})
    make(folder, "noise", metrics={"srg": [0.0, 0.5, 0.25]}, family="controls", all_zero=["00000-1"])
    alone = {"patients": ["Miller"], "inapplicable": {"iou": "no masks"}}
    make(folder, "noise", "00001", metrics={"srg": [1.0]}, family="controls", **alone)
    return folder


def test_scores_stand_with_what_is_known_of_sample_explainer_and_metric(results):
    rows = scores_table(results).set_index(["explainer", "metric", "sample"])
    assert rows.loc[("noise", "srg", "00001-0"), "patient"] == "Miller"
    one = rows.loc[("grad_cam", "srg", "00000-2")].drop("patient").to_dict()
    assert one == {
        "task": "toy",
        "label": "left",
        "prediction": "left",
        "outcome": "true positive",
        "target": "left",
        "probability": 0.75,
        "mask_area": 0.5,
        "family": "cam",
        "control": False,
        "zero_map": False,
        "category": "faithfulness",
        "higher_is_better": True,
        "score": 1 / 3,
        "status": "scored",
        "reason": "",
        "device": "cpu x86_64",
    }
    assert len(rows) == 3 * 3 + 3 + 2
    assert rows.index.is_unique
    assert rows.control.groupby("explainer", observed=True).first().to_dict() == {"grad_cam": False, "noise": True}
    assert rows[rows.zero_map].index.tolist() == [("noise", "srg", "00000-1")]


def test_what_has_no_score_has_a_row_that_says_why(results):
    rows = scores_table(results).set_index(["explainer", "metric", "sample"])
    undefined = rows.loc[("grad_cam", "srg", "00000-1")]
    assert (undefined.status, np.isnan(undefined.score)) == ("undefined", True)
    failed = rows.loc[("grad_cam", "iou")]
    assert set(zip(failed.status, failed.reason, strict=True)) == {("failed", "ValueError: no, or\n“so”")}
    assert len(failed) == 3
    inapplicable = rows.loc[("noise", "iou", "00001-0")]
    assert (inapplicable.status, inapplicable.reason) == ("inapplicable", "no masks")
    assert rows.score.isna().tolist() == (rows.status != "scored").tolist()


def test_a_task_that_failed_without_samples_has_a_row_a_metric(make, tmp_path):
    make(tmp_path, metrics={"srg": []}, failed={"iou": "task: no data"})
    rows = scores_table(tmp_path)
    assert rows[["metric", "status", "reason"]].to_numpy().tolist() == [["iou", "failed", "task: no data"]]
    assert rows["sample"].isna().all()


def test_samples_that_nothing_is_known_of_keep_their_scores(results):
    for path in results.rglob("samples.parquet"):
        path.unlink()
    rows = scores_table(results)
    assert list(rows.columns) == list(SCORES)
    assert rows[["label", "patient", "probability", "mask_area"]].isna().all(axis=None)
    assert rows.score.notna().sum() == 2 + 3 + 3 + 1


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
@pytest.mark.parametrize("patients", [None, ["Miller", None, "Maier"]])
def test_a_patient_that_nobody_knows_is_missing(make, tmp_path, patients, suffix):
    make(tmp_path / "r", patients=patients)
    write_table(scores_table(tmp_path / "r"), path := tmp_path / f"x{suffix}")
    back = (pd.read_csv if suffix == ".csv" else pd.read_parquet)(path).patient
    assert [None if pd.isna(value) else value for value in back] == (patients or [None] * 3)
    assert suffix == ".csv" or back.dtype == "category"


def test_a_sample_in_two_shards_has_one_row(make, tmp_path):
    made = make(tmp_path)
    (tmp_path / "toy" / "00001").mkdir()
    for path in (tmp_path / "toy" / "00000").iterdir():
        (tmp_path / "toy" / "00001" / path.name).write_bytes(path.read_bytes())
    assert len(scores_table(tmp_path)) == len(made.samples)


@pytest.mark.parametrize("kind", ["scores", "means"])
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_format_holds_the_same_to_the_last_bit(results, suffix, kind, tmp_path):
    table = scores_table(results) if kind == "scores" else means_table(load(results))
    path = tmp_path / f"out{suffix}"
    write_table(table, path)
    if suffix == ".json":
        back = pd.DataFrame(json.loads(path.read_text(encoding="utf-8")))
    else:
        back = pd.read_csv(path, keep_default_na=False, na_values=[""]) if suffix == ".csv" else pd.read_parquet(path)
    assert list(back.columns) == list(SCORES if kind == "scores" else MEANS)
    for name in table.columns:
        expected = table[name].astype(object).where(table[name].notna(), None).tolist()
        found = back[name].astype(object).where(back[name].notna(), None).tolist()
        if suffix == ".csv":
            expected = [value if value != "" else None for value in expected]
        assert found == expected, name
    assert [path.name for path in tmp_path.glob("*out*")] == [path.name]


def test_parquet_comes_back_ready_for_pandas(results, tmp_path):
    table = scores_table(results)
    write_table(table, tmp_path / "scores.parquet")
    back = pd.read_parquet(tmp_path / "scores.parquet")
    pd.testing.assert_frame_equal(back, table)
    assert back.dtypes.map(str).value_counts().to_dict() == {"category": 14, "bool": 3, "float64": 3}


def test_json_has_no_number_that_is_none(make, tmp_path):
    make(tmp_path, metrics={"srg": [np.inf, NAN, 0.5]})
    write_table(scores_table(tmp_path), tmp_path / "x.json")

    def refuse(name: str) -> None:
        raise AssertionError(name)

    rows = json.loads((tmp_path / "x.json").read_text(), parse_constant=refuse)
    assert [(row["score"], row["status"]) for row in rows] == [
        (None, "undefined"),
        (None, "undefined"),
        (0.5, "scored"),
    ]


def test_means_are_those_of_the_table(results):
    means = means_table(load(results)).set_index(["explainer", "metric"])
    assert means.loc[("grad_cam", "srg"), "mean"] == (0.1 + 1 / 3) / 2
    assert means.loc[("noise", "srg"), ["n", "n_zero_maps"]].tolist() == [4, 1]
    assert set(MEANS) == set(table.COLUMNS)


def test_a_cut_leaves_rows_as_they_are(results):
    whole = means_table(load(results))
    kept = cut(whole, explainers={"grad_cam"}, metrics={"srg"})
    assert len(kept) == 1
    pd.testing.assert_series_equal(
        kept.iloc[0], whole[(whole.explainer == "grad_cam") & (whole.metric == "srg")].iloc[0], check_names=False
    )
    with pytest.raises(ValueError, match="nothing is left"):
        cut(whole, tasks={"toy"}, explainers={"lrp"})


def test_an_unknown_ending_and_an_empty_folder_are_told(results, tmp_path):
    with pytest.raises(ValueError, match=r"out\.xlsx: give it the ending \.csv, \.parquet or \.json"):
        write_table(scores_table(results), tmp_path / "out.xlsx")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"no records in .*bench run"):
        scores_table(tmp_path / "empty")


def test_a_failing_write_leaves_the_older_file(results, tmp_path, monkeypatch):
    path = tmp_path / "out.csv"
    path.write_text("older")

    def full(*_: object, **__: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(pd.DataFrame, "to_csv", full)
    with pytest.raises(OSError, match="disk full"):
        write_table(scores_table(results), path)
    assert path.read_text() == "older"


@pytest.mark.parametrize(("heading", "columns"), [("## Scores", SCORES), ("## Means", MEANS)])
def test_the_page_documents_the_columns_as_they_are(heading, columns):
    section = DOCS.read_text(encoding="utf-8").split(f"{heading}\n")[1].split("\n## ")[0]
    told = re.findall(r"^\| `(\w+)` \| (.*?) \|$", section, flags=re.MULTILINE)
    assert told == list(columns.items())
