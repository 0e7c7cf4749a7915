"""The table: what it counts, how it is cut, and how each format shows it."""

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from leaderboard.record import Cell, Record, Results, Status, load, write, write_samples
from leaderboard.table import COLUMNS, Format, leaderboard, render, to_rich

EXPLAINERS = {
    "grad_cam": ("cam", 2.0),
    "<script>alert(1)</script>": ("mine", 2.0),
    "a_b": ("mine", 0.5),
    "lrp": ("lrp", 0.5),
    "noise": ("controls", 0.0),
    "center": ("controls", 0.1),
}
METRICS = {
    "sparseness": ("complexity", True),
    "insertion": ("faithfulness", True),
    "deletion": ("faithfulness", False),
    "faithfulness_correlation": ("faithfulness", True),
    "sensitivity_n": ("faithfulness", True),
    "symmetric_relevance_gain": ("faithfulness", True),
    "seconds": ("runtime", False),
    "mprt": ("randomization", False),
}
OUTCOMES = ["true positive", "true negative", "false negative"]
N = 48


def _cell(explainer: str, metric: str) -> Cell:
    category, higher = METRICS[metric]
    if (explainer, metric) == ("a_b", "insertion"):
        return Cell(category, higher, f"{metric}()", Status.FAILED, "RuntimeError: out_of\nmemory | here")
    if (explainer, metric) == ("grad_cam", "mprt"):
        return Cell(category, higher, f"{metric}()", Status.INAPPLICABLE, "the model has no layer to change")
    return Cell(category, higher, f"{metric}()", Status.SCORED)


def _scores(task: str, explainer: str, metric: str, ids: list[str]) -> pd.DataFrame:
    rng = np.random.default_rng(sum(map(ord, task + explainer + metric)))
    effect = EXPLAINERS[explainer][1] * (1 if METRICS[metric][1] else -1)
    scores = effect + rng.normal(size=len(ids)) * 0.3
    if metric == "sparseness":
        scores[:2] = np.nan
        if explainer == "lrp":
            scores[:5] = np.nan
    return pd.DataFrame({"sample": ids, "metric": metric, "score": scores})


def _fill(folder: Path) -> Results:
    for task in ("shapes", "brain"):
        ids = [f"{task}-{index:03d}" for index in range(N)]
        outcomes = [OUTCOMES[index % 3] for index in range(N)]
        write_samples(folder, task, "0", pd.DataFrame({"sample": ids, "outcome": outcomes}))
        for explainer, (family, _) in EXPLAINERS.items():
            cells = {metric: _cell(explainer, metric) for metric in METRICS}
            scored = [metric for metric, cell in cells.items() if cell.status == Status.SCORED]
            scores = pd.concat([_scores(task, explainer, metric, ids) for metric in scored])
            write(folder, Record(task, "0", explainer.replace("/", "∕"), family, {}, {}, {}, cells, scores))
    return load(folder)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    found = _fill(tmp_path_factory.mktemp("results"))
    for frame in (found.scores, found.cells):
        names = frame["explainer"].astype(str).str.replace("∕", "/")
        frame["explainer"] = names.astype("category")
    return found


@pytest.fixture(scope="module")
def table(results: Results) -> pd.DataFrame:
    return leaderboard(results)


def _row(table: pd.DataFrame, explainer: str, metric: str, task: str = "shapes") -> pd.Series:
    found = table[(table.task == task) & (table.explainer == explainer) & (table.metric == metric)]
    assert len(found) == 1
    return found.iloc[0]


def test_table_has_a_row_for_everything_in_order(table: pd.DataFrame) -> None:
    assert list(table.columns) == list(COLUMNS)
    assert len(table) == 2 * len(EXPLAINERS) * len(METRICS)
    assert list(dict.fromkeys(table.task)) == ["brain", "shapes"]
    categories = ["faithfulness", "randomization", "complexity", "runtime"]
    assert list(dict.fromkeys(table.category)) == categories
    assert list(dict.fromkeys(table.metric))[:3] == ["deletion", "faithfulness_correlation", "insertion"]


def test_table_agrees_with_the_scores(table: pd.DataFrame, results: Results) -> None:
    scores = results.scores.astype({"task": str, "explainer": str, "metric": str})
    means = scores.groupby(["task", "explainer", "metric"], observed=True).score.agg(["mean", "count"])
    for _, row in table[table.n > 0].iterrows():
        mean, count = means.loc[(row.task, row.explainer, row.metric)]
        assert row["mean"] == pytest.approx(mean)
        assert row.n == count
        if row.category == "runtime":
            assert np.isnan(row.low)
            assert np.isnan(row.high)
        else:
            assert row.low < row["mean"] < row.high


