"""The run: shard by shard of each task, every explainer explains and every metric judges.

A shard is a fixed range of a task's samples, so a run of more samples leaves the older shards' records valid, and
a killed run loses one explainer's work on one shard. All explainers of a shard meet the same `Decisions`: what
metrics share there is computed once.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor, nn

from explainers.base import Explainer
from explainers.human import SecondReader
from leaderboard import record as records
from leaderboard.record import HUMAN, Cell, Record, Status
from metrics.base import Category, Decisions, Metric
from tasks.base import Batch, Task

from . import attributions, environment
from .catalog import Catalog, family, settings_of
from .companions import Companions
from .errors import UserError, one_line
from .job import Job, Reading
from .outcome import sample_table
from .plan import Todo, todo, with_scores

SHARD_SIZE = 32


@dataclass(frozen=True)
class Settings:
    """How to run; what to run is the catalog's business."""

    results: Path
    device: torch.device
    n_samples: int = 8
    """At most so many samples of each task."""
    batch_size: int = 16
    """Images explained, and forwarded, at a time. Scores do not depend on it."""
    seed: int = 0
    save_attributions: bool = False


@dataclass(frozen=True)
class Event:
    """Something that the command may want to show: a step of the work is about to begin, or has ended."""

    task: str
    shard: str = ""
    explainer: str = ""
    ended: bool = False
    failures: Mapping[str, str] = field(default_factory=dict)
    """Metric -> reason, for the cells that failed."""
    error: BaseException | None = None
    """The first exception behind them."""
    n_computed: int = 0
    n_reused: int = 0
    stale: str | None = None
    """Why the older record was replaced."""
    times: Mapping[str, float] = field(default_factory=dict)
    """Seconds by what they went into: see `Job.times`."""
    counted: bool = True
    """Whether it is one of `n_steps`: nobody knows of a second reader before the samples are read."""


Report = Callable[[Event], None]


class Shard:
    """A range of one task's samples on the device, with what the model decides about them."""

    def __init__(
        self,
        name: str,
        task: str,
        model: nn.Module,
        batches: Sequence[Batch],
        settings: Settings,
        companions: Callable[[], Decisions] | None = None,
    ) -> None:
        self.name = name
        self.batches = batches
        self.samples = {
            sample: content for batch in batches for sample, content in environment.sample_fingerprints(batch).items()
        }
        if len(self.samples) != sum(len(batch.ids) for batch in batches):
            raise ValueError("two samples have one id")
        self._model, self._task, self._settings, self._companions = model, task, settings, companions

    @cached_property
    def second_samples(self) -> dict[str, str]:
        """What `samples` is for the second reader: his masks take part."""
        return {name: of for batch in self.batches for name, of in environment.second_fingerprints(batch).items()}

    @property
    def read_twice(self) -> bool:
        """Whether a second reader has marked the evidence of a sample."""
        return any(batch.seconds is not None for batch in self.batches)

    def job(self, explainer: Explainer, metrics: Mapping[str, Metric]) -> Job:
        """An explainer, or the second reader, judged by metrics."""
        if isinstance(explainer, SecondReader):
            return Reading(self._model, self.decisions, metrics)
        return Job(self._model, self.decisions, explainer, metrics)

    @cached_property
    def decisions(self) -> list[Decisions]:
        """One a batch; made when the first explainer needs them, since a complete shard needs none."""
        return [decide(self._model, batch, self._task, self._settings, self._companions) for batch in self.batches]


def decide(
    model: nn.Module,
    batch: Batch,
    task: str,
    settings: Settings,
    companions: Callable[[], Decisions] | None = None,
) -> Decisions:
    """What the model decides about a batch, on the device of the settings."""

    def moved(tensor: Tensor | None) -> Tensor | None:
        return None if tensor is None else tensor.to(settings.device)

    return Decisions(
        model,
        batch.inputs.to(settings.device),
        moved(batch.targets),
        moved(batch.labels),
        batch.ids,
        moved(batch.masks),
        moved(batch.shortcuts),
        batch.seconds,
        companions=companions,
        task=task,
        seed=settings.seed,
        batch_size=settings.batch_size,
    )


def on_device(task: Task, device: torch.device) -> nn.Module:
    """The task's model, laid out so that convolutions of a batch are up to twice as fast, forward and backward."""
    return task.model().to(device).to(memory_format=torch.channels_last)


