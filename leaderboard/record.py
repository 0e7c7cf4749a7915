"""Records: the files that the bench writes and the leaderboard reads. All that the two share.

    results/<task>/<shard>/<explainer>.parquet   one row a sample and metric: sample, metric, score
    results/<task>/<shard>/samples.parquet       one row a sample: what was decided about it

A record's provenance and the state of its cells stand in the Parquet file's metadata, as JSON under the key
`heatmark`. A file is written under a temporary name and renamed: it is whole or absent. Copying two result
folders together joins two runs that share no record; `leaderboard.exchange.merging` joins any, and tells what does
not agree.
"""

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from enum import StrEnum
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

SAMPLES = "samples"
"""Name of the file, among a shard's records, that tells of the samples."""

HUMAN = "human"
"""The family, and the name in it, of a second reader of the images whose masks are judged as if they were maps."""

_KEY = b"heatmark"
_PLAIN = pa.schema([("sample", pa.string()), ("metric", pa.string()), ("score", pa.float64())])
_NAME = pa.dictionary(pa.int32(), pa.string())
_ENCODED = pa.schema([("sample", _NAME), ("metric", _NAME), ("score", pa.float64())])


class Status(StrEnum):
    """What became of a cell: one metric's judgement of one explainer on one shard of a task."""

    SCORED = "scored"
    FAILED = "failed"
    INAPPLICABLE = "inapplicable"


@dataclass(frozen=True)
class Cell:
    """What one metric made of one explainer on one shard, and how the metric was set."""

    category: str
    higher_is_better: bool
    settings: str
    """The metric's repr, and the fingerprint of its code: another one makes the cell stale."""
    status: Status
    reason: str = ""
    """Why the cell has no scores; empty where it has."""


@dataclass(frozen=True)
class Record:
    """One explainer's scores on one shard of one task, with where they come from."""

    task: str
    shard: str
    explainer: str
    family: str
    """The explainer's module: `lrp`, `cam`, `controls`, …"""
    provenance: Mapping[str, str]
    """What must be equal for the record to be used again: settings, fingerprints, seed, versions, device."""
    origin: Mapping[str, str]
    """What is kept for the reader: commit, when it was made (UTC), time spent, images forwarded, layer; `all_zero`, the
    samples (a JSON list) whose maps are 0 everywhere."""
    samples: Mapping[str, str]
    """Sample id -> fingerprint of its content."""
    cells: Mapping[str, Cell]
    """Metric -> its cell."""
    scores: pd.DataFrame = field(repr=False)
    """Columns sample, metric, score; nan: not defined for this sample. Only scored cells have rows."""


@dataclass(frozen=True)
class Results:
    """A results folder, read."""

    scores: pd.DataFrame
    """task, explainer, metric, sample, score; the first four categorical."""
    cells: pd.DataFrame
    """task, shard, explainer, family, metric, category, higher_is_better, settings, status, reason."""
    samples: pd.DataFrame
    """task, sample, label, prediction, target, probability, outcome, mask_area; patient, where a task knows it."""
    zero_maps: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=["task", "explainer", "sample"]))
    """task, explainer, sample: a row a map that is 0 everywhere."""
    human: "Results | None" = None
    """What is known of a second reader, who takes no part in any comparison; None: no image was read again."""


_N_READERS, _N_AT_ONCE = min(4, os.cpu_count() or 1), 64
"""Threads that read, and how many files each is given at a time."""

_HEAD = frozenset(Record.__dataclass_fields__) - {"scores"}
_CELL = Cell.__dataclass_fields__.keys()
_STATUS = {str(status): status for status in Status}

Read = TypeVar("Read")


def path_of(results: Path, task: str, shard: str, name: str) -> Path:
    """Where the record of an explainer (or `SAMPLES`) of a shard lies."""
    return results / task / shard / f"{name}.parquet"


