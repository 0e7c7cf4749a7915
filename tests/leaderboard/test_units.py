"""Ten identical images of a patient say no more than one: nowhere does an interval or a test count them ten times."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from leaderboard.comparison import compare_explainers
from leaderboard.record import Results
from leaderboard.reliability import Trials, reliability
from leaderboard.removal import removal_curves
from leaderboard.statistics import judge
from leaderboard.table import leaderboard, render
from leaderboard.units import means_of_units, n_patients, units_of, units_over_tasks

from .planted import normal, planted

Array = NDArray[np.float64]
N_PATIENTS, N_IMAGES = 8, 10
EFFECTS = {"good": 0.7, "fair": 0.2, "poor": 0.0, "c_noise": -0.5, "noise": 0.1}
NUMBERS = ["mean", "low", "high", "rank", "best", "beats_controls", "tells_noise"]


def _results(n_images: int, known: bool = True) -> Results:
    scores = {
        (task, family, metric, name): np.repeat(normal(N_PATIENTS, 10 * place + at, effect), n_images)
        for task in ("one", "two")
        for place, (family, metric) in enumerate(
            (("faithfulness", "up"), ("robustness", "still"), ("robustness", "on"))
        )
        for at, (name, effect) in enumerate(EFFECTS.items())
    }
    patients = [f"p{index // n_images}" for index in range(N_PATIENTS * n_images)]
    found = planted(scores, patients={"one": patients, "two": patients} if known else None)
    controls = found.cells.explainer.isin(["c_noise", "noise"])
    return replace(found, cells=found.cells.assign(family=np.where(controls, "controls", "mine")))


def test_tables_count_patients() -> None:
    once, often = (leaderboard(_results(n_images)) for n_images in (1, N_IMAGES))
    pd.testing.assert_frame_equal(once[NUMBERS], often[NUMBERS], rtol=1e-9)
    assert set(once.n) == {N_PATIENTS}
    assert set(often.n) == set(often.n_samples) == {N_PATIENTS * N_IMAGES}
    assert set(often.n_patients) == {N_PATIENTS}


def test_taken_for_independent_they_would_be_significant() -> None:
    table = leaderboard(_results(N_IMAGES, known=False))
    of_patients = leaderboard(_results(N_IMAGES))
    assert table.n_patients.isna().all()
    assert (table["rank"].max(), of_patients["rank"].max()) == (3, 1)
    narrower = (table.high - table.low) / (of_patients.high - of_patients.low)
    assert narrower.max() < 0.5


def test_the_patients_are_shown_once_a_block() -> None:
    text = render(leaderboard(_results(N_IMAGES)), "text")
    assert text.count("80 samples of 8 patients") == 4
    assert "of 8 patients" not in render(leaderboard(_results(N_IMAGES, known=False)), "text")
    assert r"faithfulness $\cdot$ 80 samples of 8 patients" in render(leaderboard(_results(N_IMAGES)), "latex")


def test_a_cut_counts_the_patients_that_are_left() -> None:
    results = _results(N_IMAGES)
    right = results.samples["sample"].str[1:].astype(int) < 25
    cut = replace(results, samples=results.samples.assign(outcome=np.where(right, "right", "wrong")))
    table = leaderboard(cut, outcomes=["right"])
    assert set(table.n_samples) == {25}
    assert set(table.n_patients) == {3}


def test_judge_compares_the_differences_that_patients_have() -> None:
    """Who lacks hard images is compared on the others: patients' differences, not differences of patients' means."""
    hard = np.tile([0.0, -5.0], 12)
    scores = pd.DataFrame({"whole": hard + 0.1, "part": np.where(hard < 0, np.nan, hard)})
    units = np.repeat(np.arange(12), 2)
    found = judge(scores, np.array([False, False]), True, costs=False, units=units)
    assert found["rank"].tolist() == [1, 2]


def test_comparisons_count_patients() -> None:
    once, often = (compare_explainers(_results(n_images), ["good", "poor"]) for n_images in (1, N_IMAGES))
    numbers = ["difference", "low", "high", "p_value", "effect"]
    pd.testing.assert_frame_equal(once.details[numbers], often.details[numbers], rtol=1e-9)
    assert [one.n for one in often.verdicts] == [one.n for one in once.verdicts]


def test_reliability_counts_patients() -> None:
    tested = ["n_above_noise", "n_above_all", "trained_effect", "trained_p_value", "verdict"]
    tables = []
    for n_images, known in ((1, True), (N_IMAGES, True), (N_IMAGES, False)):
        usual = _results(n_images, known)
        random = replace(usual, scores=usual.scores.assign(score=usual.scores.score * 0.5))
        tables.append(reliability(Trials(usual, random, {})))
    once, often, independent = tables
    pd.testing.assert_frame_equal(once[tested], often[tested], rtol=1e-9)
    assert (independent.trained_p_value < often.trained_p_value).any()


def test_bands_of_curves_count_patients(tmp_path: Path) -> None:
    curves = np.linspace(1, 0, 5) + 0.1 * np.random.default_rng(0).normal(size=(N_PATIENTS, 5))
    for n_images in (1, N_IMAGES):
        ids = [f"s{index:03d}" for index in range(N_PATIENTS * n_images)]
        path = tmp_path / str(n_images) / "task" / "0" / "attributions" / "lrp.npz"
        path.parent.mkdir(parents=True)
        np.savez(path, ids=np.array(ids), curve_deletion=curves.repeat(n_images, axis=0))
    patients = [f"p{index // N_IMAGES}" for index in range(N_PATIENTS * N_IMAGES)]
    known = pd.DataFrame({"task": "task", "sample": ids, "patient": patients})
    (once,) = removal_curves(tmp_path / "1", pd.DataFrame())
    (often,) = removal_curves(tmp_path / str(N_IMAGES), known)
    np.testing.assert_allclose([often.mean, often.low, often.high], [once.mean, once.low, once.high], rtol=1e-9)
    assert (once.size, often.size) == ("8 samples", "80 samples of 8 patients")
    assert (often.n_samples, often.n_patients, once.n_patients) == (80, 8, None)


# Units


def test_samples_whose_patient_is_not_known_are_their_own() -> None:
    samples = pd.DataFrame({"patient": ["p", None, "p", None]}, index=["a", "b", "c", "p"])
    assert units_of(samples, pd.Index(["a", "b", "c", "p", "other"])).tolist() == [0, 1, 0, 2, 3]
    assert units_of(None, pd.Index(["a", "b"])).tolist() == [0, 1]
    assert n_patients(samples, samples.index) == 3
    assert n_patients(samples.iloc[[1, 3]], pd.Index(["b", "p"])) is None
    assert n_patients(samples[[]], samples.index) is None


def test_a_patient_of_two_tasks_is_one_in_each() -> None:
    samples = pd.DataFrame({"task": ["t", "t", "u"], "sample": ["a", "b", "a"], "patient": ["p", "p", "p"]})
    names = pd.MultiIndex.from_tuples([("t", "a"), ("u", "a"), ("t", "b"), ("u", "x")])
    found = units_over_tasks(samples, names)
    assert found is not None
    assert found.tolist() == [0, 1, 0, 2]
    assert units_over_tasks(samples.drop(columns="patient"), names) is None


@pytest.mark.parametrize("n", [1, 7])
def test_means_of_units_agree_with_pandas(n: int) -> None:
    values = np.random.default_rng(n).normal(size=(3, n))
    values[0, 0] = np.nan
    units = np.arange(n) // 2
    expected = pd.DataFrame(values.T).groupby(units).mean().to_numpy().T
    np.testing.assert_allclose(means_of_units(values, units), expected)
    assert means_of_units(values, None) is values
