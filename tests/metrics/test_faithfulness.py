"""Metrics of removal in order: a second definition in loops, Quantus, closed forms, and what they cost."""

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from metrics import faithfulness, perturb
from metrics.base import Decisions, Explanation
from metrics.faithfulness import (
    abpc,
    abpc_blur,
    deletion,
    deletion_blur,
    insertion,
    insertion_blur,
    pixel_flipping,
    pixel_flipping_blur,
    srg,
    srg_blur,
)

Judge = Callable[..., Explanation]
ALL = [
    *(deletion, insertion, srg, abpc, pixel_flipping),
    *(deletion_blur, insertion_blur, srg_blur, abpc_blur, pixel_flipping_blur),
]


def _logits(model: nn.Module, image: np.ndarray) -> list[float]:
    with torch.no_grad():
        return model(torch.from_numpy(image)[None])[0].double().tolist()


def _probability(model: nn.Module, image: np.ndarray, target: int) -> float:
    logits = _logits(model, image)
    return math.exp(logits[target]) / sum(math.exp(logit) for logit in logits)


def _area(curve: list[float]) -> float:
    return sum((curve[step] + curve[step + 1]) / 2 for step in range(len(curve) - 1)) / (len(curve) - 1)


def _slowly(explanation: Explanation, imputer: perturb.BaselineImputer, n_steps: int) -> dict[str, list[float]]:
    """The scores as the papers have them: pixel after pixel, image after image."""
    decisions = explanation.decisions
    scores: dict[str, list[float]] = {name: [] for name in ("deletion", "insertion", "srg", "abpc", "pixel_flipping")}
    for index, image in enumerate(decisions.inputs.numpy()):
        target = int(decisions.targets[index])
        baseline = imputer.baseline(decisions)[index].numpy()
        attributions = explanation.attributions[index, 0].numpy()
        order = sorted(np.ndindex(*attributions.shape), key=lambda pixel: -attributions[pixel])
        step = len(order) // n_steps
        deleted, inserted, removed = image.copy(), baseline.copy(), image.copy()
        curves: tuple[list[float], ...] = ([], [], [])
        whole, falls = _logits(decisions.model, image)[target], []
        for count in range(0, len(order) + 1, step):
            for row, column in order[count - step : count] if count else []:
                deleted[:, row, column] = baseline[:, row, column]
                inserted[:, row, column] = image[:, row, column]
            for row, column in order[::-1][count - step : count] if count else []:
                removed[:, row, column] = baseline[:, row, column]
            for curve, perturbed in zip(curves, (deleted, inserted, removed), strict=True):
                curve.append(_probability(decisions.model, perturbed, target))
            falls.append(whole - _logits(decisions.model, deleted)[target])
        scores["deletion"].append(_area(curves[0]))
        scores["insertion"].append(_area(curves[1]))
        scores["srg"].append(_area(curves[2]) - _area(curves[0]))
        ends = curves[0][0], curves[0][-1]
        rescaled = [[(value - ends[1]) / (ends[0] - ends[1]) for value in curves[which]] for which in (0, 2)]
        scores["abpc"].append(_area(rescaled[1]) - _area(rescaled[0]) if ends[0] - ends[1] >= 0.1 else math.nan)
        scores["pixel_flipping"].append(sum(falls[1:]) / n_steps)
    return scores


@pytest.mark.parametrize("imputer", [perturb.MeanImputer(), perturb.BlurImputer()])
def test_scores_are_those_of_the_definition_in_loops(
    judge: Judge, maps: Tensor, imputer: perturb.BaselineImputer
) -> None:
    explanation = judge(maps)
    wanted = _slowly(explanation, imputer, 8)
    for name, values in wanted.items():
        score = replace(getattr(faithfulness, name), imputer=imputer, n_steps=8)(explanation)
        assert score.tolist() == pytest.approx(values, abs=1e-5, nan_ok=True), name
        assert np.nanmax(values) - np.nanmin(values) > 0.01


@pytest.fixture
def flipped_by_quantus(ask_quantus: Callable[..., np.ndarray]) -> Callable[..., np.ndarray]:
    """Maps -> (N, 24) curve of Quantus's PixelFlipping, pixels replaced by the mean colour."""

    # Quantus counts C·H·W features: a step of 72 takes 24 whole pixels, as long as 72 divides H·W.
    def ask(explanation: Explanation, maps: Tensor, softmax: bool) -> np.ndarray:
        decisions = explanation.decisions
        baseline = perturb.MeanImputer().baseline(decisions).flatten(1).numpy()

        def replace_by_mean(arr: np.ndarray, indices: np.ndarray, **_: object) -> np.ndarray:
            arr = arr.copy()
            np.put_along_axis(arr, indices, np.take_along_axis(baseline, indices, axis=1), axis=1)
            return arr

        settings = {"features_in_step": 72, "perturb_func": replace_by_mean}
        call = {"model": decisions.model, "y_batch": decisions.targets.numpy(), "softmax": softmax}
        return ask_quantus("PixelFlipping", settings, maps, **call)

    return ask


