"""Standings: planted orders are found, what is missing is said, correlated metrics do not count twice."""

import io
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from leaderboard.duels import OVERALL
from leaderboard.record import Results
from leaderboard.scores import cubes
from leaderboard.standings import Standings, standings
from leaderboard.summary import render_summary, summary_frame

from .coverage import coverage_of_mean_ranks
from .planted import normal, planted

Array = NDArray[np.float64]
N = 40
EFFECTS = {"good": 2.0, "fair": 1.0, "alike": 1.0, "poor": 0.0, "c_noise": -2.0, "c_center": 0.5}


def _scores(effects: dict[str, float], n: int = N, tasks: tuple[str, ...] = ("one", "two")) -> dict:
    """Two families, of two metrics and one; of the second family lower is better; and seconds."""
    scores = {}
    for t, task in enumerate(tasks):
        for e, (name, effect) in enumerate(effects.items()):
            for m, metric in enumerate(("up", "up_too")):
                scores[task, "faithfulness", metric, name] = normal(n, 100 * t + 10 * e + m, effect)
            scores[task, "localization", "down", name] = -normal(n, 1000 + 100 * t + 10 * e, effect)
            scores[task, "runtime", "seconds", name] = np.full(n, 0.001 * (e + 1) * 10**t)
    return scores


@pytest.fixture(scope="module")
def results() -> Results:
    return planted(_scores(EFFECTS), lower_is_better=("down", "seconds"))


@pytest.fixture(scope="module")
def found(results: Results) -> Standings:
    return standings(results)


def _slow_mean_rank(results: Results, name: str, family: str) -> float:
    """Sample by sample, metric by metric, rival by rival."""
    scores = results.scores.astype(dict.fromkeys(("task", "explainer", "metric", "sample"), str))
    cells = results.cells.drop_duplicates("metric").set_index("metric")
    ranked = sorted({one for one in scores.explainer if not one.startswith("c_")})
    of_tasks = []
    for _, of_task in scores.groupby("task"):
        of_samples = []
        for _, of_sample in of_task.groupby("sample"):
            of_metrics = []
            for metric, rows in of_sample.groupby("metric"):
                if cells.category[metric] != family:
                    continue
                value = rows.set_index("explainer").score * (1 if cells.higher_is_better[metric] else -1)
                rivals = [one for one in ranked if one != name and np.isfinite(value.get(one, np.nan))]
                if np.isfinite(value.get(name, np.nan)) and rivals:
                    of_metrics.append(np.mean([float(np.sign(value[name] - value[one]) + 1) / 2 for one in rivals]))
            if of_metrics:
                of_samples.append(np.mean(of_metrics))
        of_tasks.append(np.mean(of_samples))
    n_rivals = len(ranked) - (name in ranked)
    return float(1 + n_rivals * (1 - np.mean(of_tasks)))


@pytest.mark.parametrize("family", ["faithfulness", "localization"])
def test_mean_ranks_agree_with_a_slow_replica(family: str) -> None:
    results = planted(_scores(EFFECTS, n=6), lower_is_better=("down", "seconds"))
    found = standings(results)
    column = found.column(family)
    for at, name in enumerate(found.explainers.names):
        assert column.mean_rank[at, 0] == pytest.approx(_slow_mean_rank(results, name, family))


def test_mean_ranks_are_those_of_friedman() -> None:
    """Of one metric without gaps they are the column means of the ranks in each sample."""
    scores = np.column_stack([normal(30, seed, seed / 4) for seed in range(5)])
    table = planted({("t", "f", "m", f"e{at}"): column for at, column in enumerate(scores.T)})
    ranks = (-scores).argsort(axis=1).argsort(axis=1) + 1
    np.testing.assert_allclose(standings(table).column("f").mean_rank[:, 0], ranks.mean(axis=0))


def test_planted_order_and_groups_are_found(found: Standings) -> None:
    names = found.explainers.names
    first, *middle, poor, best_control, worst_control = (names[at] for at in found.order())
    assert (first, poor, best_control, worst_control) == ("good", "poor", "c_center", "c_noise")
    assert set(middle) == {"fair", "alike"}
    for column in found.columns:
        letter = dict(zip(found.explainers.ranked, column.letters, strict=True))
        assert letter["good"] == "a"
        assert letter["fair"] == letter["alike"] == "b"
        assert letter["poor"] == "c"
        beats = dict(zip(found.explainers.ranked, column.beats_controls, strict=True))
        assert beats["good"] is True
        assert beats["poor"] is False


def test_places_and_intervals_bracket_the_estimates(found: Standings) -> None:
    for column in found.columns:
        rank, low, high = column.mean_rank.T
        assert (low < rank).all()
        assert (rank < high).all()
    place = dict(zip(found.explainers.names, found.place.tolist(), strict=True))
    assert place["good"] == [1, 1, 1]
    assert place["c_noise"][0] == 5
    assert 2 in place["fair"]
    assert place["fair"][2] == 3


