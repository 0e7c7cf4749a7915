"""What metrics promise of any map at all: tried on maps that nobody thought of, ties and extremes among them."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from torch import Tensor, nn

from bench.catalog import catalog
from metrics.base import Category, Decisions, Explanation

SIDE = 8
METRICS = catalog().metrics
KINDS = {
    (type(metric), type(getattr(metric, "imputer", None))): name
    for name, metric in reversed(METRICS.items())
    if metric.category is not Category.RUNTIME and not name.startswith("quantus_")
}
OF_A_MAP = sorted({*KINDS.values(), "rotation", "hit_rate"})
"""An entry of each class and imputer: what other strengths of a transformation change is tested with them."""
OF_THE_ORDER = {
    *("deletion", "insertion", "srg", "abpc", "pixel_flipping"),
    *("deletion_blur", "insertion_blur", "srg_blur", "abpc_blur", "pixel_flipping_blur", "road", "road_exact"),
    *("pointing_game", "hit_rate", "relevance_rank_accuracy", "top_k_intersection"),
    *("average_precision", "roc_auc", "iou_best"),
}
"""Any increasing function of the map scores the same."""
OF_THE_SUM = {"completeness", "conservation"}
"""The unit counts: it should be the logit's."""
BOUNDED = {
    **dict.fromkeys(("deletion", "insertion", "deletion_blur", "insertion_blur", "selectivity"), (0, 1)),
    **dict.fromkeys(("srg", "srg_blur", "rotation", "rotation_floor", "rotation_ssim"), (-1, 1)),
    **dict.fromkeys(("faithfulness_correlation", "faithfulness_estimate", "sensitivity_n"), (-1, 1)),
    **dict.fromkeys(("single_deletion_correlation", "monotonicity_correlation"), (-1, 1)),
    **dict.fromkeys(("pointing_game", "hit_rate", "relevance_mass_accuracy", "relevance_rank_accuracy"), (0, 1)),
    **dict.fromkeys(("top_k_intersection", "average_precision", "roc_auc", "iou", "iou_best"), (0, 1)),
    **dict.fromkeys(("shortcut_mass", "unused_shortcut_mass", "border_mass"), (0, 1)),
    **dict.fromkeys(("sufficiency", "focus", "iou_tuned"), (0, 1)),
    **dict.fromkeys(
        ("sparseness", "complexity", "effective_complexity", "non_sensitivity", "input_invariance"), (0, 1)
    ),
    **dict.fromkeys(("rotation_top_k", "rotation_sign_flip"), (0, 1)),
    **dict.fromkeys(("completeness", "conservation"), (0, 2)),
}

quickly = settings(
    max_examples=8,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
values = st.one_of(st.sampled_from([0.0, 1.0, -1.0, 0.5]), st.floats(-(2.0**20), 2.0**20, width=32))
maps = st.integers(1, 4).flatmap(
    lambda n: arrays.arrays(np.float32, (n, 1, SIDE, SIDE), elements=values, fill=st.sampled_from([0.0, 1.0, -2.0]))
)
on_metrics_of_a_map = pytest.mark.parametrize("name", OF_A_MAP)
Judge = Callable[..., Explanation]


@pytest.fixture(scope="module")
def judge() -> Judge:
    """Maps of some of the samples -> their explanation, the network's decision being a bright quarter."""
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, 3))
    network = network.double().eval().requires_grad_(False)
    images = torch.rand(4, 3, SIDE, SIDE, generator=generator, dtype=torch.float64)
    masks = torch.zeros(4, 1, SIDE, SIDE, dtype=torch.bool)
    for index in range(3):  # the last image has no evidence
        masks[index, :, index : index + 4, 2:5] = True

    others = Decisions(
        network,
        torch.rand(8, 3, SIDE, SIDE, generator=generator, dtype=torch.float64),
        ids=("sample 0", "sample 3", *(f"companion {index}" for index in range(6))),
        masks=masks.repeat(2, 1, 1, 1),
    )

    def make(attributions: Tensor, rows: list[int], unit: float = 1.0) -> Explanation:
        def explain(_model: nn.Module, inputs: Tensor, _targets: Tensor) -> Tensor:
            return unit * inputs.mean(dim=1, keepdim=True).round(decimals=1)

        names = tuple(f"sample {row}" for row in rows)
        decisions = Decisions(
            network,
            images[rows],
            ids=names,
            masks=masks[rows],
            shortcuts=masks[rows].roll(4, 3),
            companions=lambda: others,
        )
        return Explanation(decisions, attributions, explain)

    return make


