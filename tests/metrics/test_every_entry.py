"""What the docstrings say of every single entry: direction, maps without information, masks without pixels, NaN."""

import re
from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any, Final

import pytest
import torch
from torch import Tensor, nn

from bench.catalog import catalog
from metrics.base import Category, Decisions, Explanation, Metric
from metrics.likeness import RankSimilarity
from metrics.linear_imputation import LinearImputer
from metrics.movements import Rotation
from metrics.perturb import ZeroImputer

ENTRIES: Final = {
    name: metric
    for name, metric in catalog().metrics.items()
    if metric.category is not Category.RUNTIME and not name.startswith("quantus_") and not metric.needs_companions
}
"""Those that compare with companions are in test_companions.py."""
LOWER_IS_BETTER: Final = {
    *("Deletion", "Selectivity", "RemoveAndDebias", "Infidelity"),
    *("Complexity", "EffectiveComplexity", "Checkerboard"),
    *("Completeness", "Conservation", "NonSensitivity", "InputInvariance"),
    *("UnusedShortcutMass", "BorderMass"),
    *("SignFlip", "SignFlipFloor"),
    *("MaxSensitivity", "AvgSensitivity", "LocalLipschitzEstimate", "Continuity"),
    *("RelativeInputStability", "RelativeOutputStability", "RelativeRepresentationStability"),
    *("MPRT", "BottomUpMPRT", "SmoothMPRT", "RandomLogit"),
    *("Seconds", "PeakMemory", "Passes"),
}
"""By the papers: errors, costs, distances and what is left of a decision without its evidence."""

NAN: Final = torch.nan
POSITIVE_PART: Final = {
    *("RelevanceMassAccuracy", "RelevanceMassRatio", "IntersectionOverUnion"),
    *("BorderMass", "ShortcutMass", "UnusedShortcutMass"),
}
CORRELATIONS: Final = {
    *("FaithfulnessCorrelation", "SensitivityN", "FaithfulnessEstimate"),
    *("SingleDeletionCorrelation", "MonotonicityCorrelation"),
}
TRANSFORMED: Final = {"RankCorrelation", "StructuralSimilarity", "TopKOverlap", "RankCorrelationFloor"}
SIGN_FLIPS: Final = {"SignFlip", "SignFlipFloor"}
STABLE: Final = {
    *("MaxSensitivity", "AvgSensitivity", "LocalLipschitzEstimate", "Continuity"),
    *("RelativeInputStability", "RelativeOutputStability", "RelativeRepresentationStability"),
}
RANDOMIZED: Final = {"MPRT", "BottomUpMPRT", "SmoothMPRT", "EfficientMPRT", "RandomLogit"}
SIDE: Final = 24
N_PIXELS: Final = SIDE * SIDE

Explain = Callable[[nn.Module, Tensor, Tensor], Tensor]


def _constant(_model: nn.Module, inputs: Tensor, _targets: Tensor) -> Tensor:
    return torch.ones_like(inputs[:, :1])


def _zero(_model: nn.Module, inputs: Tensor, _targets: Tensor) -> Tensor:
    return torch.zeros_like(inputs[:, :1])


