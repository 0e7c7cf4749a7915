"""Correlations with removal, and infidelity: second definitions, Quantus, captum, closed forms, and what they cost."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor, nn

from metrics import removals
from metrics.base import Decisions, Explanation
from metrics.correlated_removal import (
    faithfulness_correlation,
    faithfulness_estimate,
    infidelity,
    monotonicity_correlation,
    sensitivity_n,
    single_deletion_correlation,
)
from metrics.correlation import pearson, spearman
from metrics.faithfulness import deletion, insertion
from metrics.perturb import MeanImputer, UniformImputer, ZeroImputer, ranks

Judge = Callable[..., Explanation]
CORRELATIONS = {
    "faithfulness_correlation": faithfulness_correlation,
    "faithfulness_estimate": faithfulness_estimate,
    "sensitivity_n": replace(sensitivity_n, n_subsets=40),
    "single_deletion_correlation": single_deletion_correlation,
    "monotonicity_correlation": monotonicity_correlation,
}
SIGNED = [name for name in CORRELATIONS if name != "monotonicity_correlation"]


@pytest.fixture
def linear(linear_pixels: type, images: Tensor) -> Explanation:
    """A linear model, and what each pixel contributes to its logit beyond the mean colour."""
    model = linear_pixels(0.05 * torch.randn(3, 24, 24, generator=torch.Generator().manual_seed(5)))
    decisions = Decisions(model, images, targets=torch.zeros(6, dtype=torch.int64))
    exact = (model.weights * (images - images.mean(dim=(2, 3), keepdim=True))).sum(dim=1, keepdim=True)
    return Explanation(decisions, exact, lambda *_: exact)


def _other(explanation: Explanation, attributions: Tensor) -> Explanation:
    return Explanation(explanation.decisions, attributions, explanation.explain)


def _logit(decisions: Decisions, index: int, image: np.ndarray) -> float:
    with torch.no_grad():
        return float(decisions.model(torch.from_numpy(image)[None])[0, int(decisions.targets[index])].double())


def _alone(
    explanation: Explanation, imputer: Any, sets: Callable[[int], list[np.ndarray]]
) -> Iterator[tuple[list[float], list[float]]]:
    """For image after image: what the map gives to each set of pixels, and how far the logit falls without it."""
    decisions = explanation.decisions
    baselines = imputer.baseline(decisions).numpy()
    for index, image in enumerate(decisions.inputs.numpy()):
        attributions, whole = explanation.attributions[index, 0].double().numpy(), _logit(decisions, index, image)
        given, falls = [], []
        for pixels in sets(index):
            given.append(float(attributions[pixels].sum()))
            without = np.where(pixels, baselines[index], image)
            falls.append(whole - _logit(decisions, index, without))
        yield given, falls


def _masks(found: removals.Removals, n_sets: int) -> np.ndarray:
    """(N, R, 24, 24) bool, read from the sums of maps that are 1 in a single pixel each."""
    ones = torch.eye(576).view(576, 1, 1, 24, 24)
    columns = torch.stack([found.sums(one.expand(6, 1, 24, 24)) for one in ones], dim=2)
    assert columns.shape == (6, n_sets, 576)
    return columns.bool().view(6, n_sets, 24, 24).numpy()


def _cell(number: int, grid: int) -> np.ndarray:
    size = 24 // grid
    return (np.arange(24)[:, None] // size == number // grid) & (np.arange(24) // size == number % grid)


def test_faithfulness_correlation_is_that_of_the_definition_in_loops(judge: Judge, maps: Tensor) -> None:
    explanation = judge(maps)
    masks = _masks(removals.random_subsets(explanation.decisions, 0.1, 12), 12)
    wanted = [np.corrcoef(*pair)[0, 1] for pair in _alone(explanation, MeanImputer(), lambda index: list(masks[index]))]
    score = replace(faithfulness_correlation, share=0.1, n_subsets=12)(explanation)
    assert score.tolist() == pytest.approx(wanted, abs=1e-3)


def test_sensitivity_n_is_the_mean_over_sizes(judge: Judge, maps: Tensor) -> None:
    explanation = judge(maps)
    parts = [replace(faithfulness_correlation, share=share, n_subsets=12)(explanation) for share in (0.02, 0.3, 0.8)]
    score = replace(sensitivity_n, shares=(0.02, 0.3, 0.8), n_subsets=12)(explanation)
    assert torch.allclose(score, torch.stack(parts).mean(dim=0))


def test_faithfulness_estimate_is_that_of_the_definition_in_loops(judge: Judge, maps: Tensor) -> None:
    explanation = judge(maps)
    order = ranks(explanation).view(6, 24, 24).numpy()

    def steps(index: int) -> list[np.ndarray]:
        return [(order[index] >= 48 * step) & (order[index] < 48 * step + 48) for step in range(12)]

    wanted = [np.corrcoef(*pair)[0, 1] for pair in _alone(explanation, MeanImputer(), steps)]
    assert replace(faithfulness_estimate, n_steps=12)(explanation).tolist() == pytest.approx(wanted, abs=1e-3)


def test_single_deletion_is_that_of_the_definition_in_loops(judge: Judge, maps: Tensor) -> None:
    explanation = judge(maps)
    cells = [_cell(number, 6) for number in range(36)]
    pairs = _alone(explanation, MeanImputer(), lambda _: cells)
    wanted = [stats.spearmanr(*pair).statistic for pair in pairs]
    assert replace(single_deletion_correlation, grid=6)(explanation).tolist() == pytest.approx(wanted, abs=1e-3)


def test_monotonicity_is_that_of_the_definition_in_loops(judge: Judge, maps: Tensor) -> None:
    explanation = judge(maps)
    absolute = _other(explanation, maps.abs())
    cells = [_cell(number, 6) for number in range(36)]
    draws = [list(_alone(absolute, UniformImputer(draw), lambda _: cells)) for draw in range(3)]
    wanted = []
    for index in range(6):
        doubt = np.mean([np.square(draw[index][1]) for draw in draws], axis=0)
        wanted.append(stats.spearmanr(draws[0][index][0], doubt).statistic)
    score = replace(monotonicity_correlation, grid=6, n_draws=3)(explanation)
    assert score.tolist() == pytest.approx(wanted, abs=1e-3)


def test_infidelity_is_that_of_the_definition_in_loops(judge: Judge, maps: Tensor) -> None:
    explanation = judge(maps)
    masks = _masks(removals.random_squares(explanation.decisions, 0.3, 12), 12)
    wanted = []
    for given, falls in _alone(explanation, MeanImputer(), lambda index: list(masks[index])):
        scales = [max(0, np.dot(given, falls) / np.dot(given, given)) * factor for factor in (0.9, 1, 1.1)]
        errors = [float(np.mean((scale * np.array(given) - falls) ** 2)) for scale in scales]
        assert min(errors) == errors[1]
        wanted.append(errors[1])
    score = replace(infidelity, side=0.3, n_squares=12)(explanation)
    assert score.tolist() == pytest.approx(wanted, abs=1e-4)


def test_infidelity_is_that_of_captum_where_the_map_points_the_right_way(judge: Judge, maps: Tensor) -> None:
    captum = pytest.importorskip("captum.metrics")
    explanation = judge(maps)
    decisions = explanation.decisions
    masks = torch.from_numpy(_masks(removals.random_squares(decisions, 0.3, 12), 12))[:, :, None]
    inputs, baseline = decisions.inputs[:, None], MeanImputer().baseline(decisions)[:, None]

    def remove(_: Tensor) -> tuple[Tensor, Tensor]:
        without = torch.where(masks, baseline, inputs)
        return (masks.expand_as(without) / 3).flatten(0, 1), without.flatten(0, 1)

    with torch.no_grad():
        theirs = captum.infidelity(
            decisions.model,
            remove,
            decisions.inputs,
            maps.expand(6, 3, 24, 24),
            target=decisions.targets,
            n_perturb_samples=12,
            normalize=True,
        ).double()
    ours = replace(infidelity, side=0.3, n_squares=12)(explanation)
    flipped = replace(infidelity, side=0.3, n_squares=12)(_other(explanation, -maps))
    assert bool((ours < flipped).any())
    assert bool((flipped < ours).any())
    assert torch.allclose(torch.minimum(ours, flipped), theirs, atol=1e-3, rtol=1e-3)


def _replace_by_mean(decisions: Decisions) -> Callable[..., np.ndarray]:
    baseline = MeanImputer().baseline(decisions).flatten(1).numpy()

    def replaced(arr: np.ndarray, indices: np.ndarray, **_: object) -> np.ndarray:
        arr = arr.copy()
        np.put_along_axis(arr, indices, np.take_along_axis(baseline, indices, axis=1), axis=1)
        return arr

    return replaced


def test_faithfulness_correlation_is_that_of_quantus_for_the_same_subsets(
    judge: Judge, ask_quantus: Callable[..., np.ndarray], maps: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    explanation = judge(maps)
    decisions = explanation.decisions
    masks = _masks(removals.random_subsets(decisions, 0.05, 12), 12).reshape(6, 12, 576)
    draws = iter([masks[index, draw] for draw in range(12) for index in range(6)])

    def whole_pixels(n_features: int, size: int, **_: object) -> np.ndarray:
        chosen = np.flatnonzero(next(draws))
        assert (n_features, size) == (1728, 3 * len(chosen))
        return np.concatenate([chosen, chosen + 576, chosen + 1152])

    settings = {
        "nr_runs": 12,
        "subset_size": 87,
        "perturb_func": _replace_by_mean(decisions),
        "return_aggregate": False,
    }
    with monkeypatch.context() as patched:
        patched.setattr(np.random, "choice", whole_pixels)
        theirs = ask_quantus(
            "FaithfulnessCorrelation", settings, maps, model=decisions.model, y_batch=decisions.targets.numpy()
        )
    ours = replace(faithfulness_correlation, n_subsets=12)(explanation)
    assert np.abs(ours.numpy() - theirs).max() < 1e-3


def test_faithfulness_estimate_is_that_of_quantus(
    judge: Judge, ask_quantus: Callable[..., np.ndarray], maps: Tensor
) -> None:
    explanation = judge(maps)
    decisions = explanation.decisions
    settings = {"features_in_step": 72, "perturb_func": _replace_by_mean(decisions)}
    call = {"model": decisions.model, "y_batch": decisions.targets.numpy()}
    theirs = ask_quantus("FaithfulnessEstimate", settings, maps, **call)
    ours = replace(faithfulness_estimate, n_steps=24)(explanation)
    assert np.abs(ours.numpy() - theirs).max() < 1e-3


@pytest.fixture
def by_cells(maps: Tensor) -> Tensor:
    """Positive maps in which the pixels of a cell of 4 × 4 have neighbouring ranks: Quantus's sets are the cells."""
    values = torch.rand(6, 36, generator=torch.Generator().manual_seed(7)).argsort(dim=1).float()
    cells = values.view(6, 1, 6, 6).repeat_interleave(4, dim=2).repeat_interleave(4, dim=3)
    return cells + 1 + 0.1 * maps.clamp(-3, 3)


