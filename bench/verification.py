"""Whether results can be had again: cells are drawn, computed anew by the entries of this installation, and compared.

Runtimes are never drawn: they are another machine's. What failed there is not drawn either.
"""

import math
import random
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

import torch

from explainers.base import Explainer
from leaderboard import record as records
from leaderboard.exchange.tolerance import deviations
from leaderboard.record import Record, Status
from metrics.base import Category, Decisions, Metric
from tasks.base import Batch, Task, collate

from . import environment
from .catalog import Catalog, Entry, matching, select, settings_of
from .companions import Companions
from .errors import UserError, one_line
from .job import Job
from .runner import SHARD_SIZE, Settings, decide, on_device

UNEXPLAINED = "nothing that the record tells of its origin is otherwise here: this code does not compute these scores"
"""Why scores differ, where all else is the same."""

ROUNDING, N_ROUNDINGS, MARGIN = 1e-6, 4, 2.0
"""By how much images are changed to see what rounding does to a score: processors disagree about maps by about that
share. How often; and how many times the largest of these changes a score may be away."""

Place = tuple[str, str]
"""Shard, explainer."""

Scores = Mapping[str, float | None]
"""Sample -> score; None: inapplicable."""


class Verdict(StrEnum):
    """What became of a drawn cell."""

    REPRODUCED = "reproduced"
    UNSTABLE = "unstable"
    """It differs, and no further than it moves here when the images change by as much as rounding does."""
    DIFFERS = "differs"
    NOT_RUN = "not run"


@dataclass(frozen=True)
class Drawn:
    """What is computed anew of one task with one seed."""

    task: str
    seed: int
    records: Mapping[Place, Record]
    samples: Mapping[str, str]
    """Sample -> its shard."""
    targets: Mapping[str, str]
    """Sample -> the class that was explained, where that is told."""
    cells: Sequence[tuple[str, str]]
    """(explainer, metric); each has something to compare."""


@dataclass(frozen=True)
class Checked:
    """What became of a drawn cell."""

    task: str
    explainer: str
    metric: str
    verdict: Verdict
    n: int = 0
    """Samples that were compared."""
    worst: str = ""
    """The sample that is furthest from what was told, with both scores; empty where all are equal."""
    reason: str = ""
    """Why it may differ, or why it was not run."""


def draw(results: Path, seed: int | str, n_samples: int, n_cells: int, tasks: str = "") -> list[Drawn]:
    """Draw cells and samples of each task; the same ones for the same seed.

    Args:
        results: The results folder.
        seed: Of the draw.
        n_samples: At most so many samples of each task.
        n_cells: At most so many pairs of explainer and metric of each task.
        tasks: Names or patterns; empty: every task.

    Raises:
        UserError: a name or pattern chooses no task of the results.
        ValueError: a file is no record.
    """
    found: dict[tuple[str, int], dict[Place, Record]] = {}
    for path in records.records(results):
        record = records.read(path)
        if record.family == records.HUMAN:
            continue  # nothing is computed of it but from its own data
        key = record.task, int(record.provenance.get("seed", "0"))
        found.setdefault(key, {})[record.shard, record.explainer] = record
    names = dict.fromkeys(task for task, _ in found)
    chosen = matching(names, tasks, "task", f"the results have {', '.join(names)}") if tasks else set(names)
    drawn = []
    for task, of_run in sorted(key for key in found if key[0] in chosen):
        generator = random.Random(f"{seed}/{task}/{of_run}")
        samples, cells = _drawn(found[task, of_run], generator, n_samples, n_cells)
        targets = _targets(results, task, set(samples.values()))
        drawn.append(Drawn(task, of_run, found[task, of_run], samples, targets, cells))
    return [one for one in drawn if one.cells]


def rerun(drawn: Drawn, entries: Catalog, device: torch.device, report: Callable[[], None]) -> list[Checked]:
    """Compute what was drawn, and compare it with what was told; `report` is called once a cell."""
    try:
        work = _Rerun(drawn, entries, device)
    except _NotRunError as error:
        checked = [Checked(drawn.task, *cell, Verdict.NOT_RUN, reason=str(error)) for cell in drawn.cells]
    else:
        checked = []
        for explainer in dict.fromkeys(explainer for explainer, _ in drawn.cells):
            checked += work.explained(explainer, [metric for who, metric in drawn.cells if who == explainer])
    for _ in checked:
        report()
    return checked


class _NotRunError(Exception):
    """Why something cannot be computed here."""


def _drawn(
    found: Mapping[Place, Record], generator: random.Random, n_samples: int, n_cells: int
) -> tuple[dict[str, str], list[tuple[str, str]]]:
    """Samples with their shards, and pairs of explainer and metric that say something of at least one of them."""
    told = {
        (sample, shard, explainer, metric)
        for (shard, explainer), record in found.items()
        for metric in record.cells
        for sample in _told(record, metric)
    }
    shard_of = {sample: shard for sample, shard, _, _ in sorted(told)}
    samples = sorted(generator.sample(sorted(shard_of), min(n_samples, len(shard_of))))
    cells = sorted({(explainer, metric) for sample, _, explainer, metric in told if sample in samples})
    return {name: shard_of[name] for name in samples}, sorted(generator.sample(cells, min(n_cells, len(cells))))


