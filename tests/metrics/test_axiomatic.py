"""Axioms: closed forms of linear models, second definitions in loops, Quantus, and what they cost."""

import warnings
from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from metrics.axiomatic import (
    Completeness,
    InputInvariance,
    NonSensitivity,
    completeness,
    conservation,
    input_invariance,
    non_sensitivity,
)
from metrics.base import Decisions, Explanation, Metric
from metrics.perturb import BaselineImputer, BlurImputer, MeanImputer, ZeroImputer

Judge = Callable[..., Explanation]
Explain = Callable[[nn.Module, Tensor, Tensor], Tensor]
SUMS = [completeness, conservation]


def _integrated(model: nn.Module, inputs: Tensor, targets: Tensor, n_steps: int = 200) -> Tensor:
    """Integrated gradients from black, by the midpoint rule."""
    total = torch.zeros_like(inputs)
    for step in range(n_steps):
        images = ((step + 0.5) / n_steps * inputs).requires_grad_()
        logits = model(images).gather(1, targets[:, None]).sum()
        total += torch.autograd.grad(logits, images)[0]
    return (inputs * total / n_steps).sum(dim=1, keepdim=True)


def _gradient(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    images = inputs.detach().clone().requires_grad_()
    with torch.enable_grad():
        (gradient,) = torch.autograd.grad(model(images).gather(1, targets[:, None]).sum(), images)
    return gradient.sum(dim=1, keepdim=True)


def _wanted_sums(metric: Metric, decisions: Decisions) -> list[float]:
    with torch.no_grad():
        black = decisions.model(torch.zeros_like(decisions.inputs))
    sums = []
    for index, target in enumerate(decisions.targets.tolist()):
        logit = float(decisions.original_logits[index, target])
        sums.append(logit - float(black[index, target]) if metric is completeness else logit)
    return sums


@pytest.mark.parametrize("metric", SUMS)
@pytest.mark.parametrize("scale", [1.0, 1e-3, -1.0, 50.0])
def test_sums_are_compared_as_in_the_definition(judge: Judge, maps: Tensor, metric: Metric, scale: float) -> None:
    explanation = judge(scale * maps)
    wanted = []
    for values, right in zip(scale * maps, _wanted_sums(metric, explanation.decisions), strict=True):
        total = sum(values.flatten().tolist())
        wanted.append(abs(total - right) / max(abs(total), abs(right)))
    assert metric(explanation).tolist() == pytest.approx(wanted, abs=1e-4)


@pytest.mark.parametrize("metric", SUMS)
def test_complete_zero_half_and_opposite_maps(judge: Judge, maps: Tensor, metric: Metric) -> None:
    right = torch.tensor(_wanted_sums(metric, judge(maps).decisions)).view(6, 1, 1, 1)
    one, constant = torch.zeros_like(maps), torch.ones_like(maps) / 576
    one[:, :, 3, 4] = 1.0
    for factor, wanted in ((1.0, 0.0), (0.5, 0.5), (2.0, 0.5), (0.0, 1.0), (-1.0, 2.0), (-0.25, 1.25)):
        for shape in (one, constant):
            assert metric(judge(factor * right * shape)).tolist() == pytest.approx([wanted] * 6, abs=1e-5)


def test_a_linear_model_without_bias_is_complete_and_conserved(
    linear_pixels: Callable[[Tensor], nn.Module], images: Tensor, explain: Explain
) -> None:
    weights = torch.randn(3, 24, 24, generator=torch.Generator().manual_seed(0))
    decisions = Decisions(linear_pixels(weights), images, targets=torch.zeros(6, dtype=torch.int64))
    attributions = explain(decisions.model, images, decisions.targets)
    for metric in SUMS:
        assert metric(Explanation(decisions, attributions, explain)).tolist() == pytest.approx([0.0] * 6, abs=1e-4)


def test_a_bias_is_missing_from_conservation_only(images: Tensor, explain: Explain) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 24 * 24, 2))
    model[1].bias.data = torch.tensor([50.0, 0.0])
    decisions = Decisions(model, images, targets=torch.zeros(6, dtype=torch.int64))
    explanation = Explanation(decisions, explain(model, images, decisions.targets), explain)
    assert bool((completeness(explanation) < 1e-3).all())
    assert bool((conservation(explanation) > 0.9).all())


