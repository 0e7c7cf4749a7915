"""A comparison: planted verdicts, no verdict where there is none to give, and what it says about it."""

import io

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from scipy import stats

from leaderboard.comparison import Comparison, compare_explainers
from leaderboard.comparison_page import ComparisonPage, comparison_frame, p_text, render_comparison
from leaderboard.record import Results

from .planted import normal, planted

Array = NDArray[np.float64]
N = 30


def _scores(names: tuple[str, ...] = ("lrp", "cam"), n: int = N, tasks: tuple[str, ...] = ("one", "two")) -> dict:
    """The first is more faithful, the second finer; nothing tells them apart in localization."""
    scores = {}
    for t, task in enumerate(tasks):
        for e, name in enumerate(names):
            seed = 100 * t + 10 * e
            scores[task, "faithfulness", "insertion", name] = normal(n, seed, -1.5 * e)
            scores[task, "faithfulness", "deletion", name] = normal(n, seed + 1, 1.5 * e)
            scores[task, "localization", "iou", name] = normal(n, seed + 2)
            scores[task, "complexity", "sparseness", name] = normal(n, seed + 3, 1.5 * e)
            scores[task, "runtime", "seconds", name] = np.full(n, 3.0 if e == 0 else 1.0 / e)
    return scores


@pytest.fixture(scope="module")
def results() -> Results:
    scores = {**_scores(("lrp", "cam", "third")), **{("one", "complexity", "sparseness", "c_noise"): normal(N, 77)}}
    return planted(scores, lower_is_better=("deletion", "seconds"))


@pytest.fixture(scope="module")
def found(results: Results) -> Comparison:
    return compare_explainers(results, ["lrp", "cam"])


def _line(found: Comparison, family: str) -> str:
    return dict(ComparisonPage(found).verdicts())[family]


def test_verdicts_find_what_was_planted(found: Comparison) -> None:
    assert _line(found, "faithfulness").startswith("lrp more faithful, p < 0.001: wins 8")
    assert "ahead on 2 of 2 tasks" in _line(found, "faithfulness")
    assert _line(found, "complexity").startswith("cam finer, p < 0.001")
    assert _line(found, "localization").startswith("not separable, p = ")
    assert _line(found, "runtime") == "cam 3.0 times faster"
    assert found.verdicts[0].family == "overall"


def test_a_verdict_of_one_metric_on_one_task_is_wilcoxons_test(results: Results) -> None:
    only = compare_explainers(results, ["lrp", "cam"], tasks=["one"], categories=["localization"])
    scores = results.scores[(results.scores.metric == "iou") & (results.scores.task == "one")]
    a, b = (scores[scores.explainer == name].score.to_numpy() for name in ("lrp", "cam"))
    family = next(verdict for verdict in only.verdicts if verdict.family == "localization")
    # Overall says the same here, so Holm doubles it.
    assert family.p_value == pytest.approx(min(1, 2 * stats.wilcoxon(a, b).pvalue))
    assert family.share_won == (a > b).mean()
    row = only.details.iloc[0]
    assert row.p_value == pytest.approx(stats.wilcoxon(a, b).pvalue)
    assert row.difference == pytest.approx((a - b).mean())
    assert row.low < row.difference < row.high


def test_a_verdict_does_not_depend_on_who_else_is_there(results: Results, found: Comparison) -> None:
    scores = results.scores[results.scores.explainer.isin(["lrp", "cam"])]
    cells = results.cells[results.cells.explainer.isin(["lrp", "cam"])]
    assert compare_explainers(Results(scores, cells, results.samples), ["lrp", "cam"]).verdicts == found.verdicts


def test_comparing_the_other_way_round_says_the_same(results: Results, found: Comparison) -> None:
    turned = compare_explainers(results, ["cam", "lrp"])
    for one, other in zip(found.verdicts, turned.verdicts, strict=True):
        assert (one.p_value, one.effect, one.winner) == pytest.approx((other.p_value, -other.effect, other.winner))
        assert one.share_won == pytest.approx(1 - other.share_won)
    np.testing.assert_allclose(found.details.difference, -turned.details.difference)


def test_a_metric_said_twenty_times_counts_once() -> None:
    once = {("t", "f", "m0", name): normal(14, 3 * seed, 0.4 * seed) for seed, name in enumerate("ab")}
    often = {("t", "f", f"m{copy}", name): values for (_, _, _, name), values in once.items() for copy in range(20)}
    verdicts = [compare_explainers(planted(scores), ["a", "b"]).verdicts for scores in (once, often)]
    assert [one.p_value for one in verdicts[0]] == [one.p_value for one in verdicts[1]]


def test_too_few_samples_give_no_verdict() -> None:
    few = compare_explainers(planted(_scores(n=4), lower_is_better=("deletion", "seconds")), ["lrp", "cam"])
    assert not any(verdict.too_few for verdict in few.verdicts)
    tiny = compare_explainers(planted(_scores(n=1), lower_is_better=("deletion", "seconds")), ["lrp", "cam"])
    assert _line(tiny, "faithfulness") == "too few samples: 2, and 4 verdicts need at least 8"
    assert not any(verdict.separable for verdict in tiny.verdicts)
    assert "nan" not in render_comparison(tiny, "text")


def test_samples_of_one_patient_count_once() -> None:
    scores = {("t", "f", "m", name): np.repeat(normal(10, at, 2.0 * at), 5) for at, name in enumerate("ab")}
    patients = {"t": [f"p{index // 5}" for index in range(50)]}
    alone = compare_explainers(planted(scores), ["a", "b"])
    together = compare_explainers(planted(scores, patients=patients), ["a", "b"])
    assert (alone.verdicts[1].n, together.verdicts[1].n) == (50, 10)
    widths = [float(one.details.high.iloc[0] - one.details.low.iloc[0]) for one in (alone, together)]
    assert widths[1] > 1.5 * widths[0]
    assert "50 samples of 10 patients" in ComparisonPage(together).title