@pytest.mark.parametrize("most_relevant_first", [True, False])
def test_curves_are_those_of_quantus(
    judge: Judge, flipped_by_quantus: Callable[..., np.ndarray], maps: Tensor, most_relevant_first: bool
) -> None:
    explanation = judge(maps)
    theirs = flipped_by_quantus(explanation, maps if most_relevant_first else -maps, softmax=True)
    ours = (perturb.morf if most_relevant_first else perturb.lerf)(explanation, perturb.MeanImputer(), 24)
    assert theirs.shape == (6, 24)
    assert np.abs(ours[:, 1:].numpy() - theirs).max() < 1e-5


def test_pixel_flipping_is_the_mean_fall_of_quantus_curve(
    judge: Judge, flipped_by_quantus: Callable[..., np.ndarray], maps: Tensor
) -> None:
    explanation = judge(maps)
    decisions = explanation.decisions
    theirs = flipped_by_quantus(explanation, maps, softmax=False)
    whole = decisions.target_logits(decisions.original_logits).numpy()
    ours = replace(pixel_flipping, n_steps=24)(explanation)
    assert np.abs(ours.numpy() - (whole[:, None] - theirs).mean(axis=1)).max() < 1e-4


def test_insertion_is_lerf_backwards(judge: Judge, maps: Tensor) -> None:
    explanation = judge(maps.round())
    decisions = explanation.decisions
    ranks = perturb.ranks(explanation).view(6, 1, 24, 24)
    baseline = perturb.MeanImputer().baseline(decisions)
    inserted = [
        decisions.probabilities(torch.where(ranks < step * 72, decisions.inputs, baseline)) for step in range(9)
    ]
    curve = perturb.lerf(explanation, perturb.MeanImputer(), 8)
    assert torch.allclose(curve.flip(1), torch.stack(inserted, dim=1).double(), atol=1e-6)