def _one_pixel(_model: nn.Module, inputs: Tensor, _targets: Tensor) -> Tensor:
    maps = torch.zeros_like(inputs[:, :1])
    maps[..., SIDE // 2, SIDE // 2] = 1.0
    return maps


def _negative(_model: nn.Module, inputs: Tensor, _targets: Tensor) -> Tensor:
    return -inputs.mean(dim=1, keepdim=True) - 0.1


def _usual(_model: nn.Module, inputs: Tensor, _targets: Tensor) -> Tensor:
    return inputs.mean(dim=1, keepdim=True) - 0.5


KINDS: Final = {"constant": _constant, "zero": _zero, "one pixel": _one_pixel, "negative": _negative}
SCORES: Final[dict[str, dict[str, float]]] = {
    "constant": {
        **dict.fromkeys(CORRELATIONS | TRANSFORMED | SIGN_FLIPS | RANDOMIZED | {"Granularity", "Checkerboard"}, NAN),
        **dict.fromkeys(STABLE | {"InputInvariance", "Sparseness"}, 0.0),
        **{"RelevanceMassRatio": 1.0, "RocAuc": 0.5, "Complexity": 1.0, "BorderMass": 1 - 20**2 / N_PIXELS},
        "EffectiveComplexity": 548 / N_PIXELS,  # 0.95, rounded up to a pixel
    },
    "zero": {
        **dict.fromkeys(CORRELATIONS | TRANSFORMED | SIGN_FLIPS | RANDOMIZED | STABLE | POSITIVE_PART, NAN),
        **dict.fromkeys(("Sparseness", "Complexity", "EffectiveComplexity", "Granularity", "Checkerboard"), NAN),
        **{"InputInvariance": NAN, "Completeness": 1.0, "Conservation": 1.0, "RocAuc": 0.5},
    },
    "one pixel": {
        **dict.fromkeys(SIGN_FLIPS, NAN),
        **dict.fromkeys(STABLE | {"EfficientMPRT", "InputInvariance", "Complexity"}, 0.0),
        **dict.fromkeys(["MPRT", "BottomUpMPRT", "SmoothMPRT", "RandomLogit"], 1.0),
        **{"Sparseness": 1 - 1 / N_PIXELS, "EffectiveComplexity": 1 / N_PIXELS, "BorderMass": 0.0},
    },
    "negative": dict.fromkeys(POSITIVE_PART | SIGN_FLIPS, NAN),
}
"""Of each kind of map, by the entry's class, where the docstring gives a number; all others are defined."""
MAY_BE_UNDEFINED: Final = {("one pixel", "SensitivityN")}
"""Whether one of a hundred small subsets meets the pixel is chance."""
ASKING_AGAIN: Final = [
    name
    for name, metric in ENTRIES.items()
    if (metric.category in (Category.ROBUSTNESS, Category.RANDOMIZATION) and not name.endswith("_floor"))
    or name == "input_invariance"
]
OTHER_SETTINGS: Final[dict[str, Any]] = {
    **{"imputer": ZeroImputer(), "n_steps": 7, "min_drop": 0.3, "grid": 6, "n_regions": 4, "n_segments": 20},
    **{"percentages": range(40, 44), "share": 0.2, "shares": (0.3,), "n_subsets": 11, "n_draws": 2, "side": 0.4},
    **{"n_squares": 9, "baseline": 0.5, "n_patches": 3, "tolerance": 0.92, "shift": 0.5, "held": 0.5, "stride": 4},
    **{"width": 0.3, "radius": 0.1, "n_samples": 2, "floor": 0.5, "shifts": (0.3, 0.1), "n_stages": 1},
    **{"noise_level": 0.4, "n_bins": 9, "similarity": RankSimilarity(), "transformation": Rotation(-15.0)},
}
OF_SIZES: Final = {
    *("sparseness", "complexity", "effective_complexity", "granularity", "checkerboard", "non_sensitivity"),
    *("input_invariance", "mprt", "mprt_bottom_up", "smooth_mprt", "max_sensitivity", "avg_sensitivity"),
    *("local_lipschitz_estimate", "continuity", "relative_input_stability", "relative_output_stability"),
    "relative_representation_stability",
}
"""A negative factor for all maps changes nothing."""
OF_DIFFERENCES: Final = {
    *("granularity", "efficient_mprt", "random_logit", "blur", "blur_top_k", "rotation_strong", "flip"),
    *("pointing_game", "hit_rate", "relevance_rank_accuracy", "top_k_intersection", "average_precision", "roc_auc"),
    *("iou_best", "deletion", "insertion", "srg", "abpc", "pixel_flipping", "road", "region_perturbation"),
    *("selectivity", "irof"),
}
"""Any increasing linear function of all maps changes nothing."""
SETTINGS: Final = {
    f"{type(metric).__name__} {field.name}": (metric, field.name)
    for metric in ENTRIES.values()
    for field in fields(metric)
    if field.compare
}
"""One entry of each class, and each of its settings."""

every_entry = pytest.mark.parametrize("name", sorted(ENTRIES))


@pytest.fixture(scope="module")
def explained() -> Callable[[Explain], Explanation]:
    """Of one set of decisions, so that what entries share is made once for all of these tests."""
    torch.manual_seed(0)
    last = nn.Linear(486, 3)
    network = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Conv2d(6, 6, 5, stride=2), nn.ReLU(), nn.Flatten(), last)
    for parameter in network.parameters():
        parameter.data *= 3
    network = network.eval().requires_grad_(False)
    last.bias.sub_(network(torch.full((1, 3, SIDE, SIDE), 0.5))[0])  # undecided about grey: decisions can be lost
    generator = torch.Generator().manual_seed(2)
    coarse = torch.rand(5, 3, 5, 5, generator=generator)
    images = nn.functional.interpolate(coarse, size=(SIDE, SIDE), mode="bicubic")
    images = (images + 0.1 * torch.randn(images.shape, generator=generator)).clamp(0, 1)
    masks = torch.zeros(5, 1, SIDE, SIDE, dtype=torch.bool)
    for index in range(4):  # the last image has no evidence
        masks[index, :, 8 : 14 + index, 9:15] = True
    decisions = Decisions(network, images, masks=masks, shortcuts=masks.roll(8, 3))
    known: dict[Explain, Explanation] = {}

    def make(explain: Explain) -> Explanation:
        if explain not in known:
            known[explain] = Explanation(decisions, explain(network, images, decisions.targets), explain)
        return known[explain]

    return make


@pytest.mark.parametrize("name", sorted(name for name in catalog().metrics if not name.startswith("quantus_")))
def test_direction_is_that_of_the_paper_and_of_the_docstring(name: str) -> None:
    metric = catalog().metrics[name]
    assert metric.higher_is_better == (type(metric).__name__ not in LOWER_IS_BETTER)
    described = [base.__doc__ or "" for base in type(metric).__mro__ if issubclass(base, Metric) and base is not Metric]
    said = next(found for text in described if (found := _directions(text)))
    assert said == {"higher" if metric.higher_is_better else "lower"}


