"""How far the faithfulness metrics are from their floor, the plain forward passes, and from Quantus.

Skipped unless asked for: pytest tests/benchmarks --benchmark-only. Read the ratios in the table; nothing is asserted
about time. Same model, same maps, 24 steps of the same pixels; Quantus makes one of the two curves.
"""

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torchvision.models import resnet18

from metrics.base import Decisions, Explanation
from metrics.faithfulness import Deletion, Insertion, SymmetricRelevanceGain
from metrics.perturb import MeanImputer

pytestmark = [
    pytest.mark.skipif("not config.getoption('benchmark_only', False)", reason="asked for by --benchmark-only"),
    pytest.mark.benchmark(group="deletion + insertion + srg", min_rounds=3, warmup=True, warmup_iterations=1),
]

N, SIDE, STEPS = 8, 96, 24  # 3 · 96² / 24 = 1152 features a step, which divides 96²


@pytest.fixture(autouse=True, params=[1, 2], ids=["one-thread", "two-threads"])
def _threads(request: pytest.FixtureRequest) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def model() -> nn.Module:
    torch.manual_seed(0)
    return resnet18(num_classes=4).eval().requires_grad_(False)


@pytest.fixture
def images() -> Tensor:
    return torch.rand(N, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def maps() -> Tensor:
    return torch.randn(N, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(1))


def test_floor_the_forward_passes_alone(benchmark: Any, model: nn.Module, images: Tensor) -> None:
    """As many images as the two curves take: both end points once, 2 · (steps − 1) between."""
    batch = images.contiguous(memory_format=torch.channels_last)

    def forwards() -> None:
        with torch.inference_mode():
            for _ in range(2 + 2 * (STEPS - 1)):
                model(batch)

    benchmark(forwards)


def test_deletion_insertion_srg(benchmark: Any, model: nn.Module, images: Tensor, maps: Tensor) -> None:
    entries = [kind(MeanImputer(), STEPS) for kind in (Deletion, Insertion, SymmetricRelevanceGain)]

    def scores() -> None:
        explanation = Explanation(Decisions(model, images), maps, lambda *_: maps)
        for metric in entries:
            metric(explanation)

    benchmark(scores)


def test_quantus_pixel_flipping_one_curve(benchmark: Any, model: nn.Module, images: Tensor, maps: Tensor) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        quantus = pytest.importorskip("quantus")
        settings = {"normalise": False, "disable_warnings": True, "perturb_baseline": "mean"}
        metric = quantus.PixelFlipping(features_in_step=3 * SIDE * SIDE // STEPS, **settings)
        batch = {"x_batch": images.numpy(), "y_batch": np.zeros(N, dtype=int), "a_batch": maps.numpy()}
        benchmark(lambda: metric(model=model, softmax=True, **batch))
