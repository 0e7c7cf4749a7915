"""`bench crosscheck`: are our numbers those of Quantus where the definitions are the same?"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Annotated

import pandas as pd
import torch
import typer
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.padding import Padding
from rich.text import Text

from explainers.base import Explainer
from metrics.base import Decisions, Explanation
from metrics.reference.adapter import Reference, quantus
from tasks.base import Task

from .. import environment
from ..catalog import Catalog, catalog, matching, select
from ..crosscheck import Case, Found, crosscheck, table, without_ties
from ..errors import UserError
from ..pairs.listed import PAIRS
from ..runner import on_device
from .console import Data, Device, Plugins, out, told, use_data

_HEADER = """# Ours against Quantus

Both judge the same maps of the same samples, with settings matched so that the numbers should be the same wherever the
definitions are. Maps are freed of ties, which both break in their own way. Made by

    {command}

{note}

{table}

n counts samples, over all maps, for which ours is defined; the largest difference and Spearman's correlation are over
them. Scores beyond 1 are compared as shares of themselves; equal is what differs by 1e-5 or less. Seconds are those of
this run: both were given the same work, one metric at a time, so nothing is shared between metrics or explainers as it
is in a run; they are no benchmark, which is `pytest tests/benchmarks --benchmark-only`.
"""


def crosscheck_command(
    tasks: Annotated[str, typer.Option(help="Names or * patterns, comma-separated.")] = "phantom_brain_mri_vgg16",
    explainers: Annotated[str, typer.Option(help="Names or * patterns: whose maps are judged.")] = "gradient,grad_cam",
    metrics: Annotated[str, typer.Option(help="Names of ours, or * patterns.")] = "*",
    samples: Annotated[int, typer.Option(min=1, help="The first so many of each task.")] = 8,
    seed: Annotated[int, typer.Option(help="Of all that is random.")] = 0,
    device: Device = "auto",
    csv: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the table there, too.")] = None,
    markdown: Annotated[Path | None, typer.Option(metavar="FILE", help="Write it as a page, as in docs.")] = None,
    data: Data = None,
    plugins: Plugins = None,
) -> None:
    """Hold our metrics against Quantus's: same samples, same maps, settings matched.

    Exit status 1: some that should be equal are not.
    """
    use_data(data)
    found = catalog(plugins or ())
    chosen = matching({pair.ours for pair in PAIRS}, metrics, "metric of the crosscheck", "leave --metrics out")
    pairs = [pair for pair in PAIRS if pair.ours in chosen]
    library = _library()
    place = environment.device_of(device)
    environment.compute_exactly()
    with told():
        cases = list(_cases(found, tasks, explainers, samples, seed, place, library))
    outcomes = crosscheck(pairs, cases)
    rows = table(outcomes)
    if len(pairs) == len(PAIRS):
        rows = pd.concat([rows, _not_compared(found)], ignore_index=True)
    out.print(_shown(rows))
    with told():
        if csv is not None:
            rows.to_csv(csv, index=False)
        if markdown is not None:
            command = f"bench crosscheck --tasks {tasks} --explainers {explainers} --samples {samples}"
            markdown.write_text(_page(rows, f"{command} --markdown {markdown.as_posix()}", library), encoding="utf-8")
    for line in _lines(outcomes):
        out.print(escape(line), soft_wrap=True, highlight=False)
    if any(one.wanting for one in outcomes):
        raise typer.Exit(1)


def _library() -> ModuleType:
    try:
        return quantus()
    except RuntimeError as error:
        raise UserError(str(error)) from error


def _cases(
    found: Catalog,
    tasks: str,
    explainers: str,
    n_samples: int,
    seed: int,
    device: torch.device,
    library: ModuleType,
) -> Iterator[Callable[[], Case]]:
    """One a task and explainer; what each makes is fresh, so that no pair finds another's answers."""
    for name, task in select(found.tasks, tasks, "task").items():
        if reason := task.unavailable():
            raise UserError(f"{name}: {reason}")
        for known, explainer in select(found.explainers, explainers, "explainer").items():
            yield _case(name, task, known, explainer, n_samples, seed, device, library)


