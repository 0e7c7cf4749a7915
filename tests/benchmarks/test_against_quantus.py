"""A whole judgement by us and by Quantus: the metrics that both have, five explainers, the same numbers, CPU time.

Skipped unless asked for: pytest tests/benchmarks/test_against_quantus.py --benchmark-only. The tables show our time;
how many times faster that is, in sum and metric by metric, stands in `extra_info` (`--benchmark-json FILE`) and is
printed with `-s`. The maps that are judged are there beforehand, and so are the random networks; what a metric asks the
explainer for again, both pay. Ours is given the network as a run lays it out and one `Decisions` for all explainers and
metrics, as in a run; Quantus the network as torchvision made it, and all samples at once. Nothing is asserted about
time, only that the numbers agree: see `bench.pairs` for how. For that Quantus is asked once more, with the network laid
out as ours is: two memory layouts round otherwise, and ranks and ratios of small falls make much of it.
"""

import copy
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from time import process_time
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchvision.models import resnet18

from bench.crosscheck import EQUAL, TOLERANCE, Case, without_ties
from bench.pairs.listed import PAIRS
from explainers.base import Explainer
from explainers.gradient import gradient, guided_backprop, input_x_gradient, smoothgrad
from explainers.lrp import lrp_epsilon_plus
from metrics.base import Decisions, Explanation
from metrics.reference.adapter import quantus

pytestmark = pytest.mark.skipif("not config.getoption('benchmark_only', False)", reason="asked for by --benchmark-only")

# Cheap ones: the function that explains is the same on both sides, and both pay for what they ask it.
EXPLAINERS: list[Explainer] = [
    gradient,
    input_x_gradient,
    guided_backprop,
    lrp_epsilon_plus,
    replace(smoothgrad, n_samples=4),
]
# Those with the same numbers on the same images; Quantus's ROAD is not among them, it fails on three channels.
BOTH = [pair for pair in PAIRS if pair.expected == EQUAL and pair.quantus != "ROAD"]


# It divides by how far logits move, a thousandth of them: a pass of several neighbours rounds otherwise than of one.
TOLERANCES = {"relative_output_stability, RelativeOutputStability": 1e-4}


@pytest.fixture(autouse=True, params=[1, 2], ids=["one thread", "two threads"])
def _threads(request: pytest.FixtureRequest) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
    torch.set_num_threads(before)


def _small() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 16, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 32, 3), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 4),
    )  # fmt: skip


def _images(n: int, side: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    smooth = nn.functional.interpolate(torch.rand(n, 3, 8, 8, generator=generator), size=(side, side), mode="bicubic")
    return (smooth + 0.05 * torch.randn(smooth.shape, generator=generator)).clamp(0, 1)


def _calibrated(network: nn.Module, side: int) -> nn.Module:
    """As if it had learnt: batch norm knows the images, and its logits differ between them by some units."""
    images = _images(8, side, seed=1)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None
    network.train().requires_grad_(False)(images)
    logits = network.eval()(images)
    last = [module for module in network.modules() if isinstance(module, nn.Linear)][-1]
    last.weight *= 3 / logits.std(dim=0).mean()
    last.bias -= network(images).mean(dim=0)
    return network


@pytest.fixture(
    params=[(_small, 8, 64), (partial(resnet18, num_classes=4), 1, 224)], ids=["small CNN, 64 px", "ResNet-18, 224 px"]
)
def cases(request: pytest.FixtureRequest) -> Callable[..., list[Case]]:
    """What makes a case an explainer, all of fresh decisions of one batch; noise does not change the decisions.

    Quantus's network is as torchvision made it, or laid out as ours.
    """
    build, n_samples, side = request.param
    torch.manual_seed(0)
    network = _calibrated(build(), side)
    laid_out, images = copy.deepcopy(network).to(memory_format=torch.channels_last), _images(n_samples, side)
    masks = torch.zeros(n_samples, 1, side, side, dtype=torch.bool)
    masks[..., side // 4 : side // 2, side // 4 : side // 2] = True

    def make(one_layout: bool = False) -> list[Case]:
        decisions = Decisions(laid_out, images, masks=masks)
        maps = [without_ties(decisions, explain(laid_out, images, decisions.targets)) for explain in EXPLAINERS]
        explanations = [Explanation(decisions, one, explain) for one, explain in zip(maps, EXPLAINERS, strict=True)]
        theirs = laid_out if one_layout else network
        return [Case(explanation, quantus(), theirs) for explanation in explanations]

    return make


class Ledger:
    """Answers of one side, and the CPU time that each metric took for all explainers."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self.answers: dict[str, list[Tensor]] = defaultdict(list)

    def enter(self, name: str, judge: Callable[[], Tensor | None]) -> None:
        began = process_time()
        answer = judge()
        self.seconds[name] += process_time() - began
        assert answer is not None
        self.answers[name].append(answer)

    @property
    def total(self) -> float:
        return sum(self.seconds.values())


def _judged(cases: list[Case], side: int) -> Ledger:
    """Explainer after explainer, metric after metric, as a run goes."""
    ledger = Ledger()
    for case in cases:
        for pair in BOTH:
            judge = pair.prepare(case)[side]
            ledger.enter(f"{pair.ours}, {pair.quantus}", judge)
    return ledger


def test_all_metrics_that_both_have(benchmark: Any, cases: Callable[..., list[Case]]) -> None:
    _judged(cases()[:1], 0)  # warm
    theirs = _judged(cases(), 1)
    ours = benchmark.pedantic(_judged, setup=lambda: ((cases(), 0), {}), rounds=1)
    _show(ours, theirs)
    benchmark.extra_info["seconds of Quantus"] = theirs.total
    benchmark.extra_info["times faster"] = theirs.total / ours.total
    benchmark.extra_info["times faster, by metric"] = {
        name: theirs.seconds[name] / ours.seconds[name] for name in theirs.seconds
    }


def test_they_agree(benchmark: Any, cases: Callable[..., list[Case]]) -> None:
    theirs = _judged(cases(one_layout=True), 1)
    ours = benchmark.pedantic(_judged, setup=lambda: ((cases(), 0), {}), rounds=1)
    apart = {name: _difference(ours.answers[name], theirs.answers[name]) for name in theirs.answers}
    benchmark.extra_info["largest difference, by metric"] = apart
    print(apart)
    assert {name: found for name, found in apart.items() if not found <= TOLERANCES.get(name, TOLERANCE)} == {}


def _difference(ours: list[Tensor], theirs: list[Tensor]) -> float:
    """The largest of the samples for which ours is defined, of scores beyond 1 as a share of them."""
    one, other = torch.cat(ours), torch.cat(theirs)
    defined = one.isfinite()
    assert bool(defined.any())
    return float(((one - other).abs() / other.abs().clamp_min(1))[defined].max())


def _show(ours: Ledger, theirs: Ledger) -> None:
    for name in sorted(theirs.seconds, key=lambda name: -ours.seconds[name]):
        of_ours, of_theirs = ours.seconds[name], theirs.seconds[name]
        print(f"{name:50s} {of_ours:8.3f} s, Quantus {of_theirs:8.3f} s: {of_theirs / of_ours:6.1f} times faster")
    print(
        f"{'sum':50s} {ours.total:8.3f} s, Quantus {theirs.total:8.3f} s: {theirs.total / ours.total:6.1f} times faster"
    )
