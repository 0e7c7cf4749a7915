"""How far the faithfulness metrics are from their floor, the plain forward passes, and from Quantus.

Skipped unless asked for: pytest tests/benchmarks --benchmark-only. Read the ratios in the tables, one a group; nothing
is asserted about time. Same model, same maps, same pixels in as many steps. CPU time at one thread, so that other work
on the machine disturbs little.
"""

import warnings
from collections.abc import Callable, Iterator
from time import process_time
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from metrics.base import Decisions, Explanation, Metric
from metrics.correlated_removal import (
    FaithfulnessCorrelation,
    FaithfulnessEstimate,
    Infidelity,
    MonotonicityCorrelation,
    SensitivityN,
    SingleDeletionCorrelation,
)
from metrics.faithfulness import AreaBetweenCurves, Deletion, Insertion, PixelFlipping, SymmetricRelevanceGain
from metrics.linear_imputation import ExactLinearImputer, IterativeLinearImputer, LinearImputer
from metrics.perturb import MeanImputer
from metrics.regions import superpixels
from metrics.removed_regions import IterativeRemovalOfFeatures, RegionPerturbation, Selectivity
from metrics.road import RemoveAndDebias

pytestmark = [
    pytest.mark.skipif("not config.getoption('benchmark_only', False)", reason="asked for by --benchmark-only"),
    pytest.mark.benchmark(min_rounds=3, max_time=0.1, timer=process_time),
]