def test_monotonicity_is_that_of_quantus_where_its_sets_are_cells(
    judge: Judge, ask_quantus: Callable[..., np.ndarray], by_cells: Tensor
) -> None:
    explanation = judge(by_cells)
    decisions = explanation.decisions
    noise = [UniformImputer(draw).baseline(decisions).flatten(1).numpy() for draw in range(3)]
    calls = iter(range(10**6))

    def replace_by_noise(arr: np.ndarray, indices: np.ndarray, **_: object) -> np.ndarray:
        arr, values = arr.copy(), np.take_along_axis(noise[next(calls) % 3], indices, axis=1)
        np.put_along_axis(arr, indices, values, axis=1)
        return arr

    settings = {"features_in_step": 48, "nr_samples": 3, "perturb_func": replace_by_noise}
    call = {"model": decisions.model, "y_batch": decisions.targets.numpy(), "softmax": False}
    theirs = ask_quantus("MonotonicityCorrelation", settings, by_cells, **call)
    ours = replace(monotonicity_correlation, grid=6, n_draws=3)(explanation)
    assert np.abs(ours.numpy() - theirs).max() < 1e-3


@pytest.mark.parametrize("name", SIGNED)
def test_contributions_to_a_linear_model_correlate_fully(name: str, linear: Explanation) -> None:
    metric, exact = CORRELATIONS[name], linear.attributions
    assert metric(linear).tolist() == pytest.approx([1] * 6, abs=2e-3)
    assert metric(_other(linear, 1e3 * exact.double())).tolist() == pytest.approx([1] * 6, abs=2e-3)
    assert metric(_other(linear, -exact)).tolist() == pytest.approx([-1] * 6, abs=2e-3)


