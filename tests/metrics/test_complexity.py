"""Sparseness: the Gini index in its other forms, Quantus, and maps whose answer is known."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from metrics.base import Explanation
from metrics.complexity import sparseness

Judge = Callable[..., Explanation]


def test_sparseness_is_half_the_relative_mean_difference(judge: Judge, maps: Tensor) -> None:
    wanted = []
    for attributions in maps.flatten(1).abs().double().numpy():
        differences = sum(float(np.abs(attributions - value).sum()) for value in attributions)
        wanted.append(differences / (2 * len(attributions) * attributions.sum()))
    assert sparseness(judge(maps)).tolist() == pytest.approx(wanted, abs=1e-9)


def test_sparseness_is_the_formula_of_the_paper(judge: Judge, maps: Tensor) -> None:
    wanted = []
    for attributions in maps.flatten(1).abs().double().tolist():
        d, norm = len(attributions), sum(attributions)
        terms = (value / norm * (d - k + 0.5) / d for k, value in enumerate(sorted(attributions), start=1))
        wanted.append(1 - 2 * sum(terms))
    assert sparseness(judge(maps)).tolist() == pytest.approx(wanted, abs=1e-9)


def test_sparseness_is_that_of_quantus(judge: Judge, ask_quantus: Callable[..., np.ndarray], maps: Tensor) -> None:
    theirs = ask_quantus("Sparseness", {"abs": True}, maps)
    assert sparseness(judge(maps)).numpy() == pytest.approx(theirs, abs=1e-5)


@pytest.mark.parametrize("value", [3.0, -0.1])
def test_a_constant_map_is_not_sparse(judge: Judge, maps: Tensor, value: float) -> None:
    assert sparseness(judge(torch.full_like(maps, value))).tolist() == pytest.approx([0.0] * 6, abs=1e-12)


def test_one_pixel_is_the_sparsest_and_all_zero_is_undefined(judge: Judge, maps: Tensor) -> None:
    one = torch.zeros_like(maps)
    one[:3, :, 2, 3] = -4.0
    assert sparseness(judge(one)).tolist() == pytest.approx([1 - 1 / 576] * 3 + [np.nan] * 3, nan_ok=True)


def test_signs_scale_and_places_do_not_matter(judge: Judge, maps: Tensor) -> None:
    score = sparseness(judge(maps))
    for same in (-maps, maps.abs(), maps * 16, maps.flip(2)):
        assert torch.allclose(sparseness(judge(same)), score)
