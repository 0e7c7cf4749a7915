"""Runtime: what does an explanation cost? Measured on the batch as it is, on the device where it lies.

Making the explanation that is judged was the warm-up: kernels are loaded, caches filled.
"""

import ctypes
import gc
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import ClassVar

import torch
from torch import Tensor

from .base import Category, Explanation, Metric

_MIB = 1024 * 1024


@dataclass(frozen=True)
class Seconds(Metric):
    """Wall time of explaining one image, in seconds; lower is better.

    The whole batch is explained n_repeats times more; the score is the median time of a call over the number of
    images, the same value for every sample. On CUDA the device is synchronized before each reading of the clock.
    Depends on the machine, on what else it does, and on the batch size. Always defined.

    Args:
        n_repeats: How many calls are timed.

    Raises:
        ValueError: n_repeats is not positive.
    """

    category: ClassVar[Category] = Category.RUNTIME
    higher_is_better: ClassVar[bool] = False
    n_repeats: int = 3

    def __post_init__(self) -> None:
        if self.n_repeats < 1:
            raise ValueError(f"{self}: n_repeats is at least 1")

    def score(self, explanation: Explanation) -> Tensor:
        """(N,) seconds an image."""
        times = [self._time(explanation) for _ in range(self.n_repeats)]
        return _every_sample(explanation, statistics.median(times))

    @staticmethod
    def _time(explanation: Explanation) -> float:
        _synchronize(explanation)
        start = perf_counter()
        _explain(explanation)
        _synchronize(explanation)
        return perf_counter() - start


@dataclass(frozen=True)
class PeakMemory(Metric):
    """Memory that explaining takes at its peak over what was in use before, in MiB an image; lower is better.

    One more call on the whole batch, over the number of images: the same value for every sample. On CUDA the peak
    of the device's allocator; on the CPU under Linux the growth of the peak resident set of this process, read
    from /proc and exact to some tenths of a MiB a batch: use large images or batches. Other threads of the process
    are counted too. nan: neither can be had.
    """

    category: ClassVar[Category] = Category.RUNTIME
    higher_is_better: ClassVar[bool] = False

    def score(self, explanation: Explanation) -> Tensor:
        """(N,) MiB an image."""
        gc.collect()
        device = explanation.decisions.inputs.device
        if device.type == "cuda":
            growth = _device_growth(lambda: _explain(explanation), device)
        elif device.type == "cpu":
            growth = _resident_growth(lambda: _explain(explanation))
        else:
            growth = torch.nan
        return _every_sample(explanation, growth / _MIB)


def _explain(explanation: Explanation) -> Tensor:
    decisions = explanation.decisions
    return explanation.explain(decisions.model, decisions.inputs, decisions.targets)


def _synchronize(explanation: Explanation) -> None:
    device = explanation.decisions.inputs.device
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _every_sample(explanation: Explanation, of_the_batch: float) -> Tensor:
    n_samples = len(explanation.decisions.inputs)
    return torch.full((n_samples,), of_the_batch / n_samples, dtype=torch.float64)


def _device_growth(work: Callable[[], object], device: torch.device) -> float:
    """Bytes that the device's allocator held at the peak of the work, over what it held before."""
    torch.cuda.synchronize(device)
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    work()
    torch.cuda.synchronize(device)
    return torch.cuda.max_memory_allocated(device) - before


def _resident_growth(work: Callable[[], object]) -> float:
    """Bytes by which the peak resident set exceeds the resident set before the work; nan without Linux's /proc."""
    try:
        _forget_peak()
        before = _resident("VmRSS")
    except OSError:
        return torch.nan
    work()
    return max(_resident("VmHWM") - before, 0)


def _forget_peak() -> None:
    # Freed memory that the C library keeps would be used again unseen: it goes back to the system first.
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def _resident(field: str) -> int:
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise FileNotFoundError(f"/proc/self/status has no {field}")


seconds = Seconds()
peak_memory = PeakMemory()
