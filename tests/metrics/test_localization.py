"""Localization: loops, Quantus where it is right, and ties, empty masks and signs where it is not."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from metrics.base import Decisions, Explanation, Metric
from metrics.localization import pointing_game, relevance_mass_accuracy, relevance_rank_accuracy

Judge = Callable[..., Explanation]
ALL = [pointing_game, relevance_mass_accuracy, relevance_rank_accuracy]
QUANTUS = dict(zip(("PointingGame", "RelevanceMassAccuracy", "RelevanceRankAccuracy"), ALL, strict=True))


def _pointing_slowly(attributions: np.ndarray, mask: np.ndarray) -> float:
    pixels = list(np.ndindex(*mask.shape))
    highest = max(attributions[pixel] for pixel in pixels)
    chosen = [pixel for pixel in pixels if attributions[pixel] == highest]
    return sum(bool(mask[pixel]) for pixel in chosen) / len(chosen) if mask.any() else math.nan


def _mass_slowly(attributions: np.ndarray, mask: np.ndarray) -> float:
    inside = total = 0.0
    for pixel in np.ndindex(*mask.shape):
        relevance = max(float(attributions[pixel]), 0.0)
        total += relevance
        inside += relevance if mask[pixel] else 0.0
    return inside / total if mask.any() and total > 0 else math.nan


def _rank_slowly(attributions: np.ndarray, mask: np.ndarray) -> float:
    """The mean over many random orders of the ties."""
    if not mask.any():
        return math.nan
    generator = np.random.default_rng(0)
    size, hits = int(mask.sum()), []
    for _ in range(3000 if len(np.unique(attributions)) < attributions.size else 1):
        order = np.lexsort((generator.random(attributions.size), -attributions.ravel()))
        hits.append(mask.ravel()[order[:size]].mean())
    return float(np.mean(hits))


SLOWLY = {pointing_game: _pointing_slowly, relevance_mass_accuracy: _mass_slowly, relevance_rank_accuracy: _rank_slowly}


@pytest.mark.parametrize("metric", ALL)
@pytest.mark.parametrize("kind", ["signed", "tied", "constant", "zero", "negative"])
def test_scores_are_those_of_the_definition_in_loops(judge: Judge, maps: Tensor, metric: Metric, kind: str) -> None:
    attributions = {
        "signed": maps,
        "tied": maps.round(),
        "constant": torch.full_like(maps, 2.0),
        "zero": torch.zeros_like(maps),
        "negative": -maps.abs(),
    }[kind]
    explanation = judge(attributions)
    pairs = zip(attributions[:, 0].numpy(), explanation.decisions.masks[:, 0].numpy(), strict=True)
    wanted = [SLOWLY[metric](*pair) for pair in pairs]
    tolerance = 0.01 if metric is relevance_rank_accuracy and kind != "signed" else 1e-6
    assert metric(explanation).tolist() == pytest.approx(wanted, abs=tolerance, nan_ok=True)


@pytest.mark.parametrize("name", list(QUANTUS))
def test_scores_are_those_of_quantus_without_ties_signs_and_empty_masks(
    judge: Judge, ask_quantus: Callable[..., np.ndarray], maps: Tensor, masks: Tensor, name: str
) -> None:
    theirs = ask_quantus(name, {"abs": False}, maps.abs(), masks)
    ours = QUANTUS[name](judge(maps.abs()))
    assert ours[:5].numpy() == pytest.approx(theirs[:5], abs=1e-5)
    assert bool(ours[5].isnan())


@pytest.mark.parametrize("metric", ALL)
def test_a_perfect_map_scores_one_and_its_opposite_none(
    judge: Judge, masks: Tensor, maps: Tensor, metric: Metric
) -> None:
    perfect = metric(judge(masks.float() * (1 + maps.abs())))
    assert perfect[:5].tolist() == pytest.approx([1.0] * 5)
    opposite = metric(judge((~masks).float() * (1 + maps.abs())))
    assert opposite[:5].tolist() == pytest.approx([0.0] * 5)


@pytest.mark.parametrize("metric", ALL)
def test_a_constant_positive_map_scores_the_share_of_the_mask(
    judge: Judge, masks: Tensor, maps: Tensor, metric: Metric
) -> None:
    share = masks.flatten(1).double().mean(dim=1)[:5]
    assert torch.allclose(metric(judge(torch.ones_like(maps)))[:5], share)


def test_all_zero_and_all_negative_maps(judge: Judge, masks: Tensor, maps: Tensor) -> None:
    share = masks.flatten(1).double().mean(dim=1)[:5]
    for metric in (pointing_game, relevance_rank_accuracy):
        assert torch.allclose(metric(judge(torch.zeros_like(maps)))[:5], share)
        assert bool(metric(judge(-maps.abs()))[:5].isfinite().all())
    assert bool(relevance_mass_accuracy(judge(torch.zeros_like(maps))).isnan().all())
    assert bool(relevance_mass_accuracy(judge(-maps.abs())).isnan().all())


def test_one_pixel(judge: Judge, masks: Tensor, maps: Tensor) -> None:
    one = torch.zeros_like(maps)
    one[:, :, 4, 5] = 1.0
    assert pointing_game(judge(one))[:5].tolist() == [1.0] * 5
    assert relevance_mass_accuracy(judge(one))[:5].tolist() == [1.0] * 5
    size = masks.flatten(1).sum(dim=1)[:5].double()
    wanted = (1 + (size - 1) * (size - 1) / (576 - 1)) / size
    assert torch.allclose(relevance_rank_accuracy(judge(one))[:5], wanted)


@pytest.mark.parametrize("metric", ALL)
def test_a_full_mask_is_always_hit(network: nn.Module, images: Tensor, maps: Tensor, metric: Metric) -> None:
    decisions = Decisions(network, images, masks=torch.ones(6, 1, 24, 24, dtype=torch.bool))
    assert metric(Explanation(decisions, maps, lambda *_: maps)).tolist() == pytest.approx([1.0] * 6)


def test_claimed_invariances(judge: Judge, maps: Tensor) -> None:
    for metric in ALL:
        assert torch.allclose(metric(judge(8 * maps)), metric(judge(maps)), equal_nan=True)
    for metric in (pointing_game, relevance_rank_accuracy):
        assert torch.allclose(metric(judge(maps.double() - 5)), metric(judge(maps)), equal_nan=True)
    assert torch.equal(
        relevance_rank_accuracy(judge(maps.double().exp()))[:5], relevance_rank_accuracy(judge(maps))[:5]
    )


def test_where_quantus_differs(
    judge: Judge, ask_quantus: Callable[..., np.ndarray], maps: Tensor, masks: Tensor
) -> None:
    """Documents the disagreements; if Quantus mends one, this test says so."""
    share = masks.flatten(1).double().mean(dim=1)
    constant = torch.arange(1.0, 7.0).view(6, 1, 1, 1).expand_as(maps)
    assert ask_quantus("PointingGame", {"abs": False}, constant, masks).tolist() == [1.0] * 6
    assert torch.allclose(pointing_game(judge(constant))[:5], share[:5])
    theirs = ask_quantus("RelevanceRankAccuracy", {"abs": False}, constant, masks)
    assert np.abs(theirs[:5] - share[:5].numpy()).max() > 0.05
    signed = ask_quantus("RelevanceMassAccuracy", {"abs": False}, maps, masks)
    assert np.nanmin(signed) < 0 or np.nanmax(signed) > 1
    assert bool(relevance_mass_accuracy(judge(maps))[:5].clamp(0, 1).equal(relevance_mass_accuracy(judge(maps))[:5]))


@pytest.mark.parametrize("metric", ALL)
def test_a_task_without_masks_is_refused(network: nn.Module, images: Tensor, maps: Tensor, metric: Metric) -> None:
    assert metric.needs_masks
    with pytest.raises(ValueError, match="needs masks"):
        metric(Explanation(Decisions(network, images), maps, lambda *_: maps))