N, SIDE, STEPS = 8, 64, 24  # 3 · 64² / 24 = 512 features a step, which divide 64²
MEAN = MeanImputer()
CURVES: list[Metric] = [
    kind(MEAN, STEPS) for kind in (Deletion, Insertion, SymmetricRelevanceGain, AreaBetweenCurves, PixelFlipping)
]
# Ours; how many images it forwards a sample and explainer; which of Quantus's, and its settings for
# about as many: its steps need to divide 64².
OTHERS: dict[str, tuple[Metric, int, str, dict[str, Any]]] = {
    "region_perturbation": (RegionPerturbation(MEAN), 16, "RegionPerturbation", {"regions_evaluation": 16}),
    "selectivity": (Selectivity(MEAN), 64, "Selectivity", {}),
    "faithfulness_correlation": (FaithfulnessCorrelation(MEAN), 100, "FaithfulnessCorrelation", {"subset_size": 614}),
    "faithfulness_estimate": (FaithfulnessEstimate(MEAN, STEPS), 24, "FaithfulnessEstimate", {"features_in_step": 512}),
    "sensitivity_n": (SensitivityN(MEAN), 400, "SensitivityN", {"features_in_step": 32}),
    "single_deletion_correlation": (
        *(SingleDeletionCorrelation(MEAN), 64),
        *("FaithfulnessEstimate", {"features_in_step": 256}),
    ),
    "monotonicity_correlation": (
        *(MonotonicityCorrelation(), 320),
        *("MonotonicityCorrelation", {"features_in_step": 256, "nr_samples": 7}),
    ),
    "infidelity": (Infidelity(MEAN), 64, "Infidelity", {"perturb_patch_sizes": [8], "n_perturb_samples": 1}),
}
every_other = pytest.mark.parametrize("name", OTHERS)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def maps() -> Tensor:
    return torch.randn(N, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def judge(laid_out: nn.Module, images: Tensor, maps: Tensor) -> Callable[..., None]:
    """Scores of metrics for some explainers, from fresh decisions."""

    def scores(entries: list[Metric], n_explainers: int = 1) -> None:
        decisions = Decisions(laid_out, images)
        for turn in range(n_explainers):
            turned = maps.roll(turn, dims=3)
            explanation = Explanation(decisions, turned, lambda *_: maps)
            for metric in entries:
                metric(explanation)

    return scores


@pytest.fixture
def forwards(laid_out: nn.Module, images: Tensor) -> Callable[[int], None]:
    """So many plain forward passes of the batch."""
    batch = images.contiguous(memory_format=torch.channels_last)

    def passes(n_passes: int) -> None:
        with torch.inference_mode():
            for _ in range(n_passes):
                laid_out(batch)

    return passes


@pytest.fixture
def ask_quantus(model: nn.Module, images: Tensor, maps: Tensor) -> Callable[..., Callable[[], Any]]:
    """One of Quantus's metrics, ready to be called."""
    quantus = pytest.importorskip("quantus")
    batch = {"x_batch": images.numpy(), "y_batch": np.zeros(N, dtype=int), "a_batch": maps.numpy()}

    def ready(name: str, **settings: Any) -> Callable[[], Any]:
        metric = getattr(quantus, name)(
            **{"normalise": False, "disable_warnings": True, "perturb_baseline": "mean", **settings}
        )
        return lambda: metric(model=model, softmax=True, **batch)

    return ready


@pytest.fixture(autouse=True)
def _quietly() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@pytest.mark.benchmark(group="two curves")
def test_floor_the_forward_passes_alone(benchmark: Any, forwards: Callable[[int], None]) -> None:
    """As many images as the two curves take: both end points once, 2 · (steps − 1) between."""
    benchmark(lambda: forwards(2 + 2 * (STEPS - 1)))


@pytest.mark.benchmark(group="two curves")
def test_deletion_insertion_srg_abpc_pixel_flipping(benchmark: Any, judge: Callable[..., None]) -> None:
    benchmark(lambda: judge(CURVES))


@pytest.mark.benchmark(group="two curves")
def test_quantus_pixel_flipping_one_curve(benchmark: Any, ask_quantus: Callable[..., Any]) -> None:
    benchmark(ask_quantus("PixelFlipping", features_in_step=3 * SIDE * SIDE // STEPS))


@every_other
def test_floor(benchmark: Any, forwards: Callable[[int], None], name: str) -> None:
    benchmark.group = name
    benchmark(lambda: forwards(1 + OTHERS[name][1]))


@every_other
def test_metric(benchmark: Any, judge: Callable[..., None], name: str) -> None:
    benchmark.group = name
    benchmark(lambda: judge([OTHERS[name][0]]))


@every_other
def test_metric_for_five_explainers(benchmark: Any, judge: Callable[..., None], name: str) -> None:
    benchmark.group = name
    benchmark(lambda: judge([OTHERS[name][0]], 5))


@every_other
def test_quantus(benchmark: Any, ask_quantus: Callable[..., Any], name: str) -> None:
    benchmark.group = name
    benchmark(ask_quantus(OTHERS[name][2], **OTHERS[name][3]))


@pytest.mark.benchmark(group="irof")
def test_irof(benchmark: Any, judge: Callable[..., None]) -> None:
    benchmark(lambda: judge([IterativeRemovalOfFeatures(MEAN)]))


@pytest.mark.benchmark(group="irof")
def test_floor_of_irof(benchmark: Any, model: nn.Module, images: Tensor, forwards: Callable[[int], None]) -> None:
    """As many images as there are superpixels, in whole batches. Quantus's IROF fails on images of three channels."""
    n_images = int((superpixels(Decisions(model, images), 100).amax(dim=1) + 1).sum())
    benchmark(lambda: forwards(1 + round(n_images / N)))


@pytest.mark.benchmark(group="road")
@pytest.mark.parametrize("imputer", [IterativeLinearImputer(), ExactLinearImputer()], ids=["iterative", "exact"])
def test_road(benchmark: Any, judge: Callable[..., None], imputer: LinearImputer) -> None:
    benchmark(lambda: judge([RemoveAndDebias(imputer)]))


@pytest.mark.benchmark(group="road")
def test_floor_of_road(benchmark: Any, forwards: Callable[[int], None]) -> None:
    """Quantus's ROAD fails on images of three channels: its imputation alone is timed below."""
    benchmark(lambda: forwards(1 + 50))


@pytest.fixture(
    params=[(64, "fine"), (64, "coarse"), (224, "fine"), (224, "coarse")], ids=lambda it: f"{it[0]} {it[1]}"
)
def removed(request: pytest.FixtureRequest, benchmark: Any) -> tuple[Tensor, list[Tensor]]:
    """Images, and their 1, 4, 7 … 49 % most relevant pixels by a map of single pixels or of large areas."""
    side, kind = request.param
    benchmark.group = f"imputation, {side} pixels, {kind} maps"
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(4, 3, side, side, generator=generator)
    maps = torch.randn(4, 1, *((side, side) if kind == "fine" else (7, 7)), generator=generator)
    ranks = nn.functional.interpolate(maps, size=(side, side), mode="bicubic").flatten(1).argsort(dim=1).argsort(dim=1)
    return images, [(ranks < share * side**2 // 100).view(4, 1, side, side) for share in range(1, 51, 3)]


@pytest.mark.parametrize("imputer", [ExactLinearImputer(), IterativeLinearImputer()], ids=["exact", "iterative"])
def test_imputation(benchmark: Any, removed: tuple[Tensor, list[Tensor]], imputer: LinearImputer) -> None:
    images, masks = removed
    benchmark(lambda: [imputer.impute(images, mask) for mask in masks])


def test_imputation_of_quantus(benchmark: Any, removed: tuple[Tensor, list[Tensor]]) -> None:
    quantus = pytest.importorskip("quantus.functions.perturb_func")
    images, masks = removed

    def impute() -> None:
        for mask in masks:
            for image, places in zip(images.numpy(), mask.numpy(), strict=True):
                quantus.noisy_linear_imputation(image, np.flatnonzero(places))

    benchmark(impute)