def test_undefined_scores_are_counted(table: pd.DataFrame) -> None:
    row = _row(table, "lrp", "sparseness")
    assert (row.n, row.n_undefined, row.n_samples) == (N - 5, 5, N)


def test_maps_that_are_zero_everywhere_are_counted_in_the_cut(results: Results) -> None:
    zero_maps = pd.DataFrame(
        [("brain", "grad_cam", f"brain-{index:03d}") for index in range(4)] + [("shapes", "lrp", "shapes-000")],
        columns=["task", "explainer", "sample"],
    )
    told = replace(results, zero_maps=zero_maps)
    whole = leaderboard(told, tasks=["brain"])
    counts = whole.groupby("explainer").n_zero_maps.agg(["min", "max"])
    assert counts.loc["grad_cam"].tolist() == [4, 4]
    assert counts.drop("grad_cam").eq(0).all(axis=None)
    assert "maps that are 0 everywhere: grad_cam: 4 samples" in render(whole, "text")
    cut = leaderboard(told, tasks=["brain"], outcomes=["true positive"])
    assert set(cut[cut.explainer == "grad_cam"].n_zero_maps) == {2}
    assert "0 everywhere" not in render(leaderboard(results), "text")


def test_failed_and_inapplicable_cells_keep_their_reason(table: pd.DataFrame) -> None:
    failed = _row(table, "a_b", "insertion")
    assert (failed.n, failed.status, failed["rank"]) == (0, "failed", pd.NA)
    assert failed.reason.startswith("RuntimeError")
    assert np.isnan(failed["mean"])
    assert _row(table, "grad_cam", "mprt").status == "inapplicable"


def test_planted_effects_are_ranked_and_marked(table: pd.DataFrame) -> None:
    for metric in ("deletion", "symmetric_relevance_gain"):
        ranks = {name: _row(table, name, metric)["rank"] for name in EXPLAINERS}
        assert ranks["lrp"] >= 3
        assert ranks["noise"] is pd.NA
        assert _row(table, "grad_cam", metric).beats_controls
        assert min(ranks["grad_cam"], ranks["<script>alert(1)</script>"]) == 1
    assert table.loc[table.category == "runtime", ["beats_controls", "rank"]].isna().all(axis=None)
    assert not table[table.control].best.any()