def scores(judge: Judge, name: str, attributions: np.ndarray, unit: float = 1.0) -> Tensor:
    return METRICS[name](judge(torch.from_numpy(attributions).double(), list(range(len(attributions))), unit))


@on_metrics_of_a_map
@quickly
@given(attributions=maps, order=st.permutations(range(4)))
def test_score_is_the_samples_own(judge: Judge, name: str, attributions: np.ndarray, order: list[int]) -> None:
    rows = [row for row in order if row < len(attributions)]
    together = scores(judge, name, attributions)
    shuffled = METRICS[name](judge(torch.from_numpy(attributions[rows]).double(), rows))
    alone = METRICS[name](judge(torch.from_numpy(attributions[rows[:1]]).double(), rows[:1]))
    torch.testing.assert_close(shuffled, together[rows], rtol=1e-9, atol=1e-9, equal_nan=True)
    torch.testing.assert_close(alone, together[rows[:1]], rtol=1e-9, atol=1e-9, equal_nan=True)


@pytest.mark.parametrize("name", sorted(BOUNDED))
@quickly
@given(attributions=maps)
def test_score_is_in_its_range_or_not_defined(judge: Judge, name: str, attributions: np.ndarray) -> None:
    low, high = BOUNDED[name]
    score = scores(judge, name, attributions)
    assert bool(((score >= low - 1e-9) & (score <= high + 1e-9) | score.isnan()).all()), score


@pytest.mark.parametrize("name", sorted(set(OF_A_MAP) - OF_THE_SUM))
@quickly
@given(attributions=maps, exponent=st.integers(-10, 10))
def test_unit_of_the_map_does_not_matter(judge: Judge, name: str, attributions: np.ndarray, exponent: int) -> None:
    unit = 2.0**exponent  # exact, so that ties stay ties
    scaled = scores(judge, name, unit * attributions.astype(np.float64), unit)
    torch.testing.assert_close(scaled, scores(judge, name, attributions), rtol=1e-6, atol=1e-9, equal_nan=True)


@pytest.mark.parametrize("name", sorted(OF_THE_ORDER))
@quickly
@given(attributions=maps)
def test_only_the_order_counts(judge: Judge, name: str, attributions: np.ndarray) -> None:
    _, places = np.unique(attributions, return_inverse=True)
    rising = places.reshape(attributions.shape).astype(np.float64) ** 3 - 5.0
    torch.testing.assert_close(
        scores(judge, name, rising), scores(judge, name, attributions), rtol=1e-9, atol=1e-9, equal_nan=True
    )


@on_metrics_of_a_map
def test_same_maps_have_the_same_score_again(judge: Judge, name: str) -> None:
    attributions = np.random.default_rng(0).normal(size=(4, 1, SIDE, SIDE))
    torch.testing.assert_close(
        scores(judge, name, attributions), scores(judge, name, attributions), rtol=0, atol=0, equal_nan=True
    )


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_map_that_is_not_finite_is_no_explanation(judge: Judge, value: float) -> None:
    attributions = torch.zeros(2, 1, SIDE, SIDE)
    attributions[1, 0, 3, 3] = value
    with pytest.raises(ValueError, match="1 of 2 maps are not finite"):
        judge(attributions, [0, 1])


@given(shape=arrays.array_shapes(min_dims=2, max_dims=5, max_side=9))
@quickly
def test_map_of_another_shape_is_no_explanation(judge: Judge, shape: tuple[int, ...]) -> None:
    assume(shape != (2, 1, SIDE, SIDE))
    with pytest.raises(ValueError, match=r"attributions of these images are \(2, 1, 8, 8\)"):
        judge(torch.zeros(shape), [0, 1])
