"""Robustness to transformations: equivariant explainers, floors, changed predictions, what the similarities share."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage, stats
from torch import Tensor, nn

from metrics import robustness
from metrics.base import Decisions, Explanation
from metrics.correlation import spearman
from metrics.movements import Flip, Rotation, Translation
from metrics.robustness import (
    RankCorrelation,
    RankCorrelationFloor,
    SignFlip,
    SignFlipFloor,
    Similarity,
    StructuralSimilarity,
    TopKOverlap,
    blur,
    rotation,
    sharpen,
)
from metrics.transformations import Blur, Brightness, Transformation

Judge = Callable[..., Explanation]
Explain = Callable[[nn.Module, Tensor, Tensor], Tensor]
ENTRIES = {name: entry for name, entry in vars(robustness).items() if isinstance(entry, Similarity)}
ASKING = {name: entry for name, entry in ENTRIES.items() if "floor" not in name}
TRANSFORMATIONS = {name: entry.transformation for name, entry in ENTRIES.items() if type(entry) is RankCorrelation}
ALL = [blur, sharpen, rotation]
KINDS = [RankCorrelation, StructuralSimilarity, TopKOverlap, SignFlip]

every_entry = pytest.mark.parametrize("metric", ENTRIES.values(), ids=ENTRIES)
every_asking = pytest.mark.parametrize("metric", ASKING.values(), ids=ASKING)
every_kind = pytest.mark.parametrize("kind", KINDS)


class CentralDisc(nn.Module):
    """Logits (mean brightness of the central disc, threshold): rotation changes nothing."""

    def __init__(self, side: int, threshold: float) -> None:
        super().__init__()
        places = torch.linspace(-1, 1, side)
        disc = (places[:, None].square() + places.square() < 0.6).float()
        self.disc = nn.Parameter(disc / disc.sum(), requires_grad=False)
        self.threshold = threshold

    def forward(self, inputs: Tensor) -> Tensor:
        brightness = (inputs.mean(dim=1) * self.disc).sum(dim=(1, 2))
        return torch.stack([brightness, torch.full_like(brightness, self.threshold)], dim=1)


def _brightness(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:  # noqa: ARG001
    return inputs.mean(dim=1, keepdim=True)


def _smooth(n_samples: int, side: int) -> Tensor:
    coarse = torch.rand(n_samples, 3, 4, 4, generator=torch.Generator().manual_seed(4))
    return nn.functional.interpolate(coarse, size=(side, side), mode="bicubic").clamp(0, 1)


@pytest.mark.parametrize("values", ["distinct", "tied"])
def test_spearman_is_that_of_scipy(values: str) -> None:
    first, second = torch.randn(2, 5, 80, generator=torch.Generator().manual_seed(0))
    second = first + second
    if values == "tied":
        first, second = first.round(), (2 * second).round()
    wanted = [stats.spearmanr(*pair).statistic for pair in zip(first.numpy(), second.numpy(), strict=True)]
    assert spearman(first, second).tolist() == pytest.approx(wanted, abs=1e-9)
    assert spearman(first, first).tolist() == pytest.approx([1.0] * 5)
    assert spearman(first, -first).tolist() == pytest.approx([-1.0] * 5)
    assert bool(spearman(first, torch.ones_like(second)).isnan().all())


@pytest.mark.parametrize("metric", [blur, sharpen])
def test_score_compares_the_maps_of_the_image_and_of_its_transform(
    judge: Judge, explain: Explain, metric: RankCorrelation
) -> None:
    decisions = judge(torch.zeros(6, 1, 24, 24)).decisions
    attributions = explain(decisions.model, decisions.inputs, decisions.targets)
    scores = metric(judge(attributions))
    wanted = []
    for image, target, before in zip(decisions.inputs, decisions.targets, attributions, strict=True):
        changed = metric.transformation.images(Decisions(decisions.model, image[None]))
        kept = int(decisions.model(changed).argmax()) == int(target)
        after = explain(decisions.model, changed, target[None])
        rho = stats.spearmanr(before.flatten().numpy(), after.flatten().numpy()).statistic
        wanted.append(rho if kept else np.nan)
    assert scores.tolist() == pytest.approx(wanted, abs=1e-4, nan_ok=True)
    assert bool(scores.isfinite().any())


def test_rotation_is_that_of_scipy() -> None:
    images = _smooth(3, 33)
    attributions = torch.randn(3, 1, 33, 33, generator=torch.Generator().manual_seed(6))
    decisions = Decisions(CentralDisc(33, 0.0), images)
    again = 0.5 * attributions + torch.randn(attributions.shape, generator=torch.Generator().manual_seed(7))
    scores = rotation(Explanation(decisions, attributions, lambda *_: again))

    def turn(values: np.ndarray, angle: float) -> np.ndarray:
        return ndimage.rotate(values, angle, reshape=False, order=1, mode="grid-constant", cval=0.0)

    inside = turn((turn(np.ones((33, 33)), 10) > 0.999).astype(float), -10) > 0.999
    assert 0.7 < inside.mean() < 1
    for index in range(3):
        back = turn(again[index, 0].numpy(), -10)
        wanted = stats.spearmanr(attributions[index, 0].numpy()[inside], back[inside]).statistic
        assert scores[index].item() == pytest.approx(wanted, abs=1e-4)


@pytest.mark.parametrize("transformation", TRANSFORMATIONS.values(), ids=TRANSFORMATIONS)
def test_a_perfect_explainer_scores_as_well_as_can_be(transformation: Transformation) -> None:
    """One that turns with the image where the image turns, and does not care for its tones."""
    images = _smooth(4, 64)
    maps = images.mean(dim=1, keepdim=True) - 0.5
    again = transformation.move(maps)
    explanation = Explanation(Decisions(CentralDisc(64, 0.0), images), maps, lambda *_: again)
    assert bool((RankCorrelation(transformation)(explanation) > 0.999).all())
    assert bool((StructuralSimilarity(transformation)(explanation) > 0.999).all())
    assert bool((TopKOverlap(transformation)(explanation) > 0.9).all())
    assert bool((SignFlip(transformation)(explanation) == 0).all())


@pytest.mark.parametrize("transformation", [Rotation(-25.0), Rotation(90.0), Flip(), Translation(0.07)], ids=repr)
def test_an_explainer_that_moves_with_the_image_scores_as_the_floor(transformation: Transformation) -> None:
    images = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(8))  # pixel-fine: much is interpolated

    def explain(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:  # noqa: ARG001
        return inputs.mean(dim=1, keepdim=True) - 0.5

    maps = explain(nn.Identity(), images, images)
    explanation = Explanation(Decisions(CentralDisc(32, 0.0), images), maps, explain)
    floor = RankCorrelationFloor(transformation)(explanation)
    exact = isinstance(transformation, Flip) or transformation == Rotation(90.0)
    assert bool(((floor > 0.9999) if exact else (floor < 0.97)).all())
    assert torch.allclose(RankCorrelation(transformation)(explanation), floor, atol=1e-4)
    flips = SignFlipFloor(transformation)(explanation)
    assert bool(((flips == 0) if exact else (flips < 0.1)).all())
    assert torch.allclose(SignFlip(transformation)(explanation), flips, atol=0.01)


def test_the_floor_is_that_of_scipy(maps: Tensor) -> None:
    decisions = Decisions(CentralDisc(24, 0.0), _smooth(6, 24))
    floors = robustness.rotation_floor(Explanation(decisions, maps, _never))

    def turn(values: np.ndarray, angle: float) -> np.ndarray:
        return ndimage.rotate(values, angle, reshape=False, order=1, mode="grid-constant", cval=0.0)

    inside = turn((turn(np.ones((24, 24)), 10) > 0.999).astype(float), -10) > 0.999
    for floor, values in zip(floors.tolist(), maps[:, 0].numpy(), strict=True):
        back = turn(turn(values, 10), -10)
        assert floor == pytest.approx(stats.spearmanr(values[inside], back[inside]).statistic, abs=1e-4)
        assert 0.3 < floor < 0.95


def test_the_floor_asks_neither_model_nor_explainer_and_is_near_one_for_smooth_maps() -> None:
    images = _smooth(4, 48)
    decisions = Decisions(CentralDisc(48, 0.0), images)
    explanation = Explanation(decisions, images.mean(dim=1, keepdim=True) - 0.5, _never)
    for name in ("rotation_floor", "translation_floor", "rotation_strong_floor", "translation_mild_floor"):
        assert bool((ENTRIES[name](explanation) > 0.999).all()), name
    assert bool((ENTRIES["rotation_sign_flip_floor"](explanation) == 0).all())
    assert decisions.n_forwarded == 4


def test_an_explainer_that_does_not_turn_with_the_image_scores_low() -> None:
    stripes = torch.linspace(0, 20, 48).sin().expand(4, 1, 48, 48)
    explanation = Explanation(Decisions(CentralDisc(48, 0.0), _smooth(4, 48)), stripes, lambda *_: stripes)
    assert bool((RankCorrelation(Rotation(45.0))(explanation).abs() < 0.2).all())
    assert bool((StructuralSimilarity(Rotation(45.0))(explanation) < 0.4).all())
    assert bool((TopKOverlap(Rotation(45.0), share=0.1)(explanation) < 0.3).all())
    assert bool((SignFlip(Rotation(45.0))(explanation) > 0.3).all())
    assert bool((RankCorrelationFloor(Rotation(45.0))(explanation) > 0.99).all())


def test_opposite_maps_are_not_alike_and_flip_all_signs(maps: Tensor) -> None:
    explanation = Explanation(Decisions(CentralDisc(24, 0.0), _smooth(6, 24)), maps, lambda *_: -maps)
    assert bool((RankCorrelation(Blur())(explanation) == -1).all())
    assert bool((StructuralSimilarity(Blur())(explanation) < 0).all())
    assert bool((TopKOverlap(Blur())(explanation) == 0).all())
    assert bool((SignFlip(Blur())(explanation) == 1).all())


def test_maps_that_have_nothing_in_common_score_chance() -> None:
    draws = torch.randn(40, 2, 32, 32, generator=torch.Generator().manual_seed(9))
    maps, other = draws[:, :1], draws[:, 1:]
    explanation = Explanation(Decisions(CentralDisc(32, 0.0), _smooth(40, 32)), maps, lambda *_: other)
    means = {kind: float(kind(Blur())(explanation).mean()) for kind in KINDS}
    assert means[RankCorrelation] == pytest.approx(0, abs=0.02)
    assert means[StructuralSimilarity] == pytest.approx(0, abs=0.04)
    assert means[TopKOverlap] == pytest.approx(0.02, abs=0.01)
    assert means[SignFlip] == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize("name", ["blur_sign_flip", "rotation_sign_flip", "translation_sign_flip_floor"])
def test_flips_of_maps_of_one_sign_are_undefined(maps: Tensor, name: str) -> None:
    decisions = Decisions(CentralDisc(24, 0.0), _smooth(6, 24))
    for size in (maps.abs(), -maps.abs(), maps.clamp(min=0)):
        assert bool(ENTRIES[name](Explanation(decisions, size, lambda *_, same=size: same)).isnan().all())
    if "floor" not in name:
        assert bool((ENTRIES[name](Explanation(decisions, maps.abs(), lambda *_: -maps.abs())) == 1).all())


def test_samples_whose_prediction_changes_are_undefined_and_not_explained(linear_pixels: type) -> None:
    # Bright corners decide; a rotation by 45 degrees makes them black. Dark images stay what they are.
    weights = torch.zeros(3, 24, 24)
    weights[:, [0, 0, 1, -1], [0, -1, 0, -1]] = 1.0
    model = nn.Sequential(linear_pixels(weights), _Shift(-1.0))
    images = _smooth(4, 24)
    images[..., [0, 0, 1, -1], [0, -1, 0, -1]] = torch.tensor([1.0, 0.0, 1.0, 0.0])[:, None, None]
    asked: list[Tensor] = []

    def explain(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        asked.append(targets)
        return _brightness(model, inputs, targets)

    decisions = Decisions(model, images)
    assert decisions.predictions.tolist() == [0, 1, 0, 1]
    explanation = Explanation(decisions, _brightness(model, images, decisions.targets), explain)
    for kind in (RankCorrelation, StructuralSimilarity, TopKOverlap):
        assert kind(Rotation(45.0))(explanation).isnan().tolist() == [True, False, True, False]
    assert [targets.tolist() for targets in asked] == [[1, 1]]
    assert bool(RankCorrelationFloor(Rotation(45.0))(explanation).isfinite().all())  # the model is not asked


def test_if_no_prediction_is_kept_nothing_is_explained(linear_pixels: type) -> None:
    weights = torch.zeros(3, 24, 24)
    weights[:, 0, 0] = 1.0
    images = torch.ones(2, 3, 24, 24)
    decisions = Decisions(nn.Sequential(linear_pixels(weights), _Shift(-1.0)), images)
    explanation = Explanation(decisions, _smooth(2, 24)[:, :1], _never)
    assert all(bool(kind(Rotation(45.0))(explanation).isnan().all()) for kind in KINDS)


class _Shift(nn.Module):
    """Adds to the first logit."""

    def __init__(self, amount: float) -> None:
        super().__init__()
        self.amount = amount

    def forward(self, logits: Tensor) -> Tensor:
        return logits + torch.tensor([self.amount, 0.0])


def _never(*_: object) -> Tensor:
    raise AssertionError("must not be asked")


@every_entry
@pytest.mark.parametrize("value", [0.0, 0.3, -2.0])
def test_constant_maps_are_undefined(maps: Tensor, metric: Similarity, value: float) -> None:
    decisions = Decisions(CentralDisc(24, 0.0), _smooth(6, 24))
    constant = torch.full_like(maps, value)
    assert bool(metric(Explanation(decisions, constant, lambda *_: maps)).isnan().all())
    if metric in ASKING.values():
        assert bool(metric(Explanation(decisions, maps, lambda *_: constant)).isnan().all())


@every_kind
def test_maps_that_are_constant_where_they_are_compared_are_undefined(kind: type[Similarity]) -> None:
    corner = torch.zeros(2, 1, 24, 24)
    corner[..., 0, 0] = 1.0  # leaves the image
    explanation = Explanation(Decisions(CentralDisc(24, 0.0), _smooth(2, 24)), corner, lambda *_: corner)
    assert bool(kind(Rotation(30.0))(explanation).isnan().all())


@pytest.mark.parametrize("metric", ALL)
def test_one_pixel_that_stays_scores_high(metric: RankCorrelation) -> None:
    one = torch.zeros(2, 1, 25, 25)
    one[:, :, 12, 12] = 1.0
    explanation = Explanation(Decisions(CentralDisc(25, 0.0), _smooth(2, 25)), one, lambda *_: one)
    assert bool((metric(explanation) > 0.4).all())
    assert bool((StructuralSimilarity(metric.transformation)(explanation) > 0.9).all())
    only = TopKOverlap(metric.transformation, share=0.001)(explanation)
    assert torch.allclose(only, torch.ones_like(only))
    assert bool((TopKOverlap(metric.transformation, share=0.5)(explanation) < 0.6).all())  # ties agree by chance


@every_asking
def test_a_positive_scale_changes_nothing_and_a_negative_map_is_a_map(maps: Tensor, metric: Similarity) -> None:
    decisions = Decisions(CentralDisc(24, 0.0), _smooth(6, 24))
    other = maps + maps.flip(0)
    score = metric(Explanation(decisions, maps, lambda *_: other))
    assert bool(score.isfinite().all())
    scaled = metric(Explanation(decisions, 4 * maps, lambda *_: 0.5 * other))
    assert torch.allclose(scaled, score, atol=1e-6)
    negative = metric(Explanation(decisions, maps - 9, lambda *_: other - 9))
    assert bool((negative.isnan() if isinstance(metric, SignFlip) else negative.isfinite()).all())


@pytest.mark.parametrize("metric", ALL)
def test_scale_and_shift_of_the_maps_change_no_rank(maps: Tensor, metric: RankCorrelation) -> None:
    decisions = Decisions(CentralDisc(24, 0.0), _smooth(6, 24))
    other = maps + maps.flip(0)
    score = metric(Explanation(decisions, maps, lambda *_: other))
    moved = metric(Explanation(decisions, 3 * maps + 1, lambda *_: 5 * other - 2))
    assert torch.allclose(moved, score, atol=1e-4)


@settings(max_examples=12, derandomize=True, deadline=None)
@given(
    st.integers(0, 1000),
    st.sampled_from([Blur(), Brightness(), Flip(), Rotation(), Translation()]),
    st.permutations(range(5)),
    st.integers(1, 5),
    st.integers(0, 1),
)
def test_scores_belong_to_the_sample_and_ranks_to_any_increasing_function(
    seed: int, transformation: Transformation, order: list[int], count: int, decimals: int
) -> None:
    draws = torch.randn(5, 2, 18, 20, generator=torch.Generator().manual_seed(seed)).round(decimals=decimals)
    maps, again = draws[:, :1], draws[:, 1:]
    rows = order[:count]
    images = torch.rand(5, 3, 18, 20, generator=torch.Generator().manual_seed(seed))

    def explained(kind: type[Similarity], rows: list[int], maps: Tensor, again: Tensor) -> Tensor:
        decisions = Decisions(Bright(), images[rows])
        return kind(transformation)(Explanation(decisions, maps[rows], lambda *_: again[rows]))

    everyone = list(range(5))
    for kind in KINDS:
        whole = explained(kind, everyone, maps, again)
        assert torch.allclose(explained(kind, rows, maps, again), whole[rows], atol=1e-9, equal_nan=True)
        bounds = (0, 1) if kind in (TopKOverlap, SignFlip) else (-1, 1)
        assert bool(((whole >= bounds[0] - 1e-9) & (whole <= bounds[1] + 1e-9)).all())
    if not isinstance(transformation, Rotation | Translation):  # these interpolate the maps
        for kind in (RankCorrelation, TopKOverlap):
            cubed = explained(kind, everyone, maps**3 + maps, again.double().exp().float())
            assert torch.allclose(cubed, explained(kind, everyone, maps, again), atol=1e-9)


class Bright(nn.Module):
    """Whatever the image, the first class."""

    def forward(self, inputs: Tensor) -> Tensor:
        return torch.stack([1 + inputs.mean(dim=(1, 2, 3)), torch.zeros(len(inputs))], dim=1)


def test_all_similarities_of_a_transformation_share_one_explanation_and_one_forward_pass(judge: Judge) -> None:
    asked: list[Tensor] = []

    def explain(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:  # noqa: ARG001
        asked.append(inputs)
        return inputs.mean(dim=1, keepdim=True) - 0.5

    first = judge(torch.randn(6, 1, 24, 24, generator=torch.Generator().manual_seed(1)), explain)
    of_rotation = [entry for name, entry in ENTRIES.items() if name.startswith("rotation") and "_m" not in name]
    of_rotation = [entry for entry in of_rotation if entry.transformation == Rotation(10.0)]
    assert len(of_rotation) == 6
    for metric in of_rotation:
        metric(first)
    assert len(asked) == 1
    assert first.decisions.n_forwarded == 6 * 2
    second = Explanation(first.decisions, -first.attributions, explain)
    for metric in of_rotation:
        metric(second)
    assert len(asked) == 2
    assert first.decisions.n_forwarded == 6 * 2
    for metric in ENTRIES.values():
        metric(second)
    assert len(asked) == 1 + len(TRANSFORMATIONS)
    assert first.decisions.n_forwarded == 6 * (1 + len(TRANSFORMATIONS))
    assert all(float(inputs.min()) >= 0 and float(inputs.max()) <= 1 for inputs in asked)


def test_every_transformation_has_every_similarity_and_those_that_interpolate_have_floors() -> None:
    suffixes = {"": RankCorrelation, "_ssim": StructuralSimilarity, "_top_k": TopKOverlap, "_sign_flip": SignFlip}
    floors = {"_floor": RankCorrelationFloor, "_sign_flip_floor": SignFlipFloor}
    wanted = {}
    for name, transformation in TRANSFORMATIONS.items():
        interpolates = isinstance(transformation, Rotation | Translation)
        for suffix, kind in (suffixes | (floors if interpolates else {})).items():
            wanted[f"{name}{suffix}"] = kind(transformation)
    assert wanted == ENTRIES


def test_what_runs_unasked_is_no_setting_of_the_score() -> None:
    unasked = {name for name, entry in ENTRIES.items() if not entry.on_request}
    flips = {"blur_sign_flip", "sharpen_sign_flip", "rotation_sign_flip"}
    assert unasked == {"blur", "sharpen", "rotation", "rotation_floor"} | flips
    assert repr(rotation) == "RankCorrelation(transformation=Rotation(angle=10.0))"
    assert RankCorrelation(Rotation(), on_request=True) == RankCorrelation(Rotation(), on_request=False)
    assert RankCorrelation(Rotation()).on_request


@pytest.mark.parametrize("kind", [TopKOverlap, SignFlip])
@pytest.mark.parametrize("share", [0.0, -0.1, 1.5])
def test_a_share_is_above_zero_and_at_most_one(kind: type[TopKOverlap], share: float) -> None:
    with pytest.raises(ValueError, match="share is above 0 and at most 1"):
        kind(Blur(), share)
