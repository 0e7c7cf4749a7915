"""Complexity: the definitions in other forms, Quantus, and maps whose answer is known, gratings and grids."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy import fft
from torch import Tensor, nn

from metrics.base import Decisions, Explanation, Metric
from metrics.complexity import (
    Checkerboard,
    EffectiveComplexity,
    checkerboard,
    complexity,
    effective_complexity,
    granularity,
    sparseness,
)

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


def test_complexity_is_the_formula_in_loops(judge: Judge, maps: Tensor) -> None:
    wanted = []
    for attributions in maps.flatten(1).abs().double().tolist():
        shares = [value / sum(attributions) for value in attributions if value]
        wanted.append(-sum(share * math.log(share) for share in shares) / math.log(len(attributions)))
    assert complexity(judge(maps)).tolist() == pytest.approx(wanted, abs=1e-9)


def test_complexity_is_that_of_quantus_over_its_maximum(
    judge: Judge, ask_quantus: Callable[..., np.ndarray], maps: Tensor
) -> None:
    theirs = ask_quantus("Complexity", {"abs": True}, maps)
    assert complexity(judge(maps)).numpy() == pytest.approx(theirs / math.log(576), abs=1e-5)
    signed = ask_quantus("Complexity", {"abs": False}, maps)
    assert bool(np.isnan(signed).all())  # the logarithm of negative numbers; if Quantus mends it, this says so


@pytest.mark.parametrize("held", [0.5, 0.95, 1.0])
def test_effective_complexity_is_counted_from_the_largest_on(judge: Judge, maps: Tensor, held: float) -> None:
    sparse = maps.where(maps > 0.5, 0)
    wanted = []
    for attributions in sparse.flatten(1).abs().double().tolist():
        total, count = 0.0, 0
        for value in sorted(attributions, reverse=True):
            if total >= held * sum(attributions) * (1 - 1e-12):
                break
            total, count = total + value, count + 1
        wanted.append(count / 576)
    assert EffectiveComplexity(held)(judge(sparse)).tolist() == pytest.approx(wanted, abs=1e-9)


def test_quantus_counts_pixels_above_a_threshold_in_the_unit_of_the_map(
    ask_quantus: Callable[..., np.ndarray], judge: Judge, maps: Tensor
) -> None:
    """Documents the disagreement; if Quantus mends it, this test says so."""
    assert ask_quantus("EffectiveComplexity", {"abs": True}, maps).tolist() == [576.0] * 6
    assert ask_quantus("EffectiveComplexity", {"abs": True}, 1e-7 * maps).tolist() == [0.0] * 6
    assert torch.equal(effective_complexity(judge(2.0**-24 * maps)), effective_complexity(judge(maps)))


def test_entropy_and_count_of_constant_single_and_all_zero_maps(judge: Judge, maps: Tensor) -> None:
    constant, one = torch.full_like(maps, -3.0), torch.zeros_like(maps)
    one[:3, :, 2, 3] = -4.0
    assert complexity(judge(constant)).tolist() == pytest.approx([1.0] * 6)
    assert complexity(judge(one)).tolist() == pytest.approx([0.0] * 3 + [np.nan] * 3, nan_ok=True)
    assert effective_complexity(judge(constant)).tolist() == pytest.approx([548 / 576] * 6)
    assert effective_complexity(judge(one)).tolist() == pytest.approx([1 / 576] * 3 + [np.nan] * 3, nan_ok=True)


@pytest.mark.parametrize("metric", [complexity, effective_complexity])
def test_entropy_and_count_know_no_sign_scale_and_place(judge: Judge, maps: Tensor, metric: Metric) -> None:
    score = metric(judge(maps))
    for same in (-maps, maps.abs(), maps * 16, maps.flip(2)):
        assert torch.allclose(metric(judge(same)), score)
    assert bool((metric(judge(maps**5)) < score).all())


def _grating(rows: int, columns: int, height: int = 24, width: int = 24) -> Tensor:
    """(1, 1, H, W) cosine with so many half periods along each side."""
    down = torch.cos(torch.pi * rows * (torch.arange(height) + 0.5) / height)
    along = torch.cos(torch.pi * columns * (torch.arange(width) + 0.5) / width)
    return (down[:, None] * along)[None, None]


@pytest.mark.parametrize(("rows", "columns"), [(0, 1), (3, 0), (8, 6), (23, 23)])
def test_granularity_of_a_grating_is_its_frequency(judge: Judge, rows: int, columns: int) -> None:
    grating = _grating(rows, columns).expand(6, 1, 24, 24)
    wanted = math.hypot(rows / 48, columns / 48)
    for attributions in (grating, -3 * grating + 7):
        assert granularity(judge(attributions)).tolist() == pytest.approx([wanted] * 6, abs=1e-4)


def test_granularity_is_the_spectrum_of_scipy_also_where_sides_differ() -> None:
    maps = torch.randn(3, 1, 20, 31, generator=torch.Generator().manual_seed(0))
    wanted = []
    for values in maps[:, 0].double().numpy():
        power = fft.dctn(values, norm="ortho") ** 2
        pairs = [(math.hypot(row / 40, column / 62), power[row, column]) for row, column in np.ndindex(20, 31)]
        wanted.append(sum(f * p for f, p in pairs) / sum(p for f, p in pairs if f))
    assert granularity(_large(maps)).tolist() == pytest.approx(wanted, abs=1e-9)


def test_granularity_orders_smooth_maps_and_noise(judge: Judge, maps: Tensor) -> None:
    noise = granularity(judge(maps))
    assert noise.mean().item() == pytest.approx(0.38, abs=0.02)
    enlarged = nn.functional.interpolate(maps[..., :4, :4], (24, 24), mode="bilinear")
    ramp = torch.arange(24.0).expand(6, 1, 24, 24)
    assert bool((granularity(judge(ramp)) < granularity(judge(enlarged))).all())
    assert bool((granularity(judge(enlarged)) < 0.25 * noise).all())


@pytest.mark.parametrize("metric", [granularity, checkerboard])
@pytest.mark.parametrize("value", [0.0, 0.1, -2.0])
def test_fineness_of_a_constant_map_is_undefined(judge: Judge, maps: Tensor, metric: Metric, value: float) -> None:
    assert bool(metric(judge(torch.full_like(maps, value))).isnan().all())


def _large(attributions: Tensor) -> Explanation:
    """Of maps of any size; the model does not matter."""
    inputs = torch.zeros(len(attributions), 3, *attributions.shape[2:])
    return Explanation(
        Decisions(nn.Sequential(nn.Flatten(), nn.LazyLinear(2)), inputs), attributions, lambda *_: inputs
    )


def _noise(n: int, side: int) -> Tensor:
    return torch.randn(n, 1, side, side, generator=torch.Generator().manual_seed(5))


@pytest.mark.parametrize("side", [50, 51])  # of the larger one, the last whole grid ends at the border
def test_checkerboard_is_the_definition_in_loops(side: int) -> None:
    grid = (torch.arange(side) % 4 == 1).float()
    planted = torch.tensor([0.0, 0.5, 2.0]).view(3, 1, 1, 1) * grid
    maps, s = _noise(3, side) + torch.arange(float(side)) / 10 + planted, 4
    wanted = []
    for values in maps[:, 0].abs().double().numpy():
        n = (side - s + 1) // s * s
        places: dict[tuple[int, int], list[float]] = {}
        for row, column in np.ndindex(n, n):
            local = values[row : row + s, column : column + s].mean()
            places.setdefault((row % s, column % s), []).append(values[row + s // 2, column + s // 2] - local)
        whole = values[s // 2 : s // 2 + n, s // 2 : s // 2 + n].var()
        share, chance = np.var([np.mean(of) for of in places.values()]) / whole, (s * s - 1) / (n * n - 1)
        wanted.append(max((share - chance) / (1 - chance), 0))
    assert wanted[2] > wanted[1] > 0.01
    assert Checkerboard(s)(_large(maps)).tolist() == pytest.approx(wanted, abs=1e-9)


@pytest.mark.parametrize("period", [2, 4, 8])
def test_a_planted_grid_is_found_at_its_share_of_the_variance(period: int) -> None:
    cell = torch.zeros(period, period)
    cell[0, 0] = 1.0
    grid = cell.repeat(96 // period, 96 // period).expand(4, 1, 96, 96)
    assert checkerboard(_large(grid)).tolist() == pytest.approx([1.0] * 4)
    noise = 10 + _noise(4, 96)
    for amount in (0.5, 2.0):
        planted = amount * grid / grid.std()
        share = amount**2 / (amount**2 + 1)
        assert checkerboard(_large(noise + planted)).tolist() == pytest.approx([share] * 4, abs=0.03)


def test_noise_and_smooth_maps_have_no_grid() -> None:
    scores = checkerboard(_large(_noise(200, 48)))
    assert 0 < scores.mean().item() < 0.1 * 63 / (40**2 - 1)
    assert 0.3 < (scores == 0).double().mean().item() < 0.7  # chance is taken off: as often too little as too much
    places = torch.linspace(-1, 1, 48)
    bump = torch.exp(-3 * (places[:, None] ** 2 + places**2))
    for smooth in (bump, places.expand(48, 48), places**3 + 2 * places[:, None]):
        assert checkerboard(_large(smooth.view(1, 1, 48, 48))).item() == 0


def test_a_grid_of_another_period_is_not_taken_for_one() -> None:
    stripes = (torch.arange(105) % 3 == 0).float().expand(1, 1, 105, 105)
    assert checkerboard(_large(stripes)).item() < 0.01
    assert Checkerboard(3)(_large(stripes)).item() == pytest.approx(1.0)


def test_signs_and_scale_make_no_grid() -> None:
    maps = _noise(4, 64)
    assert torch.allclose(checkerboard(_large(-8 * maps)), checkerboard(_large(maps)))
    signs = 1 - 2 * (torch.arange(64) % 2).float()
    assert torch.allclose(checkerboard(_large(maps * signs)), checkerboard(_large(maps)))


def test_one_pixel_and_images_too_small_for_the_grid() -> None:
    one = torch.zeros(1, 1, 64, 64)
    one[..., 30, 30] = 1.0
    assert abs(checkerboard(_large(one)).item()) < 0.05
    assert bool(checkerboard(_large(_noise(2, 22))).isnan().all())
    assert bool(checkerboard(_large(_noise(2, 23))).isfinite().all())
    assert bool(checkerboard(_large(_noise(2, 40)[..., :22])).isnan().all())


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match="stride is at least 2"):
        Checkerboard(1)
    assert Checkerboard(2).stride == 2
    with pytest.raises(ValueError, match="held is above 0 and at most 1"):
        EffectiveComplexity(0.0)


def test_descriptions_without_a_better_run_on_request() -> None:
    assert granularity.on_request
    assert checkerboard.on_request
    assert not complexity.on_request


@pytest.mark.parametrize("side", [15, 26, 47])
def test_rounding_leads_no_entropy_beyond_one(side: int) -> None:
    """The sum over the shares of these sizes is a little above the logarithm of their number."""
    images = torch.zeros(1, 3, side, side)
    constant = torch.ones(1, 1, side, side)
    assert complexity(Explanation(Decisions(nn.Flatten(), images), constant, lambda *_: constant)).item() == 1.0