def test_doubt_about_a_linear_model_goes_by_the_size_of_its_weights(linear_pixels: type) -> None:
    weights = torch.rand(1, 8, 8, generator=torch.Generator().manual_seed(0)) - 0.5
    cells = weights.repeat_interleave(3, dim=1).repeat_interleave(3, dim=2).expand(3, 24, 24)
    grey = torch.full((6, 3, 24, 24), 0.5)
    decisions = Decisions(linear_pixels(cells), grey, targets=torch.zeros(6, dtype=torch.int64))
    maps = cells[:1].expand(6, 1, 24, 24)
    score = replace(monotonicity_correlation, n_draws=30)(Explanation(decisions, maps, lambda *_: maps))
    assert bool((score > 0.9).all())
    assert torch.equal(
        score, replace(monotonicity_correlation, n_draws=30)(Explanation(decisions, -maps, lambda *_: maps))
    )


@pytest.mark.parametrize("name", CORRELATIONS)
def test_random_maps_correlate_with_nothing(name: str, linear: Explanation) -> None:
    generator = torch.Generator().manual_seed(0)
    scores = [CORRELATIONS[name](_other(linear, torch.randn(6, 1, 24, 24, generator=generator))) for _ in range(10)]
    assert abs(torch.stack(scores).mean().item()) < 0.1


