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
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from .base import Category, Explanation, Metric

MIB = 1024 * 1024


@dataclass(frozen=True)
class Seconds(Metric):
    """Wall time of explaining one image, in seconds; lower is better.

    The whole batch is explained n_repeats times more, or fewer times where calls take long; the score is the median
    time of a call over the number of images, the same value for every sample. On CUDA the device is synchronized before
    each reading of the clock. Depends on the machine, on what else it does, and on the batch size. Always defined.

    Args:
        n_repeats: How many calls are timed at most.
        enough: No call is made after so many seconds: what takes long varies little.

    Raises:
        ValueError: n_repeats or enough is not positive.
    """

    category: ClassVar[Category] = Category.RUNTIME
    higher_is_better: ClassVar[bool] = False
    n_repeats: int = 3
    enough: float = 1.0

    def __post_init__(self) -> None:
        if self.n_repeats < 1 or self.enough <= 0:
            raise ValueError(f"{self}: n_repeats is at least 1, enough above 0")

    def score(self, explanation: Explanation) -> Tensor:
        """(N,) seconds an image."""
        device = explanation.decisions.inputs.device
        times: list[float] = []
        while len(times) < self.n_repeats and sum(times) < self.enough:
            times.append(seconds_of(lambda: _explain(explanation), device))
        return _every_sample(explanation, statistics.median(times))


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
        growth = memory_of(lambda: _explain(explanation), explanation.decisions.inputs.device)
        return _every_sample(explanation, growth / MIB)


@dataclass(frozen=True)
class Passes(Metric):
    """What explaining costs in forward passes, by counting operations: the same on every machine; lower is better.

    The multiplications and additions of convolutions and matrix products while the first image of the batch is
    explained, over those of one forward pass of it; the same value for every sample. A forward and backward pass down
    to the pixels is 2, of which `gradient` has one and Integrated Gradients 32; a rule of LRP goes through a layer
    several times. 0 for a map that knows nothing of the model. What is not a convolution or a matrix product (sorting,
    superpixels) is not counted. nan: the model itself has neither.
    """

    category: ClassVar[Category] = Category.RUNTIME
    higher_is_better: ClassVar[bool] = False

    def score(self, explanation: Explanation) -> Tensor:
        """(N,) forward passes an image."""
        decisions = explanation.decisions
        image, target = decisions.inputs[:1], decisions.targets[:1]
        passes = passes_of(lambda: explanation.explain(decisions.model, image, target), decisions.model, image)
        return torch.full((len(decisions.inputs),), passes, dtype=torch.float64)


def seconds_of(work: Callable[[], object], device: torch.device) -> float:
    """Wall time of the work; on CUDA the device has nothing left to do before and after."""
    _synchronize(device)
    start = perf_counter()
    work()
    _synchronize(device)
    return perf_counter() - start


def memory_of(work: Callable[[], object], device: torch.device) -> float:
    """Bytes that the work takes at its peak over what was in use before; nan where that cannot be had."""
    gc.collect()
    if device.type == "cuda":
        return _device_growth(work, device)
    return _resident_growth(work) if device.type == "cpu" else torch.nan


def passes_of(work: Callable[[], object], model: nn.Module, inputs: Tensor) -> float:
    """Operations of the work over those of one forward pass of the images, (N, 3, H, W); nan if that has none."""
    with torch.no_grad():
        forward = _operations(lambda: model(inputs))
    return _operations(work) / forward if forward else torch.nan


class _Counting(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Within it, operations of convolutions and matrix products are counted, forward and backward.

    torch's own `FlopCounterMode` also keeps a book by module, by hooks that do not bear `torch.autograd.grad`.
    """

    n_operations: int = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        answer = func(*args, **(kwargs or {}))
        count = flop_registry.get(func.overloadpacket)
        if count is not None:
            self.n_operations += count(*args, **(kwargs or {}), out_val=answer)
        return answer


def _operations(work: Callable[[], object]) -> int:
    counting = _Counting()  # type: ignore[no-untyped-call]
    with counting:
        work()
    return counting.n_operations


def _explain(explanation: Explanation) -> Tensor:
    decisions = explanation.decisions
    return explanation.explain(decisions.model, decisions.inputs, decisions.targets)


def _synchronize(device: torch.device) -> None:
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
passes = Passes()