def _case(
    name: str,
    task: Task,
    known: str,
    explainer: Explainer,
    n_samples: int,
    seed: int,
    device: torch.device,
    library: ModuleType,
) -> Callable[[], Case]:
    model, batch = on_device(task, device), next(task.batches(n_samples, 0, n_samples))
    if reason := explainer.inapplicable(model):
        raise UserError(f"{known} cannot explain {name}: {reason}")
    tensors = [None if one is None else one.to(device) for one in (batch.targets, batch.labels, batch.masks)]

    def decide() -> Decisions:
        targets, labels, masks = tensors
        return Decisions(
            model,
            batch.inputs.to(device),
            targets,
            labels,
            batch.ids,
            masks,
            task=name,
            seed=seed,
            batch_size=n_samples,
        )

    decisions = decide()
    maps = without_ties(decisions, explainer(model, decisions.inputs, decisions.targets))
    return lambda: Case(Explanation(decide(), maps, explainer), library, model, seed)


_REASONS = {"Monotonicity": "Quantus is wrong: it replaces black by black, so that every map is monotone; we have none"}


def _not_compared(found: Catalog) -> pd.DataFrame:
    """What Quantus has and no pair takes up, with the reason where there is one."""
    taken = {pair.quantus for pair in PAIRS}
    others = [
        entry for entry in found.metrics.values() if isinstance(entry, Reference) and type(entry).__name__ not in taken
    ]
    names = [type(entry).__name__ for entry in others]
    reasons = [_REASONS.get(name) or f"Quantus's {entry.impossible}" for name, entry in zip(names, others, strict=True)]
    return pd.DataFrame(
        {
            "metric": "",
            "Quantus": names,
            "settings": "",
            "n": 0,
            "verdict": [f"not compared: {reason}" for reason in reasons],
        }
    )


_HEADS = {
    "metric": "metric",
    "n": "n",
    "largest difference": "difference",
    "Spearman": "Spearman",
    "seconds": "seconds",
    "Quantus's seconds": "Quantus",
}
"""Column -> its heading on a terminal, where all stand side by side in 80 letters; the other columns go beneath."""


def _shown(rows: pd.DataFrame) -> Group:
    """A line of numbers a pair, and beneath it, over the whole width, what was compared and the verdict."""
    texts = [dict(zip(rows.columns, row, strict=True)) for row in _texts(rows)]
    widths = {column: max(len(head), *(len(row[column]) for row in texts)) for column, head in _HEADS.items()}
    lines: list[RenderableType] = [Text("Ours against Quantus", style="bold"), Text(_line(_HEADS, widths), style="dim")]
    for row in texts:
        lines += [Text(_line(row, widths))] if row["metric"] else []
        lines.append(Padding(_beneath(row), (0, 0, 0, 2)))
    return Group(*lines)


def _line(row: Mapping[str, str], widths: Mapping[str, int]) -> str:
    name, *numbers = (
        row[column].ljust(width) if column == "metric" else row[column].rjust(width) for column, width in widths.items()
    )
    return "  ".join([name, *numbers])


def _beneath(row: Mapping[str, str]) -> Text:
    fine = row["verdict"] == "equal"
    told = Text(f"{row['Quantus']} · ", style="dim").append(
        row["verdict"], style="not dim" if fine else "not dim yellow"
    )
    return told.append(f" · {row['settings']}") if row["settings"] else told


_FORMATS = {
    "n": "{:.0f}",
    "largest difference": "{:.1e}",
    "Spearman": "{:.3f}",
    "seconds": "{:.2f}",
    "Quantus's seconds": "{:.2f}",
}


def _texts(rows: pd.DataFrame) -> list[list[str]]:
    return [[_text(column, value) for column, value in row.items()] for row in rows.to_dict("records")]


def _text(column: object, value: object) -> str:
    form = _FORMATS.get(str(column))
    if form is None:
        return str(value)
    return "–" if not isinstance(value, int | float) or math.isnan(value) else form.format(value)


def _page(rows: pd.DataFrame, command: str, library: ModuleType) -> str:
    texts = [[text.replace("|", "\\|") for text in row] for row in _texts(rows)]
    aligned = ["--:" if column in _FORMATS else ":--" for column in rows.columns]
    lines = "\n".join(f"| {' | '.join(row)} |" for row in (list(rows.columns), aligned, *texts))
    note = f"with Quantus {library.__version__} and {environment.versions()}."
    return _HEADER.format(command=command, note=note, table=lines)


def _lines(outcomes: Sequence[Found]) -> list[str]:
    equal = [one for one in outcomes if one.verdict == "equal"]
    lines = [f"{len(equal)} of {len(outcomes)} pairs are equal; for the others the table says why not."]
    return lines + [
        f"NOT equal, and should be: {one.pair.ours} and Quantus's {one.pair.quantus} ({one.verdict}, "
        f"largest difference {one.difference:.1e} of {len(one.ours)} samples)"
        for one in outcomes
        if one.wanting
    ]