def test_the_exact_attribution_of_a_linear_model_is_best(linear_pixels: type, images: Tensor, maps: Tensor) -> None:
    model = linear_pixels(0.05 * torch.randn(3, 24, 24, generator=torch.Generator().manual_seed(5)))
    decisions = Decisions(model, images, targets=torch.zeros(6, dtype=torch.int64))
    exact = (model.weights * (images - images.mean(dim=(2, 3), keepdim=True))).sum(dim=1, keepdim=True)

    def scores(attributions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        explanation = Explanation(decisions, attributions, lambda *_: attributions)
        return deletion(explanation), insertion(explanation), srg(explanation)

    best, other, worst = scores(exact), scores(maps), scores(-exact)
    assert bool((best[0] < other[0]).all() and (best[1] > other[1]).all() and (best[2] > other[2]).all())
    assert torch.allclose(worst[2], -best[2], atol=1e-6)

    contributions = exact.flatten(1).double().sort(dim=1, descending=True).values
    start = decisions.original_logits[:, :1].double()
    removed = torch.cat([torch.zeros(6, 1), contributions.cumsum(dim=1)[:, 17::18]], dim=1)
    wanted = torch.trapezoid(torch.sigmoid(start - removed), dx=1 / 32, dim=1)
    assert torch.allclose(best[0], wanted, atol=1e-5)


def test_constant_and_all_zero_maps_score_as_one_random_order(judge: Judge, maps: Tensor) -> None:
    zero = [metric(judge(torch.zeros_like(maps))) for metric in ALL]
    order = perturb.ranks(judge(torch.zeros_like(maps))).view(maps.shape)
    for value in (1.0, -3.0):
        for metric, score in zip(ALL, zero, strict=True):
            assert bool(score.isfinite().any())
            assert _same(metric(judge(torch.full_like(maps, value))), score)
            assert _same(metric(judge(-order.float())), score)


def _same(first: Tensor, second: Tensor) -> bool:
    return torch.allclose(first, second, rtol=0, atol=0, equal_nan=True)


def test_abpc_is_srg_over_the_whole_drop_and_undefined_without_one(linear_pixels: type, maps: Tensor) -> None:
    images = torch.zeros(3, 3, 24, 24)
    images[0, :, :12], images[1, :, :2] = 1, 1
    weights = torch.zeros(3, 24, 24)
    weights[:, :12] = 0.002
    decisions = Decisions(linear_pixels(weights), images, targets=torch.zeros(3, dtype=torch.int64))
    explanation = Explanation(decisions, maps[:3], lambda *_: maps[:3])
    curve = perturb.morf(explanation, perturb.MeanImputer(), 32)
    drops = (curve[:, 0] - curve[:, -1]).tolist()
    assert drops[0] > 0.1
    assert 0 < drops[1] < 0.1
    assert drops[2] == 0
    score = abpc(explanation)
    assert score[0].item() == pytest.approx(srg(explanation)[0].item() / drops[0])
    assert score.isnan().tolist() == [False, True, True]
    assert replace(abpc, min_drop=1e-3)(explanation).isnan().tolist() == [False, False, True]


def test_one_pixel_is_removed_first(linear_pixels: type) -> None:
    weights = torch.zeros(3, 24, 24)
    weights[:, 7, 9] = 2.0
    image = torch.zeros(1, 3, 24, 24)
    image[..., 7, 9] = 1.0
    attributions = torch.zeros(1, 1, 24, 24)
    attributions[..., 7, 9] = 1.0
    decisions = Decisions(linear_pixels(weights), image, targets=torch.zeros(1, dtype=torch.int64))
    explanation = Explanation(decisions, attributions, lambda *_: attributions)
    whole, nothing = 1 / (1 + math.exp(-6)), 1 / (1 + math.exp(-6 / 576))
    falls, stays = (whole + nothing) / 2 / 32, 31 / 32
    assert deletion(explanation).item() == pytest.approx(falls + stays * nothing, abs=1e-6)
    assert insertion(explanation).item() == pytest.approx(falls + stays * whole, abs=1e-6)
    assert srg(explanation).item() == pytest.approx(stays * (whole - nothing), abs=1e-6)


@pytest.mark.parametrize("metric", ALL)
def test_increasing_functions_of_the_map_score_the_same(
    judge: Judge, maps: Tensor, metric: faithfulness.Deletion
) -> None:
    score = metric(judge(maps))
    assert _same(metric(judge(4 * maps)), score)
    assert _same(metric(judge(maps.double() + 2)), score)
    assert _same(metric(judge(maps.double().exp())), score)
    assert not _same(metric(judge(maps.abs())), score)


def test_ten_scores_cost_four_curves_and_the_second_explainer_pays_no_end_points(judge: Judge, maps: Tensor) -> None:
    first = judge(maps)
    decisions = first.decisions
    n_samples, between = 6, 31
    assert decisions.n_forwarded == n_samples
    for metric in ALL:
        metric(first)
    assert decisions.n_forwarded == n_samples * (1 + 2 + 4 * between)
    second = Explanation(decisions, -maps, first.explain)
    for metric in reversed(ALL):
        metric(second)
    assert decisions.n_forwarded == n_samples * (1 + 2 + 8 * between)


def test_deletion_alone_pays_for_one_curve(judge: Judge, maps: Tensor) -> None:
    explanation = judge(maps)
    deletion(explanation)
    assert explanation.decisions.n_forwarded == 6 * (1 + 1 + 31)


def test_no_steps_are_refused() -> None:
    with pytest.raises(ValueError, match="n_steps is at least 1"):
        replace(deletion, n_steps=0)


def test_curves_go_from_the_image_to_the_baseline_and_back(judge: Callable[..., Explanation], maps: Tensor) -> None:
    explanation = judge(maps)
    decisions = explanation.decisions
    whole = decisions.target_probabilities(decisions.original_logits).double()
    order = maps.flatten(1).argsort(dim=1, descending=True)
    most = torch.zeros(6, 24 * 24, dtype=torch.bool).scatter_(1, order[:, : 24 * 24 // 4], True).view(6, 1, 24, 24)
    mean = decisions.inputs.mean(dim=(2, 3), keepdim=True)
    without, alone, nothing = (
        decisions.probabilities(torch.where(gone, mean, decisions.inputs)).double()
        for gone in (most, ~most, torch.ones_like(most))
    )
    removed, inserted = deletion.curve(explanation), insertion.curve(explanation)
    assert deletion.has_curve
    assert insertion.has_curve
    assert torch.allclose(removed[:, [0, 8, 32]], torch.stack([whole, without, nothing], dim=1), atol=1e-5)
    assert torch.allclose(inserted[:, [0, 8, 32]], torch.stack([nothing, alone, whole], dim=1), atol=1e-5)
    assert not torch.allclose(without, alone, atol=0.1)
