"""Removal of cells and superpixels: a second definition in loops, Quantus, closed forms, and what it costs."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from skimage.segmentation import slic
from torch import Tensor, nn

from metrics.base import Decisions, Explanation
from metrics.perturb import BlurImputer, MeanImputer, UniformImputer, ZeroImputer
from metrics.removed_regions import irof, region_perturbation, selectivity

Judge = Callable[..., Explanation]
ALL = [region_perturbation, selectivity, irof]

every_metric = pytest.mark.parametrize("metric", ALL, ids=["region_perturbation", "selectivity", "irof"])


def _answer(model: nn.Module, image: np.ndarray, target: int) -> tuple[float, float]:
    """Logit and probability of the target."""
    with torch.no_grad():
        logits = model(torch.from_numpy(image)[None])[0].double().tolist()
    return logits[target], math.exp(logits[target]) / sum(math.exp(logit) for logit in logits)


def _cells(_: np.ndarray, grid: int) -> np.ndarray:
    size = 24 // grid
    return np.arange(24)[:, None] // size * grid + np.arange(24) // size


def _superpixels(image: np.ndarray, n_segments: int) -> np.ndarray:
    return slic(image.transpose(1, 2, 0).astype(float), n_segments=n_segments, start_label=0)


def _curves(explanation: Explanation, imputer: Any, segment: Callable[..., np.ndarray], n: int) -> list[list[tuple]]:
    """Logits and probabilities as region after region goes, image after image."""
    decisions = explanation.decisions
    curves = []
    for index, image in enumerate(decisions.inputs.numpy()):
        baseline, target = imputer.baseline(decisions)[index].numpy(), int(decisions.targets[index])
        numbers, attributions = segment(image, n), explanation.attributions[index, 0].double().numpy()
        ranked = sorted(range(numbers.max() + 1), key=lambda region: -attributions[numbers == region].mean())
        current = image.copy()
        curve = [_answer(decisions.model, current, target)]
        for region in ranked:
            current[:, numbers == region] = baseline[:, numbers == region]
            curve.append(_answer(decisions.model, current, target))
        curves.append(curve)
    return curves


@pytest.mark.parametrize("imputer", [MeanImputer(), ZeroImputer(), BlurImputer(), UniformImputer(3)])
def test_scores_of_cells_are_those_of_the_definition_in_loops(judge: Judge, maps: Tensor, imputer: Any) -> None:
    explanation = judge(maps)
    curves = _curves(explanation, imputer, _cells, 6)
    falls = [sum(curve[0][0] - curve[step][0] for step in range(10)) / 10 for curve in curves]
    score = replace(region_perturbation, imputer=imputer, grid=6, n_regions=9)(explanation)
    assert score.tolist() == pytest.approx(falls, abs=1e-4)
    areas = [np.trapezoid([p for _, p in curve]) / 36 for curve in curves]
    assert replace(selectivity, imputer=imputer, grid=6)(explanation).tolist() == pytest.approx(areas, abs=1e-6)


def test_irof_is_that_of_the_definition_in_loops(judge: Judge, maps: Tensor) -> None:
    explanation = judge(maps)
    curves = _curves(explanation, MeanImputer(), _superpixels, 30)
    assert len({len(curve) for curve in curves}) > 1
    wanted = [1 - np.trapezoid([p / curve[0][1] for _, p in curve]) / (len(curve) - 1) for curve in curves]
    assert replace(irof, n_segments=30)(explanation).tolist() == pytest.approx(wanted, abs=1e-5)


@pytest.mark.parametrize(("name", "softmax"), [("RegionPerturbation", False), ("Selectivity", True)])
def test_curves_are_those_of_quantus(
    judge: Judge, ask_quantus: Callable[..., np.ndarray], maps: Tensor, name: str, softmax: bool
) -> None:
    explanation = judge(maps)
    decisions = explanation.decisions
    baseline = MeanImputer().baseline(decisions).flatten(1).numpy()

    def replace_by_mean(arr: np.ndarray, indices: np.ndarray, **_: object) -> np.ndarray:
        arr = arr.copy()
        np.put_along_axis(arr, indices, np.take_along_axis(baseline, indices, axis=1), axis=1)
        return arr

    settings = {"patch_size": 3, "perturb_func": replace_by_mean, "perturb_baseline": "mean"}
    call = {"model": decisions.model, "y_batch": decisions.targets.numpy(), "softmax": softmax}
    theirs = ask_quantus(name, settings, maps, **call)
    assert theirs.shape == (6, 64)
    if name == "RegionPerturbation":
        wanted, ours = theirs[:, :16].sum(axis=1) / 17, region_perturbation(explanation)
    else:
        whole = decisions.target_probabilities(decisions.original_logits).numpy()
        wanted = (theirs.sum(axis=1) + (whole - theirs[:, -1]) / 2) / 64
        ours = selectivity(explanation)
    assert np.abs(ours.numpy() - wanted).max() < 1e-4
    assert np.ptp(wanted) > 0.01


@every_metric
def test_the_exact_attribution_of_a_linear_model_is_best(
    linear_pixels: type, images: Tensor, maps: Tensor, metric: Any
) -> None:
    model = linear_pixels(0.03 * torch.randn(3, 24, 24, generator=torch.Generator().manual_seed(5)))
    decisions = Decisions(model, images, targets=torch.zeros(6, dtype=torch.int64))
    exact = (model.weights * (images - images.mean(dim=(2, 3), keepdim=True))).sum(dim=1, keepdim=True)
    best, other, worst = (metric(Explanation(decisions, a, lambda *_: maps)) for a in (exact, maps, -exact))
    sign = 1 if metric.higher_is_better else -1
    assert bool((sign * best > sign * other).all())
    assert bool((sign * other > sign * worst).all())


@every_metric
def test_constant_and_all_zero_maps_score_as_one_random_order(judge: Judge, maps: Tensor, metric: Any) -> None:
    score = metric(judge(torch.zeros_like(maps)))
    assert bool(score.isfinite().all())
    for value in (1.0, -3.0, 0.1):
        assert torch.equal(metric(judge(torch.full_like(maps, value))), score)


@every_metric
def test_an_increasing_linear_function_scores_the_same_and_the_sign_counts(
    judge: Judge, maps: Tensor, metric: Any
) -> None:
    score = metric(judge(maps))
    assert torch.equal(metric(judge(4 * maps.double() + 3)), score)
    assert not torch.equal(metric(judge(-maps)), score)
    assert not torch.equal(metric(judge(maps.abs())), score)


def test_the_cell_of_the_only_pixel_is_removed_first(linear_pixels: type) -> None:
    weights, image, attributions = torch.zeros(3, 24, 24), torch.zeros(1, 3, 24, 24), torch.zeros(1, 1, 24, 24)
    weights[:, 7, 9], image[..., 7, 9], attributions[..., 7, 9] = 2.0, 1.0, 1.0
    decisions = Decisions(linear_pixels(weights), image, targets=torch.zeros(1, dtype=torch.int64))
    explanation = Explanation(decisions, attributions, lambda *_: attributions)
    imputer = ZeroImputer()
    assert replace(region_perturbation, imputer=imputer)(explanation).item() == pytest.approx(6 * 16 / 17)
    whole = 1 / (1 + math.exp(-6))
    area = (63.5 * 0.5 + 0.5 * whole) / 64
    assert replace(selectivity, imputer=imputer)(explanation).item() == pytest.approx(area)


def test_irof_is_0_where_nothing_changes_and_undefined_without_probability(linear_pixels: type, maps: Tensor) -> None:
    images = torch.rand(2, 3, 24, 24, generator=torch.Generator().manual_seed(0))
    decisions = Decisions(linear_pixels(torch.zeros(3, 24, 24)), images, targets=torch.zeros(2, dtype=torch.int64))
    assert irof(Explanation(decisions, maps[:2], lambda *_: maps)).tolist() == [0, 0]
    never = linear_pixels(torch.full((3, 24, 24), -1e3))
    decisions = Decisions(never, images, targets=torch.zeros(2, dtype=torch.int64))
    assert bool(irof(Explanation(decisions, maps[:2], lambda *_: maps)).isnan().all())


def test_cells_are_forwarded_once_for_all_metrics(judge: Judge, maps: Tensor) -> None:
    explanation = judge(maps)
    decisions, n_samples = explanation.decisions, 6
    region_perturbation(explanation)
    assert decisions.n_forwarded == n_samples * (1 + 16)
    selectivity(explanation)
    assert decisions.n_forwarded == n_samples * (1 + 63 + 1)
    second = Explanation(decisions, -maps, explanation.explain)
    selectivity(second)
    assert decisions.n_forwarded == n_samples * (1 + 63 + 1 + 63)
    region_perturbation(second)
    assert decisions.n_forwarded == n_samples * (1 + 63 + 1 + 63)


def test_irof_forwards_each_image_as_often_as_it_has_superpixels(judge: Judge, maps: Tensor) -> None:
    explanation = judge(maps)
    decisions = explanation.decisions
    counts = [_superpixels(image, 30).max() + 1 for image in decisions.inputs.numpy()]
    replace(irof, n_segments=30)(explanation)
    assert decisions.n_forwarded == 6 + 6 + sum(count - 1 for count in counts)


@pytest.mark.parametrize(
    ("metric", "settings", "message"),
    [
        (region_perturbation, {"grid": 0}, "grid is at least 1"),
        (region_perturbation, {"n_regions": 65}, "from 1 to 64"),
        (region_perturbation, {"n_regions": 0}, "from 1 to 64"),
        (selectivity, {"grid": 0}, "grid is at least 1"),
        (irof, {"n_segments": 0}, "n_segments is at least 1"),
    ],
)
def test_settings_without_a_meaning_are_refused(metric: Any, settings: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(metric, **settings)
