"""Stability: closed forms of linear models, second definitions in loops, Quantus, captum, and what is shared."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from captum.metrics import sensitivity_max
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from metrics.base import Decisions, Explanation, Metric
from metrics.stability import (
    AvgSensitivity,
    Continuity,
    LocalLipschitzEstimate,
    MaxSensitivity,
    RelativeInputStability,
    RelativeOutputStability,
    RelativeRepresentationStability,
    avg_sensitivity,
    continuity,
    local_lipschitz_estimate,
    max_sensitivity,
    noisy,
    relative_input_stability,
    relative_output_stability,
    relative_representation_stability,
    representations,
    shifted,
)

Judge = Callable[..., Explanation]
Explain = Callable[[nn.Module, Tensor, Tensor], Tensor]
LinearPixels = Callable[[Tensor], nn.Module]
Values = np.ndarray

RELATIVE: list[Metric] = [
    relative_input_stability,
    relative_output_stability,
    relative_representation_stability,
]
NOISY: list[Metric] = [max_sensitivity, avg_sensitivity, local_lipschitz_estimate, *RELATIVE]
ALL: list[Metric] = [*NOISY, continuity]
every_metric = pytest.mark.parametrize("metric", ALL, ids=lambda metric: type(metric).__name__)
FEW = settings(max_examples=15, derandomize=True, deadline=None)


class Threshold(nn.Module):
    """Logits (mean brightness, threshold): noise tips what is near the threshold."""

    def __init__(self, threshold: float) -> None:
        super().__init__()
        self.threshold = threshold

    def forward(self, inputs: Tensor) -> Tensor:
        brightness = inputs.mean(dim=(1, 2, 3))
        return torch.stack([brightness, torch.full_like(brightness, self.threshold)], dim=1)


class Counting:
    """An explainer that keeps how many images each call explained."""

    def __init__(self, explain: Explain) -> None:
        self.explain = explain
        self.calls: list[int] = []

    def __call__(self, model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        self.calls.append(len(inputs))
        return self.explain(model, inputs, targets)


def _gradient(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    images = inputs.detach().clone().requires_grad_()
    with torch.enable_grad():
        (gradient,) = torch.autograd.grad(model(images).gather(1, targets[:, None]).sum(), images)
    return gradient.sum(dim=1, keepdim=True)


def _brightness(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:  # noqa: ARG001
    return inputs.mean(dim=1, keepdim=True)


def _squares(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:  # noqa: ARG001
    """Nowhere near zero, signed, and another for another image."""
    return (0.5 + inputs.square().sum(dim=1, keepdim=True)) * torch.linspace(-1, 1, 24).sign()


def _explained(decisions: Decisions, explain: Explain) -> Explanation:
    return Explanation(decisions, explain(decisions.model, decisions.inputs, decisions.targets), explain)


@pytest.fixture
def images(images: Tensor) -> Tensor:
    """Without values so near zero that the floor of relative moves counts."""
    return 0.1 + 0.8 * images


@pytest.fixture
def explanation(network: nn.Module, images: Tensor, explain: Explain) -> Explanation:
    return _explained(Decisions(network, images), explain)


# Second definitions: one sample and one neighbour at a time, as the papers write them.


def _two(values: Values) -> float:
    return math.sqrt(sum(float(value) ** 2 for value in values.ravel()))


def _one(values: Values) -> float:
    return sum(abs(float(value)) for value in values.ravel())


def _by_value(first: Values, other: Values, floor: float = 1e-3) -> float:
    least = floor * max(abs(float(value)) for value in first.ravel())
    pairs = zip(first.ravel().tolist(), other.ravel().tolist(), strict=True)
    return math.sqrt(sum(((one - two) / max(abs(one), least)) ** 2 for one, two in pairs))


def _normalised(values: Values) -> Values:
    return values / np.abs(values).max()


def _representation(model: nn.Module, image: Values) -> Values:
    with torch.no_grad():
        return model[:-1](torch.from_numpy(image)[None]).numpy().astype(float)


def _logits(model: nn.Module, image: Values) -> Values:
    with torch.no_grad():
        return model(torch.from_numpy(image)[None]).numpy().astype(float)


Definition = Callable[[nn.Module, Values, Values, Values, Values], float]
DEFINITIONS: dict[str, tuple[Metric, Definition, Callable[[list[float]], float]]] = {
    "max": (max_sensitivity, lambda _model, _x, _y, a, b: _two(b - a) / _two(a), max),
    "avg": (avg_sensitivity, lambda _model, _x, _y, a, b: _two(b - a) / _two(a), lambda all_: sum(all_) / len(all_)),
    "lipschitz": (
        local_lipschitz_estimate,
        lambda _model, x, y, a, b: _two(_normalised(b) - _normalised(a)) / _two(y - x),
        max,
    ),
    "input": (relative_input_stability, lambda _model, x, y, a, b: _by_value(a, b) / _by_value(x, y), max),
    "output": (
        relative_output_stability,
        lambda model, x, y, a, b: _by_value(a, b) / _two(_logits(model, x) - _logits(model, y)),
        max,
    ),
    "representation": (
        relative_representation_stability,
        lambda model, x, y, a, b: _by_value(a, b) / _by_value(_representation(model, x), _representation(model, y)),
        max,
    ),
    "continuity": (
        continuity,
        lambda _model, x, y, a, b: _one(_normalised(b) - _normalised(a)) / _two(y - x),
        max,
    ),
}


@pytest.mark.parametrize("name", DEFINITIONS)
def test_score_is_that_of_the_definition(explanation: Explanation, explain: Explain, name: str) -> None:
    metric, definition, over_neighbours = DEFINITIONS[name]
    decisions = explanation.decisions
    neighbours = metric.neighbours(decisions).images  # type: ignore[attr-defined]
    wanted = []
    for index, (image, target) in enumerate(zip(decisions.inputs, decisions.targets, strict=True)):
        before = explain(decisions.model, image[None], target[None]).numpy().astype(float)
        moves = []
        for other in neighbours[:, index]:
            if int(decisions.model(other[None]).argmax()) == int(decisions.predictions[index]):
                after = explain(decisions.model, other[None], target[None]).numpy().astype(float)
                moves.append(definition(decisions.model, image.numpy(), other.numpy(), before, after))
        wanted.append(over_neighbours(moves) if moves else math.nan)
    assert metric(explanation).tolist() == pytest.approx(wanted, rel=2e-4, nan_ok=True)
    assert np.isfinite(wanted).sum() >= 5


# Neighbours.


def test_noise_is_uniform_within_the_radius_and_images_stay_images(network: nn.Module, images: Tensor) -> None:
    decisions = Decisions(network, 0.2 + 0.6 * images)
    noise = noisy(decisions, 0.1, 3).images - decisions.inputs
    assert noise.shape == (3, *images.shape)
    assert 0.0999 < float(noise.abs().max()) < 0.1001
    assert noise.mean().item() == pytest.approx(0, abs=1e-3)
    assert noise.std().item() == pytest.approx(0.1 / 3**0.5, rel=0.02)
    white = noisy(Decisions(network, torch.ones_like(images)), 0.1, 3).images
    assert float(white.max()) == 1.0
    assert float(white.min()) >= 0.9
    assert (white == 1).float().mean().item() == pytest.approx(0.5, abs=0.02)


def test_draws_belong_to_the_sample_and_the_first_of_many_are_those_of_few(network: nn.Module, images: Tensor) -> None:
    names = tuple("abcdef")
    whole = noisy(Decisions(network, images, ids=names), 0.05, 4).images
    part = noisy(Decisions(network, images[[4, 1]], ids=("e", "b")), 0.05, 2).images
    assert torch.equal(part, whole[:2, [4, 1]])
    assert not torch.equal(whole[0], whole[1])
    other = noisy(Decisions(network, images, ids=names, seed=1), 0.05, 4).images
    assert not torch.equal(other, whole)


def test_shifts_bring_black_in_from_beyond_the_border(network: nn.Module, images: Tensor) -> None:
    decisions = Decisions(network, images)
    right, left, far = shifted(decisions, (0.25, -0.25, 0.9)).images
    assert torch.equal(right[..., 6:], images[..., :-6])
    assert not bool(right[..., :6].any())
    assert torch.equal(left[..., :-6], images[..., 6:])
    assert not bool(left[..., -6:].any())
    assert torch.equal(far[..., 22:], images[..., :2])


def test_a_shift_of_less_than_half_a_pixel_is_no_other_image(network: nn.Module, images: Tensor) -> None:
    decisions = Decisions(network, images)
    assert not bool(shifted(decisions, (0.02,)).kept.any())
    assert bool(Continuity((0.02,))(_explained(decisions, _brightness)).isnan().all())


@pytest.fixture
def near_the_threshold() -> Decisions:
    """Images far below the threshold, just below it, and far above: noise tips only the second, at times."""
    brightness = torch.tensor([0.3, 0.4999, 0.7]).view(3, 1, 1, 1)
    texture = 0.1 * torch.rand(3, 3, 24, 24, generator=torch.Generator().manual_seed(0))
    return Decisions(Threshold(0.5), brightness + texture - texture.mean(dim=(1, 2, 3), keepdim=True))


def test_neighbours_that_change_the_decision_are_left_out_and_not_explained(near_the_threshold: Decisions) -> None:
    counting = Counting(_brightness)
    explanation = _explained(near_the_threshold, _brightness)
    explanation.explain = counting
    kept = noisy(near_the_threshold, 0.1, 8).kept
    assert kept[:, [0, 2]].all()
    assert 0 < int(kept[:, 1].sum()) < 8
    scores = MaxSensitivity(0.1, 8)(explanation)
    assert sum(counting.calls) == int(kept.sum())
    before = explanation.attributions[1]
    others = noisy(near_the_threshold, 0.1, 8).images[:, 1].mean(dim=1, keepdim=True)[kept[:, 1]]
    wanted = max(float((other - before).norm() / before.norm()) for other in others)
    assert scores[1].item() == pytest.approx(wanted, rel=1e-5)


class Recognises(nn.Module):
    """Logits (1, 0) for one image, to the last digit, and (0, 1) for any other."""

    def __init__(self, known: Tensor) -> None:
        super().__init__()
        self.known = known
        self.last = nn.Linear(2, 2, bias=False)
        self.last.weight = nn.Parameter(torch.eye(2), requires_grad=False)

    def forward(self, inputs: Tensor) -> Tensor:
        is_known = (inputs == self.known).flatten(1).all(dim=1)
        logits: Tensor = self.last(torch.stack([is_known, ~is_known], dim=1).float())
        return logits


@every_metric
def test_if_no_neighbour_keeps_the_decision_the_score_is_undefined(metric: Metric, images: Tensor) -> None:
    counting = Counting(_squares)
    explanation = _explained(Decisions(Recognises(images[2]), images), _squares)
    explanation.explain = counting
    scores = metric(explanation)
    assert scores.isnan().tolist() == [False, False, True, False, False, False]
    assert set(counting.calls) == {5}


def test_if_no_neighbour_of_any_image_counts_nothing_is_explained(images: Tensor) -> None:
    counting = Counting(_squares)
    explanation = _explained(Decisions(Recognises(images[2]), images[2:3]), _squares)
    explanation.explain = counting
    assert all(metric(explanation).isnan().tolist() == [True] for metric in ALL)
    assert counting.calls == []


def test_one_of_several_labels_decides_by_the_sign_of_its_logit(images: Tensor) -> None:
    class Two(nn.Module):
        """A target that stays above 0, and another finding that noise brings above it."""

        def forward(self, inputs: Tensor) -> Tensor:
            target = 0.5 + inputs.mean(dim=(1, 2, 3))
            known = (inputs == images[: len(inputs)]).flatten(1).all(dim=1) if len(inputs) == 6 else target < 0
            return torch.stack([target, torch.where(known, 0.0, 9.0)], dim=1)

    targets = torch.zeros(6, dtype=torch.int64)
    one = Decisions(Two(), images, targets, labels=targets, batch_size=6)
    several = Decisions(Two(), images, targets, labels=torch.zeros(6, 2, dtype=torch.int64), batch_size=6)
    assert not bool(noisy(one, 0.02, 2).kept.any())
    assert bool(noisy(several, 0.02, 2).kept.all())


# Quantus and captum, on the same neighbours and maps.


def _asked_with(neighbours: Tensor, explain: Explain) -> dict[str, Any]:
    """Quantus's settings of a call and of a metric that give it our neighbours, in their order."""
    draws = iter(neighbours)

    def explain_func(model: nn.Module, inputs: Any, targets: Values, **_: Any) -> Values:
        return explain(model, torch.as_tensor(inputs), torch.as_tensor(targets)).numpy()

    return {
        "explain_func": explain_func,
        "perturb_func": lambda arr, **_: next(draws).numpy().reshape(arr.shape),
    }


