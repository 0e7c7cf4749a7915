"""Results for other programs: one long table of all scores, or of all means, as CSV, Parquet or JSON.

table = scores_table(Path("results"))
table[table.metric == "srg"].pivot_table(values="score", index="sample", columns="explainer")
write_table(table, Path("scores.parquet"))
"""

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from ..record import HUMAN, SAMPLES, Record, Results, Status, read, read_samples, records, whole
from ..table import CONTROLS, leaderboard

SUFFIXES = (".csv", ".parquet", ".json")
"""The formats that are written, by the file's ending."""

UNDEFINED = "undefined"
"""Status of a score that the metric does not define for the sample."""

SCORES: Mapping[str, str] = {
    "task": "the task's public name",
    "sample": "the sample's id, unique within its task; missing where a task failed before it had samples",
    "patient": "whose image it is; missing where nobody knows. Samples of one patient are not independent",
    "label": "the true class; of a multi-label task all that are there, joined by ' | '; 'unknown' where nobody knows",
    "prediction": "the class that the network predicts; of a multi-label task all that it says are there",
    "outcome": "true positive, false positive, true negative, false negative or unknown",
    "target": "the class whose logit is explained",
    "probability": "what the network gives the target, in [0, 1]",
    "mask_area": "share of the image that the mask of the evidence covers, in [0, 1]; missing where no mask is known",
    "explainer": "the explainer's public name",
    "family": "the explainer's family: cam, gradient, lrp, …",
    "control": "whether the explainer is a control, which knows nothing of the network, or human, a second reader",
    "zero_map": "whether the map is 0 everywhere; false also where there is no map",
    "metric": "the metric's public name",
    "category": "the metric's family: faithfulness, localization, …",
    "higher_is_better": "whether a higher score is a better one",
    "score": "the score, in the metric's unit; missing where there is none",
    "status": "scored; undefined (the metric is not defined for this sample); failed; inapplicable",
    "reason": "why a cell failed or is inapplicable; else empty",
    "device": "the machine that computed: compare runtimes of one device only",
}
"""The columns of `scores_table`, in their order, and what they hold."""

MEANS: Mapping[str, str] = {
    "task": "the task's public name",
    "outcomes": "the outcomes that the table is cut to; empty: all",
    "stratum": "the samples' stratum by the size of the evidence; empty: all",
    "n_samples": "samples of the task, after the cut",
    "n_patients": "whose they are: intervals and tests count patients; missing where nobody knows",
    "category": "the metric's family",
    "metric": "the metric's public name",
    "higher_is_better": "whether a higher score is a better one",
    "tells_noise": "whether any explainer is significantly better than the control noise, over the samples of all "
    "tasks; missing: nobody knows, or a runtime",
    "explainer": "the explainer's public name",
    "family": "the explainer's family",
    "control": "whether the explainer is a control, or human, a second reader: compared with, not ranked",
    "n": "samples that count",
    "n_undefined": "samples that the metric is not defined for",
    "n_zero_maps": "samples whose map is 0 everywhere",
    "mean": "mean of the scores of the samples that count",
    "low": "lower end of the mean's 95 % bootstrap interval",
    "high": "upper end of it",
    "rank": "1 + number of explainers that are separably better; missing: a control, a runtime, no scores",
    "best": "whether the explainer is not separable from the best",
    "beats_controls": "whether it is significantly better than every control",
    "status": "scored, failed, inapplicable, partial (some shards scored, some not), missing (nothing tells of it)",
    "reason": "why there are no scores, or that settings differ from those of most of the column",
}
"""The columns of `means_table`, in their order, and what they hold."""

_FACTS = ["patient", "label", "prediction", "outcome", "target", "probability", "mask_area"]
_NUMBERS = ["probability", "mask_area", "score"]
_ROWS_AT_ONCE = 10_000


def scores_table(results: Path) -> pd.DataFrame:
    """All scores of a results folder, with what is known of their samples: the columns `SCORES`.

    A row a task, explainer, metric and sample, sorted by them; text is categorical. A cell that failed or is
    inapplicable has a row a sample too, without a score. A sample that two shards share has one row.

    Raises:
        ValueError: there is no record, or a file is no record.
    """
    heads, cells, rows = [], [], []
    for index, path in enumerate(records(results)):
        record = read(path)
        heads.append(_head(record))
        cells += [{"record": index, "metric": metric, **vars(cell)} for metric, cell in record.cells.items()]
        rows.append(_rows(record).assign(record=index))
    if not rows:
        raise ValueError(f"no records in {results}: fill it with `bench run`, or name another with --results")
    key = ["task", "explainer", "metric", "sample"]
    table = pd.concat(rows, ignore_index=True)
    table = table.merge(pd.DataFrame(heads), left_on="record", right_index=True, validate="many_to_one")
    table = table.merge(pd.DataFrame(cells).astype({"status": str}), on=["record", "metric"], validate="many_to_one")
    table = table.merge(_samples(results), on=["task", "shard", "sample"], how="left", validate="many_to_one")
    undefined = (table.status == Status.SCORED) & ~np.isfinite(table.score)
    table["status"] = table.status.mask(undefined, UNDEFINED)
    table = table.drop_duplicates(key, keep="last").sort_values(key, ignore_index=True)[list(SCORES)]
    texts = [name for name in SCORES if table[name].dtype != bool and name not in _NUMBERS]
    return table.assign(**{name: _categorical(table[name]) for name in texts})


