"""Runtime: calls are counted, memory of a known size is found, the clock waits for the device."""

import time
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from explainers.base import Explainer
from explainers.cam import grad_cam
from explainers.gradient import DeepLiftShap, IntegratedGradients, SmoothGrad, gradient
from explainers.lrp import lrp_epsilon
from explainers.perturbation import RISE
from metrics import runtime
from metrics.base import Decisions, Explanation
from metrics.runtime import Seconds, passes, peak_memory, seconds

Judge = Callable[..., Explanation]


def _holding(mebibytes: int) -> Callable[[nn.Module, Tensor, Tensor], Tensor]:
    def explain(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:  # noqa: ARG001
        held = torch.ones(mebibytes, 1024, 256, device=inputs.device)
        return inputs.mean(dim=1, keepdim=True) * held[0, 0, 0]

    return explain


def test_three_calls_are_timed_and_one_is_for_memory(judge: Judge, maps: Tensor) -> None:
    calls: list[int] = []

    def explain(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:  # noqa: ARG001
        calls.append(len(inputs))
        return maps

    explanation = judge(maps, explain)
    seconds(explanation)
    assert calls == [6] * 3
    peak_memory(explanation)
    assert calls == [6] * 4


def test_seconds_are_the_median_time_an_image(judge: Judge, maps: Tensor) -> None:
    naps = iter([0.06, 0.5, 0.06])

    def explain(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:  # noqa: ARG001
        time.sleep(next(naps))
        return maps

    score = seconds(judge(maps, explain))
    assert score.shape == (6,)
    assert bool((score == score[0]).all())
    assert 0.06 / 6 <= score[0].item() < 0.2 / 6


@pytest.mark.parametrize(("a_call", "n_calls"), [(0.2, 3), (0.5, 2), (0.7, 2), (1.0, 1), (60.0, 1)])
def test_what_takes_long_is_timed_less_often(
    judge: Judge, maps: Tensor, monkeypatch: pytest.MonkeyPatch, a_call: float, n_calls: int
) -> None:
    calls: list[float] = []
    monkeypatch.setattr(runtime, "perf_counter", lambda: a_call * len(calls))

    def explain(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:  # noqa: ARG001
        calls.append(a_call)
        return maps

    score = seconds(judge(maps, explain))
    assert len(calls) == n_calls
    assert score[0].item() == pytest.approx(a_call / 6)


@pytest.mark.parametrize("settings", [{"n_repeats": 0}, {"enough": 0.0}])
def test_no_repeats_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="n_repeats is at least 1"):
        Seconds(**settings)


def test_peak_memory_finds_what_the_explainer_held(judge: Judge, maps: Tensor) -> None:
    score = peak_memory(judge(maps, _holding(192)))
    if bool(score.isnan().all()):
        pytest.skip("this system does not tell the peak of resident memory")
    assert bool((score == score[0]).all())
    assert 6 * score[0].item() == pytest.approx(192, rel=0.03)


def test_peak_memory_is_undefined_where_the_system_does_not_tell(
    judge: Judge, maps: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse() -> None:
        raise PermissionError("/proc/self/clear_refs")

    monkeypatch.setattr(runtime, "_forget_peak", refuse)
    assert bool(peak_memory(judge(maps, _holding(1))).isnan().all())


def test_an_error_of_the_explainer_is_not_taken_for_missing_memory_figures(judge: Judge, maps: Tensor) -> None:
    def explain(*_: object) -> Tensor:
        raise OSError("the explainer's own")

    with pytest.raises(OSError, match="the explainer's own"):
        peak_memory(judge(maps, explain))


def test_the_clock_waits_for_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[str] = []
    monkeypatch.setattr(torch.cuda, "synchronize", lambda _: events.append("synchronize"))
    runtime.seconds_of(lambda: events.append("explain"), torch.device("cuda"))
    assert events == ["synchronize", "explain", "synchronize"]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_memory_and_time_on_cuda(network: nn.Module, images: Tensor) -> None:
    decisions = Decisions(network.cuda(), images.cuda())
    explanation = Explanation(decisions, images[:, :1].cuda(), _holding(64))
    assert 6 * peak_memory(explanation)[0].item() == pytest.approx(64, rel=0.05)
    assert 0 < seconds(explanation)[0].item() < 1


def test_passes_are_counted_by_hand() -> None:
    """A convolution and a linear layer: k² · inputs · outputs · pixels, twice (multiply, add)."""
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 2)).eval()
    images, targets = torch.rand(2, 3, 8, 8), torch.tensor([0, 1])
    convolution, linear = 2 * 9 * 3 * 4 * 36, 2 * 144 * 2

    def backward(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        leaf = inputs.clone().requires_grad_()
        with torch.enable_grad():
            total = model(leaf).gather(1, targets[:, None]).sum()
        return torch.autograd.grad(total, leaf)[0].sum(1, keepdim=True)

    for parameter in network.parameters():
        parameter.requires_grad_(False)
    decisions = Decisions(network, images, targets)
    n_forwarded = decisions.n_forwarded
    score = passes(Explanation(decisions, torch.rand(2, 1, 8, 8), backward))
    assert score.tolist() == [2.0, 2.0]
    assert decisions.n_forwarded == n_forwarded

    def convolution_alone(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:  # noqa: ARG001
        return nn.functional.pad(network[0](inputs).mean(1, keepdim=True), (1, 1, 1, 1))

    score = passes(Explanation(decisions, torch.rand(2, 1, 8, 8), convolution_alone))
    assert score[0].item() == pytest.approx(convolution / (convolution + linear))
    nothing = passes(Explanation(decisions, torch.rand(2, 1, 8, 8), lambda _, inputs, __: inputs[:, :1]))
    assert nothing.tolist() == [0.0, 0.0]


def test_passes_of_a_model_without_products_are_undefined() -> None:
    decisions = Decisions(nn.Flatten(), torch.rand(2, 3, 2, 2), torch.tensor([0, 1]))
    assert passes(Explanation(decisions, torch.rand(2, 1, 2, 2), lambda _, inputs, __: inputs[:, :1])).isnan().all()


@pytest.mark.parametrize(
    ("explainer", "wanted"),
    [
        (gradient, 2),
        (IntegratedGradients(n_steps=5), 10),
        (SmoothGrad(n_samples=3), 6),
        (DeepLiftShap(n_baselines=2), 2 + 2 * 2),
        (grad_cam, 1),
        (lrp_epsilon, 4),
        (RISE(n_masks=7), 7),
    ],
    ids=lambda value: type(value).__name__,
)
def test_passes_are_those_that_the_method_needs(explainer: Explainer, wanted: float) -> None:
    """LRP's ε rule: forward and back, and in each layer once more either way."""
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1))
    network = nn.Sequential(network, nn.Flatten(), nn.Linear(8, 3)).eval().requires_grad_(False)
    decisions = Decisions(network, torch.rand(2, 3, 16, 16), torch.tensor([0, 1]))
    score = passes(Explanation(decisions, torch.rand(2, 1, 16, 16), explainer))
    assert score[0].item() == pytest.approx(wanted, rel=0.01)