def write(results: Path, record: Record) -> None:
    """Write a record, whole or not at all.

    Raises:
        OSError: the folder cannot be written or the disk is full; the older record, if any, is untouched.
    """
    head = {key: value for key, value in vars(record).items() if key != "scores"}
    head["cells"] = {metric: vars(cell) for metric, cell in record.cells.items()}
    table = pa.Table.from_pandas(record.scores, schema=_PLAIN, preserve_index=False).cast(_ENCODED)
    table = table.replace_schema_metadata({_KEY: json.dumps(head, sort_keys=True)})
    _write_whole(table, path_of(results, record.task, record.shard, record.explainer))


def read(path: Path) -> Record:
    """Read a record.

    Raises:
        ValueError: the file is no record; the message names it and says what to do.
    """
    table = _read_table(path)
    head = _head(table.schema, path)
    return Record(**head, scores=table.to_pandas())


def write_samples(results: Path, task: str, shard: str, samples: pd.DataFrame) -> None:
    """Write what was decided about samples of a shard: see `Results.samples`; the task is left out.

    Samples of an earlier, larger run stay: there are records that have scores of them.
    """
    path = path_of(results, task, shard, SAMPLES)
    if path.exists():
        before = read_samples(path)
        samples = pd.concat([samples, before[~before["sample"].isin(samples["sample"])]], ignore_index=True)
    _write_whole(pa.Table.from_pandas(samples, preserve_index=False), path)


def read_samples(path: Path) -> pd.DataFrame:
    """What `write_samples` has written.

    Raises:
        ValueError: the file cannot be read; the message names it and says what to do.
    """
    samples: pd.DataFrame = _read_table(path).to_pandas()
    return samples


def records(results: Path) -> Iterator[Path]:
    """The paths of all records in a results folder, sorted."""
    return (path for path in sorted(results.glob("*/*/*.parquet")) if path.stem != SAMPLES)


def heads(results: Path) -> Iterator[Record]:
    """Every record without its scores, in the order of `records`: what is in a file's metadata alone.

    Raises:
        ValueError: a file is no record.
    """
    for path in records(results):
        yield Record(**_head(_read_schema(path), path), scores=pd.DataFrame(columns=_PLAIN.names))


def load(results: Path) -> Results:
    """Read every record of a results folder.

    Raises:
        ValueError: there is no record, or a file is no record.
    """
    read_ones = list(_read_all(list(records(results)), _read_scores))
    if not read_ones:
        raise ValueError(f"no records in {results}: fill it with `bench run`, or name another with --results")
    heads, cells, tables = zip(*read_ones, strict=True)
    lengths = [len(table) for table in tables]
    scores = pa.concat_tables(tables).unify_dictionaries().to_pandas()
    for column in ("task", "explainer"):
        scores[column] = pd.Categorical([head[column] for head in heads]).repeat(lengths)
    return _parted(Results(scores, _cells(heads, cells), _load_samples(results), _zero_maps(heads)))


def _parted(whole: Results) -> Results:
    """The results with what is known of a second reader apart from the explainers."""
    tasks = set(whole.cells.task[whole.cells.family == HUMAN])
    if not tasks:
        return whole

    def part(of_human: bool) -> Results:
        frames = []
        for frame in (whole.scores, whole.cells, whole.zero_maps):
            human = (frame.explainer == HUMAN).to_numpy() & frame.task.isin(tasks).to_numpy()
            frames.append(frame[human == of_human].reset_index(drop=True))
        scores, cells, zero_maps = frames
        scores["explainer"] = scores.explainer.cat.remove_unused_categories()
        return Results(scores, cells, whole.samples, zero_maps)

    return replace(part(False), human=part(True))


def _read_scores(path: Path) -> tuple[dict[str, Any], dict[str, list[Any]], pa.Table]:
    """A record's head without its cells; its cells, a column at a time; its scores."""
    table = _read_table(path)
    head = _raw_head(table.schema, path)
    del head["samples"]
    cells = head.pop("cells")
    columns = {column: [cell[column] for cell in cells.values()] for column in _CELL}
    return head, {"metric": list(cells), **columns}, table.replace_schema_metadata(None)


