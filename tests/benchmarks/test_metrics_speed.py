"""How far the faithfulness metrics are from their floor, the plain forward passes, and from Quantus.

Skipped unless asked for: pytest tests/benchmarks --benchmark-only. Read the ratios in the table; nothing is asserted
about time. Same model, same maps, 24 steps of the same pixels; Quantus makes one of the two curves. CPU time at one
thread, so that other work on the machine disturbs little.
"""

import warnings
from collections.abc import Iterator
from time import process_time
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
    pytest.mark.benchmark(group="deletion + insertion + srg", min_rounds=3, max_time=0.1, timer=process_time),
]

N, SIDE, STEPS = 8, 64, 24  # 3 · 64² / 24 = 512 features a step, which divide 64²


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(params=["small", "resnet18"])
def model(request: pytest.FixtureRequest) -> nn.Module:
    torch.manual_seed(0)
    small = nn.Sequential(
        nn.Conv2d(3, 16, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 32, 3), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 4),
    )  # fmt: skip
    network = small if request.param == "small" else resnet18(num_classes=4)
    return network.eval().requires_grad_(False)


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
