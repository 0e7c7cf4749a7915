"""How alike two maps are: scikit-image, a loop over windows, every way of breaking ties."""

from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.metrics import structural_similarity as of_skimage
from torch import Tensor

from metrics.similarity import among_the_highest, sign_flips, structural_similarity, top_overlap

few = settings(max_examples=25, derandomize=True, deadline=None)
rows_of_few_levels = st.lists(st.integers(-2, 2), min_size=7, max_size=7)


def everywhere(maps: Tensor) -> Tensor:
    return torch.ones(maps.shape[1:], dtype=torch.bool)


def pair(seed: int, shape: tuple[int, ...] = (5, 30, 26)) -> tuple[Tensor, Tensor]:
    first, other = torch.randn(2, *shape, generator=torch.Generator().manual_seed(seed))
    return first, 0.6 * first + other


def scaled(values: Tensor) -> np.ndarray:
    """In [0, 1], zero at one half."""
    return (values.double() / values.abs().max() + 1).numpy() / 2


def test_ssim_is_that_of_scikit_image() -> None:
    first, second = pair(0)
    settings_of_wang = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1.0}
    wanted = [of_skimage(scaled(a), scaled(b), **settings_of_wang) for a, b in zip(first, second, strict=True)]
    assert structural_similarity(first, second, everywhere(first)).tolist() == pytest.approx(wanted, abs=1e-9)


def test_ssim_of_a_part_is_the_mean_over_the_windows_within_it() -> None:
    first, second = pair(1, (1, 18, 17))
    compared = torch.ones(18, 17, dtype=torch.bool)
    compared[:3, :4] = False
    compared[16, 12] = False
    first[0, 0, 0] = 900.0  # not compared: takes no part in the scale either
    places = np.arange(-5, 6)
    weights = np.exp(-(places[:, None] ** 2 + places**2) / (2 * 1.5**2))
    weights /= weights.sum()
    whole = [(values[0].double() / values[0][compared].abs().max() + 1).numpy() / 2 for values in (first, second)]
    values = []
    for top, left in np.ndindex(8, 7):
        window = (slice(top, top + 11), slice(left, left + 11))
        if not compared.numpy()[window].all():
            continue
        x, y = (one[window] for one in whole)
        mean_x, mean_y = (weights * x).sum(), (weights * y).sum()
        var_x, var_y = (weights * (x - mean_x) ** 2).sum(), (weights * (y - mean_y) ** 2).sum()
        covariance = (weights * (x - mean_x) * (y - mean_y)).sum()
        luminance = (2 * mean_x * mean_y + 0.0001) / (mean_x**2 + mean_y**2 + 0.0001)
        values.append(luminance * (2 * covariance + 0.0009) / (var_x + var_y + 0.0009))
    assert 20 < len(values) < 56
    assert structural_similarity(first, second, compared).item() == pytest.approx(np.mean(values), abs=1e-9)


def test_ssim_of_equal_opposite_and_scaled_maps() -> None:
    first, second = pair(2)
    compared = everywhere(first)
    assert structural_similarity(first, first, compared).tolist() == pytest.approx([1.0] * 5)
    assert bool((structural_similarity(first, -first, compared) < -0.5).all())
    score = structural_similarity(first, second, compared)
    assert torch.allclose(structural_similarity(7 * first, 0.01 * second, compared), score)
    assert torch.allclose(structural_similarity(second, first, compared), score)
    assert not torch.allclose(structural_similarity(first + 1, second, compared), score, atol=1e-3)


def test_ssim_is_undefined_where_no_window_fits_or_a_map_is_zero() -> None:
    first, second = pair(3, (2, 30, 10))
    assert bool(structural_similarity(first, second, everywhere(first)).isnan().all())
    first, second = pair(3, (2, 30, 20))
    strips = everywhere(first)
    strips[:, ::8] = False
    assert bool(structural_similarity(first, second, strips).isnan().all())
    first[0] = 0
    assert structural_similarity(first, second, everywhere(first)).isnan().tolist() == [True, False]
    first, second = pair(3, (2, 30, 11))
    assert bool(structural_similarity(first, second, everywhere(first)).isfinite().all())


