"""Similarity of two maps: scipy's rank correlation, scikit-image's SSIM, and maps without structure."""

import numpy as np
import pytest
import torch
from scipy import stats
from skimage.metrics import structural_similarity
from torch import Tensor

from metrics.likeness import RankSimilarity, Similarity, StructuralSimilarity

ALL = [RankSimilarity(), RankSimilarity(absolute=True), StructuralSimilarity()]


@pytest.fixture
def others(maps: Tensor) -> Tensor:
    """Maps that have something in common with `maps`, each of another scale."""
    noise = torch.randn(maps.shape, generator=torch.Generator().manual_seed(9))
    return (maps + noise) * torch.tensor([1e-3, 0.1, 1.0, 10.0, 1e3, -1.0]).view(6, 1, 1, 1)


@pytest.mark.parametrize("absolute", [False, True])
@pytest.mark.parametrize("step", [0.0, 0.5])
def test_ranks_are_those_of_scipy(maps: Tensor, others: Tensor, absolute: bool, step: float) -> None:
    first, second = (values / step for values in (maps, others)) if step else (maps, others)
    first, second = (first.round(), second.round()) if step else (first, second)
    pairs = [(a.abs(), b.abs()) if absolute else (a, b) for a, b in zip(first, second, strict=True)]
    wanted = [stats.spearmanr(a.flatten().numpy(), b.flatten().numpy()).statistic for a, b in pairs[1:]]
    assert RankSimilarity(absolute)(first, second)[1:].tolist() == pytest.approx(wanted, abs=1e-9)


def test_ssim_is_that_of_scikit_image(maps: Tensor, others: Tensor) -> None:
    for window in (7, 5):
        wanted = []
        for pair in zip(maps[:, 0].double().numpy(), others[:, 0].double().numpy(), strict=True):
            bounds = [np.percentile(one, (1, 99)) for one in pair]
            first, second = (
                np.clip((one - low) / (high - low), 0, 1) for one, (low, high) in zip(pair, bounds, strict=True)
            )
            wanted.append(structural_similarity(first, second, win_size=window, data_range=1.0))
        assert StructuralSimilarity(window)(maps, others).tolist() == pytest.approx(wanted, abs=1e-9)
        assert len({round(value, 3) for value in wanted}) > 3


@pytest.mark.parametrize("similarity", ALL)
def test_a_map_is_like_itself_whatever_its_scale(maps: Tensor, similarity: Similarity) -> None:
    for scale in (1.0, 1e-12, 1e9):
        assert similarity(maps, scale * maps).tolist() == pytest.approx([1.0] * 6, abs=1e-6)


@pytest.mark.parametrize("similarity", ALL)
def test_a_first_map_without_structure_has_no_similarity(maps: Tensor, similarity: Similarity) -> None:
    for value in (0.0, 1.0, -3.0):
        constant = torch.full_like(maps, value)
        assert bool(similarity(constant, maps).isnan().all())
        assert bool(similarity(constant, constant).isnan().all())


def test_a_map_that_is_constant_as_it_is_compared_has_no_similarity(maps: Tensor) -> None:
    signs = maps.sign()
    assert bool(RankSimilarity(absolute=True)(signs, maps).isnan().all())
    assert bool(RankSimilarity()(signs, maps).isfinite().all())


def test_a_second_map_without_structure_is_unlike(maps: Tensor) -> None:
    for value in (0.0, 1.0, -3.0):
        constant = torch.full_like(maps, value)
        for absolute in (False, True):
            assert RankSimilarity(absolute)(maps, constant).tolist() == [0.0] * 6
        assert bool((StructuralSimilarity()(maps, constant).abs() < 0.1).all())
    wholly = torch.full_like(maps, 1e30)
    assert bool(StructuralSimilarity()(maps, wholly).isfinite().all())


def test_zero_is_what_broken_ties_score_on_average(maps: Tensor) -> None:
    generator = torch.Generator().manual_seed(1)
    broken = [RankSimilarity()(maps, torch.rand(maps.shape, generator=generator)) for _ in range(200)]
    assert bool((torch.stack(broken).mean(dim=0).abs() < 0.01).all())


def test_a_map_turned_round(maps: Tensor) -> None:
    assert RankSimilarity()(maps, -maps).tolist() == pytest.approx([-1.0] * 6)
    assert RankSimilarity(absolute=True)(maps, -maps).tolist() == pytest.approx([1.0] * 6)
    assert bool((StructuralSimilarity()(maps, -maps) < -0.5).all())


def test_shifting_and_scaling_changes_no_ssim(maps: Tensor, others: Tensor) -> None:
    wanted = StructuralSimilarity()(maps, others)
    assert torch.allclose(StructuralSimilarity()(maps, 5 * others.double() - 3), wanted, atol=1e-6)


def test_ssim_counts_windows_where_nothing_is_as_alike(maps: Tensor) -> None:
    first, second = torch.zeros_like(maps), torch.zeros_like(maps)
    first[:, :, 3, 3], second[:, :, 20, 20] = 1.0, 1.0
    assert bool((StructuralSimilarity()(first, second) > 0.7).all())
    assert bool((RankSimilarity()(first, second) < 0).all())


def test_a_map_smaller_than_the_window_has_no_ssim(maps: Tensor) -> None:
    assert bool(StructuralSimilarity()(maps[..., :4, :], maps[..., :4, :]).isnan().all())
    assert StructuralSimilarity()(maps[..., :5, :], maps[..., :5, :]).tolist() == pytest.approx([1.0] * 6)


def test_a_window_of_one_pixel_is_refused() -> None:
    with pytest.raises(ValueError, match="window is at least 2"):
        StructuralSimilarity(1)
    assert StructuralSimilarity(2).window == 2
