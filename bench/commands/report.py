"""`bench report`: a results folder as one page for a browser."""

from pathlib import Path
from typing import Annotated

import typer

from leaderboard.report.building import N_IMAGES, report

from ..catalog import catalog
from ..telling import told_of
from .console import Data, Plugins, Results, out, told, use_data


def write_report(
    results: Results = Path("results"),
    out_file: Annotated[Path, typer.Option("--out", metavar="FILE", help="Where to write it.")] = Path("report.html"),
    images: Annotated[int, typer.Option(min=0, help="Of each task in the gallery, at most.")] = N_IMAGES,
    data: Data = None,
    plugins: Plugins = None,
) -> None:
    """Write a results folder as one HTML file: tables, plots, maps, and where all of it comes from."""
    use_data(data)
    found = catalog(plugins or ())
    with told():
        page = report(results, told_of(found, results), images)
        out_file.parent.mkdir(parents=True, exist_ok=True)
        # As it is: a changed line end would change the hash by which the page knows its scripts.
        out_file.write_text(page, encoding="utf-8", newline="")
    size = len(page.encode()) / 1e6
    out.print(f"Written: {out_file} ({size:.1f} MB)", soft_wrap=True, highlight=False)
