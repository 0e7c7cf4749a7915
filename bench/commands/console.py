"""What the commands share: where they print, their common options, how they complain."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from ..errors import UserError, one_line

out = Console()
err = Console(stderr=True)

Data = Annotated[
    Path | None, typer.Option("--data", metavar="DIR", help="Folder of the published data sets (or BENCH_DATA).")
]
Plugins = Annotated[
    list[Path] | None, typer.Option("--plugins", metavar="FILE", help="Your own .py file or package; repeatable.")
]
Device = Annotated[str, typer.Option(help="cpu, cuda, cuda:N, or auto.")]
Patterns = Annotated[str, typer.Option(help="Names or * patterns, comma-separated; '*': every one.")]
Results = Annotated[Path, typer.Option("--results", metavar="DIR", help="Where the records are.")]


def use_data(data: Path | None) -> None:
    if data is None:
        return
    if not data.is_dir():
        raise UserError(f"--data {data}: there is no such folder")
    os.environ["BENCH_DATA"] = str(data)


@contextmanager
def told() -> Iterator[None]:
    """What files and data are blamed for is one line, not a traceback."""
    try:
        yield
    except (ValueError, OSError) as error:
        raise UserError(str(error) or one_line(error)) from error


def progress_bar() -> Progress:
    return Progress(
        SpinnerColumn(),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.description}"),
        console=err,
        transient=True,
        disable=not err.is_terminal,
    )


def listing(title: str, *columns: str) -> Table:
    table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left")
    table.add_column("name", no_wrap=True)
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def names(text: str) -> list[str] | None:
    return [part.strip() for part in text.split(",") if part.strip()] or None
