"""What scores say of metrics: planted effects are found, and where there are none nothing is."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from leaderboard.agreement import family_agreements, with_others
from leaderboard.charts.agreement import draw_agreement
from leaderboard.record import Results
from leaderboard.reliability import (
    BLIND,
    FINE,
    TOO_FEW,
    UNDEFINED,
    Trials,
    chosen,
    controls_of,
    icc,
    reliability,
    retest_of,
    trained_of,
)

EXPLAINERS = {"gradient": 1.0, "grad_cam": 2.0, "lrp": 3.0, "ig": 4.0}
CONTROLS = ("noise", "center", "edges")
N = 16
METRICS = {
    "good": ("faithfulness", True),
    "low": ("faithfulness", False),
    "blind": ("faithfulness", True),
    "model_blind": ("complexity", True),
    "shaky": ("complexity", True),
    "center_wins": ("complexity", True),
    "empty": ("localization", True),
    "seconds": ("runtime", False),
}


def _rng(*names: str) -> np.random.Generator:
    return np.random.default_rng(sum(map(ord, "".join(names))))


def _score(metric: str, explainer: str, condition: str, task: str) -> np.ndarray:
    """(N,) what the metric would say; the effects are far larger than what is drawn."""
    drawn = 0.1 * _rng(metric, explainer, task).normal(size=N)
    effect = EXPLAINERS.get(explainer, 0.0)
    if metric == "blind":
        return drawn
    if metric == "empty":
        return np.full(N, np.nan)
    if metric == "center_wins" and explainer == "center":
        return drawn + 9
    if condition == "random" and metric != "model_blind":
        effect = 0.0
    if condition == "seed" and metric == "shaky":
        effect = 5 - effect
    return (drawn + effect) * (1 if METRICS[metric][1] else -1)


def _results(condition: str, metrics: list[str], explainers: list[str], n: int = N) -> Results:
    scores, cells = [], []
    for task in ("brain", "skin"):
        for explainer in explainers:
            family = "controls" if explainer in CONTROLS else "x"
            for metric in metrics:
                category, higher = METRICS[metric]
                cells.append((task, "0", explainer, family, metric, category, higher, "", "scored", ""))
                values = _score(metric, explainer, condition, task)[:n]
                scores += [(task, explainer, metric, str(index), value) for index, value in enumerate(values)]
    about = ["task", "shard", "explainer", "family", "metric", "category", "higher_is_better"]
    about += ["settings", "status", "reason"]
    frame = pd.DataFrame(scores, columns=["task", "explainer", "metric", "sample", "score"])
    frame = frame.astype(dict.fromkeys(("task", "explainer", "metric", "sample"), "category"))
    return Results(frame, pd.DataFrame(cells, columns=about), pd.DataFrame())


def _trials(n: int = N) -> Trials:
    ranked, everything = list(EXPLAINERS), list(METRICS)
    return Trials(
        _results("usual", everything, [*ranked, *CONTROLS], n),
        _results("random", everything, ranked, n),
        {"seed": _results("seed", everything, ranked, n), "imputer": _results("imputer", ["good"], ranked, n)},
    )


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    return reliability(_trials()).set_index("metric")


def test_every_metric_but_costs_has_a_row(table: pd.DataFrame) -> None:
    assert set(table.index) == set(METRICS) - {"seconds"}
    assert table.n_samples["good"] == 2 * N
    assert table.n_tasks["good"] == 2


def test_verdicts_name_what_was_planted(table: pd.DataFrame) -> None:
    assert table.verdict.to_dict() == {
        "good": FINE,
        "low": FINE,
        "blind": BLIND,
        "model_blind": "cannot tell a random network",
        "shaky": "moves with seed",
        "center_wins": "the control center does as well",
        "empty": UNDEFINED,
    }


def test_the_answers_of_a_good_metric(table: pd.DataFrame) -> None:
    for metric in ("good", "low"):
        row = table.loc[metric]
        assert (row.n_above_noise, row.n_above_all, row.n_explainers) == (4, 4, 4)
        assert (row.most_above, row.every_above, row.trained_share, row.trained_effect) == (1, 1, 1, 1)
        assert (row.seed_moved, row.seed_correlation, row.seed_icc) == (0, 1, 1)
    assert pd.isna(table.imputer_n["low"])
    assert table.imputer_correlation["good"] == 1
    assert table.seed_correlation["shaky"] < -0.9
    assert table.agreement["good"] == table.agreement["low"]


def test_without_effects_the_shares_are_those_of_chance() -> None:
    rng = np.random.default_rng(0)
    index = pd.MultiIndex.from_product([["t", "u"], range(200)], names=["task", "sample"])
    scores = pd.DataFrame(rng.normal(size=(400, 5)), index=index, columns=list("abcde"))
    again = pd.DataFrame(rng.normal(size=(400, 5)), index=index, columns=list("abcde"))
    trained = trained_of(scores, again)
    assert trained.share == pytest.approx(0.5, abs=0.05)
    assert abs(trained.effect) < 0.1
    assert 0.05 < trained.p_value < 0.95
    retest = retest_of(scores, again)
    assert retest.correlation == pytest.approx(0, abs=0.1)
    assert retest.icc == pytest.approx(0, abs=0.1)
    assert retest.moved == 1
    controls = pd.DataFrame(rng.normal(size=(400, 1)), index=index, columns=["noise"])
    found = controls_of(scores, controls)
    assert (found.n_above_noise, found.n_above_all) == (0, 0)
    assert found.most_above == pytest.approx(0.5, abs=0.08)
    assert found.every_above == pytest.approx(1 / 6, abs=0.06)


def test_too_few_samples_are_said_to_be() -> None:
    assert set(reliability(_trials(n=2)).verdict) == {TOO_FEW, UNDEFINED}


def test_the_control_to_beat_is_the_best_of_the_task() -> None:
    index = pd.MultiIndex.from_tuples([("t", "1"), ("t", "2"), ("u", "1")], names=["task", "sample"])
    scores = pd.DataFrame({"a": [2.0, 2.0, 2.0], "b": [2.0, 2.0, 2.0]}, index=index)
    controls = pd.DataFrame({"noise": [1.0, 1.0, 9.0], "center": [0.0, 3.0, 1.0]}, index=index)
    found = controls_of(scores, controls)
    assert found.every_above == pytest.approx(1 / 3)  # center in t, noise in u
    assert found.rival == "center"


def test_undefined_scores_are_left_out() -> None:
    index = pd.MultiIndex.from_product([["t"], list("123")], names=["task", "sample"])
    first = pd.DataFrame({"a": [1.0, np.nan, 3.0], "b": [2.0, 2.0, np.nan], "c": [3.0, 3.0, np.nan]}, index=index)
    second = first * 2
    retest = retest_of(first, second)
    assert (retest.n, retest.correlation, retest.moved) == (1, 1, 1)
    assert trained_of(second, first)[:2] == (3, 1)
    nothing = pd.DataFrame(np.nan, index=index, columns=["a", "b"])
    assert retest_of(nothing, nothing).n == 0
    assert np.isnan(trained_of(nothing, nothing).share)


def test_a_sample_on_which_all_are_equal_has_no_order() -> None:
    index = pd.MultiIndex.from_product([["t"], list("12")], names=["task", "sample"])
    first = pd.DataFrame([[1.0, 1.0, 1.0], [1.0, 2.0, 3.0]], index=index, columns=list("abc"))
    retest = retest_of(first, first + 1)
    assert (retest.n, retest.correlation) == (1, 1)
    assert retest_of(first.iloc[:1], first.iloc[:1] + 1).n == 0


def test_icc_is_that_of_the_paper() -> None:
    """Shrout and Fleiss (1979), table 2: six subjects; their first two judges, by the mean squares written out."""
    first, second = [9.0, 6, 8, 7, 10, 6], [2.0, 1, 4, 1, 5, 2]
    mean = (sum(first) + sum(second)) / 12
    rows = [(a + b) / 2 for a, b in zip(first, second, strict=True)]
    columns = [sum(first) / 6, sum(second) / 6]
    bms = 2 * sum((row - mean) ** 2 for row in rows) / 5
    jms = 6 * sum((column - mean) ** 2 for column in columns) / 1
    ems = sum(
        (value - row - column + mean) ** 2
        for values, column in ((first, columns[0]), (second, columns[1]))
        for value, row in zip(values, rows, strict=True)
    ) / (5 * 1)
    expected = (bms - ems) / (bms + ems + 2 * (jms - ems) / 6)
    assert icc(pd.DataFrame(first), pd.DataFrame(second)) == pytest.approx(expected)
    assert icc(pd.DataFrame(first), pd.DataFrame(first)) == pytest.approx(1)
    assert np.isnan(icc(pd.DataFrame([1.0, 1]), pd.DataFrame([1.0, 1])))
    assert np.isnan(icc(pd.DataFrame([1.0]), pd.DataFrame([2.0])))


def test_icc_finds_planted_shares_of_variance() -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(scale=2, size=20_000)
    first, second = (pd.DataFrame(rows + offset + rng.normal(size=rows.size)) for offset in (-1, 1))
    assert icc(first, second) == pytest.approx(4 / (4 + 2 + 1), abs=0.01)  # of the rows, the columns and the rest


def test_retest_is_the_mean_of_spearman_over_samples() -> None:
    rng = np.random.default_rng(1)
    index = pd.MultiIndex.from_product([["t"], range(6)], names=["task", "sample"])
    first, second = (pd.DataFrame(rng.integers(0, 4, (6, 7)), index=index, dtype=float) for _ in range(2))
    expected = [stats.spearmanr(first.iloc[row], second.iloc[row]).statistic for row in range(6)]
    assert retest_of(first, second).correlation == pytest.approx(np.mean(expected))


def test_agreement_is_kendalls_tau_averaged_over_tasks() -> None:
    results = _trials().usual
    matrix = family_agreements(results)["faithfulness"]
    assert list(matrix.columns) == ["blind", "good", "low"]
    assert matrix.loc["good", "low"] == 1  # a lower score of `low` is better, and the order that of `good`
    np.testing.assert_allclose(np.diag(matrix), 1)
    np.testing.assert_allclose(matrix, matrix.T)
    scores = results.scores[results.scores.explainer.isin(list(EXPLAINERS))].astype({"task": str, "explainer": str})
    taus = []
    for task in ("brain", "skin"):
        of_task = scores[scores.task == task]
        means = [of_task[of_task.metric == name].groupby("explainer").score.mean() for name in ("blind", "good")]
        taus.append(stats.kendalltau(*means).statistic)
    assert matrix.loc["blind", "good"] == pytest.approx(np.mean(taus))
    assert with_others(matrix)["good"] == pytest.approx((1 + np.mean(taus)) / 2)


def test_metrics_without_scores_agree_with_nobody() -> None:
    assert set(family_agreements(_trials().usual)) == {"faithfulness", "complexity"}


def test_agreement_is_drawn(tmp_path: Path) -> None:
    path = draw_agreement(family_agreements(_trials().usual), tmp_path / "new" / "tau.png")
    assert path.stat().st_size > 5_000
    with pytest.raises(ValueError, match="there is no agreement to draw"):
        draw_agreement({}, path)


def test_a_choice_leaves_the_rest_of_the_folder_out() -> None:
    cut = chosen(_trials().usual, ["skin"], ["lrp", "noise"], ["good"])
    assert set(cut.scores.task) == {"skin"}
    assert set(cut.cells.explainer) == {"lrp", "noise"}
    assert set(cut.scores.metric) == {"good"}
