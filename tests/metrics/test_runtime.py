"""Runtime: calls are counted, memory of a known size is found, the clock waits for the device."""

import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn

from metrics import runtime
from metrics.base import Decisions, Explanation
from metrics.runtime import Seconds, peak_memory, seconds

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


def test_no_repeats_are_refused() -> None:
    with pytest.raises(ValueError, match="n_repeats is at least 1"):
        Seconds(n_repeats=0)


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


def test_the_clock_waits_for_the_device(maps: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[str] = []

    def explain(*_: object) -> Tensor:
        events.append("explain")
        return maps

    monkeypatch.setattr(torch.cuda, "synchronize", lambda _: events.append("synchronize"))
    inputs = SimpleNamespace(device=torch.device("cuda"))
    decisions = SimpleNamespace(inputs=inputs, model=None, targets=None)
    runtime.Seconds._time(Explanation(cast(Any, decisions), maps, explain))
    assert events == ["synchronize", "explain", "synchronize"]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_memory_and_time_on_cuda(network: nn.Module, images: Tensor) -> None:
    decisions = Decisions(network.cuda(), images.cuda())
    explanation = Explanation(decisions, images[:, :1].cuda(), _holding(64))
    assert 6 * peak_memory(explanation)[0].item() == pytest.approx(64, rel=0.05)
    assert 0 < seconds(explanation)[0].item() < 1