def test_cuts_select(results: Results) -> None:
    cut = leaderboard(results, tasks=["shapes"], categories=["complexity"], outcomes=["true positive"])
    assert set(cut.task) == {"shapes"}
    assert set(cut.category) == {"complexity"}
    assert set(cut.n_samples) == {N // 3}
    chosen = results.samples[(results.samples.task == "shapes") & (results.samples.outcome == "true positive")]
    scores = results.scores[results.scores["sample"].isin(chosen["sample"])]
    scores = scores[(scores.explainer == "lrp") & (scores.metric == "sparseness")].score
    row = _row(cut, "lrp", "sparseness")
    assert row["mean"] == pytest.approx(scores.mean())
    assert row.n_undefined == scores.isna().sum()
    assert "true positive only" in render(cut, "text")


@pytest.mark.parametrize(
    ("cut", "message"),
    [
        ({"tasks": ["brian"]}, "no task brian .*there are: brain, shapes"),
        ({"categories": ["axiomatic"]}, "no category axiomatic .*complexity, faithfulness"),
        ({"outcomes": ["false positive"]}, "no sample with outcome false positive; .*false negative, true negative"),
        ({"tasks": []}, "tasks brain, shapes; categories complexity"),
    ],
)
def test_empty_cut_says_what_there_is(cut: dict[str, Any], message: str, results: Results) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        leaderboard(results, **cut)
    assert "\n" not in str(caught.value)


def test_shards_are_put_together(tmp_path: Path) -> None:
    for shard, status in (("0", Status.SCORED), ("1", Status.FAILED), ("2", Status.SCORED)):
        ids = [f"{shard}-{index}" for index in range(4)]
        reason = "" if status == Status.SCORED else "MemoryError"
        scores = pd.DataFrame({"sample": ids if not reason else [], "metric": "m", "score": 1.0})
        settings = "M(2)" if shard == "2" else "M(1)"
        write(
            tmp_path, Record("t", shard, "e", "f", {}, {}, {}, {"m": Cell("c", True, "M(1)", status, reason)}, scores)
        )
        write(
            tmp_path, Record("t", shard, "s", "f", {}, {}, {}, {"m": Cell("c", True, settings, Status.SCORED)}, scores)
        )
    table = leaderboard(load(tmp_path))
    row = _row(table, "e", "m", "t")
    assert (row.n, row.status, row.reason) == (8, "partial", "MemoryError")
    assert "other settings" in _row(table, "s", "m", "t").reason
    assert "n=8" in render(table, "text")


def test_sample_in_two_shards_counts_once(tmp_path: Path) -> None:
    scores = pd.DataFrame({"sample": ["x", "y"], "metric": "m", "score": [1.0, 3.0]})
    for shard in "01":
        write(tmp_path, Record("t", shard, "e", "f", {}, {}, {}, {"m": Cell("c", True, "M()", Status.SCORED)}, scores))
    assert leaderboard(load(tmp_path)).n.tolist() == [2]


def test_same_records_give_the_same_table(table: pd.DataFrame, results: Results) -> None:
    pd.testing.assert_frame_equal(table, leaderboard(results))


# Formats


@pytest.mark.parametrize("width", [60, 80, 100, 160])
def test_text_fits_the_width(table: pd.DataFrame, width: int) -> None:
    text = render(table, "text", width=width)
    assert max(map(len, text.splitlines())) <= width
    for row in table[table.n > 0].itertuples():
        assert str(row.explainer)[:10] in text


def test_text_shows_marks_and_reasons_once(table: pd.DataFrame) -> None:
    text = render(table[(table.task == "shapes") & (table.category == "faithfulness")], "text")
    assert f"shapes · faithfulness · {N} samples" in text
    assert text.count("out_of memory | here") == 1
    for mark in ("*¹", "†", "failed", "↑", "↓", f"n={N}", "[", "[low, high]" if "[low, high]" in text else "95 %"):
        assert mark in text
    lines = text.splitlines()
    rules = [index for index, line in enumerate(lines) if line.startswith("───")]
    assert {line.split()[0] for line in lines[rules[1] + 1 : rules[1] + 5] if line[:1].strip()} == {"center", "noise"}


def test_text_marks_a_cell_whose_n_differs(table: pd.DataFrame) -> None:
    text = render(table[table.category == "complexity"], "text")
    assert f"↑ n={N - 2}" in text
    assert f"n={N - 5} " in text


def test_rich_sets_the_best_in_bold(table: pd.DataFrame) -> None:
    page = io.StringIO()
    Console(file=page, width=100, force_terminal=True, color_system="standard").print(to_rich(table))
    assert "\x1b[1m" in page.getvalue()


def test_markdown_is_escaped(table: pd.DataFrame) -> None:
    text = render(table, "markdown")
    assert "<script>" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert r"out_of memory \| here" in text
    grids = [block for block in text.split("\n\n") if block.startswith("|")]
    assert len(grids) == 8
    for grid in grids:
        assert len({line.replace(r"\|", "").count("|") for line in grid.splitlines()}) == 1


def test_latex_is_escaped(table: pd.DataFrame) -> None:
    text = render(table, "latex")
    assert r"a\_b" in text
    assert "a_b" not in text
    assert r"\textless{}script\textgreater{}" in text
    assert r"95 \% bootstrap" in text
    assert text.count(r"\begin{tabular}") == text.count(r"\end{tabular}") == 8
    assert text.isascii()


def test_csv_is_the_long_table(table: pd.DataFrame) -> None:
    back = pd.read_csv(io.StringIO(render(table, "csv")), keep_default_na=False)
    assert list(back.columns) == list(COLUMNS)
    assert back.explainer.tolist() == table.explainer.astype(str).tolist()
    assert float(back["mean"].iloc[0]) == table["mean"].iloc[0]


def test_every_format_is_text_and_an_unknown_one_is_an_error(table: pd.DataFrame) -> None:
    for format in get_args(Format):
        assert render(table, format)
    with pytest.raises(ValueError, match="no format 'html'; there are: text, markdown, csv, latex"):
        render(table, "html")  # type: ignore[arg-type]


def test_table_can_be_made_of_plain_strings(results: Results, table: pd.DataFrame) -> None:
    scores = results.scores.astype(dict.fromkeys(("task", "explainer", "metric", "sample"), object))
    cells = results.cells.astype({"explainer": object})
    plain = leaderboard(Results(scores, cells, results.samples))
    assert json.loads(plain["mean"].to_json()) == json.loads(table["mean"].to_json())


def test_table_without_samples_file_counts_the_scored(results: Results) -> None:
    bare = Results(results.scores, results.cells, pd.DataFrame())
    assert set(leaderboard(bare).n_samples) == {N}
    with pytest.raises(ValueError, match="no outcomes"):
        leaderboard(bare, outcomes=["true positive"])
