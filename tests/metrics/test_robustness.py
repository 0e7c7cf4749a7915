"""Robustness to augmentations: scipy's rotation and rank correlation, equivariant explainers, changed predictions."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy import ndimage, stats
from torch import Tensor, nn

from metrics.base import Decisions, Explanation, Metric
from metrics.correlation import spearman
from metrics.robustness import Rotation, blur, rotation, sharpen

Judge = Callable[..., Explanation]
Explain = Callable[[nn.Module, Tensor, Tensor], Tensor]
ALL = [blur, sharpen, rotation]


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
    judge: Judge, explain: Explain, metric: Metric
) -> None:
    decisions = judge(torch.zeros(6, 1, 24, 24)).decisions
    attributions = explain(decisions.model, decisions.inputs, decisions.targets)
    scores = metric(judge(attributions))
    wanted = []
    for image, target, before in zip(decisions.inputs, decisions.targets, attributions, strict=True):
        changed = metric.transform(image[None]).clamp(0, 1)
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
        assert np.abs(rotation.transform(images)[index, 0].numpy() - turn(images[index, 0].numpy(), 10)).max() < 1e-4


@pytest.mark.parametrize("angle", [10.0, -25.0, 90.0])
def test_a_rotation_equivariant_explainer_scores_one(angle: float) -> None:
    images = _smooth(4, 48)
    decisions = Decisions(CentralDisc(48, 0.0), images)
    explanation = Explanation(decisions, _brightness(decisions.model, images, decisions.targets), _brightness)
    assert bool((Rotation(angle)(explanation) > 0.999).all())


def test_an_explainer_that_does_not_turn_with_the_image_scores_low() -> None:
    stripes = torch.linspace(0, 20, 48).sin().expand(4, 1, 48, 48)
    explanation = Explanation(Decisions(CentralDisc(48, 0.0), _smooth(4, 48)), stripes, lambda *_: stripes)
    assert bool((Rotation(45.0)(explanation).abs() < 0.2).all())


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
    scores = Rotation(45.0)(Explanation(decisions, _brightness(model, images, decisions.targets), explain))
    assert scores.isnan().tolist() == [True, False, True, False]
    assert [targets.tolist() for targets in asked] == [[1, 1]]


def test_if_no_prediction_is_kept_nothing_is_explained(linear_pixels: type) -> None:
    weights = torch.zeros(3, 24, 24)
    weights[:, 0, 0] = 1.0
    images = torch.ones(2, 3, 24, 24)
    decisions = Decisions(nn.Sequential(linear_pixels(weights), _Shift(-1.0)), images)
    scores = Rotation(45.0)(Explanation(decisions, images[:, :1], _never))
    assert bool(scores.isnan().all())


class _Shift(nn.Module):
    """Adds to the first logit."""

    def __init__(self, amount: float) -> None:
        super().__init__()
        self.amount = amount

    def forward(self, logits: Tensor) -> Tensor:
        return logits + torch.tensor([self.amount, 0.0])


def _never(*_: object) -> Tensor:
    raise AssertionError("must not be asked")


@pytest.mark.parametrize("metric", ALL)
@pytest.mark.parametrize("value", [0.0, 0.3, -2.0])
def test_constant_maps_are_undefined(maps: Tensor, metric: Metric, value: float) -> None:
    decisions = Decisions(CentralDisc(24, 0.0), _smooth(6, 24))
    constant = torch.full_like(maps, value)
    assert bool(metric(Explanation(decisions, constant, lambda *_: maps)).isnan().all())
    assert bool(metric(Explanation(decisions, maps, lambda *_: constant)).isnan().all())


@pytest.mark.parametrize("metric", ALL)
def test_one_pixel_that_stays_scores_high(metric: Metric) -> None:
    one = torch.zeros(2, 1, 25, 25)
    one[:, :, 12, 12] = 1.0
    decisions = Decisions(CentralDisc(25, 0.0), _smooth(2, 25))
    assert bool((metric(Explanation(decisions, one, lambda *_: one)) > 0.4).all())


@pytest.mark.parametrize("metric", ALL)
def test_scale_and_shift_of_the_maps_change_nothing(maps: Tensor, metric: Metric) -> None:
    decisions = Decisions(CentralDisc(24, 0.0), _smooth(6, 24))
    other = maps + maps.flip(0)
    score = metric(Explanation(decisions, maps, lambda *_: other))
    moved = metric(Explanation(decisions, 3 * maps + 1, lambda *_: 5 * other - 2))
    assert torch.allclose(moved, score, atol=1e-4)


def test_transforms_are_made_once_a_batch_and_stay_images(judge: Judge, maps: Tensor) -> None:
    seen: list[Tensor] = []

    def explain(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:  # noqa: ARG001
        seen.append(inputs)
        return inputs.mean(dim=1, keepdim=True)

    first = judge(maps, explain)
    for explanation in (first, Explanation(first.decisions, -maps, explain)):
        for metric in ALL:
            metric(explanation)
    assert first.decisions.n_forwarded == 6 * (1 + len(ALL))
    assert all(float(inputs.min()) >= 0 and float(inputs.max()) <= 1 for inputs in seen)
