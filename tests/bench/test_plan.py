"""What remains to be done: the older record against the wanted one."""

from dataclasses import replace

import pandas as pd

from bench.plan import todo, with_scores
from leaderboard.record import Cell, Record, Status

SCORED = Cell("complexity", True, "M()", Status.SCORED)
WANTED = Record(
    task="t",
    shard="00000",
    explainer="e",
    family="f",
    provenance={"seed": "0", "weights": "abc"},
    origin={},
    samples={"a": "1", "b": "2"},
    cells={"m": SCORED},
    scores=pd.DataFrame({"sample": [], "metric": [], "score": []}),
)


def made(*samples: str, metric: str = "m", **changes: object) -> Record:
    rows = pd.DataFrame({"sample": list(samples), "metric": metric, "score": 0.5})
    return replace(WANTED, scores=rows, **changes)


def test_without_a_record_everything_is_to_be_done():
    assert todo(WANTED, None).metrics == ("m",)
    assert todo(WANTED, None).stale is None


def test_a_complete_record_leaves_nothing():
    assert todo(WANTED, made("a", "b")).metrics == ()


def test_a_record_of_more_samples_leaves_nothing():
    older = made("a", "b", "c", samples={"a": "1", "b": "2", "c": "3"})
    remaining = todo(WANTED, older)
    assert remaining.metrics == ()
    assert remaining.kept.samples == {"a": "1", "b": "2", "c": "3"}


def test_a_record_of_fewer_samples_is_done_again_and_is_not_stale():
    remaining = todo(WANTED, made("a", samples={"a": "1"}))
    assert remaining.metrics == ("m",)
    assert remaining.stale is None


def test_changed_provenance_and_data_are_named():
    older = made("a", "b", provenance={"seed": "1", "weights": "abc"}, samples={"a": "other", "b": "2"})
    assert todo(WANTED, older).stale == "seed, data"


def test_failed_cells_are_tried_again_and_inapplicable_ones_are_not():
    failed = made(cells={"m": replace(SCORED, status=Status.FAILED, reason="x")})
    assert todo(WANTED, failed).metrics == ("m",)
    inapplicable = made(cells={"m": replace(SCORED, status=Status.INAPPLICABLE, reason="x")})
    assert todo(WANTED, inapplicable).metrics == ()


def test_metrics_that_were_not_asked_for_are_kept():
    older = made("a", "b", metric="other", cells={"other": SCORED})
    remaining = todo(WANTED, older)
    assert remaining.metrics == ("m",)
    assert set(remaining.kept.cells) == {"other"}
    rows = pd.DataFrame({"sample": ["b", "a"], "metric": "m", "score": [2.0, 1.0]})
    merged = with_scores(remaining.kept, {"m": SCORED}, rows)
    assert merged.scores["metric"].tolist() == ["m", "m", "other", "other"]
    assert merged.scores["score"].tolist()[:2] == [1.0, 2.0]
    assert list(merged.cells) == ["m", "other"]
