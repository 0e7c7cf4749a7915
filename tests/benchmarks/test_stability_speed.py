"""How far the stability metrics are from their floor, plain explanations and forward passes, and from Quantus.

Skipped unless asked for: pytest tests/benchmarks --benchmark-only. Read the ratios in the tables, one a group; nothing
is asserted about time. Same model, same gradients, as many neighbours. CPU time at one thread, so that other work on
the machine disturbs little.
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
from metrics.stability import (
    avg_sensitivity,
    continuity,
    local_lipschitz_estimate,
    max_sensitivity,
    relative_input_stability,
    relative_output_stability,
    relative_representation_stability,
)

pytestmark = [
    pytest.mark.skipif("not config.getoption('benchmark_only', False)", reason="asked for by --benchmark-only"),
    pytest.mark.benchmark(min_rounds=3, max_time=0.1, timer=process_time),
]

N, SIDE, N_NEIGHBOURS = 8, 64, 4
FILTERED = {"return_nan_when_prediction_changes": True}  # what the relative stabilities do anyway
# Ours, and Quantus's of the same name; both leave out what changes the decision, which takes forward passes.
NOISY: dict[str, tuple[Metric, dict[str, Any]]] = {
    "MaxSensitivity": (max_sensitivity, FILTERED),
    "AvgSensitivity": (avg_sensitivity, FILTERED),
    "LocalLipschitzEstimate": (local_lipschitz_estimate, FILTERED),
    "RelativeInputStability": (relative_input_stability, {}),
    "RelativeOutputStability": (relative_output_stability, {}),
    "RelativeRepresentationStability": (relative_representation_stability, {"layer_names": ["9", "avgpool"]}),
}
every_noisy = pytest.mark.parametrize("name", NOISY)


def _gradient(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    images = inputs.detach().clone().requires_grad_()
    with torch.enable_grad():
        (gradient,) = torch.autograd.grad(model(images).gather(1, targets[:, None]).sum(), images)
    return gradient.sum(dim=1, keepdim=True)


def _gradient_for_quantus(model: nn.Module, inputs: Any, targets: np.ndarray, **_: Any) -> np.ndarray:
    return _gradient(model, torch.as_tensor(inputs, dtype=torch.float32), torch.as_tensor(targets)).numpy()


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def _quietly() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@pytest.fixture
def judge(laid_out: nn.Module, images: Tensor) -> Callable[..., None]:
    """Scores of metrics for some explainers, from fresh decisions."""
    maps = _gradient(laid_out, images, laid_out(images).argmax(dim=1))

    def scores(entries: list[Metric], n_explainers: int = 1) -> None:
        decisions = Decisions(laid_out, images)
        for _ in range(n_explainers):
            explanation = Explanation(decisions, maps, _gradient)
            for metric in entries:
                metric(explanation)

    return scores


@pytest.fixture
def floor(laid_out: nn.Module, images: Tensor) -> Callable[[int, int], None]:
    """So many plain forward passes of the batch, and so many explanations of it."""
    batch = images.contiguous(memory_format=torch.channels_last)
    targets = laid_out(images).argmax(dim=1)

    def work(n_forwards: int, n_explanations: int) -> None:
        with torch.inference_mode():
            for _ in range(n_forwards):
                laid_out(batch)
        for _ in range(n_explanations):
            _gradient(laid_out, batch, targets)

    return work


@pytest.fixture
def ask_quantus(model: nn.Module, images: Tensor) -> Callable[..., Callable[[], Any]]:
    """One of Quantus's metrics, ready to be called."""
    quantus = pytest.importorskip("quantus")
    targets = model(images).argmax(dim=1)
    batch = {
        "x_batch": images.numpy(),
        "y_batch": targets.numpy(),
        "a_batch": _gradient(model, images, targets).numpy(),
        "explain_func": _gradient_for_quantus,
    }

    def ready(name: str, **settings: Any) -> Callable[[], Any]:
        metric = getattr(quantus, name)(normalise=True, abs=False, disable_warnings=True, **settings)
        return lambda: metric(model=model, **batch)

    return ready


@every_noisy
def test_floor(benchmark: Any, floor: Callable[[int, int], None], name: str) -> None:
    benchmark.group = name
    benchmark(lambda: floor(1 + N_NEIGHBOURS, N_NEIGHBOURS))


@every_noisy
def test_metric(benchmark: Any, judge: Callable[..., None], name: str) -> None:
    benchmark.group = name
    benchmark(lambda: judge([NOISY[name][0]]))


@every_noisy
def test_quantus(benchmark: Any, ask_quantus: Callable[..., Any], name: str) -> None:
    benchmark.group = name
    benchmark(ask_quantus(name, nr_samples=N_NEIGHBOURS, **NOISY[name][1]))


@pytest.mark.benchmark(group="all six")
def test_floor_of_all_six(benchmark: Any, floor: Callable[[int, int], None]) -> None:
    """The representation of the images themselves takes one forward pass more."""
    benchmark(lambda: floor(2 + N_NEIGHBOURS, N_NEIGHBOURS))


@pytest.mark.benchmark(group="all six")
def test_all_six(benchmark: Any, judge: Callable[..., None]) -> None:
    benchmark(lambda: judge([metric for metric, _ in NOISY.values()]))


@pytest.mark.benchmark(group="all six")
def test_all_six_for_five_explainers(benchmark: Any, judge: Callable[..., None]) -> None:
    benchmark(lambda: judge([metric for metric, _ in NOISY.values()], 5))


@pytest.mark.benchmark(group="all six")
def test_quantus_all_six(benchmark: Any, ask_quantus: Callable[..., Any]) -> None:
    every = [ask_quantus(name, nr_samples=N_NEIGHBOURS, **more) for name, (_, more) in NOISY.items()]
    benchmark(lambda: [ask() for ask in every])


@pytest.mark.benchmark(group="continuity")
def test_floor_of_continuity(benchmark: Any, floor: Callable[[int, int], None]) -> None:
    benchmark(lambda: floor(1 + len(continuity.shifts), len(continuity.shifts)))


@pytest.mark.benchmark(group="continuity")
def test_continuity(benchmark: Any, judge: Callable[..., None]) -> None:
    benchmark(lambda: judge([continuity]))


@pytest.mark.benchmark(group="continuity")
def test_quantus_continuity(benchmark: Any, ask_quantus: Callable[..., Any]) -> None:
    benchmark(ask_quantus("Continuity", nr_steps=len(continuity.shifts)))