def test_costs_are_ratios_over_tasks_and_take_no_part(found: Standings) -> None:
    assert OVERALL in [column.column for column in found.columns]
    assert "runtime" not in [column.column for column in found.columns]
    # Ten times as slow on the second task, in the same proportion.
    expected = {name: (at + 1.0) for at, name in enumerate(EFFECTS)}
    assert found.costs.times.to_dict() == pytest.approx(expected)


def test_a_metric_said_twice_does_not_make_a_difference_significant() -> None:
    once = {("t", "f", "m0", name): normal(12, seed, 0.35 * seed) for seed, name in enumerate(("a", "b"))}
    often = {("t", "f", f"m{copy}", name): values for (_, _, _, name), values in once.items() for copy in range(20)}
    p_once, p_often = (standings(planted(scores)).column("f").over_samples.found.p_value[0] for scores in (once, often))
    assert p_once == p_often > 0.05


def test_family_wise_error_is_held_however_metrics_are_correlated() -> None:
    """Many families, in each six metrics that say nearly the same of four explainers that do not differ."""
    scores, rng = {}, np.random.default_rng(0)
    for family in range(200):
        for name in "abcd":
            shared = rng.normal(size=16)
            for metric in range(6):
                scores["t", f"f{family}", f"m{family}_{metric}", name] = shared + 0.3 * rng.normal(size=16)
    wrong = [len(set(column.letters)) > 1 for column in standings(planted(scores)).columns[1:]]
    assert np.mean(wrong) < 0.05 + 3 * np.sqrt(0.05 * 0.95 / len(wrong))


@pytest.mark.parametrize(("n", "n_tasks"), [(24, 1), (8, 3), (8, 12)])
def test_intervals_of_mean_ranks_cover_as_often_as_they_say(n: int, n_tasks: int) -> None:
    """Of many small tasks only if each is drawn by itself, independently of the others."""
    held, _ = coverage_of_mean_ranks(n, n_tasks, n_metrics=2, count=120)
    assert 0.93 < held.mean() < 0.97


def test_too_few_samples_are_said_and_get_no_letters() -> None:
    scores = {("t", "f", "m", name): np.arange(6.0) + at for at, name in enumerate("abc")}
    few = standings(planted(scores))
    assert few.column("f").letters == ("", "", "")
    assert few.column("f").over_samples.too_few == "too few samples: 6, and 3 comparisons need at least 7"
    assert "no letters for overall, f: too few samples: 6" in render_summary(few, "text", width=200)
    enough = standings(planted({key: np.append(values, 9.0 + values[0]) for key, values in scores.items()}))
    assert enough.column("f").letters == ("c", "b", "a")


def test_samples_of_one_patient_count_once() -> None:
    scores = {("t", "f", "m", name): np.repeat(normal(8, at, 3.0 * at), 4) for at, name in enumerate("ab")}
    patients = {"t": [f"p{index // 4}" for index in range(32)]}
    alone, together = standings(planted(scores)).column("f"), standings(planted(scores, patients=patients)).column("f")
    assert together.n_units == 8
    assert together.over_samples.found.n.tolist() == [8]
    assert together.over_samples.found.p_value[0] > 4 * alone.over_samples.found.p_value[0]
    assert np.ptp(together.mean_rank[0, 1:]) >= np.ptp(alone.mean_rank[0, 1:])
    assert "32 samples of 8 patients" in render_summary(standings(planted(scores, patients=patients)), "text")


def test_a_sample_whose_patient_is_not_known_is_one_of_its_own() -> None:
    scores = {("t", "f", "m", "a"): normal(4, 0)}
    (cube,) = cubes(planted(scores, patients={"t": ["p", "p", None, None]}))  # type: ignore[list-item]
    assert cube.units.tolist() == [0, 0, 1, 2]
    np.testing.assert_allclose(cube.of_units(cube.scores)[0, 0, 0], scores["t", "f", "m", "a"][:2].mean())