def all_choices(values: list[int], k: int) -> list[set[int]]:
    """Every set of k places that holds the k highest values, by whichever way of breaking ties."""
    wanted = sorted(values, reverse=True)[:k]
    places = combinations(range(len(values)), k)
    return [set(some) for some in places if sorted((values[place] for place in some), reverse=True) == wanted]


@few
@given(rows_of_few_levels, rows_of_few_levels, st.integers(1, 7))
def test_overlap_is_the_mean_over_all_ways_of_breaking_ties(first: list[int], second: list[int], k: int) -> None:
    a, b = torch.tensor([first]).float(), torch.tensor([second]).float()
    ways = [len(one & other) / k for one in all_choices(first, k) for other in all_choices(second, k)]
    assert top_overlap(a, b, k).item() == pytest.approx(np.mean(ways))
    assert among_the_highest(a, k).sum().item() == pytest.approx(k)


@few
@given(rows_of_few_levels, rows_of_few_levels, st.integers(1, 7))
def test_sign_flips_are_the_mean_over_all_ways_of_breaking_ties(first: list[int], second: list[int], k: int) -> None:
    ways = []
    for chosen in all_choices([abs(value) for value in first], k):
        evidence = [place for place in chosen if first[place] != 0]
        flips = [place for place in evidence if first[place] * second[place] < 0]
        ways.append(len(flips) / len(evidence) if evidence else np.nan)
    both = first + second
    wanted = np.mean(ways) if min(both) < 0 < max(both) else np.nan
    score = sign_flips(torch.tensor([first]).float(), torch.tensor([second]).float(), k).item()
    assert score == pytest.approx(wanted, nan_ok=True)


def test_overlap_and_flips_of_known_pairs() -> None:
    a = torch.tensor([[9.0, 8.0, -7.0, 1.0, 0.5, 0.25, -0.1, 0.0]])
    b = torch.tensor([[-9.0, 8.0, 7.0, 1.0, 0.5, 0.25, -0.1, 0.0]])
    assert top_overlap(a, a, 2).item() == 1
    assert top_overlap(a, -a, 2).item() == 0
    assert top_overlap(a, b, 2).item() == 0.5
    assert sign_flips(a, a, 4).item() == 0
    assert sign_flips(a, -a, 4).item() == 1
    assert sign_flips(a, b, 4).item() == 0.5
    assert sign_flips(a, torch.zeros_like(b), 4).item() == 0  # what vanishes has not flipped
    assert top_overlap(a, torch.ones_like(b), 2).item() == pytest.approx(2 / 8)  # chance


def test_one_pixel_is_judged_by_that_pixel() -> None:
    one = torch.zeros(1, 50)
    one[0, 7] = 3.0
    assert sign_flips(one, -one, 10).item() == 1
    assert sign_flips(one, -one.roll(1), 10).item() == 0
    assert top_overlap(one, one, 1).item() == 1
    assert top_overlap(one, one.roll(1), 1).item() == 0


def test_maps_of_one_sign_cannot_flip() -> None:
    a = torch.tensor([[1.0, 2.0, 0.0, 3.0]])
    assert bool(sign_flips(a, a.flip(1), 2).isnan())
    assert bool(sign_flips(-a, -a.flip(1), 2).isnan())
    assert sign_flips(a, -a, 2).item() == 1
    assert bool(sign_flips(torch.zeros_like(a), a - 1, 2).isnan())


@few
@given(st.integers(0, 1000), st.floats(0.01, 100), st.floats(0.01, 100))
def test_positive_scales_and_increasing_functions_change_nothing(seed: int, first: float, second: float) -> None:
    a, b = (values.flatten(1).double() for values in pair(seed, (3, 6, 7)))
    assert torch.equal(sign_flips(first * a, second * b, 5), sign_flips(a, b, 5))
    assert torch.equal(top_overlap((first * a).exp(), second * b.pow(3), 5), top_overlap(a, b, 5))
    rows = [2, 0]
    assert torch.equal(sign_flips(a[rows], b[rows], 5), sign_flips(a, b, 5)[rows])
    assert torch.equal(top_overlap(a[rows], b[rows], 5), top_overlap(a, b, 5)[rows])
