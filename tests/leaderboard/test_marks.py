"""What a table says of its own columns: blind to noise, empty, and cut by the size of the evidence."""

import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from leaderboard.record import Cell, Record, Results, Status, load, write, write_samples
from leaderboard.table import leaderboard, render

N = 18
EXPLAINERS = {"grad_cam": ("cam", 2.0), "lrp": ("lrp", 1.0), "noise": ("controls", 0.0), "center": ("controls", 0.5)}
METRICS = {
    "good": ("localization", True, ""),
    "low": ("localization", False, ""),
    "blind": ("localization", True, ""),
    "blind_in_skin": ("localization", True, ""),
    "never_defined": ("localization", True, ""),
    "shortcut": ("localization", True, "the task has no masks of shortcuts"),
    "broken": ("localization", True, "RuntimeError: out of\npaper"),
    "mprt": ("randomization", True, "the model has no layer to change"),
    "seconds": ("runtime", False, ""),
}
TASKS = ("brain", "skin")


def _cell(metric: str) -> Cell:
    category, higher, reason = METRICS[metric]
    status = Status.FAILED if metric == "broken" else Status.INAPPLICABLE if reason else Status.SCORED
    return Cell(category, higher, f"{metric}()", status, reason)


def _scores(task: str, explainer: str, metric: str, n: int) -> np.ndarray:
    drawn = 0.1 * np.random.default_rng(sum(map(ord, task + explainer + metric))).normal(size=n)
    if metric == "never_defined":
        return np.full(n, np.nan)
    if metric == "blind" or (metric == "blind_in_skin" and task == "skin"):
        return drawn
    return (drawn + EXPLAINERS[explainer][1]) * (1 if METRICS[metric][1] else -1)


def _fill(folder: Path, n: int = N) -> Results:
    for task in TASKS:
        ids = [f"{task}-{index:02d}" for index in range(n)]
        areas = [0.0 if index % 6 == 5 else (index + 1) / 100 for index in range(n)]
        outcomes = ["true positive" if index % 2 else "false positive" for index in range(n)]
        write_samples(folder, task, "0", pd.DataFrame({"sample": ids, "outcome": outcomes, "mask_area": areas}))
        for explainer, (family, _) in EXPLAINERS.items():
            cells = {metric: _cell(metric) for metric in METRICS}
            scores = pd.concat(
                pd.DataFrame({"sample": ids, "metric": metric, "score": _scores(task, explainer, metric, n)})
                for metric, cell in cells.items()
                if cell.status == Status.SCORED
            )
            write(folder, Record(task, "0", explainer, family, {}, {}, {}, cells, scores))
    return load(folder)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    return _fill(tmp_path_factory.mktemp("results"))


@pytest.fixture(scope="module")
def table(results: Results) -> pd.DataFrame:
    return leaderboard(results)


def _telling(table: pd.DataFrame) -> dict[str, object]:
    return table.drop_duplicates("metric").set_index("metric").tells_noise.to_dict()


def test_only_metrics_blind_to_noise_are_said_to_be(table: pd.DataFrame, results: Results) -> None:
    expected = {"good": True, "low": True, "blind": False, "blind_in_skin": True}
    told = _telling(table)
    assert {metric: told[metric] for metric in expected} == expected
    assert all(told[metric] is None for metric in set(METRICS) - set(expected))
    assert table.groupby("metric").tells_noise.nunique(dropna=False).eq(1).all()
    assert _telling(leaderboard(results, tasks=["skin"]))["blind_in_skin"] is False
    assert _telling(leaderboard(results, tasks=["brain"]))["blind_in_skin"] is True


@pytest.mark.parametrize("format", ["text", "markdown"])
def test_a_blind_metric_is_marked_and_the_mark_explained(table: pd.DataFrame, format: str) -> None:
    text = render(table[table.task == "brain"], format, width=160)  # type: ignore[arg-type]
    words = text[: text.index("over all samples")].split()
    assert {"blind‡", "good", "low", "blind_in_skin"} < set(words)
    assert "blind" not in words
    assert text.count("‡ blind: over all samples of these tables no explainer is significantly better than") == 1
    latex = render(table[table.task == "brain"], "latex")
    assert r"blind$\ddagger$ $\uparrow$" in latex
    assert latex.isascii()


