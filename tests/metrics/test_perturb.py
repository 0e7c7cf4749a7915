"""Imputers, ranks and areas, against slow definitions and closed forms."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from metrics import perturb
from metrics.base import Decisions, Explanation

Judge = Callable[..., Explanation]


def test_mean_imputer_is_the_mean_colour_of_each_image(network: torch.nn.Module, images: Tensor) -> None:
    baseline = perturb.MeanImputer().baseline(Decisions(network, images))
    assert baseline.shape == images.shape
    for image, imputed in zip(images, baseline, strict=True):
        for channel in range(3):
            assert torch.allclose(imputed[channel], torch.tensor(image[channel].numpy().mean()), atol=1e-6)


def test_zero_imputer_is_black(network: torch.nn.Module, images: Tensor) -> None:
    decisions = Decisions(network, images)
    removed = torch.zeros(6, 1, 24, 24, dtype=torch.bool)
    removed[..., 3:9] = True
    without = perturb.ZeroImputer().without(decisions, removed)
    assert not without[..., 3:9].any()
    assert torch.equal(without[..., 9:], images[..., 9:])
    assert torch.equal(without[..., :3], images[..., :3])


def test_imputers_of_one_batch_keep_their_baselines_apart(network: torch.nn.Module, images: Tensor) -> None:
    decisions = Decisions(network, images)
    everything = torch.ones(6, 1, 24, 24, dtype=torch.bool)
    for imputer in (perturb.MeanImputer(), perturb.ZeroImputer(), perturb.BlurImputer(), perturb.BlurImputer(0.1)):
        assert torch.equal(imputer.without(decisions, everything), imputer.baseline(Decisions(network, images)))


def test_uniform_imputer_is_noise_that_belongs_to_the_sample_the_draw_and_the_seed(
    network: torch.nn.Module, images: Tensor
) -> None:
    def noise(rows: list[int], draw: int = 0, seed: int = 0) -> Tensor:
        decisions = Decisions(network, images[rows], ids=tuple("abcdef"[row] for row in rows), seed=seed)
        return perturb.UniformImputer(draw).baseline(decisions)

    everything = noise([0, 1, 2, 3, 4, 5])
    assert everything.shape == images.shape
    assert everything.min() >= 0
    assert everything.max() <= 1
    assert abs(everything.mean().item() - 0.5) < 0.01
    assert abs(everything.var().item() - 1 / 12) < 0.002
    assert torch.equal(noise([4, 2]), everything[[4, 2]])
    assert not torch.equal(everything[0], everything[1])
    assert not torch.equal(noise([4, 2], draw=1), everything[[4, 2]])
    assert not torch.equal(noise([4, 2], seed=1), everything[[4, 2]])


def test_gaussian_blur_is_the_convolution_with_a_gaussian() -> None:
    side, sigma = 40, 0.05
    point = torch.zeros(1, 3, side, side)
    point[..., 20, 20] = 1
    blurred = perturb.gaussian_blur(point, sigma)
    weights = [math.exp(-0.5 * (offset / (sigma * side)) ** 2) for offset in range(-6, 7)]
    for row in range(-6, 7):
        for column in range(-6, 7):
            wanted = weights[row + 6] * weights[column + 6] / sum(weights) ** 2
            assert blurred[0, 0, 20 + row, 20 + column].item() == pytest.approx(wanted, abs=1e-6)


def test_blur_scales_with_the_image_and_keeps_constants() -> None:
    assert torch.allclose(perturb.gaussian_blur(torch.full((2, 3, 7, 9), 0.3), 0.2), torch.tensor(0.3), atol=1e-6)
    small = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    large = torch.nn.functional.interpolate(small, scale_factor=4)
    down = torch.nn.functional.avg_pool2d(perturb.gaussian_blur(large, 0.1), 4)
    assert (down - perturb.gaussian_blur(small, 0.1)).abs().mean() < 0.01


def test_ranks_follow_descending_attributions(judge: Judge, maps: Tensor) -> None:
    ranks = perturb.ranks(judge(maps))
    for attributions, rank in zip(maps.flatten(1).tolist(), ranks.tolist(), strict=True):
        order = sorted(range(len(attributions)), key=lambda pixel: -attributions[pixel])
        assert [rank[pixel] for pixel in order] == list(range(len(order)))


def test_ties_are_broken_at_random_within_their_value(judge: Judge, maps: Tensor) -> None:
    coarse = maps.round()
    ranks = perturb.ranks(judge(coarse))
    pixels = torch.arange(ranks.shape[1], dtype=ranks.dtype)
    assert torch.equal(ranks.sort(dim=1).values, pixels.expand_as(ranks))
    for values, rank in zip(coarse.flatten(1), ranks.long(), strict=True):
        assert bool((values[rank.argsort()].diff() <= 0).all())
        tied = rank[values == 0]
        assert not torch.equal(tied, tied.sort().values)


def test_a_constant_map_is_a_random_order_and_the_same_for_all_explainers(judge: Judge, maps: Tensor) -> None:
    first = perturb.ranks(judge(torch.zeros_like(maps)))
    assert torch.equal(first, perturb.ranks(judge(torch.full_like(maps, 7.0))))
    assert torch.equal(first, perturb.ranks(judge(-torch.zeros_like(maps))))
    assert not torch.equal(first[0], first[1])
    position = torch.arange(first.shape[1]).double()
    for rank in first.double():
        assert abs(torch.corrcoef(torch.stack([rank, position]))[0, 1].item()) < 0.15


def test_tie_breakers_belong_to_the_sample_and_the_seed(network: torch.nn.Module, images: Tensor, maps: Tensor) -> None:
    flat = torch.zeros_like(maps)
    names = tuple("abcdef")

    def ranks(rows: list[int], seed: int = 0) -> Tensor:
        decisions = Decisions(network, images[rows], ids=tuple(names[row] for row in rows), seed=seed)
        return perturb.ranks(Explanation(decisions, flat[rows], lambda *_: flat))

    everything = ranks([0, 1, 2, 3, 4, 5])
    assert torch.equal(ranks([4, 2]), everything[[4, 2]])
    assert not torch.equal(ranks([4, 2], seed=1), everything[[4, 2]])


@pytest.mark.parametrize(("n_pixels", "n_steps"), [(576, 32), (50, 7), (5, 8), (3, 1)])
def test_area_is_the_trapezoid_rule(n_pixels: int, n_steps: int) -> None:
    curve = torch.rand(2, n_steps + 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    removed = [step * n_pixels // n_steps for step in range(n_steps + 1)]
    assert removed[0] == 0
    assert removed[-1] == n_pixels
    for row, area in zip(curve.tolist(), perturb.area(curve, n_pixels).tolist(), strict=True):
        wanted = sum(
            (removed[step + 1] - removed[step]) / n_pixels * (row[step] + row[step + 1]) / 2 for step in range(n_steps)
        )
        assert area == pytest.approx(wanted, abs=1e-12)


def test_spans_remove_equal_steps_from_either_end_or_one_by_one() -> None:
    order = perturb.Order("test", torch.arange(10)[None], 10)
    assert perturb.most_relevant_first(order, 4) == [(0, 0), (0, 2), (0, 5), (0, 7), (0, 10)]
    assert perturb.least_relevant_first(order, 4) == [(10, 10), (8, 10), (5, 10), (3, 10), (0, 10)]
    assert perturb.one_after_another(order, 4) == [(0, 2), (2, 5), (5, 7), (7, 10)]


def test_a_span_is_forwarded_once_and_what_no_explainer_changes_once_for_all(judge: Judge, maps: Tensor) -> None:
    first = judge(maps)
    decisions, imputer = first.decisions, perturb.MeanImputer()
    for explanation, wanted in (
        (first, [0, 6, 6, 6, 12, 18]),
        (Explanation(decisions, -maps, first.explain), [0, 0, 0]),
    ):
        order = perturb.pixels(explanation)
        spans = [(7, 7), (0, 576), (0, 576), (0, 0), (0, 5), (5, 576)][: len(wanted)]
        before = decisions.n_forwarded
        counts = []
        for span in spans:
            perturb.logits_without(explanation, order, imputer, [span])
            counts.append(decisions.n_forwarded - before)
        assert counts == wanted


@pytest.mark.parametrize(
    ("n_samples", "batch_size", "wanted"), [(1, 32, [8, 2]), (3, 32, [6] * 5), (6, 32, [6] * 10), (1, 4, [4, 4, 2])]
)
def test_variants_of_a_small_batch_are_forwarded_together(
    network: torch.nn.Module, images: Tensor, n_samples: int, batch_size: int, wanted: list[int]
) -> None:
    decisions = Decisions(network, images[:n_samples], batch_size=batch_size)
    variants = [decisions.inputs * (1 - 0.1 * number) for number in range(10)]
    counts: list[int] = []
    handle = network.register_forward_pre_hook(lambda _, inputs: counts.append(len(inputs[0])))
    together = decisions.logits_of_variants(iter(variants))
    handle.remove()
    assert counts == wanted
    assert decisions.n_forwarded == 11 * n_samples
    for answer, variant in zip(together, variants, strict=True):
        assert torch.allclose(answer, decisions.logits(variant), atol=1e-6)
    assert decisions.logits_of_variants([]) == []
