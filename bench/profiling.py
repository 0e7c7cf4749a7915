"""What explainers cost on the device at hand: time, memory and passes by batch size."""

import os
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile, record_function

from explainers.base import Explainer, InapplicableError
from metrics.runtime import MIB, memory_of, passes_of, seconds_of
from tasks.base import Task

from .errors import one_line
from .runner import on_device


@dataclass(frozen=True)
class Cost:
    """What one explainer costs on one batch."""

    task: str
    explainer: str
    batch_size: int
    seconds: float = torch.nan
    """Of a call, the median."""
    quartiles: tuple[float, float] = (torch.nan, torch.nan)
    forwards: float = torch.nan
    """The median over that of a forward pass of the same batch."""
    passes: float = torch.nan
    """Operations over those of a forward pass: the metric `passes`."""
    mebibytes: float = torch.nan
    """At the peak over what was in use before."""
    largest: int | None = None
    """Batch that the memory free now has room for, if memory grows with the batch; None: not known."""
    inapplicable: str = ""
    failure: str = ""

    @property
    def images_per_second(self) -> float:
        return self.batch_size / self.seconds


def costs(
    name: str,
    task: Task,
    explainers: Mapping[str, Explainer],
    batch_sizes: Sequence[int],
    n_repeats: int,
    device: torch.device,
) -> Iterator[Cost]:
    """A cost for each explainer and batch size, as soon as it is measured.

    One call comes before the measured ones, to load kernels and fill caches. Where a task has fewer samples than the
    batch, they are repeated. An explainer that has no answer, raises or runs out of memory says so in its cost.

    Raises:
        Exception: whatever the task raises.
    """
    model = on_device(task, device)
    n_samples = min(max(batch_sizes), len(task.samples()))
    inputs = torch.cat([batch.inputs for batch in task.batches(n_samples, 0, n_samples)]).to(device)
    for batch_size in batch_sizes:
        images = inputs.repeat(-(-batch_size // len(inputs)), 1, 1, 1)[:batch_size]
        targets, forward = _forward(model, images, n_repeats)
        for explainer_name, explainer in explainers.items():
            cost = Cost(name, explainer_name, batch_size)
            yield _measured(cost, explainer, model, images, targets, forward, n_repeats)


def trace(task: Task, explainers: Mapping[str, Explainer], batch_size: int, device: torch.device, path: Path) -> None:
    """Write what torch's profiler sees of one call of each explainer, for chrome://tracing or Perfetto.

    Raises:
        Exception: whatever the task or an explainer raises.
    """
    os.environ.setdefault("KINETO_LOG_LEVEL", "5")  # the profiler's own remarks
    model = on_device(task, device)
    images = next(iter(task.batches(batch_size, 0, batch_size))).inputs.to(device)
    with torch.no_grad():
        targets = model(images).argmax(1)
    able = {name: explainer for name, explainer in explainers.items() if explainer.inapplicable(model) is None}
    for explainer in able.values():
        explainer(model, images, targets)
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if device.type == "cuda" else [])]
    with profile(activities=activities, profile_memory=True) as profiler:
        for name, explainer in able.items():
            with record_function(name):
                explainer(model, images, targets)
    path.parent.mkdir(parents=True, exist_ok=True)
    profiler.export_chrome_trace(str(path))


def _forward(model: nn.Module, images: Tensor, n_repeats: int) -> tuple[Tensor, float]:
    """The predicted classes, and the median time of a forward pass."""

    def forward() -> Tensor:
        with torch.inference_mode():
            answer: Tensor = model(images)
        return answer

    targets = forward().argmax(1).clone()
    return targets, statistics.median(seconds_of(forward, images.device) for _ in range(n_repeats))


def _measured(
    cost: Cost,
    explainer: Explainer,
    model: nn.Module,
    images: Tensor,
    targets: Tensor,
    forward: float,
    n_repeats: int,
) -> Cost:
    def explain() -> Tensor:
        return explainer(model, images, targets)

    who = (cost.task, cost.explainer, cost.batch_size)
    try:
        if reason := explainer.inapplicable(model):
            return Cost(*who, inapplicable=reason)
        explain()
        times = [seconds_of(explain, images.device) for _ in range(n_repeats)]
        memory = memory_of(explain, images.device)
        passes = passes_of(lambda: explainer(model, images[:1], targets[:1]), model, images[:1])
    except InapplicableError as error:
        return Cost(*who, inapplicable=str(error))
    except torch.OutOfMemoryError:
        return Cost(*who, failure=f"out of memory with {cost.batch_size} images: choose a smaller batch")
    except Exception as error:  # noqa: BLE001  # an explainer is a plugin: its row fails, with the reason
        return Cost(*who, failure=one_line(error))
    median = statistics.median(times)
    return Cost(
        *who,
        seconds=median,
        quartiles=_quartiles(times),
        forwards=median / forward,
        passes=passes,
        mebibytes=memory / MIB,
        largest=_largest(memory / len(images), images.device),
    )


def _quartiles(times: Sequence[float]) -> tuple[float, float]:
    if len(times) == 1:
        return times[0], times[0]
    low, _, high = statistics.quantiles(times, n=4, method="inclusive")
    return low, high


def _largest(bytes_per_image: float, device: torch.device) -> int | None:
    if not bytes_per_image > 0:
        return None
    free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else psutil.virtual_memory().available
    return int(free / bytes_per_image)