def _read_all(paths: Sequence[Path], read: Callable[[Path], Read]) -> Iterator[Read]:
    """What is read from the files, in turn, some of them read ahead: pyarrow reads while Python works."""
    with ThreadPoolExecutor(_N_READERS) as readers:
        some = [paths[start : start + _N_AT_ONCE] for start in range(0, len(paths), _N_AT_ONCE)]
        for found in readers.map(lambda of: [read(path) for path in of], some):
            yield from found


def _cells(heads: Sequence[Mapping[str, Any]], cells: Sequence[Mapping[str, list[Any]]]) -> pd.DataFrame:
    """The cells of all records, in one table."""
    n_cells = [len(columns["metric"]) for columns in cells]
    of_record = {
        name: pd.Series([head[name] for head in heads]).repeat(n_cells).array
        for name in ("task", "shard", "explainer", "family")
    }
    of_cell = {name: list(chain.from_iterable(columns[name] for columns in cells)) for name in ("metric", *_CELL)}
    of_cell["status"] = [_STATUS[status] for status in of_cell["status"]]
    return pd.DataFrame({**of_record, **of_cell})


def _zero_maps(heads: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    zeros = [
        (head["task"], head["explainer"], sample)
        for head in heads
        for sample in json.loads(head["origin"].get("all_zero", "[]"))
    ]
    return pd.DataFrame(zeros, columns=["task", "explainer", "sample"]).drop_duplicates()


def _load_samples(results: Path) -> pd.DataFrame:
    paths = sorted(results.glob(f"*/*/{SAMPLES}.parquet"))
    tables = [table.replace_schema_metadata(None) for table in _read_all(paths, _read_table)]
    if not tables:
        return pd.DataFrame()
    frame: pd.DataFrame = pa.concat_tables(tables, promote_options="permissive").to_pandas()
    tasks = [path.parent.parent.name for path in paths]
    frame.insert(0, "task", np.repeat(np.array(tasks, dtype=object), [len(table) for table in tables]))
    return frame


def _head(schema: pa.Schema, path: Path) -> dict[str, Any]:
    head = _raw_head(schema, path)
    head["cells"] = {
        metric: Cell(**{**cell, "status": Status(cell["status"])}) for metric, cell in head["cells"].items()
    }
    return head


def _raw_head(schema: pa.Schema, path: Path) -> dict[str, Any]:
    """What the metadata say, held to be a record's."""
    if _KEY not in (schema.metadata or {}):
        raise ValueError(f"{path} is not a record of this benchmark: move it out of the results folder")
    try:
        head: dict[str, Any] = json.loads(schema.metadata[_KEY])
        missing = {key for key in _HEAD if key not in head}
        odd = [cell for cell in head["cells"].values() if cell.keys() != _CELL or cell["status"] not in _STATUS]
        if missing or odd:
            raise ValueError(f"its head lacks {', '.join(sorted(missing))}" if missing else f"a cell is {odd[0]}")
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} was written by another version ({error}): delete it and run again") from error
    return head


def _read_table(path: Path) -> pa.Table:
    try:
        # Several times faster than `read_table`, which looks for a data set, and than reading piece by piece: there may
        # be thousands of records, and each is small.
        with pa.BufferReader(path.read_bytes()) as source, pq.ParquetFile(source) as file:
            return file.read(use_threads=False)
    except (pa.ArrowInvalid, OSError) as error:
        raise _unreadable(path, error) from error


def _read_schema(path: Path) -> pa.Schema:
    try:
        return pq.read_schema(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> ValueError:
    return ValueError(f"{path} cannot be read ({error}): delete it, and `bench run` makes it again")


def _write_whole(table: pa.Table, path: Path) -> None:
    with whole(path) as unfinished:
        pq.write_table(table, unfinished)


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """The name under which to write a file: it is renamed at the end, so that the file is whole or as it was before."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield unfinished
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