def _directions(text: str) -> set[str]:
    return {word.lower() for word in re.findall(r"(higher|lower)\s+(?:is|counts\s+as)\s+better", text, re.IGNORECASE)}


@every_entry
@pytest.mark.parametrize("kind", KINDS)
def test_maps_without_information_score_as_the_docstring_says(
    name: str, kind: str, explained: Callable[[Explain], Explanation]
) -> None:
    metric = ENTRIES[name]
    class_name = type(metric).__name__
    usual = metric(explained(_usual))
    score = metric(explained(KINDS[kind]))
    wanted = SCORES[kind].get(class_name)
    if wanted is not None:
        said = torch.full_like(usual, wanted).where(usual.isfinite(), NAN)
        torch.testing.assert_close(score, said, rtol=0, atol=1e-5, equal_nan=True)
    elif (kind, class_name) not in MAY_BE_UNDEFINED:
        assert torch.equal(score.isfinite(), usual.isfinite())


def _rounded(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    return (64 * _usual(model, inputs, targets)).round() / 64  # so that factors and sums are exact


def _negated(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    return -4 * _rounded(model, inputs, targets)


def _moved(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    return 2 * _rounded(model, inputs, targets) + 3


@pytest.mark.parametrize(
    ("name", "changed"),
    [(name, _negated) for name in sorted(OF_SIZES)] + [(name, _moved) for name in sorted(OF_DIFFERENCES)],
)
def test_what_changes_nothing_by_the_docstring_changes_nothing(
    name: str, changed: Explain, explained: Callable[[Explain], Explanation]
) -> None:
    score = ENTRIES[name](explained(_rounded))
    assert bool(score.isfinite().any())
    torch.testing.assert_close(ENTRIES[name](explained(changed)), score, rtol=1e-5, atol=1e-6, equal_nan=True)


@every_entry
def test_only_metrics_of_masks_are_undefined_without_one(
    name: str, explained: Callable[[Explain], Explanation]
) -> None:
    metric = ENTRIES[name]
    score = metric(explained(_usual))
    assert bool(score.isfinite().any())
    if metric.needs_masks or metric.needs_shortcuts:
        assert score[4].isnan()
        assert metric.needs_shortcuts or bool(score[:4].isfinite().all())


@pytest.mark.parametrize("name", ASKING_AGAIN)
def test_a_second_map_that_is_not_finite_is_an_error_and_no_score(
    name: str, explained: Callable[[Explain], Explanation]
) -> None:
    def broken(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        maps = _usual(model, inputs, targets)
        maps[0, 0, 3, 3] = torch.nan
        return maps

    first = explained(_usual)
    with pytest.raises(ValueError, match=r"1 of \d+ maps are not finite"):
        ENTRIES[name](Explanation(first.decisions, first.attributions, broken))


@pytest.mark.parametrize("setting", SETTINGS)
def test_another_setting_is_another_score_and_shares_only_what_is_the_same(
    setting: str, network: nn.Module, images: Tensor, masks: Tensor, explain: Explain
) -> None:
    """What metrics share goes by a name: were a setting missing in it, whoever asks second would get the other's."""
    metric, name = SETTINGS[setting]
    value = getattr(metric, name)
    other_value = replace(value, noise=0.5) if isinstance(value, LinearImputer) else OTHER_SETTINGS[name]
    other = replace(metric, **{name: other_value})

    def fresh() -> Explanation:
        decisions = Decisions(network, images[:4], masks=masks[:4], shortcuts=masks[:4].roll(8, 3))
        return Explanation(decisions, explain(network, images[:4], decisions.targets), explain)

    explanation = fresh()
    first, second, alone = metric(explanation), other(explanation), other(fresh())
    assert torch.equal(second.nan_to_num(9), alone.nan_to_num(9))
    assert not torch.equal(first.nan_to_num(9), second.nan_to_num(9))


@pytest.mark.parametrize("name", ASKING_AGAIN)
def test_the_target_is_explained_again_and_not_the_prediction(name: str, images: Tensor) -> None:
    """Every image is decided for the first class, and the second is asked about."""
    last = nn.Linear(2, 3)
    network = nn.Sequential(nn.Conv2d(3, 2, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), last)
    network = network.eval().requires_grad_(False)
    last.bias.copy_(torch.tensor([9.0, 0.0, 0.0]))
    asked: list[Tensor] = []

    def listening(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        asked.append(targets)
        return _usual(model, inputs, targets)

    decisions = Decisions(network, images, torch.ones(6, dtype=torch.int64))
    assert not decisions.predictions.any()
    ENTRIES[name](Explanation(decisions, _usual(network, images, decisions.targets), listening))
    assert asked
    of_the_target = torch.cat(asked) == 1
    assert not of_the_target.any() if name == "random_logit" else of_the_target.all()
