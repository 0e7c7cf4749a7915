"""`bench submit`: a results folder in one file, with what it takes to check it."""

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from leaderboard.exchange.submission import pack

from .. import environment
from ..errors import UserError
from .console import Results, out, told


def submit(
    archive: Annotated[Path, typer.Option("--out", metavar="FILE", help="The archive to write, .zip.")],
    results: Results = Path("results"),
) -> None:
    """Pack a results folder: its records, their provenance, and the hash of every file.

    The same folder makes the same archive. `bench verify` checks it anywhere.
    """
    if archive.suffix != ".zip":
        raise UserError(f"--out {archive}: give it the ending .zip")
    with told():
        manifest = pack(results, archive, _packer())
    counts = manifest["counts"]
    out.print(
        escape(
            f"Written: {archive} ({archive.stat().st_size / 2**20:.1f} MiB): {counts['records']} records of "
            f"{len(manifest['tasks'])} tasks, {counts['scores']} scores; cells: {counts['scored']} scored, "
            f"{counts['failed']} failed, {counts['inapplicable']} inapplicable"
        ),
        soft_wrap=True,
        highlight=False,
    )
    for task, known in manifest["tasks"].items():
        mixed = [what for what in ("settings", "weights", "seeds") if len(known[what]) > 1]
        if mixed:
            line = (
                f"Note: {task} has records of several {' and '.join(mixed)}: `bench run` it again, or `bench merge` it"
            )
            out.print(escape(line), soft_wrap=True, highlight=False)


def _packer() -> dict[str, str]:
    try:
        release = version("heatmark")
    except PackageNotFoundError:
        release = "unknown"
    return {"heatmark": release, "commit": environment.commit(), "versions": environment.versions()}