def test_undefined_where_both_sums_are_zero(linear_pixels: Callable[[Tensor], nn.Module], images: Tensor) -> None:
    nothing = torch.zeros(6, 1, 24, 24)
    decisions = Decisions(linear_pixels(torch.zeros(3, 24, 24)), images)
    for metric in SUMS:
        assert bool(metric(Explanation(decisions, nothing, lambda *_: nothing)).isnan().all())


def test_integrated_gradients_are_complete_where_quantus_finds_none(
    judge: Judge, ask_quantus: Callable[..., np.ndarray], network: nn.Module
) -> None:
    decisions = judge(torch.zeros(6, 1, 24, 24)).decisions
    attributions = _integrated(network, decisions.inputs, decisions.targets)
    assert bool((completeness(judge(attributions)) < 0.02).all())
    call = {"model": network, "y_batch": decisions.targets.numpy()}
    theirs = ask_quantus("Completeness", {"abs": False}, attributions.expand(6, 3, 24, 24) / 3, **call)
    assert theirs.tolist() == [0.0] * 6  # equality of floats; if Quantus mends it, this says so


def test_another_baseline_is_another_difference(judge: Judge, maps: Tensor, network: nn.Module) -> None:
    decisions = judge(maps).decisions
    with torch.no_grad():
        grey = network(torch.full((1, 3, 24, 24), 0.5))[0]
    right = decisions.original_logits[torch.arange(6), decisions.targets] - grey[decisions.targets]
    attributions = right.view(6, 1, 1, 1) * torch.ones_like(maps) / 576
    assert Completeness(0.5)(judge(attributions)).tolist() == pytest.approx([0.0] * 6, abs=1e-4)
    assert bool((completeness(judge(attributions)) > 0.01).any())


def test_the_baseline_costs_one_image_a_batch(judge: Judge, maps: Tensor) -> None:
    first = judge(maps)
    for explanation in (first, Explanation(first.decisions, -maps, first.explain)):
        for metric in SUMS:
            metric(explanation)
    assert first.decisions.n_forwarded == 6 + 1


def _disagreement_slowly(explanation: Explanation, imputer: BaselineImputer, n: int, tolerance: float) -> list[float]:
    decisions, scores = explanation.decisions, []
    height, width = decisions.inputs.shape[2:]
    for index, target in enumerate(decisions.targets.tolist()):
        image, values = decisions.inputs[index : index + 1], explanation.attributions[index, 0].double()
        baseline = imputer.baseline(Decisions(decisions.model, image))
        moved, relevance = [], []
        for row, column in product(range(n), range(n)):
            inside = torch.zeros(height, width, dtype=torch.bool)
            for y, x in product(range(height), range(width)):
                inside[y, x] = y * n // height == row and x * n // width == column
            with torch.no_grad():
                before, after = decisions.model(image), decisions.model(torch.where(inside, baseline, image))
            moved.append(abs(float(after[0, target] - before[0, target])))
            relevance.append(float(values[inside].abs().sum()))
        pairs = zip(moved, relevance, strict=True)
        differ = [(m <= tolerance * max(moved)) != (r <= tolerance * max(relevance)) for m, r in pairs]
        scores.append(sum(differ) / len(differ))
    return scores


@pytest.mark.parametrize("imputer", [MeanImputer(), BlurImputer()])
@pytest.mark.parametrize("n", [3, 5])
def test_non_sensitivity_is_the_definition_in_loops(
    judge: Judge, maps: Tensor, masks: Tensor, imputer: BaselineImputer, n: int
) -> None:
    explanation = judge(maps * masks)
    wanted = _disagreement_slowly(explanation, imputer, n, 0.1)
    assert NonSensitivity(imputer, n, 0.1)(explanation).tolist() == pytest.approx(wanted, abs=1e-9)
    assert len(set(wanted)) > 2