def n_steps(task: Task, n_explainers: int, n_samples: int) -> int:
    """How many steps the run of a task has: one an explainer and shard."""
    try:
        return len(_starts(task, n_samples)) * n_explainers
    except Exception:  # noqa: BLE001  # `run_task` meets it again and tells: one step an explainer
        return n_explainers


def run_task(name: str, task: Task, chosen: Catalog, settings: Settings, report: Report) -> None:
    """Make every record of one task that is missing, stale or failed before.

    A task, explainer or metric that raises costs its own cells; the others go on.

    Raises:
        UserError: the results folder cannot be written.
    """
    runner = _TaskRunner(name, task, chosen, settings, report)
    try:
        runner.load()
        starts = _starts(task, settings.n_samples)
    except Exception as error:  # noqa: BLE001  # a task is a plugin: whatever it raises is its cells' failure
        runner.fail("00000", error)
        return
    for start in starts:
        runner.run_shard(start)


def _starts(task: Task, n_samples: int) -> range:
    return range(0, min(len(task.samples()), n_samples), SHARD_SIZE)


class _TaskRunner:
    def __init__(self, name: str, task: Task, chosen: Catalog, settings: Settings, report: Report) -> None:
        self.name = name
        self.task = task
        self.chosen = chosen
        self.settings = settings
        self.report = report
        self.companions = Companions(task, name, settings.seed)

    def load(self) -> None:
        model = self.model = on_device(self.task, self.settings.device)
        name, settings = self.name, self.settings  # not self, which would hold itself
        self.decided_companions = self.companions.decided(lambda batch: decide(model, batch, name, settings))
        self.weights = environment.weights_fingerprint(self.model)

    def run_shard(self, start: int) -> None:
        shard_name = f"{start // SHARD_SIZE:05d}"
        try:
            stop = min(start + SHARD_SIZE, self.settings.n_samples)
            batches = list(self.task.batches(self.settings.batch_size, start, stop))
            shard = Shard(shard_name, self.name, self.model, batches, self.settings, self.decided_companions)
        except Exception as error:  # noqa: BLE001  # as above
            self.fail(shard_name, error)
            return
        for explainer_name, explainer in self.chosen.explainers.items():
            self.report(Event(self.name, shard_name, explainer_name))
            self.report(self._run_explainer(shard, explainer_name, explainer))
        if shard.read_twice and HUMAN not in self.chosen.explainers:
            self._read(shard)

    def _read(self, shard: Shard) -> None:
        """The second reader, by what of the chosen metrics is localization."""
        metrics = {
            name: metric for name, metric in self.chosen.metrics.items() if metric.category == Category.LOCALIZATION
        }
        if not metrics:
            return
        reader = _TaskRunner(
            self.name,
            self.task,
            replace(self.chosen, explainers={HUMAN: SecondReader()}, metrics=metrics),
            replace(self.settings, save_attributions=False),
            self.report,
        )
        reader.model, reader.weights = self.model, self.weights
        event = reader._run_explainer(shard, HUMAN, SecondReader())
        self.report(replace(event, counted=False))

    def fail(self, shard: str, error: Exception) -> None:
        """Every cell of the shard failed for one reason. Records that are there stay."""
        reasons = dict.fromkeys(self.chosen.metrics, f"task: {one_line(error)}")
        for explainer_name, explainer in self.chosen.explainers.items():
            blank = self._wanted(shard, {}, explainer_name, explainer, "")
            if not records.path_of(self.settings.results, self.name, shard, explainer_name).exists():
                with _writing(self.settings.results):
                    records.write(self.settings.results, with_scores(blank, _failed(blank, reasons), blank.scores))
            self.report(Event(self.name, shard, explainer_name, ended=True, failures=reasons, error=error))

    def _run_explainer(self, shard: Shard, name: str, explainer: Explainer) -> Event:
        samples = shard.second_samples if isinstance(explainer, SecondReader) else shard.samples
        wanted = self._wanted(shard.name, samples, name, explainer, self.weights)
        remaining = todo(wanted, self._existing(shard.name, name))
        folder = attributions.folder(self.settings.results, self.name, shard.name)
        curves = [metric_name for metric_name, metric in self.chosen.metrics.items() if metric.has_curve]
        saves = self.settings.save_attributions and not attributions.saved(folder, name, shard.samples, curves)
        n_reused = len(wanted.cells) - len(remaining.metrics)
        if not remaining.metrics and not saves:
            return Event(self.name, shard.name, name, ended=True, n_reused=n_reused)
        missing = {metric: self.chosen.metrics[metric] for metric in remaining.metrics}
        job = shard.job(explainer, missing)
        job.run()
        with _writing(self.settings.results):
            if remaining.metrics:
                table = self._samples(shard)
                records.write_samples(self.settings.results, self.name, shard.name, table)
                records.write(self.settings.results, self._record(wanted, remaining, job))
            if saves and job.explanations:
                # After the record: a curve that cannot be had does not unmake its score.
                made = job.curves(self.chosen.metrics)
                attributions.save(folder, name, shard.decisions, job.explanations, self.task.classes(), made)
        return Event(
            self.name,
            shard.name,
            name,
            ended=True,
            failures=job.failures,
            error=job.error,
            n_computed=len(remaining.metrics) - len(job.failures),
            n_reused=n_reused,
            stale=remaining.stale,
            times=job.times,
        )

    def _wanted(self, shard: str, samples: Mapping[str, str], name: str, explainer: Explainer, weights: str) -> Record:
        """The record to be had, its cells still without scores."""
        provenance = {
            "task": repr(self.task),
            "explainer": settings_of(explainer),
            "weights": weights,
            "seed": str(self.settings.seed),
            "versions": environment.versions(),
            "device": environment.device_name(self.settings.device),
        }
        cells = {
            metric_name: Cell(
                category=str(metric.category),
                higher_is_better=metric.higher_is_better,
                settings=self.companions.settings_of(metric),
                status=Status.SCORED,
            )
            for metric_name, metric in self.chosen.metrics.items()
        }
        empty = pd.DataFrame({"sample": [], "metric": [], "score": []})
        return Record(self.name, shard, name, family(explainer), provenance, {}, samples, cells, empty)

    def _samples(self, shard: Shard) -> pd.DataFrame:
        table = sample_table(shard.decisions, self.task.classes(), self.task.negative())
        patients = [self.task.patient(sample) for sample in table["sample"]]
        return (
            table if patients.count(None) == len(patients) else table.assign(patient=pd.Series(patients, dtype=object))
        )

    def _existing(self, shard: str, explainer: str) -> Record | None:
        path = records.path_of(self.settings.results, self.name, shard, explainer)
        try:
            return records.read(path) if path.exists() else None
        except ValueError as error:
            raise UserError(str(error)) from error

    def _record(self, wanted: Record, remaining: Todo, job: Job) -> Record:
        cells = {
            **{metric: wanted.cells[metric] for metric in job.scores},
            **_failed(wanted, job.failures),
            **{
                metric: replace(wanted.cells[metric], status=Status.INAPPLICABLE, reason=reason)
                for metric, reason in job.inapplicable.items()
            },
        }
        ids = [sample for batch in job.decisions for sample in batch.ids]
        rows = [
            pd.DataFrame({"sample": ids, "metric": metric, "score": scores.numpy()})
            for metric, scores in job.scores.items()
        ]
        scores = pd.concat(rows) if rows else remaining.kept.scores.iloc[:0]
        origin = {
            **job.description,
            "commit": environment.commit(),
            "made": datetime.now(UTC).isoformat(timespec="seconds"),
            "seconds": f"{job.seconds:.3f}",
            "images": str(job.n_forwarded),
            "batch_size": str(self.settings.batch_size),
            "all_zero": json.dumps(job.all_zero),
        }
        return replace(with_scores(remaining.kept, cells, scores), origin=origin)


@contextmanager
def _writing(results: Path) -> Iterator[None]:
    """Within, what goes wrong is the results folder's fault: no further record could be kept, so the run ends."""
    try:
        yield
    except OSError as error:
        raise UserError(f"cannot write to {results}: {error.strerror or error}; choose another --results") from error


def _failed(wanted: Record, reasons: Mapping[str, str]) -> dict[str, Cell]:
    return {
        metric: replace(wanted.cells[metric], status=Status.FAILED, reason=reason) for metric, reason in reasons.items()
    }