def means_table(results: Results) -> pd.DataFrame:
    """The long table of `table.leaderboard`, whole: the columns `MEANS`."""
    return leaderboard(results)[list(MEANS)]


def cut(
    table: pd.DataFrame,
    tasks: Collection[str] | None = None,
    explainers: Collection[str] | None = None,
    metrics: Collection[str] | None = None,
) -> pd.DataFrame:
    """The rows of these tasks, explainers and metrics; None: all. What a row says is not computed anew.

    Raises:
        ValueError: no row is left.
    """
    for column, wanted in (("task", tasks), ("explainer", explainers), ("metric", metrics)):
        if wanted is not None:
            table = table[table[column].isin(list(wanted))]
    if table.empty:
        raise ValueError(
            "nothing is left to export: the results do not have these tasks, explainers and metrics together"
        )
    return table.reset_index(drop=True)


def write_table(table: pd.DataFrame, path: Path) -> None:
    """Write a table, whole or not at all, in the format of the path's ending; an older file is replaced.

    Numbers survive exactly. CSV: missing is an empty field. Parquet: text is dictionary-encoded, and comes back
    categorical. JSON: a list of objects, one a row; missing and infinite are null.

    Raises:
        ValueError: the ending is not one of `SUFFIXES`.
        OSError: the file cannot be written.
    """
    if path.suffix not in SUFFIXES:
        raise ValueError(f"{path}: give it the ending {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}")
    with whole(path) as unfinished:
        if path.suffix == ".csv":
            table.to_csv(unfinished, index=False, lineterminator="\n")
        elif path.suffix == ".parquet":
            pq.write_table(pa.Table.from_pandas(table, preserve_index=False), unfinished)
        else:
            _write_json(table, unfinished)


def _head(record: Record) -> dict[str, Any]:
    """What is the same for all rows of a record."""
    return {
        "task": record.task,
        "shard": record.shard,
        "explainer": record.explainer,
        "family": record.family,
        "control": record.family in (CONTROLS, HUMAN),
        "device": record.provenance.get("device", ""),
    }


def _rows(record: Record) -> pd.DataFrame:
    """sample, metric, score, zero_map: those with a score, and a row a sample of the cells without."""
    scored = record.scores.astype({"sample": object, "metric": object})
    unscored = [metric for metric, cell in record.cells.items() if cell.status is not Status.SCORED]
    empty = [(sample, metric, np.nan) for metric in unscored for sample in record.samples or [None]]
    rows = pd.DataFrame([*scored.itertuples(index=False, name=None), *empty], columns=["sample", "metric", "score"])
    zero_maps = json.loads(record.origin.get("all_zero", "[]"))
    return rows.astype({"sample": object, "score": float}).assign(zero_map=rows["sample"].isin(zero_maps))


def _categorical(column: pd.Series) -> pd.Series:
    """Categories of text, also where nothing is known: numbers that are missing would not come back as text."""
    found = column.astype("category")
    return found if len(found.cat.categories) else found.cat.set_categories(pd.Index([], dtype=str))


def _samples(results: Path) -> pd.DataFrame:
    """task, shard, sample, and what is known of it."""
    frames = [
        read_samples(path).assign(task=path.parent.parent.name, shard=path.parent.name)
        for path in sorted(results.glob(f"*/*/{SAMPLES}.parquet"))
    ]
    columns = ["task", "shard", "sample", *_FACTS]
    facts = pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=columns)
    numbers = {name: float for name in _NUMBERS if name in _FACTS}
    return facts.reindex(columns=columns).astype({"sample": object, **numbers}).drop_duplicates(columns[:3])


def _write_json(table: pd.DataFrame, path: Path) -> None:
    """Part by part: all rows as objects at once would take gigabytes."""
    names = list(table.columns)
    with path.open("w", encoding="utf-8") as file:
        file.write("[")
        for start in range(0, len(table), _ROWS_AT_ONCE):
            part = table.iloc[start : start + _ROWS_AT_ONCE]
            rows = zip(*(_plain(part[name]) for name in names), strict=True)
            lines = (
                json.dumps(dict(zip(names, row, strict=True)), ensure_ascii=False, allow_nan=False) for row in rows
            )
            file.write(("\n" if start == 0 else ",\n") + ",\n".join(lines))
        file.write("\n]\n")


def _plain(column: pd.Series) -> list[Any]:
    """The values as Python's own, None where there is no value or it is infinite."""
    there = column.notna()
    if pd.api.types.is_float_dtype(column):
        there &= ~column.isin([np.inf, -np.inf])
    values: list[Any] = column.astype(object).where(there, None).tolist()
    return values