def test_who_lacks_scores_is_ranked_by_what_there_is_and_it_is_said() -> None:
    scores = _scores({"good": 2.0, "poor": 0.0, "part": 3.0, "none": 0.0})
    scores = {key: values for key, values in scores.items() if key[3] != "none" or key[1] == "runtime"}
    for key in scores:
        if key[3] == "part" and key[1] == "localization":
            scores[key] = np.where(np.arange(N) < N // 2, scores[key], np.nan)
    part = standings(planted(scores, lower_is_better=("down", "seconds")))
    text = render_summary(part, "text", width=150)
    assert "ranked by the part of the scores that there is: part (localization 50 %)" in text
    assert "none (faithfulness none, localization none)" in text
    names = part.explainers.names
    assert [names[at] for at in part.order()] == ["part", "good", "poor", "none"]
    assert np.isnan(part.columns[0].mean_rank[names.index("none"), 0])
    # Three have scores, so the worst rank is three.
    assert part.columns[0].mean_rank[names.index("poor"), 0] > 2.8


def test_weights_of_families() -> None:
    scores = {
        **{("t", "faithfulness", "m", name): normal(N, at, at) for at, name in enumerate("ab")},
        **{("t", "complexity", "n", name): normal(N, 5 + at, -3 * at) for at, name in enumerate("ab")},
    }
    results = planted(scores)
    assert standings(results).place[:, 0].tolist() == [1, 2]
    assert standings(results, weights={"complexity": 0}).place[:, 0].tolist() == [2, 1]
    only = standings(results, weights={"complexity": 0}).columns[0].mean_rank
    np.testing.assert_allclose(only, standings(results).column("faithfulness").mean_rank)
    for weights, message in (({"beauty": 1.0}, "no family beauty"), ({"complexity": float("nan")}, "0 or more")):
        with pytest.raises(ValueError, match=message):
            standings(results, weights=weights)


def test_over_tasks_each_task_is_one_observation() -> None:
    tasks = tuple(f"t{index}" for index in range(7))
    scores = _scores({"good": 1.5, "poor": 0.0}, n=8, tasks=tasks)
    column = standings(planted(scores, lower_is_better=("down", "seconds"))).columns[0]
    assert column.over_tasks.found.n.tolist() == [7]
    assert column.over_tasks.found.p_value[0] == pytest.approx(2 * 0.5**7)
    assert column.over_tasks.too_few == ""


@pytest.mark.parametrize("effects", [{"one": 1.0}, {"one": 1.0, "c_noise": 0.0}, {"c_noise": 0.0}])
@pytest.mark.parametrize("n", [1, 12])
def test_one_explainer_controls_alone_and_single_samples_are_shown(effects: dict[str, float], n: int) -> None:
    lonely = standings(planted(_scores(effects, n), lower_is_better=("down", "seconds")))
    text = render_summary(lonely, "text")
    assert all(name in text for name in effects)
    assert "nan" not in text
    if "one" in effects:
        assert lonely.columns[0].mean_rank[0, 0] == 1
        assert lonely.place[0, 0] == 1


def test_nothing_but_costs_is_ranked_by_nothing() -> None:
    bare = standings(planted({("t", "runtime", "seconds", name): np.full(3, 0.5) for name in "ab"}))
    assert bare.columns == ()
    assert "nothing is ranked" in render_summary(bare, "text")


def test_undefined_everywhere_is_not_divided_by() -> None:
    scores = {("t", "f", "m", name): np.full(5, np.nan) for name in "ab"}
    text = render_summary(standings(planted(scores)), "text")
    assert "–" in text
    assert "nan" not in text


def test_equal_scores_are_ties() -> None:
    tied = standings(planted({("t", "f", "m", name): np.ones(20) for name in "abc"}))
    assert tied.column("f").mean_rank[:, 0].tolist() == [2, 2, 2]
    assert tied.place[:, 0].tolist() == [1, 1, 1]
    assert set(tied.column("f").letters) == {"a"}


# How it looks


@pytest.mark.parametrize("width", [60, 80, 100, 160])
def test_text_fits_the_width(found: Standings, width: int) -> None:
    text = render_summary(found, "text", width=width)
    assert max(map(len, text.splitlines())) <= width
    for heading in ("overall", "place", "time"):
        assert heading in text


def test_text_shows_groups_controls_and_daggers(found: Standings) -> None:
    lines = render_summary(found, "text").splitlines()
    row = {line.split()[0]: line for line in lines if line[:1].strip()}
    assert "1.5 a" in row["good"]
    assert "†" in row["poor"]
    assert "(5)" in row["c_noise"]
    rules = [index for index, line in enumerate(lines) if line.startswith("───")]
    assert lines.index(row["poor"]) < rules[1] < lines.index(row["c_center"])
    assert "Summary · 2 tasks · 80 samples" in lines[0]


def test_formats_tell_the_same(found: Standings) -> None:
    markdown, latex = render_summary(found, "markdown"), render_summary(found, "latex")
    assert "| good " in markdown
    assert r"\begin{tabular}{lrrrrr}" in latex
    assert latex.isascii()
    back = pd.read_csv(io.StringIO(render_summary(found, "csv")))
    pd.testing.assert_frame_equal(back[["explainer", "mean_rank"]], summary_frame(found)[["explainer", "mean_rank"]])
    assert len(back) == 3 * len(EFFECTS)
    with pytest.raises(ValueError, match="no format 'html'"):
        render_summary(found, "html")  # type: ignore[arg-type]


def test_same_records_give_the_same_standings(results: Results, found: Standings) -> None:
    assert render_summary(standings(results), "csv") == render_summary(found, "csv")


def test_a_task_without_such_an_outcome_is_left_out(results: Results) -> None:
    samples = results.samples.assign(outcome=np.where(results.samples.task == "one", "right", "wrong"))
    cut = standings(replace(results, samples=samples), outcomes=["right"])
    assert cut.tasks == ("one",)
    np.testing.assert_array_equal(cut.columns[0].mean_rank, standings(results, tasks=["one"]).columns[0].mean_rank)