def _told(record: Record, metric: str) -> dict[str, float | None]:
    """Sample -> its score, None where the cell is inapplicable. Nothing of a runtime, nor of what failed."""
    cell = record.cells.get(metric)
    if cell is None or cell.category == Category.RUNTIME or cell.status is Status.FAILED:
        return {}
    if cell.status is Status.INAPPLICABLE:
        return dict.fromkeys(record.samples)
    rows = record.scores[(record.scores["metric"] == metric).to_numpy()]
    return dict(zip(rows["sample"].astype(str), rows["score"].astype(float), strict=True))


def _targets(results: Path, task: str, shards: Collection[str]) -> dict[str, str]:
    paths = [records.path_of(results, task, shard, records.SAMPLES) for shard in sorted(shards)]
    tables = [records.read_samples(path) for path in paths if path.exists()]
    return {
        str(name): str(target) for rows in tables for name, target in zip(rows["sample"], rows["target"], strict=True)
    }


def _entry(entries: Mapping[str, Entry], name: str, kind: str) -> Entry:
    try:
        return select(entries, name, kind)[name]
    except (UserError, KeyError) as error:
        raise _NotRunError(f"there is no {kind} {name} here: your own are given with --plugins") from error


def _batches(task: Task, shard_of: Mapping[str, str]) -> Iterator[Batch]:
    """The samples, a batch a shard."""
    samples = task.samples()
    for shard in sorted(set(shard_of.values())):
        start = int(shard) * SHARD_SIZE
        wanted = {name for name, of in shard_of.items() if of == shard}
        kept = [
            sample
            for index in range(start, min(start + SHARD_SIZE, len(samples)))
            if (sample := samples[index]).id in wanted
        ]
        if absent := wanted - {sample.id for sample in kept}:
            raise ValueError(f"its data here have no sample {min(absent)}, or not where it was")
        yield collate(kept)


