"""Results of several machines in one folder: what agrees is joined, what does not is told.

    merged = merge([Path("machine_a"), Path("machine_b")])
    if not merged.conflicts:
        write_merged(merged, Path("both"))

In a merged folder a task is one network on one set of data with one seed, an explainer and a metric have one setting a
task, and a record was made by one device with one set of versions. What contradicts that is a conflict: the record (or,
for a metric's settings or its scores, the cell) that is preferred stays, the other is left out.
"""

import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path

import numpy as np
import pandas as pd

from ..record import HUMAN, SAMPLES, Cell, Record, Status, path_of, read, read_samples, records, write, write_samples
from ..table import COSTS
from .tolerance import deviations


class Prefer(StrEnum):
    """Which of two that contradict each other stays."""

    FIRST = "first"
    """That of the folder that is named first."""
    NEWEST = "newest"
    """That which was made last; one that does not tell is older than any."""


Place = tuple[str, str, str]
"""Task, shard, explainer: what a record is of."""


@dataclass(frozen=True)
class Conflict:
    """Something that two folders tell differently."""

    what: str
    """Such as "weights"."""
    where: str
    """The task, or the task and what of it."""
    values: tuple[str, str]
    """That which is preferred, and the other."""
    folders: tuple[Path, Path]
    left_out: tuple[str, ...]
    """What has the other value, and is left out where the conflict is decided."""

    def line(self) -> str:
        """The conflict in one line."""
        (value, other), (folder, contender) = self.values, self.folders
        named = ", ".join(self.left_out[:3]) + (f" and {len(self.left_out) - 3} more" if len(self.left_out) > 3 else "")
        return f"{self.where}: {self.what}: {value} in {folder}, but {other} in {contender} ({named})"


@dataclass
class Merged:
    """What several folders hold together. Nothing of it is written yet."""

    records: dict[Place, Record] = field(default_factory=dict)
    samples: dict[tuple[str, str], pd.DataFrame] = field(default_factory=dict)
    """(task, shard) -> what is known of its samples."""
    conflicts: list[Conflict] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """What one should know, and what nobody has to decide."""
    n_twice: int = 0
    """Cells that more than one folder has, and that agree."""


def merge(folders: Sequence[Path], prefer: Prefer = Prefer.FIRST) -> Merged:
    """Read folders and put together what they hold. They are only read.

    Cells of the same record are joined; one that several folders have is taken once. A cell that failed gives way to
    one that did not. Scores of one cell agree within the tolerance of `tolerance.deviations`; of runtimes, which are
    never equal, the preferred ones stay.

    Args:
        folders: Results folders, the first one first.
        prefer: What stays where two contradict each other.

    Raises:
        ValueError: a folder has no record, or a file is no record.
    """
    candidates = [_Candidate(folder, read(path)) for folder in folders for path in _records(folder)]
    # Sorting is stable: the last key counts most.
    candidates.sort(key=lambda one: one.record.origin.get("made", ""), reverse=True)
    if prefer is Prefer.FIRST:
        candidates.sort(key=lambda one: list(folders).index(one.folder))
    candidates.sort(key=lambda one: not one.tells)
    merging = _Merging()
    for candidate in candidates:
        merging.add(candidate)
    return merging.finished()


