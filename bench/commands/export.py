"""`bench export`: the scores or the means of a results folder, as a table for other programs."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import pandas as pd
import typer

from leaderboard import record
from leaderboard.exchange.export import MEANS, SCORES, SUFFIXES, cut, means_table, scores_table, write_table

from ..catalog import matching
from ..errors import UserError
from .console import Patterns, Results, out, told


def _columns(title: str, columns: Mapping[str, str]) -> str:
    return "\n".join([title, *(f"  {name}: {meaning}" for name, meaning in columns.items())])


EPILOG = f"{_columns('Columns of the scores:', SCORES)}\n\n{_columns('Columns of the means (--means):', MEANS)}"
"""Beneath the command's help: a column a line."""


def export(
    file: Annotated[
        Path, typer.Option("--out", metavar="FILE", help="Where to write it: .csv, .parquet or .json by its ending.")
    ],
    results: Results = Path("results"),
    tasks: Patterns = "",
    explainers: Patterns = "",
    metrics: Patterns = "",
    means: Annotated[bool, typer.Option("--means", help="The means of `bench table` instead of the scores.")] = False,
) -> None:
    """Write the scores of a results folder, a row a sample and metric, with what is known of the samples."""
    if file.suffix not in SUFFIXES:
        raise UserError(f"--out {file}: give it the ending {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}")
    with told():
        table = means_table(record.load(results)) if means else scores_table(results)
        table = cut(
            table,
            _named(table, "task", tasks),
            _named(table, "explainer", explainers),
            _named(table, "metric", metrics),
        )
        write_table(table, file)
    what = "means" if means else "scores"
    out.print(f"Written: {file} ({len(table)} rows of {what}; `bench export --help` tells its columns)", soft_wrap=True)


def _named(table: pd.DataFrame, kind: str, patterns: str) -> set[str] | None:
    there = [str(name) for name in table[kind].unique()]
    return matching(there, patterns, kind, f"the results have {', '.join(there)}") if patterns else None