def test_with_too_few_samples_nothing_is_marked(tmp_path: Path) -> None:
    table = leaderboard(_fill(tmp_path, n=2))
    assert table.tells_noise.isna().all()
    assert "‡" not in render(table, "text")


def test_columns_without_any_score_are_named_beneath(table: pd.DataFrame) -> None:
    text = " ".join(render(table[table.task == "brain"], "text", width=400).split())
    assert (
        f"left out, as there is not one score: never_defined (undefined for every sample); "
        f"shortcut (inapplicable: {METRICS['shortcut'][2]})"
    ) in text
    header = text[: text.index("left out")]
    assert "never_defined" not in header
    assert "shortcut" not in header
    assert text.count(METRICS["shortcut"][2]) == 1


def test_a_column_that_failed_stays(table: pd.DataFrame) -> None:
    text = " ".join(render(table[table.task == "brain"], "text", width=400).split())
    assert "broken" in text[: text.index("explainer")]
    assert "failed: RuntimeError: out of paper" in text


@pytest.mark.parametrize("format", ["text", "markdown", "latex"])
def test_a_table_without_columns_is_its_title_and_why(table: pd.DataFrame, format: str) -> None:
    text = render(table[table.category == "randomization"], format, width=160)  # type: ignore[arg-type]
    assert "randomization" in text
    assert "mprt (inapplicable: the model has no layer to change)" in text
    assert not [line for line in text.splitlines() if line.startswith(("explainer", "| explainer", r"\begin"))]


def test_the_long_table_keeps_all(table: pd.DataFrame) -> None:
    back = pd.read_csv(io.StringIO(render(table, "csv")))
    assert set(back.metric) == set(METRICS)


# By the size of the evidence


def test_strata_are_thirds_of_the_samples_with_a_mask(results: Results) -> None:
    cut = leaderboard(results, categories=["localization"], strata="mask-area")
    sizes = cut[(cut.metric == "good") & (cut.explainer == "lrp")]
    assert sizes.n.tolist() == [5, 5, 5] * 2
    assert sizes.n_samples.tolist() == [5, 5, 5] * 2
    assert [name.split()[0] for name in sizes.stratum] == ["small", "medium", "large"] * 2
    assert sizes.task.tolist() == ["brain"] * 3 + ["skin"] * 3
    assert (sizes.low < sizes["mean"]).all()
    text = render(cut, "text", width=160)
    assert "brain · localization · small evidence, up to 6.33 % of the image · 5 samples" in text
    assert "above 11.7 % of the image" in text


def test_a_stratum_has_the_scores_of_its_samples(results: Results) -> None:
    cut = leaderboard(results, strata="mask-area")
    large = cut[cut.stratum.str.startswith("large") & (cut.task == "skin")]
    samples = results.samples[(results.samples.task == "skin") & (results.samples.mask_area > 0.117)]
    scores = results.scores[results.scores["sample"].isin(samples["sample"])]
    for explainer in EXPLAINERS:
        expected = scores[(scores.explainer == explainer) & (scores.metric == "good")].score.mean()
        assert large[(large.explainer == explainer) & (large.metric == "good")]["mean"].item() == pytest.approx(
            expected
        )


def test_an_outcome_cuts_the_strata_and_leaves_their_boundaries(results: Results) -> None:
    cut = leaderboard(results, outcomes=["true positive"], strata="mask-area")
    whole = leaderboard(results, strata="mask-area")
    assert set(cut.stratum) == set(whole.stratum)
    assert cut.groupby(["task", "stratum"]).n_samples.first().groupby("task").sum().tolist() == [6, 6]
    assert "true positive only" in render(cut, "text")


def test_the_mark_of_strata_is_that_of_their_samples_together(results: Results) -> None:
    told = _telling(leaderboard(results, strata="mask-area"))
    assert (told["good"], told["blind"]) == (True, False)
