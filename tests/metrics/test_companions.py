"""Scores among a task's companions: loops, Quantus's formula, who is left out, what is undefined, what it costs."""

import math
from collections.abc import Callable
from itertools import combinations
from typing import Any

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cosine
from torch import Tensor, nn

from explainers.controls import noise
from metrics.base import Decisions, Explain, Explanation
from metrics.companions import companions, explained, others
from metrics.localization import iou_best
from metrics.mosaics import focus, mosaics
from metrics.sufficiency import Sufficiency, sufficiency
from metrics.tuned_iou import TunedIntersectionOverUnion, iou_tuned
from tasks.brain_mri import phantom_brain_mri_vgg16

SIDE, N = 12, 14
COLOURS = torch.arange(N) % 3
OWN = [3, 0, 8, 5, 13]
"""The samples that are judged: some are among the companions, the first ten, some are not."""
POOL = list(range(10))
ALL = [sufficiency, focus, iou_tuned]


class Colours(nn.Module):
    """Three classes: the mean of each channel. Takes images of any size."""

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs.mean((2, 3))


def of_colour(_model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """The channel of the target: what adds to its logit."""
    return inputs[torch.arange(len(inputs)), targets][:, None]


def images(n: int = N) -> Tensor:
    """(n, 3, 12, 12), each of one colour, somewhere."""
    made = torch.zeros(n, 3, SIDE, SIDE)
    values = torch.rand(n, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    for index in range(n):
        made[index, index % 3] = values[index]
        made[index, :, : index % 4] = 0
    return made


def masks(n: int = N) -> Tensor:
    """(n, 1, 12, 12): boxes of several sizes, none for every fifth image."""
    made = torch.zeros(n, 1, SIDE, SIDE, dtype=torch.bool)
    for index in range(n):
        made[index, :, 2 : 5 + index % 4, 3 : 8 + index % 3] = index % 5 != 0
    return made


def ids(rows: list[int]) -> tuple[str, ...]:
    return tuple(f"sample {row}" for row in rows)


def decide(rows: list[int], pool: Decisions | None = None, model: nn.Module | None = None, **given: Any) -> Decisions:
    given = {key: None if value is None else value[rows] for key, value in {"masks": masks(), **given}.items()}
    among = None if pool is None else lambda: pool
    return Decisions(model or Colours(), images()[rows], ids=ids(rows), companions=among, **given)


def judge(explain: Explain, rows: list[int] = OWN, among: list[int] = POOL, **given: Any) -> Explanation:
    decisions = decide(rows, decide(among, **given), **given)
    return Explanation(decisions, explain(decisions.model, decisions.inputs, decisions.targets), explain)


def fixed(maps: Tensor) -> Explain:
    """An explainer that knows the map of each image."""
    known = {image.numpy().tobytes(): index for index, image in enumerate(images(len(maps)))}

    def explain(_model: nn.Module, inputs: Tensor, _targets: Tensor) -> Tensor:
        return maps[[known[image.contiguous().numpy().tobytes()] for image in inputs]]

    return explain


def random_maps(seed: int = 0) -> Tensor:
    return torch.randn(N, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(seed))


def tied_maps() -> Tensor:
    """Of a few kinds, so that many are equally near, and some zero everywhere."""
    kinds = torch.zeros(N, 1, SIDE, SIDE)
    for index in range(N):
        kinds[index, :, :, : 3 * (1 + index % 2)] = float(index % 7 != 0) * (1 + index)
    return kinds


def approx(wanted: list[float]) -> Any:
    return pytest.approx(wanted, abs=1e-9, nan_ok=True)


# Sufficiency


def _sufficiency_slowly(maps: np.ndarray, row: int, among: list[int], n_nearest: int) -> float:
    if not maps[row].any():
        return math.nan
    near = [
        (round(cosine(maps[row].ravel(), maps[other].ravel()), 6), COLOURS[other] == COLOURS[row])
        for other in among
        if other != row and maps[other].any()
    ]
    if len(near) <= n_nearest:
        return math.nan
    least = sum(sorted(distance for distance, _ in near)[:n_nearest])
    shares = [
        np.mean([bool(same) for _, same in chosen])
        for chosen in combinations(near, n_nearest)
        if sum(distance for distance, _ in chosen) <= least + 1e-9
    ]
    return float(np.mean(shares))


@pytest.mark.parametrize("maps", [random_maps(), tied_maps()], ids=["random", "tied"])
@pytest.mark.parametrize("n_nearest", [1, 3, 6])
def test_sufficiency_is_the_share_of_the_nearest_that_are_decided_alike(maps: Tensor, n_nearest: int) -> None:
    found = Sufficiency(n_nearest)(judge(fixed(maps)))
    wanted = [_sufficiency_slowly(maps.double().numpy(), row, POOL, n_nearest) for row in OWN]
    assert found.tolist() == approx(wanted)
    assert bool(found.isfinite().any())


def test_sufficiency_of_maps_that_tell_the_class_is_1_and_of_maps_that_tell_nothing_at_chance() -> None:
    telling = torch.zeros(N, 1, SIDE, SIDE)
    for index in range(N):
        telling[index, :, :, 4 * (index % 3) : 4 * (index % 3) + 4] = 1 + index
    assert sufficiency(judge(fixed(telling), among=list(range(12)))).tolist() == [1.0] * 5
    assert sufficiency(judge(fixed(-telling), among=list(range(12)))).tolist() == [1.0] * 5
    shares = [
        sum(int(COLOURS[other] == COLOURS[row]) for other in POOL if other != row) / (len(POOL) - (row in POOL))
        for row in OWN
    ]
    assert sufficiency(judge(fixed(torch.full((N, 1, SIDE, SIDE), 0.3)))).tolist() == approx(shares)
    one = torch.zeros(N, 1, SIDE, SIDE)
    one[:, :, 2, 3] = torch.arange(1.0, N + 1)[:, None]
    assert sufficiency(judge(fixed(one))).tolist() == approx(shares)


def test_sufficiency_needs_more_companions_than_are_near() -> None:
    maps = random_maps()
    assert sufficiency(judge(fixed(maps), [0, 13], [0, 1, 2, 3])).isnan().tolist() == [True, False]
    maps[2] = 0
    assert sufficiency(judge(fixed(maps), [0, 13], [0, 1, 2, 3])).isnan().tolist() == [True, True]
    assert sufficiency(judge(fixed(maps), [2], POOL)).isnan().all()
    assert sufficiency(judge(fixed(maps), [0, 13], [0])).isnan().all()


def test_sufficiency_of_several_labels_asks_about_the_samples_own_target() -> None:
    targets = torch.tensor([0, 1, 2, 0, 1, 2, 1, 2, 0, 1, 2, 0, 1, 2])
    there = images().mean((2, 3)) > 0.2
    asked: list[int] = []

    class Shifted(Colours):
        def forward(self, inputs: Tensor) -> Tensor:
            return super().forward(inputs) - 0.2

    def explain(model: nn.Module, inputs: Tensor, wanted: Tensor) -> Tensor:
        asked.extend(wanted.tolist())
        return of_colour(model, inputs, wanted) + 0.01 * inputs.mean(1, keepdim=True)

    given = {"targets": targets, "labels": there.long()}
    pool = decide(POOL, model=Shifted(), **given)
    decisions = decide(OWN, pool, model=Shifted(), **given)
    own = explain(decisions.model, decisions.inputs, decisions.targets)
    asked.clear()
    found = sufficiency(Explanation(decisions, own, explain))
    assert sorted(asked) == sorted([*targets[OWN].unique().tolist()] * len(POOL))
    wanted = []
    for place, row in enumerate(OWN):
        target = int(targets[row])
        maps = explain(decisions.model, images()[POOL], torch.full((len(POOL),), target))
        near = sorted(
            (cosine(own[place].numpy().ravel(), maps[other].numpy().ravel()), bool(there[other, target]))
            for other in POOL
            if other != row
        )[:3]
        wanted.append(np.mean([same == bool(there[row, target]) for _, same in near]))
    assert found.tolist() == approx(wanted)


def test_sufficiency_of_quantus_depends_on_the_batch_and_ours_does_not() -> None:
    quantus = pytest.importorskip("quantus")
    metric = quantus.Sufficiency(normalise=False, abs=False, disable_warnings=True)
    maps = random_maps()
    maps[10] *= 50  # in Quantus, a batch with it has no other distance worth the name
    theirs, mine = [], []
    for rows in (list(range(N)), list(range(7))):
        explanation = judge(fixed(maps), rows)
        inputs, targets = explanation.decisions.inputs.numpy(), explanation.decisions.targets.numpy()
        model, own = explanation.decisions.model.eval(), maps[rows].numpy()
        theirs.append(metric(model=model, x_batch=inputs, y_batch=targets, a_batch=own, channel_first=True)[:7])
        mine.append(sufficiency(explanation)[:7].tolist())
    assert np.abs(np.subtract(*theirs)).max() > 0.1
    assert mine[0] == approx(mine[1])


# Focus


def test_focus_is_what_quantus_makes_of_the_same_mosaics() -> None:
    quantus = pytest.importorskip("quantus")

    def explain(_model: nn.Module, inputs: Tensor, _targets: Tensor) -> Tensor:
        return inputs.sum(1, keepdim=True).sin() + inputs.mean((1, 2, 3), keepdim=True) - 0.4

    explanation = judge(explain)
    made = mosaics(explanation.decisions)
    maps = explain(explanation.decisions.model, made.images, explanation.decisions.targets)
    metric = quantus.Focus(normalise=False, abs=False, disable_warnings=True)
    theirs = metric(
        model=explanation.decisions.model,
        x_batch=made.images.numpy().copy(),
        y_batch=explanation.decisions.targets.numpy(),
        a_batch=maps.numpy().copy(),
        custom_batch=made.of_target.int().tolist(),
        channel_first=True,
    )
    assert made.made.all()
    assert len(set(np.round(theirs, 3))) > 3
    assert focus(explanation).tolist() == pytest.approx(list(theirs), abs=1e-6)


def test_a_mosaic_is_the_sample_one_of_its_class_and_two_of_others_in_any_places() -> None:
    rows = list(range(N))
    made = mosaics(decide(rows, decide(POOL)))
    known = images()
    first_places: set[int] = set()
    fellows: set[int] = set()
    for row in rows:
        whole = made.images[row]
        tiles = [whole[:, top : top + SIDE, left : left + SIDE] for top in (0, SIDE) for left in (0, SIDE)]
        shown = [next(index for index in range(N) if torch.equal(known[index], tile)) for tile in tiles]
        assert shown.count(row) == 1
        assert len(set(shown)) == 4
        assert set(shown) - {row} <= set(POOL)
        assert [bool(COLOURS[one] == COLOURS[row]) for one in shown] == made.of_target[row].tolist()
        assert made.of_target[row].sum() == 2
        first_places.add(shown.index(row))
        fellows |= {one for one in shown if one != row and COLOURS[one] == COLOURS[row]}
    assert first_places == {0, 1, 2, 3}
    assert len(fellows) > 3


def test_focus_of_an_explainer_that_knows_the_class_is_1_and_of_noise_one_half() -> None:
    assert focus(judge(of_colour)).tolist() == approx([1.0] * 5)
    # Phantoms, and the evidence of each that is of the target's class: the whole head where it is of none.
    batch = next(phantom_brain_mri_vgg16.batches(24, 0, 24))
    assert batch.masks is not None
    side = batch.inputs.shape[-1]
    known = {image.numpy().tobytes(): index for index, image in enumerate(batch.inputs)}
    evidence = torch.where(batch.masks.flatten(1).any(1)[:, None, None, None], batch.masks, True)

    def truth(_model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        maps = torch.zeros_like(inputs[:, :1])
        for number, target in enumerate(targets):
            for top in range(0, inputs.shape[2], side):
                for left in range(0, inputs.shape[3], side):
                    tile = inputs[number, :, top : top + side, left : left + side]
                    index = known[tile.contiguous().numpy().tobytes()]
                    if batch.labels[index] == target:
                        maps[number, :, top : top + side, left : left + side] = evidence[index]
        return maps

    model = phantom_brain_mri_vgg16.model()
    pool = Decisions(model, batch.inputs[:16], ids=batch.ids[:16])
    decisions = Decisions(model, batch.inputs, ids=batch.ids, companions=lambda: pool)
    assert torch.equal(decisions.predictions, batch.labels)
    maps = torch.zeros_like(batch.inputs[:, :1])
    assert focus(Explanation(decisions, maps, truth)).tolist() == approx([1.0] * 24)
    at_random = focus(Explanation(decisions, maps, noise))
    assert at_random.tolist() == pytest.approx([0.5] * 24, abs=0.02)
    assert at_random.std() > 0


@pytest.mark.parametrize(
    ("explain", "wanted"),
    [
        (lambda _, inputs, __: torch.ones_like(inputs[:, :1]), 0.5),
        (lambda _, inputs, __: torch.zeros_like(inputs[:, :1]), math.nan),
        (lambda _, inputs, __: -inputs[:, :1] - 1, math.nan),
    ],
    ids=["constant", "zero", "negative"],
)
def test_focus_of_maps_that_tell_nothing(explain: Explain, wanted: float) -> None:
    assert focus(judge(explain)).tolist() == approx([wanted] * 5)


def test_focus_is_undefined_without_images_of_the_target_and_of_others() -> None:
    assert focus(judge(of_colour, [0, 2], [0, 1, 2, 3])).isnan().tolist() == [False, True]  # 2 has none of its class
    assert focus(judge(of_colour, [0], [0, 1, 2])).isnan().all()
    assert focus(judge(of_colour, [0], [3, 6, 9, 1])).isnan().all()
    assert focus(judge(of_colour, [0], [3, 1, 2])).isfinite().all()
    assert focus(judge(of_colour, [0, 13], [0])).isnan().all()
    targets = COLOURS.clone()
    targets[OWN[1]] = (targets[OWN[1]] + 1) % 3  # not what the network takes it for
    assert focus(judge(of_colour, targets=targets)).isnan().tolist() == [False, True, False, False, False]


def test_focus_of_several_labels_is_of_findings_that_are_there() -> None:
    class Shifted(Colours):
        def forward(self, inputs: Tensor) -> Tensor:
            return super().forward(inputs) - 0.05

    targets = COLOURS.clone()
    targets[OWN[0]] = (targets[OWN[0]] + 1) % 3  # not there
    given = {"targets": targets, "labels": nn.functional.one_hot(COLOURS, 3)}
    decisions = decide(OWN, decide(POOL, model=Shifted(), **given), model=Shifted(), **given)
    maps = of_colour(decisions.model, decisions.inputs, decisions.targets)
    assert focus(Explanation(decisions, maps, of_colour)).tolist() == approx([math.nan, 1, 1, 1, 1])


def test_focus_is_inapplicable_where_the_network_takes_one_size_only() -> None:
    class Refusing(nn.Module):
        def forward(self, inputs: Tensor) -> Tensor:
            if inputs.shape[-1] != SIDE:
                raise AssertionError("wrong size\nand more")
            return inputs.mean((2, 3))

    class Growing(nn.Module):
        def forward(self, inputs: Tensor) -> Tensor:
            return nn.functional.avg_pool2d(inputs, SIDE).flatten(1)

    refusing, growing = decide(OWN, model=Refusing()), decide(OWN, model=Growing())
    assert focus.inapplicable(refusing) == "the network does not take mosaics, images of 24 × 24 pixels: wrong size"
    said = "the network answers a mosaic, an image of 24 × 24 pixels, by (1, 12) logits, not (1, 3)"
    assert focus.inapplicable(growing) == said
    assert focus.inapplicable(decide(OWN)) is None
    pool = decide(POOL, model=Growing())
    explanation = Explanation(decide(OWN, pool, model=Growing()), torch.ones(5, 1, SIDE, SIDE), of_colour)
    with pytest.raises(ValueError, match=r"by \(1, 12\) logits"):
        focus(explanation)


def test_no_memory_left_for_a_mosaic_is_no_reason_to_call_focus_inapplicable() -> None:
    class Greedy(Colours):
        def forward(self, inputs: Tensor) -> Tensor:
            if inputs.shape[-1] != SIDE:
                raise torch.OutOfMemoryError
            return super().forward(inputs)

    with pytest.raises(torch.OutOfMemoryError):
        focus.inapplicable(decide(OWN, model=Greedy()))


# IoU at a tuned threshold


def _overlap(attributions: np.ndarray, mask: np.ndarray, threshold: float) -> float:
    if not mask.any() or attributions.max() <= 0:
        return math.nan
    taken = attributions >= threshold * attributions.max()
    return float((taken & mask).sum() / (taken | mask).sum())


def _tuned_slowly(maps: np.ndarray, row: int, among: list[int], n_thresholds: int) -> float:
    inside = masks().numpy()
    best, chosen = -1.0, math.nan
    for threshold in np.arange(1, n_thresholds + 1) / (n_thresholds + 1):
        overlaps = [_overlap(maps[other], inside[other], threshold) for other in among if other != row]
        known = [overlap for overlap in overlaps if not math.isnan(overlap)]
        if known and np.mean(known) > best + 1e-9:
            best, chosen = float(np.mean(known)), threshold
    return _overlap(maps[row], inside[row], chosen) if best >= 0 else math.nan


@pytest.mark.parametrize("maps", [random_maps(), tied_maps(), random_maps(1) + 4 * masks()], ids=["r", "tied", "good"])
@pytest.mark.parametrize("n_thresholds", [1, 9, 19])
def test_tuned_iou_is_that_at_the_threshold_which_suits_the_others(maps: Tensor, n_thresholds: int) -> None:
    found = TunedIntersectionOverUnion(n_thresholds)(judge(fixed(maps), list(range(N))))
    wanted = [_tuned_slowly(maps.double().numpy(), row, POOL, n_thresholds) for row in range(N)]
    assert found.tolist() == approx(wanted)
    assert found.isnan().tolist() == [math.isnan(one) for one in wanted]
    best = iou_best(judge(fixed(maps), list(range(N))))
    assert bool((found <= best + 1e-9)[~found.isnan()].all())


def test_tuned_iou_takes_the_threshold_of_the_others_and_not_the_samples_own() -> None:
    """All masks are the pixels above 0.7 of the maximum, but that of one sample: those above 0.2."""
    maps = torch.linspace(0, 1, SIDE * SIDE).view(1, 1, SIDE, SIDE).repeat(N, 1, 1, 1)
    inside = maps >= 0.7
    inside[3] = maps[3] >= 0.2
    explanation = judge(fixed(maps), masks=inside)
    share = int(inside[0].sum()) / int(inside[3].sum())
    assert iou_tuned(explanation).tolist() == approx([share, 1, 1, 1, 1])


def test_tuned_iou_of_maps_and_masks_that_tell_nothing() -> None:
    inside = masks()
    constant = torch.full((N, 1, SIDE, SIDE), 0.3)
    shares = inside[OWN].double().mean((1, 2, 3))
    assert iou_tuned(judge(fixed(constant))).tolist() == approx(shares.where(shares > 0, torch.nan).tolist())
    assert iou_tuned(judge(fixed(constant))).isnan().tolist() == [False, True, False, True, False]
    for empty in (torch.zeros_like(constant), -constant):
        assert iou_tuned(judge(fixed(empty))).isnan().all()
    assert iou_tuned(judge(fixed(inside.float()), [3, 8, 13])).tolist() == [1.0] * 3
    assert iou_tuned(judge(fixed(constant), [3], [0, 5])).isnan().all()  # nobody to tune by
    assert iou_tuned(judge(fixed(constant), [3], [3])).isnan().all()
    without = Explanation(decide(OWN, decide(POOL, masks=None)), constant[OWN], fixed(constant))
    assert iou_tuned(without).isnan().all()


# Companions


def test_they_are_explained_once_a_task_and_explainer() -> None:
    calls: list[int] = []

    def explain(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        calls.append(len(inputs))
        return of_colour(model, inputs, targets)

    pool = decide(POOL)
    for rows in ([0, 1, 2], [11, 12], [3]):
        decisions = decide(rows, pool)
        own = of_colour(decisions.model, decisions.inputs, decisions.targets)
        sufficiency(Explanation(decisions, own, explain))
        iou_tuned(Explanation(decisions, own, explain))
        calls.append(0)
    assert calls == [10, 0, 0, 0]
    again = judge(lambda *given: 2 * explain(*given))
    calls.clear()
    sufficiency(again)
    assert calls == [10]
    assert pool.n_forwarded == 10
    small = decide(POOL)
    small.batch_size = 4
    calls.clear()
    explained(Explanation(decide([1], small), torch.ones(1, 1, SIDE, SIDE), explain))
    assert calls == [4, 4, 2]


def test_mosaics_are_explained_as_many_pixels_at_a_time_as_the_batch_has() -> None:
    calls: list[tuple[int, ...]] = []

    def explain(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        calls.append(tuple(inputs.shape))
        return of_colour(model, inputs, targets)

    rows = list(range(9))
    focus(Explanation(decide(rows, decide(POOL)), torch.ones(9, 1, SIDE, SIDE), explain))
    assert calls == [(2, 3, 2 * SIDE, 2 * SIDE)] * 4 + [(1, 3, 2 * SIDE, 2 * SIDE)]


@pytest.mark.parametrize("metric", ALL, ids=lambda metric: type(metric).__name__)
def test_a_score_does_not_depend_on_batch_mates_or_order(metric: Any) -> None:
    maps = random_maps(3) + 2 * masks()

    def explain(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        own = fixed(maps)(model, inputs, targets) if inputs.shape[-1] == SIDE else inputs.mean(1, keepdim=True) - 0.1
        return own * (1 + targets[:, None, None, None])

    whole = metric(judge(explain, list(range(N))))
    assert len(set(whole[~whole.isnan()].tolist())) > 2
    for rows in ([13, 2, 7], [2], [7, 13], list(range(N))[::-1]):
        assert metric(judge(explain, rows)).tolist() == approx(whole[rows].tolist())


def test_a_sample_and_another_question_about_its_image_are_left_out() -> None:
    decisions = decide(OWN, decide(POOL))
    assert others(decisions).tolist() == [[row != other for other in POOL] for row in OWN]
    same_image = Decisions(Colours(), images()[OWN], ids=("a", "b", "c", "d", "e"), companions=decisions.companions)
    assert torch.equal(others(same_image), others(decisions))


def test_what_needs_companions_says_so() -> None:
    explanation = Explanation(decide(OWN), torch.ones(5, 1, SIDE, SIDE), of_colour)
    for metric in ALL:
        assert metric.needs_companions
        assert metric.on_request
        with pytest.raises(ValueError, match="needs companions, and these decisions are given none"):
            metric(explanation)
    with pytest.raises(ValueError, match="needs companions"):
        companions(explanation.decisions)
    larger = Decisions(Colours(), torch.rand(4, 3, 16, 12))
    with pytest.raises(ValueError, match="of the same size, not 12 × 12 and 16 × 12 pixels"):
        companions(decide(OWN, larger))


@pytest.mark.parametrize("make", [lambda: Sufficiency(0), lambda: TunedIntersectionOverUnion(0)])
def test_settings_are_checked(make: Callable[[], object]) -> None:
    with pytest.raises(ValueError, match="is at least 1"):
        make()