def _to_one(explain: Explain) -> Explain:
    def scaled(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        maps = explain(model, inputs, targets)
        return maps / maps.abs().amax(dim=(1, 2, 3), keepdim=True)

    return scaled


QUANTUS: dict[str, tuple[Metric, dict[str, Any]]] = {
    "MaxSensitivity": (max_sensitivity, {"nr_samples": 4}),
    "AvgSensitivity": (avg_sensitivity, {"nr_samples": 4}),
    "LocalLipschitzEstimate": (local_lipschitz_estimate, {"nr_samples": 4}),
    "RelativeInputStability": (relative_input_stability, {"nr_samples": 4}),
    "RelativeOutputStability": (relative_output_stability, {"nr_samples": 4}),
    "RelativeRepresentationStability": (relative_representation_stability, {"nr_samples": 4, "layer_names": ["2"]}),
    # Ten steps of 4 pixels from -20 to 16; what is shifted by nothing adds 0 to Quantus's maximum.
    "Continuity": (Continuity(tuple(step / 24 for step in range(-20, 20, 4))), {"nr_steps": 10}),
}


@pytest.fixture
def smooth_network() -> nn.Module:
    """Its representation is nowhere near zero, and it never changes its mind."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 5), nn.Sigmoid(), nn.Flatten(), nn.Linear(1600, 3))
    network[3].bias = nn.Parameter(torch.tensor([0.0, 9.0, 0.0]))
    return network.eval().requires_grad_(False)


@pytest.mark.parametrize("name", QUANTUS)
def test_same_neighbours_score_as_in_quantus(
    smooth_network: nn.Module, images: Tensor, ask_quantus: Callable[..., Values], name: str
) -> None:
    metric, how = QUANTUS[name]
    explain = _to_one(_squares) if name in ("LocalLipschitzEstimate", "Continuity") else _squares
    if name == "Continuity":
        images[:, :, 3, 3] = 0  # what Quantus calls black is the darkest value of the image
    decisions = Decisions(smooth_network, images)
    explanation = _explained(decisions, explain)
    neighbours = metric.neighbours(decisions)  # type: ignore[attr-defined]
    assert int(neighbours.kept.sum(dim=0).min()) == (9 if name == "Continuity" else 4)
    asked = _asked_with(neighbours.images, explain)
    scores = ask_quantus(
        name,
        {"abs": False, "perturb_func": asked["perturb_func"], **how},
        explanation.attributions,
        model=smooth_network,
        y_batch=decisions.targets.numpy(),
        explain_func=asked["explain_func"],
    )
    assert metric(explanation).tolist() == pytest.approx(scores.tolist(), rel=1e-5)


def test_zeros_of_a_map_divide_as_in_quantus_where_the_floor_is_as_low(
    smooth_network: nn.Module, images: Tensor, ask_quantus: Callable[..., Values]
) -> None:
    def partly_zero(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        return _to_one(_squares)(model, inputs, targets) * (inputs[:, :1] > 0.5)

    decisions = Decisions(smooth_network, images)
    explanation = _explained(decisions, partly_zero)
    asked = _asked_with(noisy(decisions, 0.02, 4).images, partly_zero)
    scores = ask_quantus(
        "RelativeInputStability",
        {"nr_samples": 4, "perturb_func": asked["perturb_func"], "eps_min": 1e-6},
        explanation.attributions,
        model=smooth_network,
        y_batch=decisions.targets.numpy(),
        explain_func=asked["explain_func"],
    )
    ours = RelativeInputStability(floor=1e-6)
    assert ours(explanation).tolist() == pytest.approx(scores.tolist(), rel=1e-5)
    assert bool((ours(explanation) > 100 * relative_input_stability(explanation)).all())


def test_max_sensitivity_is_that_of_captum(smooth_network: nn.Module, images: Tensor) -> None:
    explanation = _explained(Decisions(smooth_network, images), _gradient)
    neighbours = noisy(explanation.decisions, 0.02, 4)
    assert bool(neighbours.kept.all())
    one_after_another = neighbours.images.transpose(0, 1).flatten(0, 1)

    def gradient(inputs: Tensor | tuple[Tensor], target: Tensor) -> tuple[Tensor]:
        return (_gradient(smooth_network, inputs if isinstance(inputs, Tensor) else inputs[0], target),)

    wanted = sensitivity_max(
        gradient,
        images,
        perturb_func=lambda _: one_after_another,
        n_perturb_samples=4,
        target=explanation.decisions.targets,
    )
    assert max_sensitivity(explanation).tolist() == pytest.approx(wanted.tolist(), rel=1e-4)


# Closed forms.


@every_metric
def test_the_gradient_of_a_linear_model_does_not_move(metric: Metric, images: Tensor) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 24 * 24, 2)).eval().requires_grad_(False)
    model[1].bias = nn.Parameter(torch.tensor([9.0, 0.0]), requires_grad=False)
    assert metric(_explained(Decisions(model, images), _gradient)).tolist() == [0.0] * 6


def test_input_times_gradient_of_a_linear_model_moves_as_the_weighted_noise(
    linear_pixels: LinearPixels, images: Tensor, explain: Explain
) -> None:
    weights = torch.rand(3, 24, 24, generator=torch.Generator().manual_seed(5))
    decisions = Decisions(linear_pixels(weights.double()), images)
    explanation = _explained(decisions, explain)
    noise = (noisy(decisions, 0.02, 4).images - images).double()
    moved, whole = (noise * weights).sum(dim=2), (images.double() * weights).sum(dim=1)
    sensitivity = moved.flatten(2).norm(dim=2) / whole.flatten(1).norm(dim=1)
    assert max_sensitivity(explanation).tolist() == pytest.approx(sensitivity.amax(dim=0).tolist(), rel=1e-4)
    assert avg_sensitivity(explanation).tolist() == pytest.approx(sensitivity.mean(dim=0).tolist(), rel=1e-4)
    relative = (moved / whole).flatten(2).norm(dim=2)
    logit = moved.flatten(2).sum(dim=2).abs()  # the other logit is always 0
    output = relative_output_stability(explanation)
    assert output.tolist() == pytest.approx((relative / logit).amax(dim=0).tolist(), rel=1e-4)
    steepness = [
        (after / after.max() - before / before.max()).norm() / draw.norm()
        for before, draws, changes in zip(whole, noise.transpose(0, 1), moved.transpose(0, 1), strict=True)
        for draw, change in zip(draws, changes, strict=True)
        for after in [before + change]
    ]
    wanted = torch.stack(steepness).view(6, 4).amax(dim=1)
    assert local_lipschitz_estimate(explanation).tolist() == pytest.approx(wanted.tolist(), rel=1e-4)


def test_a_map_that_is_the_image_moves_as_the_image_does(images: Tensor) -> None:
    grey = images[:, :1].expand(-1, 3, -1, -1).contiguous()
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 24 * 24, 1)).eval().requires_grad_(False)

    def first_channel(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:  # noqa: ARG001
        return inputs[:, :1]

    explanation = _explained(Decisions(model, grey), first_channel)
    draws = noisy(explanation.decisions, 0.02, 4).images
    by_channel = ((draws - grey) / grey).double().square().flatten(3).sum(dim=3)
    wanted = (by_channel[:, :, 0] / by_channel.sum(dim=2)).sqrt().amax(dim=0)
    assert relative_input_stability(explanation).tolist() == pytest.approx(wanted.tolist(), rel=1e-4)
    # What enters the only layer is the image itself.
    assert relative_representation_stability(explanation).tolist() == pytest.approx(wanted.tolist(), rel=1e-4)


def test_noise_maps_are_as_far_apart_as_two_of_their_length(network: nn.Module, images: Tensor) -> None:
    generator = torch.Generator().manual_seed(0)

    def noise(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:  # noqa: ARG001
        return torch.randn(len(inputs), 1, 24, 24, generator=generator)

    explanation = _explained(Decisions(network, images), noise)
    assert avg_sensitivity(explanation).tolist() == pytest.approx([2**0.5] * 6, rel=0.1)


def test_a_map_that_vanishes_moves_by_its_length_and_one_that_doubles_too(
    smooth_network: nn.Module, images: Tensor
) -> None:
    for factor in (0.0, 2.0):
        maps = _squares(smooth_network, images, torch.zeros(6))
        explanation = Explanation(Decisions(smooth_network, images), maps, lambda *_, maps=maps, to=factor: to * maps)
        assert max_sensitivity(explanation).tolist() == pytest.approx([1.0] * 6)
        # Divided by its own largest value, the map that grows is the same.
        steep = bool((local_lipschitz_estimate(explanation) > 1).all()), bool((continuity(explanation) > 1).all())
        assert steep == ((True, True) if factor == 0 else (False, False))


# Special maps.


@every_metric
def test_constant_maps_are_the_most_stable_and_all_zero_ones_are_undefined(
    metric: Metric, network: nn.Module, images: Tensor
) -> None:
    def constant(value: float) -> Explain:
        return lambda _model, inputs, _targets: torch.full_like(inputs[:, :1], value)

    decisions = Decisions(network, images)
    for value in (1.0, -3.0, 1e-30):
        assert metric(_explained(decisions, constant(value))).tolist() == [0.0] * 6
    assert bool(metric(_explained(decisions, constant(0.0))).isnan().all())
    appearing = Explanation(decisions, torch.zeros(6, 1, 24, 24), constant(1.0))
    assert bool(metric(appearing).isnan().all())


@every_metric
def test_the_sign_of_the_maps_does_not_count(metric: Metric, network: nn.Module, images: Tensor) -> None:
    decisions = Decisions(network, images)
    positive = metric(_explained(decisions, _brightness))
    negative = metric(_explained(decisions, lambda *args: -_brightness(*args)))
    assert torch.equal(positive, negative)
    assert bool((positive > 0).all())


@every_metric
def test_a_map_of_one_pixel_is_stable_where_the_pixel_stays(metric: Metric, network: nn.Module, images: Tensor) -> None:
    one = torch.zeros(6, 1, 24, 24)
    one[:, 0, 3, 4] = 2.0
    decisions = Decisions(network, images)
    assert metric(Explanation(decisions, one, lambda _model, inputs, _: one[: len(inputs)])).tolist() == [0.0] * 6
    elsewhere = one.roll(1, dims=3)
    assert bool((metric(Explanation(decisions, one, lambda _model, inputs, _: elsewhere[: len(inputs)])) > 0).all())
    jumps = max_sensitivity(Explanation(decisions, one, lambda _model, inputs, _: elsewhere[: len(inputs)]))
    assert jumps.tolist() == pytest.approx([2**0.5] * 6)


def test_what_was_zero_has_no_relative_move_however_it_moves() -> None:
    first, other = torch.zeros(2, 5), torch.ones(2, 5)
    first[1, 0] = 2.0
    assert relative_input_stability.relative(first, other).isnan().tolist() == [True, False]


@pytest.mark.parametrize(("n_images", "calls"), [(2, [8]), (4, [8, 8]), (6, [6] * 4), (9, [9] * 4)])
def test_neighbours_of_a_small_batch_are_explained_together(n_images: int, calls: list[int]) -> None:
    """At most eight at a time where they are fewer: larger batches bring nothing and cost memory."""
    images = torch.rand(n_images, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    counting = Counting(lambda _model, inputs, _targets: inputs[:, :1] + 1)
    decisions = Decisions(Threshold(2.0), images)
    score = max_sensitivity(Explanation(decisions, images[:, :1] + 1, counting))
    assert counting.calls == calls
    alone = [
        max_sensitivity(_explained(Decisions(Threshold(2.0), one[None], ids=(str(index),)), counting.explain))
        for index, one in enumerate(images)
    ]
    assert torch.allclose(score, torch.cat(alone), atol=1e-6)


def test_explanations_of_neighbours_run_on_request() -> None:
    assert all(metric.on_request for metric in ALL)


def test_black_images_have_no_relative_noise(smooth_network: nn.Module) -> None:
    black = torch.zeros(2, 3, 24, 24)
    explanation = _explained(Decisions(smooth_network, black), lambda _model, inputs, _: inputs[:, :1] + 1)
    assert bool(relative_input_stability(explanation).isnan().all())
    assert bool(relative_output_stability(explanation).isfinite().all())
    assert bool(continuity(explanation).isnan().all())  # and none is another image when shifted


# Properties that hold of any map.


def _random_explain(seed: int) -> Explain:
    """Signed maps with zeros, that depend on the image and on nothing else."""
    generator = torch.Generator().manual_seed(seed)
    kernel = torch.randn(1, 3, 3, 3, generator=generator)

    def explain(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:  # noqa: ARG001
        # In float64, so that a map does not depend on how many are made at once.
        maps = nn.functional.conv2d(inputs.double(), kernel.double(), padding=1)
        return (maps * (maps.abs() > 0.3)).float()

    return explain


SEEDS = st.integers(0, 2**31)


@FEW
@given(seed=SEEDS, power=st.integers(-30, 30), sign=st.sampled_from([-1.0, 1.0]))
def test_one_factor_for_all_maps_changes_nothing(seed: int, power: int, sign: float) -> None:
    images = torch.rand(2, 3, 12, 12, generator=torch.Generator().manual_seed(seed))
    explain, factor = _random_explain(seed), sign * 2.0**power
    decisions = Decisions(nn.Sequential(nn.Flatten(), nn.Linear(432, 1)).requires_grad_(False), images)
    plain, scaled = _explained(decisions, explain), _explained(decisions, lambda *args: factor * explain(*args))
    for metric in ALL:
        assert torch.allclose(metric(scaled), metric(plain), rtol=1e-9, equal_nan=True)
        assert not bool(metric(plain).isnan().any())


@FEW
@given(seed=SEEDS)
def test_a_factor_from_image_to_image_counts_in_sensitivity_alone(seed: int) -> None:
    images = torch.rand(2, 3, 12, 12, generator=torch.Generator().manual_seed(seed))
    explain = _random_explain(seed)

    def jumping(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        power = (inputs[:, 0, 0, 0] * 1e4).long() % 5
        return explain(model, inputs, targets) * 2.0 ** power.view(-1, 1, 1, 1)

    decisions = Decisions(nn.Sequential(nn.Flatten(), nn.Linear(432, 1)).requires_grad_(False), images)
    plain, jumps = _explained(decisions, explain), _explained(decisions, jumping)
    for metric in (local_lipschitz_estimate, continuity):
        assert torch.allclose(metric(jumps), metric(plain), rtol=1e-9)
    assert not torch.allclose(max_sensitivity(jumps), max_sensitivity(plain), rtol=1e-2)


@FEW
@given(seed=SEEDS, rows=st.permutations(range(4)), n_rows=st.integers(1, 4), batch_size=st.integers(1, 5))
def test_a_score_does_not_depend_on_batch_mates_size_or_order(
    seed: int, rows: list[int], n_rows: int, batch_size: int
) -> None:
    images = torch.rand(4, 3, 12, 12, generator=torch.Generator().manual_seed(seed))
    model = nn.Sequential(nn.Conv2d(3, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(200, 3)).double()
    model = nn.Sequential(_Double(), *model).requires_grad_(False)
    explain, some = _random_explain(seed), rows[:n_rows]
    whole = _explained(Decisions(model, images, ids=tuple("abcd")), explain)
    part = _explained(
        Decisions(model, images[some], ids=tuple("abcd"[row] for row in some), batch_size=batch_size), explain
    )
    for metric in ALL:
        assert torch.allclose(metric(part), metric(whole)[some], rtol=1e-6, equal_nan=True)


class _Double(nn.Module):
    def forward(self, inputs: Tensor) -> Tensor:
        return inputs.double()


@FEW
@given(seed=SEEDS, fewer=st.integers(1, 4), more=st.integers(0, 4))
def test_the_mean_is_at_most_the_maximum_and_more_draws_never_lower_it(seed: int, fewer: int, more: int) -> None:
    images = torch.rand(2, 3, 12, 12, generator=torch.Generator().manual_seed(seed))
    decisions = Decisions(nn.Sequential(nn.Flatten(), nn.Linear(432, 1)).requires_grad_(False), images)
    explanation = _explained(decisions, _random_explain(seed))
    few, many = MaxSensitivity(n_samples=fewer)(explanation), MaxSensitivity(n_samples=fewer + more)(explanation)
    assert bool((AvgSensitivity(n_samples=fewer)(explanation) <= few * (1 + 1e-12)).all())
    assert bool((few <= many).all())
    steepest = [LocalLipschitzEstimate(n_samples=count)(explanation) for count in (fewer, fewer + more)]
    assert bool((steepest[0] <= steepest[1]).all())


# Representations.


def test_the_representation_enters_the_layer_that_is_called_last(images: Tensor) -> None:
    class Backwards(nn.Module):
        """Its layers are called in another order than that in which they are kept."""

        def __init__(self) -> None:
            super().__init__()
            self.last = nn.Conv2d(2, 3, 1)
            self.first = nn.Conv2d(3, 2, 3)
            self.unused = nn.Linear(5, 5)

        def forward(self, inputs: Tensor) -> Tensor:
            return self.last(self.first(inputs).relu()).mean(dim=(2, 3))

    model = Backwards().eval()
    with representations(model) as found, torch.no_grad():
        model(images[:4])
        model(images[4:])
        wanted = model.first(images).relu().flatten(1)
    assert [values.shape for values in found] == [(4, 968), (2, 968)]
    assert torch.equal(torch.cat(found), wanted)


def test_hooks_are_gone_after_the_representation_also_after_an_error(network: nn.Module, images: Tensor) -> None:
    def n_hooks() -> int:
        return sum(len(one._forward_hooks) + len(one._forward_pre_hooks) for one in network.modules())

    with representations(network):
        assert n_hooks() == 4
    assert n_hooks() == 0
    with pytest.raises(RuntimeError), representations(network):
        network(images[:, :2])
    assert n_hooks() == 0


def test_a_forward_pass_that_fails_midway_leaves_no_representation(network: nn.Module, images: Tensor) -> None:
    with representations(network) as found, torch.no_grad():
        with pytest.raises(RuntimeError):
            network(images[..., :20])  # too small for the linear layer, behind the convolutions
        network(images[:2])
    assert [len(values) for values in found] == [2]


def test_without_a_layer_of_weights_there_is_no_representation(linear_pixels: LinearPixels, images: Tensor) -> None:
    explanation = _explained(Decisions(linear_pixels(torch.ones(3, 24, 24)), images), _brightness)
    assert bool(relative_representation_stability(explanation).isnan().all())
    assert bool(relative_output_stability(explanation).isfinite().all())


# What is shared, and what is refused.


def test_six_metrics_share_one_set_of_neighbours_and_of_their_explanations(
    network: nn.Module, images: Tensor, explain: Explain
) -> None:
    decisions = Decisions(network, images)
    for _ in range(3):  # explainers
        counting = Counting(explain)
        explanation = _explained(decisions, explain)
        explanation.explain = counting
        for metric in NOISY:
            metric(explanation)
        assert sum(counting.calls) == int(noisy(decisions, 0.02, 4).kept.sum())
        assert len(counting.calls) == 4
    decision, draws, representation = 1, 4, 1
    assert decisions.n_forwarded == 6 * (decision + draws + representation)


def test_sensitivity_alone_costs_a_forward_pass_and_an_explanation_a_draw(explanation: Explanation) -> None:
    counting = explanation.explain = Counting(explanation.explain)
    max_sensitivity(explanation)
    assert explanation.decisions.n_forwarded == 6 * (1 + 4)
    assert len(counting.calls) == 4
    continuity(explanation)
    assert explanation.decisions.n_forwarded == 6 * (1 + 4 + 6)
    assert len(counting.calls) == 4 + 6


def test_settings_that_make_no_sense_are_refused() -> None:
    for kind in {type(metric) for metric in NOISY}:
        for wrong in ({"radius": 0.0}, {"radius": 1.5}, {"n_samples": 0}):
            with pytest.raises(ValueError, match="radius is within"):
                kind(**wrong)  # type: ignore[arg-type]
    for kind in (RelativeInputStability, RelativeOutputStability, RelativeRepresentationStability):
        for floor in (0.0, 1.1):
            with pytest.raises(ValueError, match="floor is within"):
                kind(floor=floor)
    for shifts in ((), (0.1, 1.0)):
        with pytest.raises(ValueError, match="shifts are shares of the width"):
            Continuity(shifts)
