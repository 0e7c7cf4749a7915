"""Controls: their statistics, and the same edges by scipy."""

from collections.abc import Callable

import numpy as np
import pytest
import scipy.ndimage
import scipy.stats
import torch
from torch import Tensor, nn

from explainers.controls import Center, CoarseNoise, Noise, center, coarse_noise, constant, edges, noise
from metrics.base import Decisions, Explanation
from metrics.complexity import granularity, sparseness
from metrics.faithfulness import deletion, insertion, srg
from metrics.localization import pointing_game, relevance_mass_accuracy, relevance_rank_accuracy
from metrics.robustness import blur, rotation

MODEL = nn.Identity()
Draw = Callable[..., Tensor]


def zeros(n: int) -> Tensor:
    return torch.zeros(n, dtype=torch.int64)


def test_noise_is_standard_normal_and_independent(draw: Draw) -> None:
    maps = noise(MODEL, draw(8, 64), zeros(8)).numpy()
    assert abs(maps.mean()) < 4 / maps.size**0.5
    assert abs(maps.var() - 1) < 4 * (2 / maps.size) ** 0.5
    assert scipy.stats.kstest(maps.ravel(), "norm").pvalue > 0.01
    assert abs(np.corrcoef(maps[..., 1:].ravel(), maps[..., :-1].ravel())[0, 1]) < 4 / maps.size**0.5
    between = np.corrcoef(maps.reshape(8, -1))[np.triu_indices(8, 1)]
    assert np.abs(between).max() < 5 / 64


def test_noise_is_a_function_of_image_and_seed(draw: Draw) -> None:
    images = draw(3, 16)
    maps = noise(MODEL, images, zeros(3))
    assert torch.equal(noise(MODEL, images.flip(0), zeros(3)), maps.flip(0))
    assert torch.equal(noise(MODEL, images[1:2].clone(), zeros(1)), maps[1:2])
    strided = images.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
    assert torch.equal(noise(MODEL, strided, zeros(3)), maps)
    assert torch.equal(Noise(seed=0)(MODEL, images, zeros(3)), maps)
    for changed in (images + 1e-6, 1 - images, images.transpose(2, 3)):
        assert not torch.isclose(noise(MODEL, changed, zeros(3)), maps).any(dim=(1, 2, 3)).all()
    assert (
        abs(torch.corrcoef(torch.stack([maps.flatten(), Noise(seed=1)(MODEL, images, zeros(3)).flatten()]))[0, 1])
        < 0.15
    )
    assert torch.equal(noise(MODEL, images.double(), zeros(3)), maps.double())


def test_coarse_noise_is_normal_in_its_cells_and_as_smooth_as_an_enlarged_feature_map(draw: Draw) -> None:
    images = draw(8, 112)
    maps = coarse_noise(MODEL, images, zeros(8))
    assert torch.equal(coarse_noise(MODEL, images.flip(0), zeros(8)), maps.flip(0))
    assert not torch.equal(CoarseNoise(seed=1)(MODEL, images, zeros(8)), maps)
    middles = maps[..., 7::16, 7::16]  # half a pixel beside the cells' centres
    assert abs(middles.mean()) < 4 / middles.numel() ** 0.5
    assert abs(middles.var() - 1) < 4 * (2 / middles.numel()) ** 0.5 + 0.1
    decisions = Decisions(nn.Flatten(), images, zeros(8))
    fine = noise(MODEL, images, zeros(8))
    frequency = {one: granularity(Explanation(decisions, one, noise)) for one in (maps, fine)}
    assert bool((frequency[maps] < 2 * 3.5 / 112).all())  # 3.5 periods of 2 cells fit the image
    assert bool((frequency[fine] > 0.3).all())


def test_coarse_noise_of_less_than_two_cells_is_refused() -> None:
    with pytest.raises(ValueError, match="grid is at least 2"):
        CoarseNoise(grid=1)


@pytest.mark.parametrize("side", [15, 16])
def test_center_is_isotropic_and_highest_in_the_middle(side: int) -> None:
    bump = center(MODEL, torch.rand(2, 3, side, side), zeros(2))
    assert torch.equal(bump[0], bump[1])
    bump = bump[0, 0]
    for turned in (bump.T, bump.flip(0), bump.flip(1), bump.rot90()):
        torch.testing.assert_close(turned, bump)
    assert torch.equal(bump == bump.max(), bump == bump[side // 2, side // 2])
    rows, columns = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    squared = ((rows - (side - 1) / 2) ** 2 + (columns - (side - 1) / 2) ** 2) / (0.25 * side) ** 2
    torch.testing.assert_close(bump, torch.exp(-squared / 2))


def test_center_follows_the_shape_of_the_image() -> None:
    bump = Center(sigma=0.1)(MODEL, torch.rand(1, 3, 11, 21), zeros(1))[0, 0]
    assert bump.shape == (11, 21)
    assert bump.argmax() == 5 * 21 + 10
    torch.testing.assert_close(bump[5 - 2, 10], torch.tensor(2 / 1.1).square().div(-2).exp())


def test_edges_are_scipys(draw: Draw) -> None:
    images = draw(2, 20).double()
    gray = images.mean(1).numpy()
    wanted = [np.hypot(*(scipy.ndimage.sobel(image, axis=axis, mode="nearest") for axis in (0, 1))) for image in gray]
    np.testing.assert_allclose(edges(MODEL, images, zeros(2))[:, 0].numpy(), wanted, atol=1e-12)


def test_edges_of_a_constant_image_are_nowhere() -> None:
    assert edges(MODEL, torch.full((1, 3, 9, 9), 0.3), zeros(1)).abs().max() < 1e-6
    half = torch.zeros(1, 3, 8, 8)
    half[..., 4:] = 1
    assert torch.equal(edges(MODEL, half, zeros(1))[0, 0].nonzero()[:, 1].unique(), torch.tensor([3, 4]))


def test_constant_is_what_each_metric_makes_of_ties(draw: Draw) -> None:
    """Localization: the mask's share. Complexity: the lowest. Robustness: undefined. Faithfulness: a random order."""
    images = draw(3, 20)
    masks = torch.zeros(3, 1, 20, 20, dtype=torch.bool)
    masks[:, :, :5, :8] = True
    model = nn.Sequential(nn.Flatten(), nn.Linear(1200, 4)).eval().requires_grad_(False)
    decisions = Decisions(model, images, masks=masks)
    explanation = Explanation(decisions, constant(model, images, decisions.targets), constant)
    for metric in (pointing_game, relevance_mass_accuracy, relevance_rank_accuracy):
        np.testing.assert_allclose(metric(explanation), 0.1)
    np.testing.assert_allclose(sparseness(explanation), 0, atol=1e-12)
    assert all(bool(metric(explanation).isnan().all()) for metric in (blur, rotation))
    empty = Explanation(decisions, 0 * explanation.attributions, constant)
    for metric in (deletion, insertion, srg):
        assert torch.equal(metric(explanation), metric(empty)), "any constant: the sample's own random order"
