"""`bench verify`: whether an archive of results is whole, and whether its scores can be had again."""

import hashlib
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.markup import escape

from leaderboard.exchange.submission import unpack
from leaderboard.exchange.tolerance import ABSOLUTE, RELATIVE

from .. import environment
from ..catalog import catalog
from ..errors import UserError
from ..verification import Checked, Drawn, Verdict, draw, rerun
from .console import Data, Device, Patterns, Plugins, listing, out, progress_bar, told, use_data


def verify(
    archive: Annotated[Path, typer.Argument(metavar="FILE", help="What `bench submit` has written.")],
    samples: Annotated[int, typer.Option(min=1, help="Samples drawn of each task.")] = 4,
    cells: Annotated[int, typer.Option(min=1, help="Pairs of explainer and metric drawn of each task.")] = 12,
    tasks: Patterns = "",
    draw_seed: Annotated[
        int | None, typer.Option(help="Of the draw; default: the archive's own hash, so that it cannot be chosen.")
    ] = None,
    device: Device = "auto",
    data: Data = None,
    plugins: Plugins = None,
) -> None:
    """Check the hashes of an archive, then compute a drawn part of its scores again and compare.

    Runtimes are not drawn: they are another machine's.

    Exit status: 0 all that was drawn is reproduced, but for what is unstable: scores that move as far when the images
    are changed by rounding alone; 1 some of it differs or cannot be run here; 2 the archive is damaged or was changed.
    """
    use_data(data)
    place = environment.device_of(device)
    environment.compute_exactly()
    with tempfile.TemporaryDirectory() as temporary, told():
        manifest = unpack(archive, Path(temporary))
        _print(f"{archive}: {len(manifest['files'])} files are what was packed; {_origin(manifest)}")
        seed = hashlib.sha256(archive.read_bytes()).hexdigest() if draw_seed is None else draw_seed
        drawn = draw(Path(temporary), seed, samples, cells, tasks)
    if not drawn:
        raise UserError(f"{archive}: there is nothing to compute again: every cell failed, or is a runtime")
    checked = _rerun(drawn, plugins, place)
    _show(checked)
    if any(one.verdict in (Verdict.DIFFERS, Verdict.NOT_RUN) for one in checked):
        raise typer.Exit(1)


def _rerun(drawn: Sequence[Drawn], plugins: list[Path] | None, place: torch.device) -> list[Checked]:
    entries = catalog(plugins or ())
    checked: list[Checked] = []
    with progress_bar() as bar:
        step = bar.add_task("", total=sum(len(one.cells) for one in drawn))
        for one in drawn:
            bar.update(step, description=one.task)
            checked += rerun(one, entries, place, lambda: bar.advance(step))
    return checked


def _show(checked: Sequence[Checked]) -> None:
    table = listing("", "explainer", "metric", "samples", "verdict", "furthest apart")
    table.columns[0].header = "task"
    for one in checked:
        cells = (one.task, one.explainer, one.metric, str(one.n or ""), str(one.verdict), one.worst)
        table.add_row(*(escape(cell) for cell in cells))
    out.print(table)
    for verdict in (Verdict.DIFFERS, Verdict.NOT_RUN):
        reasons: dict[tuple[str, str], list[str]] = {}
        for one in checked:
            if one.verdict is verdict:
                reasons.setdefault((one.task, one.reason), []).append(f"{one.explainer} by {one.metric}")
        for (task, reason), who in reasons.items():
            _print(f"{str(verdict).capitalize()}: {task}, {', '.join(who)}: {reason}")
    counts = Counter(one.verdict for one in checked)
    _print(
        f"Of {len(checked)} cells drawn: {', '.join(f'{counts[verdict]} {verdict}' for verdict in Verdict)}. "
        f"Scores agree that are at most {ABSOLUTE:g} + {RELATIVE:g} of the larger one apart."
    )


def _origin(manifest: dict[str, object]) -> str:
    told = {name: manifest[name] for name in ("commits", "devices", "versions")}
    return "; ".join(
        f"{name}: {', '.join(map(str, values))}" for name, values in told.items() if isinstance(values, list)
    )


def _print(line: str) -> None:
    out.print(escape(line), soft_wrap=True, highlight=False)