@pytest.fixture
def left_half(linear_pixels: Callable[[Tensor], nn.Module], images: Tensor) -> Decisions:
    weights = torch.zeros(3, 24, 24)
    weights[:, :, :12] = 1 + torch.rand(3, 24, 12, generator=torch.Generator().manual_seed(0))
    return Decisions(linear_pixels(weights), images, targets=torch.zeros(6, dtype=torch.int64))


def test_agreement_and_disagreement_of_known_size(left_half: Decisions, maps: Tensor) -> None:
    metric = NonSensitivity(MeanImputer(), n_patches=4, tolerance=0.0)
    left, right, one = maps.clone(), maps.clone(), torch.zeros_like(maps)
    left[..., 12:], right[..., :12], one[:, :, 2, 2] = 0, 0, -1.0
    for attributions, wanted in (
        *((left, 0.0), (right, 1.0), (maps, 0.5), (-maps.abs(), 0.5), (torch.ones_like(maps), 0.5)),
        *((torch.zeros_like(maps), 0.5), (one, 7 / 16), (-7 * left, 0.0)),
    ):
        assert metric(Explanation(left_half, attributions, lambda *_: maps)).tolist() == [wanted] * 6


def test_a_model_that_nothing_moves_has_no_patch_that_matters(
    linear_pixels: Callable[[Tensor], nn.Module], images: Tensor, maps: Tensor
) -> None:
    decisions = Decisions(linear_pixels(torch.zeros(3, 24, 24)), images)
    for attributions, wanted in ((torch.ones_like(maps), 1.0), (torch.zeros_like(maps), 0.0)):
        assert non_sensitivity(Explanation(decisions, attributions, lambda *_: maps)).tolist() == [wanted] * 6


def test_single_pixels_are_those_of_quantus_where_zero_is_zero() -> None:
    """A grey image, as Quantus asks channel by channel; clear zeros, as it has an absolute threshold."""
    generator = torch.Generator().manual_seed(3)
    weights = torch.randn(1, 8, 8, generator=generator) * (torch.rand(1, 8, 8, generator=generator) > 0.5)
    images = 0.3 + 0.7 * torch.rand(4, 1, 8, 8, generator=generator)
    images[:, weights == 0] = 0.0  # Quantus's black is the smallest value of each image
    maps = torch.rand(4, 1, 8, 8, generator=generator) * (torch.rand(4, 1, 8, 8, generator=generator) > 0.5)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 2, bias=False)).eval().requires_grad_(False)
    model[1].weight.data = torch.cat([weights.view(1, 64), -weights.view(1, 64)])

    targets = torch.zeros(4, dtype=torch.int64)
    explanation = Explanation(Decisions(model, images, targets), maps, lambda *_: maps)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        quantus = pytest.importorskip("quantus")
        metric = quantus.NonSensitivity(normalise=False, disable_warnings=True, features_in_step=1)
        batch = {"x_batch": images.numpy(), "y_batch": targets.numpy(), "a_batch": maps.numpy()}
        theirs = np.asarray(metric(model=model, softmax=False, **batch))
    ours = NonSensitivity(ZeroImputer(), n_patches=8, tolerance=1e-5)(explanation)
    assert (64 * ours).tolist() == pytest.approx(theirs.tolist())
    assert len(set(theirs.tolist())) > 1


def test_patches_are_forwarded_once_for_all_explainers(judge: Judge, maps: Tensor) -> None:
    first = judge(maps)
    for explanation in (first, Explanation(first.decisions, -maps, first.explain)):
        NonSensitivity(MeanImputer(), n_patches=3)(explanation)
    assert first.decisions.n_forwarded == 6 + 9 * 6
    assert non_sensitivity.on_request