@pytest.mark.parametrize("name", CORRELATIONS)
@pytest.mark.parametrize("value", [0.0, 0.1, -3.0])
def test_constant_maps_are_undefined(name: str, value: float, judge: Judge, maps: Tensor) -> None:
    mixed = maps.clone()
    mixed[[1, 4]] = value
    assert CORRELATIONS[name](judge(mixed)).isnan().tolist() == [False, True, False, False, True, False]


@pytest.mark.parametrize("name", CORRELATIONS)
def test_one_pixel_and_all_negative_maps_are_defined(name: str, judge: Judge, maps: Tensor) -> None:
    # Of one pixel the random subsets need to meet it: the whole left column will do.
    column = torch.zeros_like(maps)
    column[..., 0] = 1
    for attributions in (column, -maps.abs() - 1):
        score = CORRELATIONS[name](judge(attributions))
        assert bool(score.isfinite().all())
        assert bool((score.abs() <= 1).all())


@pytest.mark.parametrize("name", SIGNED)
def test_a_model_that_never_changes_its_mind_is_undefined(name: str, network: nn.Module, maps: Tensor) -> None:
    # Black replaced by black: what differs is the rounding of the forward pass, which is no correlation.
    decisions = Decisions(network, torch.zeros(6, 3, 24, 24), batch_size=4)
    score = replace(CORRELATIONS[name], imputer=ZeroImputer())(Explanation(decisions, maps, lambda *_: maps))
    assert bool(score.isnan().all())


