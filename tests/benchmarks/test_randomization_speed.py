"""How far the randomization metrics are from their floor, the explanations that they ask for, and from Quantus.

Skipped unless asked for: pytest tests/benchmarks --benchmark-only. Read the ratios in the tables, one a group; nothing
is asserted about time. Same model, same explainer, as many randomized networks. CPU time at one thread.
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
from metrics.cascade import cascade
from metrics.likeness import RankSimilarity
from metrics.randomization import MPRT, SmoothMPRT, efficient_mprt, random_logit

pytestmark = [
    pytest.mark.skipif("not config.getoption('benchmark_only', False)", reason="asked for by --benchmark-only"),
    pytest.mark.benchmark(min_rounds=2, max_time=0.1, timer=process_time),
]

N, SIDE = 4, 64
ABSOLUTE = RankSimilarity(absolute=True)
# Ours; how many explanations it asks for, by the number of layers; which of Quantus's, and its settings.
OTHERS: dict[str, tuple[Metric, Callable[[int], int], str, dict[str, Any]]] = {
    "mprt, all layers": (MPRT(ABSOLUTE, n_stages=None), lambda n: n, "MPRT", {}),
    "smooth mprt, all layers, 2 copies": (
        *(SmoothMPRT(ABSOLUTE, n_stages=None, n_samples=2), lambda n: 2 * n + 1),
        *("SmoothMPRT", {"nr_samples": 2}),
    ),
    "efficient mprt": (efficient_mprt, lambda _: 1, "EfficientMPRT", {}),
    "random logit": (random_logit, lambda _: 1, "RandomLogit", {"num_classes": 4}),
}
every_metric = pytest.mark.parametrize("name", OTHERS)


@pytest.fixture(autouse=True)
def _one_thread_and_quiet() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
    torch.set_num_threads(before)


@pytest.fixture
def images() -> Tensor:
    generator = torch.Generator().manual_seed(0)
    smooth = nn.functional.interpolate(torch.rand(N, 3, 8, 8, generator=generator), size=(SIDE, SIDE), mode="bicubic")
    return (smooth + 0.05 * torch.randn(smooth.shape, generator=generator)).clamp(0, 1)


def _explain(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    images = inputs.detach().clone().requires_grad_()
    with torch.enable_grad():
        (slopes,) = torch.autograd.grad(model(images).gather(1, targets[:, None]).sum(), images)
    return (slopes * inputs).sum(dim=1, keepdim=True)


def _explain_for_quantus(model: nn.Module, inputs: Any, targets: Any, **_: Any) -> np.ndarray:
    return _explain(model, torch.as_tensor(inputs, dtype=torch.float32), torch.as_tensor(targets)).numpy()


@pytest.fixture
def judge(laid_out: nn.Module, images: Tensor) -> Callable[..., None]:
    """Scores for some explainers, from fresh decisions; the cascade is made anew each time, as for a new task."""
    task = iter(range(10**6))

    def scores(metric: Metric, n_explainers: int = 1) -> None:
        decisions = Decisions(laid_out, images, task=str(next(task)))
        attributions = _explain(laid_out, images, decisions.targets)
        for _ in range(n_explainers):
            metric(Explanation(decisions, attributions, _explain))

    return scores


@every_metric
def test_floor(benchmark: Any, laid_out: nn.Module, images: Tensor, name: str) -> None:
    """As many explanations as the metric asks for, and the one that is judged."""
    benchmark.group = name
    decisions = Decisions(laid_out, images)
    n_explanations = 1 + OTHERS[name][1](len(cascade(decisions).layers))
    benchmark(lambda: [_explain(laid_out, images, decisions.targets) for _ in range(n_explanations)])


@every_metric
def test_metric(benchmark: Any, judge: Callable[..., None], name: str) -> None:
    benchmark.group = name
    benchmark(lambda: judge(OTHERS[name][0]))


@pytest.mark.parametrize("name", [name for name in OTHERS if not name.startswith("smooth")])
def test_metric_for_five_explainers(benchmark: Any, judge: Callable[..., None], name: str) -> None:
    benchmark.group = name
    benchmark(lambda: judge(OTHERS[name][0], 5))


@every_metric
def test_quantus(benchmark: Any, model: nn.Module, images: Tensor, name: str) -> None:
    benchmark.group = name
    quantus = pytest.importorskip("quantus")
    _, _, theirs, settings = OTHERS[name]
    targets = model(images).argmax(dim=1)
    batch = {"x_batch": images.numpy(), "y_batch": targets.numpy()}
    attributions = _explain(model, images, targets).numpy()

    def ask() -> None:
        metric = getattr(quantus, theirs)(disable_warnings=True, normalise=False, **settings)
        metric(model=model, a_batch=attributions.copy(), explain_func=_explain_for_quantus, **batch)

    benchmark(ask)


@pytest.mark.benchmark(group="the cascade alone")
def test_cascade(benchmark: Any, laid_out: nn.Module, images: Tensor) -> None:
    """All networks, top-down, made anew."""
    task = iter(range(10**6))

    def make() -> None:
        made = cascade(Decisions(laid_out, images, task=str(next(task))))
        for count in range(1, len(made.layers) + 1):
            made.network(made.top_down(count))

    benchmark(make)
