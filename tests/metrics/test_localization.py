"""Localization: loops, Quantus and other libraries where they are right, ties, empty masks and signs where not."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy import ndimage
from skimage.filters import threshold_otsu
from sklearn.metrics import average_precision_score, roc_auc_score
from torch import Tensor, nn

from metrics.base import Decisions, Explanation, Metric
from metrics.localization import (
    BorderMass,
    PointingGame,
    TopKIntersection,
    average_precision,
    border_mass,
    hit_rate,
    iou,
    iou_best,
    pointing_game,
    relevance_mass_accuracy,
    relevance_mass_ratio,
    relevance_rank_accuracy,
    roc_auc,
    top_k_intersection,
)

Judge = Callable[..., Explanation]
ALL = [
    *(pointing_game, hit_rate, relevance_mass_accuracy, relevance_mass_ratio, relevance_rank_accuracy),
    *(top_k_intersection, average_precision, roc_auc, iou, iou_best),
]
QUANTUS: dict[str, tuple[Metric, dict[str, object]]] = {
    "PointingGame": (pointing_game, {}),
    "RelevanceMassAccuracy": (relevance_mass_accuracy, {}),
    "AttributionLocalisation": (relevance_mass_accuracy, {"positive_attributions": True}),
    "RelevanceRankAccuracy": (relevance_rank_accuracy, {}),
    "TopKIntersection": (top_k_intersection, {"k": 12}),
    "AUC": (roc_auc, {}),
}
BY_ORDER = [pointing_game, hit_rate, relevance_rank_accuracy, top_k_intersection, average_precision, roc_auc, iou_best]
BY_MASS = [relevance_mass_accuracy, relevance_mass_ratio, iou]


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


def _hit_slowly(attributions: np.ndarray, mask: np.ndarray) -> float:
    """Distances by scipy, 15 of 224 pixels."""
    if not mask.any():
        return math.nan
    near = ndimage.distance_transform_edt(~mask) <= 15 / 224 * min(mask.shape)
    return float(near[attributions == attributions.max()].mean())


def _ratio_slowly(attributions: np.ndarray, mask: np.ndarray) -> float:
    return _mass_slowly(attributions, mask) * mask.size / mask.sum() if mask.any() else math.nan


def _drawn(attributions: np.ndarray, mask: np.ndarray, size: int) -> float:
    """How many of the highest lie in the mask: the mean over many random orders of the ties."""
    generator = np.random.default_rng(0)
    hits = []
    for _ in range(3000 if len(np.unique(attributions)) < attributions.size else 1):
        order = np.lexsort((generator.random(attributions.size), -attributions.ravel()))
        hits.append(mask.ravel()[order[:size]].sum())
    return float(np.mean(hits))


def _rank_slowly(attributions: np.ndarray, mask: np.ndarray) -> float:
    size = int(mask.sum())
    return _drawn(attributions, mask, size) / size if size else math.nan


def _top_slowly(attributions: np.ndarray, mask: np.ndarray) -> float:
    k = round(0.02 * mask.size)
    return _drawn(attributions, mask, k) / min(k, int(mask.sum())) if mask.any() else math.nan


def _precision_slowly(attributions: np.ndarray, mask: np.ndarray) -> float:
    score = recall = 0.0
    for threshold in sorted(set(attributions.ravel().tolist()), reverse=True):
        taken = attributions >= threshold
        before, recall = recall, (taken & mask).sum() / max(mask.sum(), 1)
        score += (recall - before) * (taken & mask).sum() / taken.sum()
    return float(score) if mask.any() else math.nan


def _auc_slowly(attributions: np.ndarray, mask: np.ndarray) -> float:
    """Every pixel inside against every pixel outside."""
    if not mask.any() or mask.all():
        return math.nan
    inside, outside = attributions[mask][:, None], attributions[~mask]
    return float(((inside > outside) + 0.5 * (inside == outside)).mean())


def _overlap(taken: np.ndarray, mask: np.ndarray) -> float:
    return float((taken & mask).sum() / (taken | mask).sum())


def _otsu_slowly(attributions: np.ndarray, mask: np.ndarray) -> float:
    positive = np.maximum(attributions, 0).astype(float)
    if not mask.any() or not positive.any():
        return math.nan
    cuts = sorted(set(positive.ravel().tolist()))[:-1]
    if not cuts:
        return _overlap(positive > 0, mask)
    classes = [(positive[positive > cut], positive[positive <= cut]) for cut in cuts]
    between = [len(a) * len(b) * (a.mean() - b.mean()) ** 2 for a, b in classes]
    return _overlap(positive > cuts[int(np.argmax(between))], mask)


def _best_slowly(attributions: np.ndarray, mask: np.ndarray) -> float:
    overlaps = [_overlap(attributions >= threshold, mask) for threshold in attributions.ravel()]
    return max(overlaps) if mask.any() else math.nan


SLOWLY = {
    pointing_game: _pointing_slowly,
    hit_rate: _hit_slowly,
    relevance_mass_accuracy: _mass_slowly,
    relevance_mass_ratio: _ratio_slowly,
    relevance_rank_accuracy: _rank_slowly,
    top_k_intersection: _top_slowly,
    average_precision: _precision_slowly,
    roc_auc: _auc_slowly,
    iou: _otsu_slowly,
    iou_best: _best_slowly,
}


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
    drawn = metric in (relevance_rank_accuracy, top_k_intersection) and kind != "signed"
    tolerance = 0.015 if drawn else 1e-6
    assert metric(explanation).tolist() == pytest.approx(wanted, abs=tolerance, nan_ok=True)


@pytest.mark.parametrize("name", list(QUANTUS))
def test_scores_are_those_of_quantus_without_ties_signs_and_empty_masks(
    judge: Judge, ask_quantus: Callable[..., np.ndarray], maps: Tensor, masks: Tensor, name: str
) -> None:
    metric, settings = QUANTUS[name]
    theirs = ask_quantus(name, {"abs": False, **settings}, maps.abs(), masks)
    ours = metric(judge(maps.abs()))
    assert ours[:5].numpy() == pytest.approx(theirs[:5], abs=1e-5)
    assert bool(ours[5].isnan())


@pytest.mark.parametrize("metric", ALL)
def test_a_perfect_map_scores_highest_and_its_opposite_lowest(
    judge: Judge, masks: Tensor, maps: Tensor, metric: Metric
) -> None:
    """The weakest pixel inside is stronger than the noise outside, and all inside are alike enough for Otsu."""
    share = masks.flatten(1).double().mean(dim=1)[:5]
    perfect = metric(judge(masks * (10 + maps.clamp(-1, 1))))
    highest = 1 / share if metric is relevance_mass_ratio else torch.ones(5, dtype=torch.float64)
    assert torch.allclose(perfect[:5], highest)
    opposite = metric(judge(~masks * (10 + maps.clamp(-1, 1))))[:5]
    if metric in (iou_best, average_precision):
        assert torch.allclose(opposite, share)
    elif metric is not hit_rate:  # the highest pixel outside may be near
        assert opposite.tolist() == pytest.approx([0.0] * 5)


@pytest.mark.parametrize("metric", ALL)
@pytest.mark.parametrize("value", [2.0, 0.0, -1.5])
def test_a_constant_map_scores_what_chance_gives(
    judge: Judge, masks: Tensor, maps: Tensor, metric: Metric, value: float
) -> None:
    size = masks.flatten(1).double().sum(dim=1)[:5]
    share, ones = size / 576, torch.ones(5, dtype=torch.float64)
    wanted = share
    if metric is roc_auc:
        wanted = ones / 2
    elif metric is relevance_mass_ratio:
        wanted = ones
    elif metric is hit_rate:
        near = [ndimage.distance_transform_edt(~mask) <= 24 * 15 / 224 for mask in masks[:5, 0].numpy()]
        wanted = torch.tensor([float(pixels.mean()) for pixels in near], dtype=torch.float64)
    if metric in BY_MASS and value <= 0:
        wanted = torch.full_like(share, torch.nan)
    assert torch.allclose(metric(judge(torch.full_like(maps, value)))[:5], wanted, equal_nan=True)


@pytest.mark.parametrize("metric", ALL)
def test_all_negative_maps_keep_their_order_or_have_no_mass(judge: Judge, maps: Tensor, metric: Metric) -> None:
    scores = metric(judge(-maps.abs()))[:5]
    assert bool(scores.isnan().all() if metric in BY_MASS else scores.isfinite().all())


def test_one_pixel(judge: Judge, masks: Tensor, maps: Tensor) -> None:
    one = torch.zeros_like(maps)
    one[:, :, 4, 5] = 1.0
    size = masks.flatten(1).sum(dim=1)[:5].double()
    for metric in (pointing_game, hit_rate, relevance_mass_accuracy):
        assert metric(judge(one))[:5].tolist() == [1.0] * 5
    rest = (size - 1) / (576 - 1)
    assert torch.allclose(relevance_mass_ratio(judge(one))[:5], 576 / size)
    assert torch.allclose(relevance_rank_accuracy(judge(one))[:5], (1 + (size - 1) * rest) / size)
    assert torch.allclose(top_k_intersection(judge(one))[:5], (1 + 11 * rest) / 12)
    assert torch.allclose(average_precision(judge(one))[:5], (1 + (size - 1) * size / 576) / size)
    assert torch.allclose(roc_auc(judge(one))[:5], (1 + (size - 1) / 2) / size)
    assert torch.allclose(iou(judge(one))[:5], 1 / size)
    assert torch.allclose(iou_best(judge(one))[:5], torch.maximum(1 / size, size / 576))


@pytest.mark.parametrize("metric", ALL)
def test_a_full_mask_is_always_hit(network: nn.Module, images: Tensor, maps: Tensor, metric: Metric) -> None:
    decisions = Decisions(network, images, masks=torch.ones(6, 1, 24, 24, dtype=torch.bool))
    scores = metric(Explanation(decisions, maps, lambda *_: maps))
    if metric is roc_auc:
        assert bool(scores.isnan().all())
    elif metric is iou:  # the map is cut in two: never all of the image
        assert bool(((scores > 0) & (scores < 1)).all())
    else:
        assert scores.tolist() == pytest.approx([1.0] * 6)


def test_claimed_invariances(judge: Judge, maps: Tensor) -> None:
    for metric in ALL:
        assert torch.allclose(metric(judge(8 * maps)), metric(judge(maps)), equal_nan=True)
    for metric in BY_ORDER:
        score = metric(judge(maps)).nan_to_num(9)
        assert torch.allclose(metric(judge(maps.double() - 5)).nan_to_num(9), score)
        assert torch.equal(metric(judge(maps.double().exp())).nan_to_num(9), score)


@pytest.mark.parametrize("kind", ["distinct", "tied"])
def test_precision_and_auc_are_those_of_scikit_learn(judge: Judge, masks: Tensor, maps: Tensor, kind: str) -> None:
    attributions = maps if kind == "distinct" else (2 * maps).round()
    for metric, reference in ((average_precision, average_precision_score), (roc_auc, roc_auc_score)):
        wanted = [reference(masks[index].flatten(), attributions[index].flatten()) for index in range(5)]
        assert metric(judge(attributions))[:5].tolist() == pytest.approx(wanted, abs=1e-9)


def test_the_threshold_is_that_of_scikit_image(judge: Judge, masks: Tensor, maps: Tensor) -> None:
    """Exact for whole numbers; for others its histogram needs many bins to come near."""
    whole = (20 * maps + 60 * masks).round()
    fine = maps + 3 * masks
    for attributions, bins, tolerance in ((whole, 256, 1e-9), (fine, 100_000, 0.01)):
        scores = iou(judge(attributions))
        for index in range(5):
            positive = attributions[index, 0].clamp(min=0)
            values = (positive.int() if attributions is whole else positive).numpy()
            wanted = _overlap(values > threshold_otsu(values, bins), masks[index, 0].numpy())
            assert scores[index].item() == pytest.approx(wanted, abs=tolerance)
            assert wanted > 0.1


@pytest.mark.parametrize(("distance", "hit"), [(0, 1.0), (1, 1.0), (2, 0.0), (5, 0.0)])
def test_a_near_miss_is_a_hit_within_the_tolerance(
    network: nn.Module, images: Tensor, distance: int, hit: float
) -> None:
    mask, one = torch.zeros(6, 1, 24, 24, dtype=torch.bool), torch.zeros(6, 1, 24, 24)
    mask[..., 5:10, 5:10] = True
    one[..., 9 + distance, 7] = 1.0
    explanation = Explanation(Decisions(network, images, masks=mask), one, lambda *_: one)
    assert 1 <= hit_rate.tolerance * 24 < 2
    assert hit_rate(explanation).tolist() == [hit] * 6
    assert pointing_game(explanation).tolist() == [float(distance == 0)] * 6


def test_tolerance_is_a_disc_and_follows_the_size_of_the_image() -> None:
    model = nn.Sequential(nn.Flatten(), nn.LazyLinear(2))
    mask = torch.zeros(1, 1, 224, 448, dtype=torch.bool)
    mask[..., 100, 200] = True
    for place, hit in (((115, 200), 1.0), ((116, 200), 0.0), ((110, 211), 1.0), ((111, 211), 0.0)):
        one = torch.zeros(1, 1, 224, 448)
        one[..., place[0], place[1]] = 1.0
        decisions = Decisions(model, torch.zeros(1, 3, 224, 448), masks=mask)
        assert hit_rate(Explanation(decisions, one, lambda *_, one=one: one)).item() == hit, place


def test_small_evidence_is_no_disadvantage_where_the_size_is_divided_out(
    network: nn.Module, images: Tensor, maps: Tensor
) -> None:
    masks = torch.zeros(6, 1, 24, 24, dtype=torch.bool)
    for index, side in enumerate((2, 4, 6, 8, 12, 20)):
        masks[index, :, :side, :side] = True
    explanation = Explanation(Decisions(network, images, masks=masks), 1 + 2.0 * masks, lambda *_: maps)
    share = masks.flatten(1).double().mean(dim=1)
    assert torch.allclose(relevance_mass_ratio(explanation), 3 / (1 + 2 * share))
    assert top_k_intersection(explanation).tolist() == [1.0] * 6
    assert bool((relevance_mass_accuracy(explanation)[:-1] < relevance_mass_accuracy(explanation)[1:]).all())


def test_border_mass_is_the_share_in_the_frame(judge: Judge, maps: Tensor) -> None:
    wanted = []
    for attributions in maps[:, 0].numpy():
        inside = outside = 0.0
        for (row, column), value in np.ndenumerate(attributions):
            if min(row, column, 23 - row, 23 - column) < 2:
                outside += max(float(value), 0)
            else:
                inside += max(float(value), 0)
        wanted.append(outside / (inside + outside))
    assert border_mass(judge(maps)).tolist() == pytest.approx(wanted, abs=1e-9)
    frame = 1 - 20**2 / 24**2
    assert border_mass(judge(torch.ones_like(maps))).tolist() == pytest.approx([frame] * 6)
    assert bool(border_mass(judge(torch.zeros_like(maps))).isnan().all())
    assert bool(border_mass(judge(-maps.abs())).isnan().all())
    one = torch.zeros_like(maps)
    one[:3, :, 1, 9], one[3:, :, 2, 2] = 1.0, 1.0
    assert border_mass(judge(one)).tolist() == [1.0] * 3 + [0.0] * 3


def test_border_mass_needs_no_masks_and_is_run_on_request(network: nn.Module, images: Tensor, maps: Tensor) -> None:
    assert not border_mass.needs_masks
    assert border_mass.on_request
    assert bool(border_mass(Explanation(Decisions(network, images), maps, lambda *_: maps)).isfinite().all())


def test_pixels_are_sorted_once_for_all(judge: Judge, maps: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    sort = Tensor.sort

    def counted(*args: object, **settings: object) -> object:
        calls.append(1)
        return sort(*args, **settings)

    monkeypatch.setattr(Tensor, "sort", counted)
    explanation = judge(maps)
    for metric in ALL:
        metric(explanation)
    assert len(calls) == 1
    assert explanation.decisions.n_forwarded == 6


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: PointingGame(tolerance=-0.1), "the tolerance is 0 or above"),
        (lambda: TopKIntersection(share=0.0), "share is above 0 and at most 1"),
        (lambda: TopKIntersection(share=1.5), "share is above 0 and at most 1"),
        (lambda: BorderMass(width=0.5), "width is above 0 and below 0.5"),
    ],
)
def test_settings_out_of_range_are_refused(make: Callable[[], Metric], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        make()


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
    perfect = masks.float()
    small = ask_quantus("TopKIntersection", {"abs": False, "k": 288}, perfect, masks)
    assert small[:5] == pytest.approx(2 * share[:5].numpy())
    assert TopKIntersection(share=0.5)(judge(perfect))[:5].tolist() == [1.0] * 5
    weighted = ask_quantus("AttributionLocalisation", {"abs": False, "weighted": True}, perfect, masks)
    assert np.diff(weighted[:5]).min() > 0  # the larger the evidence, the better, and by the size of the batch
    assert np.diff(relevance_mass_ratio(judge(perfect))[:5].numpy()).max() < 0


@pytest.mark.parametrize("metric", ALL)
def test_a_task_without_masks_is_refused(network: nn.Module, images: Tensor, maps: Tensor, metric: Metric) -> None:
    assert metric.needs_masks
    with pytest.raises(ValueError, match="needs masks"):
        metric(Explanation(Decisions(network, images), maps, lambda *_: maps))