def test_infidelity_is_0_for_contributions_to_a_linear_model_and_highest_for_nothing(
    linear: Explanation, maps: Tensor
) -> None:
    exact = linear.attributions
    falls = removals.random_squares(linear.decisions, 0.2, 64).falls(MeanImputer())
    nothing = falls.square().mean(dim=1)
    assert infidelity(linear).tolist() == pytest.approx([0] * 6, abs=1e-8)
    assert torch.allclose(
        infidelity(_other(linear, 1e-30 * exact.double())), torch.zeros(6, dtype=torch.float64), atol=1e-8
    )
    assert torch.allclose(infidelity(_other(linear, 0 * exact)), nothing)
    assert torch.allclose(infidelity(_other(linear, -exact)), nothing)
    between = infidelity(_other(linear, maps))
    assert bool(((between > 0) & (between <= nothing)).all())


def test_infidelity_of_a_constant_map_is_what_it_cannot_tell(linear: Explanation) -> None:
    falls = removals.random_squares(linear.decisions, 0.2, 64).falls(MeanImputer())
    positive = falls.mean(dim=1) > 0
    score = infidelity(_other(linear, torch.ones_like(linear.attributions)))
    wanted = falls.var(dim=1, correction=0).where(positive, falls.square().mean(dim=1))
    assert torch.allclose(score, wanted)


def test_random_subsets_have_their_size_and_are_drawn_evenly(network: nn.Module, images: Tensor) -> None:
    decisions = Decisions(network, images)
    masks = _masks(removals.random_subsets(decisions, 0.25, 200), 200)
    assert (masks.sum(axis=(2, 3)) == 144).all()
    assert len({mask.tobytes() for mask in masks.reshape(1200, 576)}) == 1200
    # Each pixel is in a quarter of 1,200 sets: 300, give or take 15.
    assert abs(masks.sum(axis=(0, 1)) - 300).max() < 75


def test_random_squares_lie_anywhere_within_the_image(network: nn.Module, images: Tensor) -> None:
    masks = _masks(removals.random_squares(Decisions(network, images), 0.25, 200), 200).reshape(1200, 24, 24)
    corners = set()
    for mask in masks:
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        assert (len(rows), len(columns), mask.sum()) == (6, 6, 36)
        assert (rows[-1] - rows[0], columns[-1] - columns[0]) == (5, 5)
        corners.add((int(rows[0]), int(columns[0])))
    assert {corner[axis] for corner in corners for axis in (0, 1)} == set(range(19))


def test_sets_belong_to_the_sample_and_the_seed(network: nn.Module, images: Tensor, maps: Tensor) -> None:
    def sums(kind: Callable[..., removals.Removals], rows: list[int], seed: int = 0) -> Tensor:
        decisions = Decisions(network, images[rows], ids=tuple("abcdef"[row] for row in rows), seed=seed)
        return kind(decisions, 0.2, 5).sums(maps[:1].expand(len(rows), 1, 24, 24))

    for kind in (removals.random_subsets, removals.random_squares):
        everything = sums(kind, [0, 1, 2, 3, 4, 5])
        assert torch.equal(sums(kind, [4, 2]), everything[[4, 2]])
        assert not torch.equal(everything[0], everything[1])
        assert not torch.equal(sums(kind, [4, 2], seed=1), everything[[4, 2]])


def test_falls_within_rounding_are_ties(network: nn.Module, images: Tensor) -> None:
    decisions = Decisions(network, images)
    whole = decisions.target_logits(decisions.original_logits)[:, None]
    same = removals.fall(decisions, torch.cat([whole, whole * (1 + 1e-7), whole - 2e-6, whole - 1], dim=1))
    assert torch.equal(same[:, :3], torch.zeros(6, 3, dtype=torch.float64))
    assert same[:, 3].tolist() == pytest.approx([1] * 6, rel=1e-4)


@pytest.mark.parametrize("constant", [0.0, 0.1, 0.7])
def test_what_is_constant_correlates_with_nothing_also_where_its_mean_is_rounded(constant: float) -> None:
    generator = torch.Generator().manual_seed(1)
    same = torch.full((3, 7), constant, dtype=torch.float64)
    other = torch.randn(3, 7, generator=generator, dtype=torch.float64)
    other[:, 5] = other[:, 0]  # some values may well be equal
    for pair in ((same, other), (other, same), (same, same)):
        assert bool(pearson(*pair).isnan().all())
        assert bool(spearman(*pair).isnan().all())
    assert bool(pearson(other, other).isfinite().all())


