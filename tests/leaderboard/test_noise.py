"""Planted effects are told from noise, none are not, and where nobody can know nothing is said."""

import numpy as np
import pandas as pd
import pytest

from leaderboard.noise import n_above, tells_noise, wide

N = 24


def _scores(**effects: float) -> pd.DataFrame:
    rng = np.random.default_rng(3)
    return pd.DataFrame({name: effect + rng.normal(size=N) for name, effect in effects.items()})


@pytest.mark.parametrize("higher", [True, False])
def test_a_planted_effect_is_told_in_the_metrics_direction(higher: bool) -> None:
    scores = _scores(good=3.0, bad=0.0, noise=0.0)
    scores = scores if higher else -scores
    assert n_above(scores[["good", "bad"]], scores.noise, higher) == 1
    assert tells_noise(scores, ["good", "bad"], higher) is True
    assert tells_noise(scores, ["bad"], higher) is False
    assert tells_noise(scores, ["good"], not higher) is False


def test_nobody_knows_without_noise_or_with_too_few_samples() -> None:
    scores = _scores(good=9.0, noise=0.0)
    assert tells_noise(scores.drop(columns="noise"), ["good"], True) is None
    assert tells_noise(scores.iloc[:4], ["good"], True) is None  # 1/16: even the smallest p-value rejects nothing
    assert tells_noise(scores.iloc[:5], ["good"], True) is True
    assert tells_noise(scores, [], True) is None


def test_the_more_explainers_are_asked_the_more_samples_are_needed() -> None:
    scores = _scores(a=9.0, b=9.0, noise=0.0)
    assert tells_noise(scores.iloc[:5], ["a"], True) is True
    assert tells_noise(scores.iloc[:5], ["a", "b"], True) is None


def test_scores_that_are_all_one_number_do_not_tell_noise() -> None:
    scores = pd.DataFrame(1.0, index=range(N), columns=["a", "noise"])
    assert tells_noise(scores, ["a"], True) is False


def test_wide_counts_a_sample_once_and_takes_infinite_as_undefined() -> None:
    rows = [("t", "x", "a", 1.0), ("t", "x", "a", 2.0), ("u", "x", "a", np.inf), ("u", "x", "b", 3.0)]
    matrix = wide(pd.DataFrame(rows, columns=["task", "sample", "explainer", "score"]))
    assert matrix.loc[("t", "x")].tolist()[0] == 2.0
    assert matrix.isna().to_numpy().tolist() == [[False, True], [True, False]]