@pytest.mark.parametrize(("n_patches", "tolerance"), [(0, 0.1), (3, -0.1), (3, 1.0)])
def test_settings_out_of_range_are_refused(n_patches: int, tolerance: float) -> None:
    with pytest.raises(ValueError, match="n_patches is at least 1"):
        NonSensitivity(MeanImputer(), n_patches, tolerance)


@pytest.mark.parametrize("shift", [-1.0, 0.3])
def test_the_shifted_image_gets_the_same_logits_and_gradients(judge: Judge, network: nn.Module, shift: float) -> None:
    asked: list[tuple[nn.Module, Tensor, Tensor]] = []

    def explain(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        asked.append((model, inputs, targets))
        return _gradient(model, inputs, targets)

    decisions = judge(torch.zeros(6, 1, 24, 24)).decisions
    attributions = _gradient(network, decisions.inputs, decisions.targets)
    scores = InputInvariance(shift)(judge(attributions, explain))
    assert scores.tolist() == pytest.approx([0.0] * 6, abs=1e-3)
    ((model, inputs, targets),) = asked
    assert torch.equal(inputs, decisions.inputs + shift)
    assert torch.equal(targets, decisions.targets)
    assert torch.allclose(model(inputs), network(decisions.inputs), atol=1e-4)
    assert not any(module.training for module in model.modules())


def test_gradient_times_input_is_not_invariant_and_by_how_much(
    judge: Judge, network: nn.Module, explain: Explain
) -> None:
    decisions = judge(torch.zeros(6, 1, 24, 24)).decisions
    before = explain(network, decisions.inputs, decisions.targets)
    gradient = _gradient(network, decisions.inputs, decisions.targets)
    wanted = []
    for old, slope in zip(before, gradient, strict=True):
        new = old - slope  # the shift is −1 in all channels
        wanted.append(float((new - old).norm() / (new.norm() + old.norm())))
    assert input_invariance(judge(before)).tolist() == pytest.approx(wanted, abs=1e-3)
    assert min(wanted) > 0.3


def test_invariance_of_constant_zero_opposite_and_unrelated_maps(judge: Judge, maps: Tensor) -> None:
    nothing, one = torch.zeros_like(maps), torch.zeros_like(maps)
    one[:, :, 1, 2] = 1.0
    for before, after, wanted in (
        *((maps, maps, 0.0), (one, one, 0.0), (nothing + 2, nothing + 2, 0.0), (-maps.abs(), -maps.abs(), 0.0)),
        *((maps, nothing, 1.0), (nothing, maps, 1.0), (maps, -maps, 1.0), (maps, 3 * maps, 0.5)),
        *((one, one.flip(3), 0.5**0.5), (nothing, nothing, torch.nan)),
    ):
        scores = input_invariance(judge(before, lambda *_, after=after: after))
        assert scores.tolist() == pytest.approx([wanted] * 6, abs=1e-6, nan_ok=True)


def test_what_rounding_moves_is_no_difference(judge: Judge, maps: Tensor) -> None:
    near, other = maps * (1 + 1e-3 * maps.flip(0).sign()), maps + 0.01 * maps.flip(0)
    assert input_invariance(judge(maps, lambda *_: near)).tolist() == [0.0] * 6
    assert bool((InputInvariance(tolerance=0.0)(judge(maps, lambda *_: near)) > 0).all())
    assert bool((input_invariance(judge(maps, lambda *_: other)) > 0.001).all())
    with pytest.raises(ValueError, match="tolerance is from 0 to below 1"):
        InputInvariance(tolerance=-1e-3)


def test_invariance_costs_one_explanation_and_no_forward_pass(judge: Judge, maps: Tensor) -> None:
    calls: list[Any] = []

    def explain(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:  # noqa: ARG001
        calls.append((model, inputs))
        return maps

    first = judge(maps, explain)
    for explanation in (first, Explanation(first.decisions, -maps, explain)):
        input_invariance(explanation)
    assert len(calls) == 2
    assert calls[0][0] is calls[1][0]
    assert first.decisions.n_forwarded == 6
    assert input_invariance.on_request