def test_only_samples_that_both_have_count() -> None:
    scores = _scores(tasks=("one",))
    for metric in ("iou", "insertion"):
        key = next(key for key in scores if key[2:] == (metric, "cam"))
        scores[key] = np.where(np.arange(N) < 20, scores[key], np.nan)
    found = compare_explainers(planted(scores, lower_is_better=("deletion", "seconds")), ["lrp", "cam"])
    details = found.details.set_index("metric")
    assert details.n[["iou", "insertion", "deletion"]].tolist() == [20, 20, 30]
    assert details.mean_first["iou"] == pytest.approx(scores["one", "localization", "iou", "lrp"][:20].mean())
    by_family = {verdict.family: verdict.n for verdict in found.verdicts}
    assert by_family == {"overall": 30, "faithfulness": 30, "localization": 20, "complexity": 30}


def test_costs_have_neither_interval_nor_test(found: Comparison) -> None:
    costs = found.details[found.details.category == "runtime"]
    assert costs[["low", "high", "p_value", "effect"]].isna().all(axis=None)
    assert found.details[found.details.category != "runtime"].p_value.notna().all()


def test_the_samples_furthest_apart_are_named(found: Comparison) -> None:
    winners = [one.winner for one in found.disagreements]
    assert winners == sorted(winners, key=["lrp", "cam"].index)
    for name in ("lrp", "cam"):
        contrasts = [one.contrast for one in found.disagreements if one.winner == name]
        assert 0 < len(contrasts) <= 3
        assert contrasts == sorted(contrasts, reverse=True)
    assert len({(one.task, one.sample, one.winner) for one in found.disagreements}) == len(found.disagreements)


def test_the_planted_sample_is_the_furthest() -> None:
    scores = {("t", "f", "m", name): normal(N, at) for at, name in enumerate("ab")}
    scores["t", "f", "m", "a"][7] = 100
    scores["t", "f", "m", "b"][11] = 100
    found = compare_explainers(planted(scores), ["a", "b"]).disagreements
    assert next(one for one in found if one.winner == "a").sample == "s007"
    assert next(one for one in found if one.winner == "b").sample == "s011"


def test_several_explainers_get_letters(results: Results) -> None:
    several = compare_explainers(results, ["lrp", "cam", "third"])
    line = _line(several, "faithfulness")
    assert line.startswith("lrp a ")
    assert "cam b" in line
    assert "third c" in line
    assert _line(several, "runtime") == "seconds: third ×1.0, cam ×2.0, lrp ×6.0"
    assert len(several.verdicts) == 4 * 3


def test_a_control_can_be_compared(results: Results) -> None:
    control = compare_explainers(results, ["cam", "c_noise"])
    assert _line(control, "complexity").startswith("cam finer")
    assert _line(control, "faithfulness") == "no sample for which both have a score"


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["lrp", "camm"], "no record of camm: did you mean cam"),
        (["lrp", "zzzzzz"], "no record of zzzzzz: there are: c_noise, cam, lrp, third"),
        (["lrp"], "two different explainers"),
        (["lrp", "lrp"], "two different explainers"),
    ],
)
def test_who_is_not_there_is_one_line(results: Results, names: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        compare_explainers(results, names)
    assert "\n" not in str(caught.value)


def test_nothing_in_common_is_one_line() -> None:
    apart = planted({("one", "f", "m", "a"): normal(5, 0), ("two", "f", "m", "b"): normal(5, 1)})
    with pytest.raises(ValueError, match="a and b have no score in common"):
        compare_explainers(apart, ["a", "b"])


# How it looks


@pytest.mark.parametrize("width", [60, 80, 100, 160])
def test_text_fits_the_width_and_puts_the_verdicts_first(found: Comparison, width: int) -> None:
    lines = render_comparison(found, "text", width=width).splitlines()
    assert max(map(len, lines)) <= width
    assert lines[0].startswith("lrp and cam · 2 tasks · 60 samples")
    assert lines[1].startswith("overall ")


def test_details_can_be_left_out(found: Comparison) -> None:
    assert "one · faithfulness" in render_comparison(found, "text")
    assert "one · faithfulness" not in render_comparison(found, "text", details=False)


def test_formats_tell_the_same(found: Comparison) -> None:
    markdown, latex = render_comparison(found, "markdown"), render_comparison(found, "latex")
    assert "- **faithfulness**: lrp more faithful, p &lt; 0.001" in markdown
    assert "| insertion ↑ |" in markdown
    assert r"p \textless{} 0.001" in latex
    assert latex.isascii()
    assert latex.count(r"\begin{tabular}") == 8
    back = pd.read_csv(io.StringIO(render_comparison(found, "csv")))
    assert len(back) == len(found.verdicts) + len(found.details) == len(comparison_frame(found))
    with pytest.raises(ValueError, match="no format 'html'"):
        render_comparison(found, "html")  # type: ignore[arg-type]


def test_names_are_escaped() -> None:
    wild = planted({("t", "f", "m", name): normal(9, at) for at, name in enumerate(("<b>", "a_b|c"))})
    found = compare_explainers(wild, ["<b>", "a_b|c"])
    assert "<b>" not in render_comparison(found, "markdown")
    assert r"a_b\|c" in render_comparison(found, "markdown")
    assert r"a\_b" in render_comparison(found, "latex")
    assert "<b>" in render_comparison(found, "text")


def test_p_values_are_never_zero_or_one_in_words() -> None:
    assert p_text(0.0) == "p < 0.001"
    assert p_text(0.0994) == "p = 0.099"
