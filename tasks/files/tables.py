"""Reading the tables of data sets: CSV files with a row of names at the top. Whatever is wrong is told in one line."""

import csv
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

Parsed = TypeVar("Parsed")


def read_table(
    path: Path,
    columns: Sequence[str],
    parse: Callable[[Mapping[str, str]], Parsed],
    remedy: str,
    key: str | None = None,
) -> list[Parsed]:
    """The rows of a table, each as `parse` makes it of its cells.

    Args:
        path: UTF-8, with or without a byte order mark, cells between commas, lines ending in any way.
        columns: Names that must be there; others may be.
        parse: Gets the cells of a row by their column, without blanks around them; may raise ValueError.
        remedy: What to do about a bad table, for the error.
        key: A column in which no two rows agree.

    Raises:
        ValueError: the table or a row makes no sense; one line that names the file and the row.
        OSError: there is no such file, or it may not be read.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            _check_header(reader.fieldnames or (), columns)
            rows = list(_parsed(reader, parse, key))
        if not rows:
            raise ValueError("has no row below its header")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: is not UTF-8 text; {remedy}") from error
    except (ValueError, csv.Error) as error:
        raise ValueError(f"{path}: {error}; {remedy}") from error
    return rows


def _check_header(names: Sequence[str], columns: Sequence[str]) -> None:
    if not names:
        raise ValueError("is empty")
    absent = [column for column in columns if column not in names]
    if absent and len(names) == 1 and (found := {";", "\t"} & set(names[0])):
        raise ValueError(f"has {found.pop()!r} between its cells, not commas")
    if absent:
        raise ValueError(f"has no column {', '.join(absent)}")
    if twice := [column for column in columns if list(names).count(column) > 1]:
        raise ValueError(f"has two columns called {twice[0]}")


def _parsed(
    reader: "csv.DictReader[str]", parse: Callable[[Mapping[str, str]], Parsed], key: str | None
) -> Iterator[Parsed]:
    n_cells, seen = len(reader.fieldnames or ()), set()
    for row in reader:
        try:
            if None in row or None in row.values():
                raise ValueError(f"it does not have {n_cells} cells as the header")
            cells = {name: cell.strip() for name, cell in row.items()}
            if key is not None:
                if cells[key] in seen:
                    raise ValueError(f"{cells[key]} is there twice")
                seen.add(cells[key])
            yield parse(cells)
        except ValueError as error:
            raise ValueError(f"line {reader.line_num}: {error}") from error