class _Rerun:
    """The samples of one task, ready to be explained again."""

    def __init__(self, drawn: Drawn, entries: Catalog, device: torch.device) -> None:
        self.drawn, self.entries = drawn, entries
        task = _entry(entries.tasks, drawn.task, "task")
        if reason := task.unavailable():
            raise _NotRunError(reason)
        try:
            self.model = on_device(task, device)
            self.batches = list(_batches(task, drawn.samples))
            self.settings = Settings(Path(), device, seed=drawn.seed)
            self.companions = Companions(task, drawn.task, drawn.seed)
            model, settings = self.model, self.settings
            self.decided_companions = self.companions.decided(lambda batch: decide(model, batch, drawn.task, settings))
            self.decisions = self._decide(self.batches)
        except Exception as error:  # a task is a plugin: its cells are not run, with the reason
            raise _NotRunError(f"task: {one_line(error)}") from error
        self.here = {
            "task": repr(task),
            "weights": environment.weights_fingerprint(self.model),
            "versions": environment.versions(),
            "device": environment.device_name(device),
        }
        self.ids = [sample for batch in self.batches for sample in batch.ids]
        fingerprints = [environment.sample_fingerprints(batch) for batch in self.batches]
        self.data = {name: content for of_batch in fingerprints for name, content in of_batch.items()}
        classes = task.classes()
        indices = [index for one in self.decisions for index in one.targets.tolist()]
        self.targets = {name: classes[index] for name, index in zip(self.ids, indices, strict=True)}

    def explained(self, name: str, metrics: Sequence[str]) -> Iterator[Checked]:
        """What became of an explainer's drawn cells."""
        reasons: dict[str, str] = {}
        chosen: dict[str, Metric] = {}
        for metric in metrics:
            try:
                chosen[metric] = _entry(self.entries.metrics, metric, "metric")
            except _NotRunError as error:
                reasons[metric] = str(error)
        try:
            explainer = _entry(self.entries.explainers, name, "explainer")
        except _NotRunError as error:
            yield from (self._checked(name, metric, Verdict.NOT_RUN, reason=str(error)) for metric in metrics)
            return
        scores, failures = self._scores(self.decisions, explainer, chosen)
        reasons |= failures
        checked = {}
        for metric in scores:
            here = {
                **self.here,
                "explainer": settings_of(explainer),
                "metric": self.companions.settings_of(chosen[metric]),
            }
            checked[metric] = self._compared(name, metric, scores[metric], here)
        doubtful = {metric: chosen[metric] for metric, one in checked.items() if one.verdict is Verdict.DIFFERS}
        moved = self._moved(explainer, doubtful, scores) if doubtful else {}
        for metric in metrics:
            if metric in reasons:
                yield self._checked(name, metric, Verdict.NOT_RUN, reason=reasons[metric])
            elif metric in moved and _within(self._apart(name, metric, scores[metric]), moved[metric]):
                yield replace(checked[metric], verdict=Verdict.UNSTABLE)
            else:
                yield checked[metric]

    def _decide(self, batches: Sequence[Batch]) -> list[Decisions]:
        return [decide(self.model, batch, self.drawn.task, self.settings, self.decided_companions) for batch in batches]

    def _scores(
        self, decisions: Sequence[Decisions], explainer: Explainer, metrics: Mapping[str, Metric]
    ) -> tuple[dict[str, dict[str, float | None]], dict[str, str]]:
        """Metric -> sample -> score, None where it is inapplicable; metric -> why it failed."""
        job = Job(self.model, decisions, explainer, metrics)
        job.run()
        nothing: list[float | None] = [None] * len(self.ids)
        return {
            metric: dict(zip(self.ids, job.scores[metric].tolist() if metric in job.scores else nothing, strict=True))
            for metric in metrics
            if metric not in job.failures
        }, job.failures

    def _moved(
        self, explainer: Explainer, metrics: Mapping[str, Metric], scores: Mapping[str, Scores]
    ) -> dict[str, dict[str, float]]:
        """Metric -> sample -> how far its score moves at most when its image changes by `ROUNDING`."""
        moved = {metric: dict.fromkeys(self.ids, 0.0) for metric in metrics}
        for trial in range(N_ROUNDINGS):
            generator = torch.Generator().manual_seed(trial)
            nudged = []
            for batch, decisions in zip(self.batches, self.decisions, strict=True):
                signs = torch.randint(0, 2, batch.inputs.shape, generator=generator) * 2 - 1
                inputs = (batch.inputs + ROUNDING * signs).clamp(0, 1)
                nudged.append(batch._replace(inputs=inputs, targets=decisions.targets.cpu()))
            again, _ = self._scores(self._decide(nudged), explainer, metrics)
            for metric, others in again.items():
                for sample, score in others.items():
                    moved[metric][sample] = max(moved[metric][sample], _apart(scores[metric][sample], score))
        return moved

    def _apart(self, explainer: str, metric: str, scores: Scores) -> dict[str, float]:
        """Sample -> how far its score is from what was told, for all of which something was told."""
        told = self._told(explainer, metric)
        return {sample: _apart(told[sample], scores[sample]) for sample in told}

    def _told(self, explainer: str, metric: str) -> Scores:
        told = {}
        for sample, shard in self.drawn.samples.items():
            record = self.drawn.records.get((shard, explainer))
            known = _told(record, metric) if record is not None else {}
            told.update({sample: known[sample]} if sample in known else {})
        return told

    def _compared(self, explainer: str, metric: str, scores: Scores, here: Mapping[str, str]) -> Checked:
        apart = self._apart(explainer, metric, scores)
        worst = max(apart, key=lambda sample: apart[sample])
        told = self._told(explainer, metric)[worst]
        both = f"{worst}: {_shown(told)} there, {_shown(scores[worst])} here" if apart[worst] > 0 else ""
        if apart[worst] <= 1:
            return self._checked(explainer, metric, Verdict.REPRODUCED, len(apart), both)
        record = self.drawn.records[self.drawn.samples[worst], explainer]
        reason = "; ".join(self._differences(record, metric, worst, here)) or UNEXPLAINED
        return self._checked(explainer, metric, Verdict.DIFFERS, len(apart), both, reason)

    def _differences(self, record: Record, metric: str, sample: str, here: Mapping[str, str]) -> Iterator[str]:
        """What the record tells of its origin that is otherwise here."""
        there = {**record.provenance, "metric": record.cells[metric].settings}
        for what, value in here.items():
            if there.get(what) != value:
                yield f"{what}: {there.get(what)} there, {value} here"
        if record.samples.get(sample) != self.data[sample]:
            yield f"data: {sample} has another content here"
        if self.drawn.targets.get(sample, self.targets[sample]) != self.targets[sample]:
            yield f"decision: {self.drawn.targets[sample]} was explained there, {self.targets[sample]} here"

    def _checked(
        self, explainer: str, metric: str, verdict: Verdict, n: int = 0, worst: str = "", reason: str = ""
    ) -> Checked:
        return Checked(self.drawn.task, explainer, metric, verdict, n, worst, reason)


def _within(apart: Mapping[str, float], moved: Mapping[str, float]) -> bool:
    """Whether every score agrees, or is no further away than rounding may move it."""
    return all(distance <= max(1, MARGIN * moved[sample]) for sample, distance in apart.items())


def _apart(told: float | None, found: float | None) -> float:
    """In units of what is tolerated; None: inapplicable."""
    if told is None or found is None:
        return 0.0 if told is found else math.inf
    return float(deviations(told, found))


def _shown(score: float | None) -> str:
    return "inapplicable" if score is None else f"{score:.6g}"