def test_pearson_is_that_of_numpy() -> None:
    first, second = torch.randn(2, 5, 40, generator=torch.Generator().manual_seed(0))
    wanted = [np.corrcoef(*pair)[0, 1] for pair in zip(first.numpy(), second.numpy(), strict=True)]
    assert pearson(first, second).tolist() == pytest.approx(wanted, abs=1e-6)
    assert pearson(first, 3 * first + 1).tolist() == pytest.approx([1] * 5)
    assert bool(pearson(first, torch.full_like(first, 0.1)).isnan().all())


@pytest.mark.parametrize(
    ("metric", "passes"),
    [
        (faithfulness_correlation, 100),
        (sensitivity_n, 400),
        (single_deletion_correlation, 64),
        (monotonicity_correlation, 5 * 64),
        (infidelity, 64),
    ],
)
def test_what_does_not_depend_on_the_map_is_forwarded_once(
    judge: Judge, maps: Tensor, metric: Any, passes: int
) -> None:
    explanation = judge(maps)
    metric(explanation)
    metric(_other(explanation, -maps.exp()))
    assert explanation.decisions.n_forwarded == 6 * (1 + passes)


def test_sensitivity_n_holds_the_subsets_of_faithfulness_correlation(judge: Judge, maps: Tensor) -> None:
    explanation = judge(maps)
    sensitivity_n(explanation)
    before = explanation.decisions.n_forwarded
    faithfulness_correlation(explanation)
    assert explanation.decisions.n_forwarded == before


def test_faithfulness_estimate_shares_two_steps_with_the_curves(judge: Judge, maps: Tensor) -> None:
    explanation = judge(maps)
    faithfulness_estimate(explanation)
    assert explanation.decisions.n_forwarded == 6 * (1 + 32)
    explanation = judge(maps)
    deletion(explanation)
    insertion(explanation)
    faithfulness_estimate(explanation)
    assert explanation.decisions.n_forwarded == 6 * (1 + 1 + 2 * 31 + 30)


@pytest.mark.parametrize(
    ("metric", "settings", "message"),
    [
        (faithfulness_correlation, {"share": 1.0}, r"within \(0, 1\)"),
        (faithfulness_correlation, {"n_subsets": 1}, "n_subsets is at least 2"),
        (sensitivity_n, {"shares": ()}, r"within \(0, 1\)"),
        (sensitivity_n, {"shares": (0.1, 0.0)}, r"within \(0, 1\)"),
        (faithfulness_estimate, {"n_steps": 1}, "n_steps is at least 2"),
        (single_deletion_correlation, {"grid": 1}, "grid is at least 2"),
        (monotonicity_correlation, {"grid": 1}, "grid is at least 2"),
        (monotonicity_correlation, {"n_draws": 0}, "n_draws is at least 1"),
        (infidelity, {"side": 0.0}, r"side is within \(0, 1\]"),
        (infidelity, {"n_squares": 0}, "n_squares at least 1"),
    ],
)
def test_settings_without_a_meaning_are_refused(metric: Any, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(metric, **settings)


def test_a_constant_map_is_undefined_also_where_cells_are_of_unequal_size(linear_pixels: type) -> None:
    weights, images = torch.randn(2, 3, 25, 25, generator=torch.Generator().manual_seed(2)).sigmoid()
    decisions = Decisions(linear_pixels(weights), images[None])
    constant = torch.ones(1, 1, 25, 25)
    for metric in (single_deletion_correlation, monotonicity_correlation):
        assert bool(metric(Explanation(decisions, constant, lambda *_: constant)).isnan().all())
        assert bool(metric(Explanation(decisions, images[None, :1], lambda *_: constant)).isfinite().all())
