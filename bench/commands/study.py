"""`bench study`: questions that take several tasks or several maps of one network, each answered on one page."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from leaderboard.studies import accuracy as accuracies
from leaderboard.studies import composites as ranking
from leaderboard.studies import shortcut as shortcuts
from leaderboard.studies import training
from leaderboard.studies.page import Page, markdown
from leaderboard.studies.scores import CUE, joined
from tasks.base import Task

from .. import studies
from ..catalog import Catalog, family, select
from ..errors import UserError
from ..reliability import CONTROLS
from ..summary import Summary
from .console import Patterns, out, told
from .drawing import USUAL, Look
from .options import unfolded
from .running import AS_USUAL, Running, run_all

study = typer.Typer(
    help="A question each: what is missing is run, then a verdict in words, the tables, and what it does not show.",
    no_args_is_help=True,
)

Samples = Annotated[int, typer.Option(min=1, help="At most so many samples of each task.")]
Metrics = Annotated[str, typer.Option("--metrics", help="Names or * patterns, comma-separated.")]
Pairs = Annotated[str, typer.Option("--tasks", help="Pairs of tasks, FIRST:SECOND, comma-separated.")]


def _markdown(path: Path | None) -> Path | None:
    if path is not None and path.suffix != ".md":
        raise UserError(f"--out {path}: give it the ending .md")
    return path


PageFile = Annotated[
    Path | None,
    typer.Option(
        "--out", metavar="FILE.md", callback=_markdown, help="Also write the page, and its figure as PNG and PDF."
    ),
]


@study.command()
@unfolded
def accuracy(
    tasks: Annotated[str, typer.Option(help="Names or * patterns, of one data set.")] = "",
    checkpoints: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Networks that `bench train NAME --checkpoints DIR` kept.")
    ] = None,
    metric: Annotated[str, typer.Option(help="Of localization.")] = studies.LOCALIZATION,
    explainers: Patterns = studies.EXPLAINERS,
    samples: Samples = 16,
    how: Running = AS_USUAL,
    page: PageFile = None,
    look: Look = USUAL,
) -> None:
    """Does a network that classifies better also look at the lesion? Networks of one data set, or of one training."""
    found, style = how.catalog(), look.style()
    usual = "" if checkpoints is not None else studies.NETWORKS
    networks = select(found.tasks, tasks or usual, "task")
    learning = {} if checkpoints is None else studies.snapshots(checkpoints, found.tasks)
    settings = how.settings(samples)
    with told():
        parts, summaries = [], []
        for of_part, folder in ((networks, how.results), (learning, how.results / studies.CHECKPOINTS)):
            if of_part:
                chosen = _catalog(found, of_part, explainers, metric)
                summary = run_all(chosen, replace(settings, results=folder))
                _all_ran(summary)
                parts.append(studies.read(folder, chosen))
                summaries.append(summary)
        everybody = {**networks, **learning}
        scores = {name: studies.accuracy_of(task, settings.device) for name, task in everybody.items()}
        made = accuracies.accuracy_study(joined(parts), scores, metric)
        _show(accuracies.page(made), lambda path: accuracies.draw(made, path, style), page)
    _end(summaries)


@study.command()
@unfolded
def augmentation(
    tasks: Pairs = studies.CHANGES,
    chosen_metrics: Metrics = studies.LOOKED_AT,
    explainers: Patterns = studies.EXPLAINERS,
    samples: Samples = 32,
    how: Running = AS_USUAL,
    page: PageFile = None,
    look: Look = USUAL,
) -> None:
    """What does the training change in what a network looks at? Pairs WITHOUT:WITH augmentation, segmentation, ..."""
    found, style = how.catalog(), look.style()
    changes = [training.Change(*names) for names in studies.pairs(tasks, found.tasks)]
    chosen = _catalog(found, _of_pairs(changes, found), explainers, chosen_metrics)
    with told():
        summary = run_all(chosen, how.settings(samples))
        _all_ran(summary)
        same = {change: studies.same_samples(how.results, *change) for change in changes}
        compared = [metric for metric in chosen.metrics if metric not in studies.CUES.split(",")]
        made = training.training_study(studies.read(how.results, chosen), changes, [*compared, CUE], same)
        _show(training.page(made), lambda path: training.draw(made, path, style), page)
    _end([summary])


@study.command()
@unfolded
def composites(
    tasks: Annotated[str, typer.Option(help="Names or * patterns: a network each.")] = studies.SEVERAL_NETWORKS,
    explainers: Annotated[str, typer.Option(help="The composites: names or * patterns.")] = studies.COMPOSITES,
    favourite: Annotated[str, typer.Option(help="The composite that is held to be the best.")] = studies.FAVOURITE,
    chosen_metrics: Metrics = studies.OF_COMPOSITES,
    samples: Samples = 8,
    how: Running = AS_USUAL,
    page: PageFile = None,
    look: Look = USUAL,
) -> None:
    """Which LRP composite is best on which network, by which metrics, and is it the favourite?"""
    found, style = how.catalog(), look.style()
    chosen = _catalog(found, select(found.tasks, tasks, "task"), explainers, chosen_metrics)
    if favourite not in chosen.explainers:
        raise UserError(f"--favourite {favourite}: it is none of --explainers {explainers}")
    with told():
        summary = run_all(chosen, how.settings(samples))
        _all_ran(summary)
        made = ranking.composite_study(studies.read(how.results, chosen), list(chosen.tasks), favourite)
        _show(ranking.page(made), lambda path: ranking.draw(made, path, style), page)
    _end([summary])


@study.command()
@unfolded
def shortcut(
    tasks: Pairs = studies.TWINS,
    explainers: Patterns = f"{studies.EXPLAINERS},integrated_gradients",
    samples: Samples = 24,
    how: Running = AS_USUAL,
    page: PageFile = None,
    look: Look = USUAL,
) -> None:
    """Does the explainer reveal a planted cue? Pairs SHORTCUT:HONEST of networks that decide about the same samples."""
    found, style = how.catalog(), look.style()
    twins = [shortcuts.Twins(*names) for names in studies.pairs(tasks, found.tasks)]
    chosen = _catalog(found, _of_pairs(twins, found), explainers, studies.CUES)
    with told():
        summary = run_all(chosen, how.settings(samples))
        _all_ran(summary)
        made = shortcuts.shortcut_study(studies.read(how.results, chosen), twins)
        _show(shortcuts.page(made), lambda path: shortcuts.draw(made, path, style), page)
    _end([summary])


def _catalog(found: Catalog, tasks: dict[str, Task], explainers: str, metrics: str) -> Catalog:
    """What is run: the controls that run unasked are always there."""
    controls = {
        name: entry for name, entry in found.explainers.items() if family(entry) == CONTROLS and not entry.on_request
    }
    asked = select(found.explainers, explainers, "explainer")
    return Catalog(tasks, {**asked, **controls}, select(found.metrics, metrics, "metric"))


def _of_pairs(pairs: Iterable[tuple[str, str]], found: Catalog) -> dict[str, Task]:
    return {name: found.tasks[name] for pair in pairs for name in pair}


def _all_ran(summary: Summary) -> None:
    """A study needs every task that it names."""
    for name, reason in summary.unavailable.items():
        raise UserError(f"{name} cannot run here: {reason}; or name other --tasks")


def _show(page: Page, draw: Callable[[Path], Path], path: Path | None) -> None:
    out.print(page)
    if path is not None:
        pictures = [draw(path.with_suffix(ending)) for ending in (".png", ".pdf")]
        path.write_text(markdown(page, [pictures[0].name]), encoding="utf-8")
        out.print(f"Written: {path}; drawn: {', '.join(map(str, pictures))}", soft_wrap=True)


def _end(summaries: Iterable[Summary]) -> None:
    """What failed, and the exit status."""
    failed = False
    for summary in summaries:
        for (task, reason), struck in summary.failures.items():
            failed = True
            out.print(escape(f"FAILED {task}, {', '.join(struck)}: {reason}"), soft_wrap=True, highlight=False)
    if failed:
        raise typer.Exit(1)