def write_merged(merged: Merged, folder: Path) -> None:
    """Write what was merged into a new folder, which is whole or absent.

    Raises:
        ValueError: the folder is there already and is not empty.
        OSError: it cannot be written.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"{folder} is there already: name a new folder, and this one among the sources")
    unfinished = folder.with_name(f".{folder.name}.{os.getpid()}")
    try:
        for record in merged.records.values():
            write(unfinished, record)
        for (task, shard), samples in merged.samples.items():
            write_samples(unfinished, task, shard, samples)
        folder.parent.mkdir(parents=True, exist_ok=True)
        unfinished.replace(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _records(folder: Path) -> list[Path]:
    found = list(records(folder))
    if not found:
        raise ValueError(f"no records in {folder}: name folders that `bench run` has filled")
    return found


@dataclass(frozen=True)
class _Candidate:
    folder: Path
    record: Record

    @property
    def place(self) -> Place:
        return self.record.task, self.record.shard, self.record.explainer

    @property
    def name(self) -> str:
        return f"{self.record.explainer} of shard {self.record.shard}"

    @property
    def tells(self) -> bool:
        """Whether it says more than that something failed."""
        return any(cell.status is not Status.FAILED for cell in self.record.cells.values())


@dataclass(frozen=True)
class _Fact:
    """Something that all records of a scope have to say alike."""

    what: str
    where: str
    key: tuple[str, ...]
    value: str


class _Merging:
    def __init__(self) -> None:
        self.merged = Merged()
        self.facts: dict[tuple[str, ...], tuple[str, Path]] = {}
        """What every further record has to agree with, and the folder that told it first."""
        self.folder_of: dict[Place, Path] = {}
        """Where a record is from, or the larger part of it."""
        self.contradictions: dict[tuple[str, str, tuple[str, str], tuple[Path, Path]], list[str]] = {}
        self.sources: dict[tuple[str, str], list[Path]] = {}
        """(task, shard) -> the folders that its records are from."""
        self.n_gave_way = 0
        self.remeasured: set[str] = set()

    def add(self, candidate: _Candidate) -> None:
        facts = list(_facts(candidate.record))
        wrong = [fact for fact in facts if self.facts.get(fact.key, (fact.value,))[0] != fact.value]
        if wrong and not candidate.tells:
            self.n_gave_way += 1
        elif wrong:
            for fact in _data_once(wrong):
                self._contradict(fact.what, fact.where, self.facts[fact.key], fact.value, candidate)
        else:
            for fact in facts:
                self.facts.setdefault(fact.key, (fact.value, candidate.folder))
            self._join(candidate)

    def finished(self) -> Merged:
        merged = self.merged
        merged.conflicts = [
            Conflict(*of_what, left_out=tuple(sorted(set(names)))) for of_what, names in self.contradictions.items()
        ]
        for (task, shard), folders in sorted(self.sources.items()):
            self._take_samples(task, shard, folders)
        merged.records = dict(sorted(merged.records.items()))
        if self.n_gave_way:
            merged.notes.append(f"records that tell of failures only, and gave way to others: {self.n_gave_way}")
        if self.remeasured:
            where = ", ".join(sorted(self.remeasured))
            merged.notes.append(f"runtime was measured in several folders, and one measurement is kept: {where}")
        for task in dict.fromkeys(task for task, _, _ in merged.records):
            merged.notes += _mixtures(task, [one for place, one in merged.records.items() if place[0] == task])
        return merged

    def _contradict(self, what: str, where: str, kept: tuple[str, Path], value: str, candidate: _Candidate) -> None:
        key = what, where, (kept[0], value), (kept[1], candidate.folder)
        self.contradictions.setdefault(key, []).append(candidate.name)

    def _join(self, candidate: _Candidate) -> None:
        record, place = candidate.record, candidate.place
        cells = {name: cell for name, cell in record.cells.items() if self._is_set_as_usual(candidate, name, cell)}
        folders = self.sources.setdefault(place[:2], [])
        folders.extend([candidate.folder] if candidate.folder not in folders else [])
        if place not in self.merged.records:
            self.folder_of[place] = candidate.folder
            self.merged.records[place] = _only(record, cells)
            return
        base = self.merged.records[place]
        taken = {name: cell for name, cell in cells.items() if self._adds(base, candidate, name, cell)}
        self.merged.records[place] = _joined(base, _only(record, taken))

    def _is_set_as_usual(self, candidate: _Candidate, metric: str, cell: Cell) -> bool:
        """Whether the metric is set as in the rest of its column; what failed does not tell what is usual."""
        key = ("metric", candidate.record.task, metric)
        if cell.status is Status.FAILED:
            return self.facts.get(key, (cell.settings,))[0] == cell.settings
        usual = self.facts.setdefault(key, (cell.settings, candidate.folder))
        if usual[0] == cell.settings:
            return True
        self._contradict("settings", f"{candidate.record.task}, {metric}", usual, cell.settings, candidate)
        return False

    def _adds(self, base: Record, candidate: _Candidate, metric: str, cell: Cell) -> bool:
        """Whether anything of the cell may be joined to a record of the same provenance."""
        there = base.cells.get(metric)
        if there is None or there.status is Status.FAILED:
            return True
        if cell.status is Status.FAILED:
            return False
        where = f"{base.task}, {base.explainer} by {metric}"
        kept_in = self.folder_of[candidate.place]
        if there.status is not cell.status:
            self._contradict("status", where, (there.status, kept_in), cell.status, candidate)
            return False
        scores, others = _of_metric(base, metric), _of_metric(candidate.record, metric)
        common = scores.index.intersection(others.index)
        apart = deviations(scores[common], others[common])
        if cell.category == COSTS:
            self.remeasured.update([f"{base.task}, {metric}"] if (apart > 0).any() else [])
        elif (apart > 1).any():
            worst = common[int(np.argmax(apart))]
            kept, value = f"{scores[worst]:.6g}", f"{others[worst]:.6g}"
            self._contradict(f"score of sample {worst}", where, (kept, kept_in), value, candidate)
            return False
        self.merged.n_twice += 1
        return True

    def _take_samples(self, task: str, shard: str, folders: Sequence[Path]) -> None:
        """What is known of the samples of a shard, by the folder that is preferred."""
        paths = [path_of(folder, task, shard, SAMPLES) for folder in folders]
        frames = [read_samples(path) for path in paths if path.exists()]
        if not frames:
            return
        rows = pd.concat(frames, ignore_index=True)
        if "patient" in rows:  # a folder of an older version does not tell it
            rows["patient"] = rows.groupby("sample", sort=False).patient.transform("first")
        if moved := _moved(rows):
            self.merged.notes.append(
                f"{task}: another class is explained in another folder, of {len(moved)} samples of shard {shard}, "
                f"{moved[0]} first: a close decision that rounding has moved"
            )
        self.merged.samples[task, shard] = rows.drop_duplicates("sample", ignore_index=True)


def _facts(record: Record) -> Iterator[_Fact]:
    of_task, of_explainer = (record.task,), (record.task, record.explainer)
    of_record = (record.task, record.explainer, record.shard)
    scopes = {"task": of_task, "weights": of_task, "seed": of_task, "explainer": of_explainer}
    for key, value in record.provenance.items():
        scope = scopes.get(key, of_record)
        what = "settings" if key in ("task", "explainer") else key
        yield _Fact(what, ", ".join(scope[:2]), (key, *scope), value)
    data = "data" if record.family != HUMAN else "second reading"
    for sample, content in record.samples.items():
        yield _Fact(f"{data} of sample {sample}", record.task, (data, record.task, sample), content)


def _data_once(wrong: Sequence[_Fact]) -> Iterator[_Fact]:
    """Samples whose data differ, hundreds perhaps, as one."""
    data = [fact for fact in wrong if fact.key[0] in ("data", "second reading")]
    yield from (fact for fact in wrong if fact not in data)
    if data:
        others = f" and {len(data) - 1} others" if len(data) > 1 else ""
        yield replace(data[0], what=f"{data[0].what}{others}")


def _only(record: Record, cells: Mapping[str, Cell]) -> Record:
    """The record with these cells of it."""
    scores = record.scores.astype({"sample": object, "metric": object})
    return replace(record, cells=dict(cells), scores=scores[scores["metric"].isin(list(cells))])


def _joined(base: Record, other: Record) -> Record:
    """Both together; where both have a score, that of the base. Cells of the base that failed give way."""
    scores = pd.concat([base.scores, other.scores]) if len(other.scores) else base.scores
    whole = {metric: cell for metric, cell in base.cells.items() if cell.status is not Status.FAILED}
    cells = {**base.cells, **other.cells, **whole}
    zero_maps = {name for one in (base, other) for name in json.loads(one.origin.get("all_zero", "[]"))}
    return replace(
        base,
        samples={**base.samples, **other.samples},
        cells={metric: cells[metric] for metric in sorted(cells)},
        scores=scores.drop_duplicates(["metric", "sample"]).sort_values(["metric", "sample"], ignore_index=True),
        origin={**base.origin, "all_zero": json.dumps(sorted(zero_maps))},
    )


def _of_metric(record: Record, metric: str) -> "pd.Series[float]":
    """Sample -> score."""
    rows = record.scores[record.scores["metric"] == metric]
    return pd.Series(rows["score"].to_numpy(dtype=float), index=rows["sample"].astype(object))


def _moved(samples: pd.DataFrame) -> list[str]:
    """The samples of which folders explain different classes."""
    if "target" not in samples:
        return []
    n_targets = samples.groupby("sample", sort=False)["target"].nunique()
    return list(n_targets.index[n_targets > 1])


def _mixtures(task: str, found: Sequence[Record]) -> Iterator[str]:
    """What records that may stand in one folder have been made with, where it is not the same for all."""
    told = [one for one in found if any(cell.status is not Status.FAILED for cell in one.cells.values())]
    for what, plural in (("versions", "versions"), ("device", "devices")):
        groups: dict[str, list[str]] = {}
        for one in told:
            groups.setdefault(one.provenance.get(what, "unknown"), []).append(one.explainer)
        if len(groups) > 1:
            shown = "; ".join(f"{value} ({', '.join(sorted(set(who)))})" for value, who in groups.items())
            costs = sorted({name for one in told for name, cell in one.cells.items() if cell.category == COSTS})
            timed = f"; do not compare their {', '.join(costs)}" if costs else ""
            yield f"{task}: made with several {plural}: {shown}{timed}"
