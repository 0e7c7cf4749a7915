"""Records: what is written is read back; a file is whole or absent; two folders merge by copying."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from leaderboard.record import SAMPLES, Cell, Record, Status, load, path_of, read, read_samples, write, write_samples


def _record(explainer: str = "grad_cam", shard: str = "0", score: float = 0.5) -> Record:
    ids = [f"{shard}-{index}" for index in range(3)]
    scores = pd.DataFrame({"sample": ids, "metric": "sparseness", "score": [score, np.nan, 1.0]})
    cells = {
        "sparseness": Cell("complexity", True, "Sparseness()", Status.SCORED),
        "mprt": Cell("randomization", False, "MPRT()", Status.FAILED, "ValueError: no"),
    }
    samples = dict.fromkeys(ids, "fingerprint")
    return Record("shapes", shard, explainer, "cam", {"seed": "0"}, {"commit": "abc"}, samples, cells, scores)


def test_record_survives_the_round_trip(tmp_path: Path) -> None:
    record = _record()
    write(tmp_path, record)
    back = read(path_of(tmp_path, "shapes", "0", "grad_cam"))
    for name in ("task", "shard", "explainer", "family", "provenance", "origin", "samples", "cells"):
        assert getattr(back, name) == getattr(record, name), name
    pd.testing.assert_frame_equal(
        back.scores.astype({"sample": object, "metric": object}),
        record.scores.astype({"sample": object, "metric": object}),
    )
    assert back.cells["mprt"].status is Status.FAILED


def test_record_without_scores_survives_the_round_trip(tmp_path: Path) -> None:
    empty = Record("shapes", "0", "lrp", "lrp", {}, {}, {}, {}, pd.DataFrame(columns=["sample", "metric", "score"]))
    write(tmp_path, empty)
    assert read(path_of(tmp_path, "shapes", "0", "lrp")).scores.empty


def test_failing_write_leaves_the_older_record_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, _record(score=0.5))
    path = path_of(tmp_path, "shapes", "0", "grad_cam")
    before = path.read_bytes()

    def full(_table: object, where: Path) -> None:
        where.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(pq, "write_table", full)
    with pytest.raises(OSError, match="disk full"):
        write(tmp_path, _record(score=0.7))
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_writing_again_replaces(tmp_path: Path) -> None:
    write(tmp_path, _record(score=0.5))
    write(tmp_path, _record(score=0.7))
    assert load(tmp_path).scores.score.iloc[0] == 0.7


@pytest.mark.parametrize("content", [b"", b"not parquet", b"PAR1 cut short"])
def test_corrupted_record_is_named_with_the_remedy(content: bytes, tmp_path: Path) -> None:
    path = path_of(tmp_path, "shapes", "0", "grad_cam")
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"grad_cam\.parquet cannot be read .*delete it"):
        load(tmp_path)


def test_foreign_parquet_file_is_named(tmp_path: Path) -> None:
    path = path_of(tmp_path, "shapes", "0", "other")
    path.parent.mkdir(parents=True)
    pd.DataFrame({"x": [1]}).to_parquet(path)
    with pytest.raises(ValueError, match=r"other\.parquet is not a record"):
        load(tmp_path)


def test_record_of_another_version_is_named(tmp_path: Path) -> None:
    write(tmp_path, _record())
    path = path_of(tmp_path, "shapes", "0", "grad_cam")
    pq.write_table(pq.read_table(path).replace_schema_metadata({b"heatmark": b'{"cells": {"m": {}}}'}), path)
    with pytest.raises(ValueError, match=r"grad_cam\.parquet was written by another version"):
        load(tmp_path)


def test_empty_folder_says_how_to_fill_it(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no records in .*bench run"):
        load(tmp_path)


def test_copying_two_folders_together_merges_them(tmp_path: Path) -> None:
    for folder, record in (
        ("a", _record("grad_cam", "0")),
        ("b", _record("grad_cam", "1")),
        ("b", _record("lrp", "1")),
    ):
        write(tmp_path / folder, record)
        samples = pd.DataFrame({"sample": list(record.samples), "outcome": "true positive"})
        write_samples(tmp_path / folder, "shapes", record.shard, samples)
    shutil.copytree(tmp_path / "b", tmp_path / "a", dirs_exist_ok=True)
    results = load(tmp_path / "a")
    assert len(results.scores) == 9
    assert set(results.scores["sample"]) == set(results.samples["sample"])
    assert sorted(zip(results.cells.explainer, results.cells.shard, strict=True)) == sorted(
        [("grad_cam", "0"), ("grad_cam", "1"), ("lrp", "1")] * 2
    )
    names = ["task", "explainer", "metric", "sample"]
    assert all(isinstance(results.scores[name].dtype, pd.CategoricalDtype) for name in names)


def test_samples_of_a_larger_run_stay_and_newer_facts_win(tmp_path):
    def facts(**outcomes: str) -> pd.DataFrame:
        return pd.DataFrame({"sample": list(outcomes), "outcome": list(outcomes.values())})

    write_samples(tmp_path, "toy", "00000", facts(a="true positive", b="true negative", c="true positive"))
    write_samples(tmp_path, "toy", "00000", facts(a="false positive", b="true negative"))
    kept = read_samples(path_of(tmp_path, "toy", "00000", SAMPLES))
    assert dict(zip(kept["sample"], kept.outcome, strict=True)) == {
        "a": "false positive",
        "b": "true negative",
        "c": "true positive",
    }
