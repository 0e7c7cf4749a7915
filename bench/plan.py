"""What is wanted of one explainer on one shard, what of it is there already, and what has to be computed."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import pandas as pd

from leaderboard.record import Cell, Record, Status


@dataclass(frozen=True)
class Todo:
    """What remains to be done for a record."""

    metrics: tuple[str, ...]
    """Those to compute; empty: the record is complete."""
    stale: str | None
    """What made the older record useless (its weights have changed, say); None: nothing did."""
    kept: Record
    """The record to start from: the older one's valid cells and scores, under the wanted provenance."""


def todo(wanted: Record, existing: Record | None) -> Todo:
    """Compare the wanted record (its cells without scores) with the one that is there.

    A cell counts as there when everything in its record's provenance, its samples and its own settings are as
    wanted, and it has a score for every wanted sample or a reason for having none. A failed cell is tried again.
    """
    if existing is None:
        return Todo(tuple(wanted.cells), None, _emptied(wanted))
    changed = _changed(wanted, existing)
    if changed:
        return Todo(tuple(wanted.cells), ", ".join(changed), _emptied(wanted))
    there, outdated = [], []
    covered = _covered(existing.scores, set(wanted.samples))
    for metric, cell in wanted.cells.items():
        old = existing.cells.get(metric)
        if old is None:
            continue
        if old.settings != cell.settings:
            outdated.append(metric)
        elif old.status is Status.INAPPLICABLE or (old.status is Status.SCORED and metric in covered):
            there.append(metric)
    missing = tuple(metric for metric in wanted.cells if metric not in there)
    valid = {metric: cell for metric, cell in existing.cells.items() if metric not in missing}
    kept = replace(
        wanted,
        samples={**existing.samples, **wanted.samples},
        cells=valid,
        scores=existing.scores[existing.scores["metric"].isin(list(valid))],
    )
    return Todo(missing, f"settings of {', '.join(outdated)}" if outdated else None, kept)


def with_scores(record: Record, cells: Mapping[str, Cell], scores: pd.DataFrame) -> Record:
    """The record with further cells and their scores, sorted: the same content is the same file."""
    rows = scores if record.scores.empty else pd.concat([record.scores.astype({"sample": str, "metric": str}), scores])
    rows = rows.sort_values(["metric", "sample"], kind="stable", ignore_index=True)
    merged = {**record.cells, **cells}
    return replace(record, cells={metric: merged[metric] for metric in sorted(merged)}, scores=rows)


def _emptied(wanted: Record) -> Record:
    return replace(wanted, cells={})


def _changed(wanted: Record, existing: Record) -> list[str]:
    """What differs so that no cell of the existing record can be used."""
    keys = sorted(wanted.provenance.keys() | existing.provenance.keys())
    changed = [key for key in keys if wanted.provenance.get(key) != existing.provenance.get(key)]
    if any(existing.samples.get(name, content) != content for name, content in wanted.samples.items()):
        changed.append("data")
    return changed


def _covered(scores: pd.DataFrame, samples: set[str]) -> set[str]:
    """Metrics that have a row for every one of the samples."""
    counts = scores[scores["sample"].isin(list(samples))].groupby("metric", observed=True)["sample"].nunique()
    return {str(metric) for metric, count in counts.items() if count == len(samples)}
