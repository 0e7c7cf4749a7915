"""`bench evaluate`: how well a task's network does, in tables and pictures."""

import math
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Literal

import torch
import typer
from rich import box
from rich.markup import escape
from rich.table import Table

from tasks.base import Samples, Task
from tasks.evaluation.predictions import Predictions, predict
from tasks.evaluation.scores import Evaluation, macro
from tasks.networks.checkpoints import read_metadata
from tasks.training import Trainable

from .. import environment
from ..catalog import catalog, select
from ..errors import UserError
from ..evaluation import Report, report, write
from .console import Data, Device, Plugins, out, progress_bar, told, use_data
from .drawing import USUAL, Look
from .options import unfolded
from .skipping import SkipUnreadable, skipped_lines, skipping

Part = Literal["heldout", "validation", "train"]


@unfolded
def evaluate(
    name: Annotated[str, typer.Argument(help="The task whose network is to be evaluated.")],
    part: Annotated[Part, typer.Option(help="On which samples. Those that are explained are held out.")] = "heldout",
    samples: Annotated[int | None, typer.Option(min=1, help="At most so many samples; default: all.")] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Images forwarded at a time.")] = 64,
    device: Device = "auto",
    folder: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Where to write; default: beside the checkpoint.")
    ] = None,
    data: Data = None,
    plugins: Plugins = None,
    skip_unreadable: SkipUnreadable = False,
    look: Look = USUAL,
) -> None:
    """Evaluate a task's network: scores, confusion, ROC curves, calibration, learning curves and t-SNE.

    Every table is written as CSV, every picture as PNG and PDF.
    """
    style = look.style()
    use_data(data)
    place = environment.device_of(device)
    task = skipping(_task(name, plugins), skip_unreadable)
    with told():
        if reason := task.unavailable():
            raise UserError(f"{name}: {reason}")
        folder = _claimed(folder or _default_folder(task, name, part))
        model = task.model()
        fingerprint = environment.weights_fingerprint(model)
        candidates = _samples(task, name, part)
        chosen = _chosen(len(candidates), samples, part)
        predictions = _predictions(model.to(place), candidates, len(task.classes()), batch_size, place, chosen)
        history = read_metadata(task.checkpoint()).get("history") if isinstance(task, Trainable) else None
        found = report(predictions, task.classes(), history, name, f"{_in_words(part)}, n = {len(chosen)}", style)
        about = {"task": name, "settings": repr(task), "part": part, "samples": len(chosen), "of": len(candidates)}
        about |= {"weights": fingerprint, "device": str(place), "versions": environment.versions()}
        write(found, about, folder, style)
    out.print(evaluation_table(found.evaluation, _in_words(part)))
    notes = [*found.notes, *skipped_lines(name, task, [part])]
    for line in [_calibration_line(found), *notes, f"written to {folder}"]:
        out.print(escape(line), soft_wrap=True, highlight=False)


def _task(name: str, plugins: list[Path] | None) -> Task:
    found = select(catalog(plugins or ()).tasks, name, "task")
    if len(found) != 1:
        raise UserError(f"one task is evaluated at a time, and {name} is {len(found)}: {', '.join(found)}")
    return next(iter(found.values()))


def _in_words(part: Part) -> str:
    return "held-out" if part == "heldout" else part


def _default_folder(task: Task, name: str, part: Part) -> Path:
    """Beside the checkpoint; in the current folder where a task brings its own model."""
    checkpoint = task.checkpoint() if isinstance(task, Trainable) else Path(name)
    return checkpoint.with_name(f"{checkpoint.stem}-evaluation" + ("" if part == "heldout" else f"-{part}"))


def _claimed(folder: Path) -> Path:
    """The folder, made if need be; known to be writable before the work begins."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError as error:
        raise UserError(f"{folder}: cannot be written to ({error.strerror}); name another folder by --out") from error


def _samples(task: Task, name: str, part: Part) -> Samples:
    if isinstance(task, Trainable):
        return task.part(part)
    if part == "heldout":
        return task.samples()
    raise UserError(f"{name} brings its own model and has no part {part!r}: leave --part out")


def _chosen(n_candidates: int, n_samples: int | None, part: Part) -> Sequence[int]:
    """Indices: the first of the held-out samples, which are balanced; of others, which may be sorted, a fixed draw.

    Not every k-th one: classes that take turns would fall out of step.

    >>> _chosen(10, 4, "heldout"), _chosen(10, 4, "train")
    ([0, 1, 2, 3], [1, 4, 5, 7])
    """
    count = min(n_candidates, n_samples or n_candidates)
    if part == "heldout":
        return list(range(count))
    draw = torch.randperm(n_candidates, generator=torch.Generator().manual_seed(0))
    return sorted(draw[:count].tolist())


def _predictions(
    model: torch.nn.Module,
    candidates: Samples,
    n_classes: int,
    batch_size: int,
    device: torch.device,
    chosen: Sequence[int],
) -> Predictions:
    with progress_bar() as bar:
        step = bar.add_task("predicting", total=len(chosen))
        try:
            return predict(
                model,
                candidates,
                n_classes,
                batch_size,
                device,
                chosen,
                lambda done, _: bar.update(step, completed=done),
            )
        except torch.OutOfMemoryError as error:
            raise UserError(
                f"{batch_size} images are too many for the memory of {device}; lower --batch-size"
            ) from error


def _calibration_line(report: Report) -> str:
    measure, value, _ = report.tables["summary"].iloc[-1]
    return f"{measure.replace('_', ' ')} {_shown(value)}"


def evaluation_table(evaluation: Evaluation, part: str = "held-out") -> Table:
    """How well a network does, class by class, and macro: the mean over the classes."""
    many = evaluation.multi_label
    scores = {"precision": evaluation.precision, "recall": evaluation.recall, "F1": evaluation.f1}
    if evaluation.roc_auc:
        scores["ROC AUC"] = evaluation.roc_auc
    counts = ("TN", "FP", "FN", "TP") if many else tuple(f"→ {1 + index}" for index in range(len(evaluation.classes)))
    table = Table(
        title=f"{part.capitalize()} accuracy {_shown(evaluation.accuracy)}",
        box=box.SIMPLE_HEAD,
        title_justify="left",
        caption_justify="left",
        collapse_padding=True,
        pad_edge=False,
        caption=_caption(scores.values(), many),
    )
    table.add_column("finding" if many else "class", overflow="fold")
    for column in (*scores, "n", *counts):
        table.add_column(column, justify="right", no_wrap=True)
    for index, name in enumerate(evaluation.classes):
        numbers = (evaluation.support[index], *evaluation.confusion[index])
        label = escape(name if many else f"{1 + index} {name}")
        table.add_row(label, *(_shown(values[index]) for values in scores.values()), *map(str, numbers))
    table.add_section()
    means = [macro(values) for values in scores.values()]
    table.add_row("macro", *(_shown(mean) for mean, _ in means))
    if any(count < len(evaluation.classes) for _, count in means):
        table.add_row("mean over", *(str(count) for _, count in means))
    return table


def _caption(scores: Iterable[Sequence[float]], many: bool) -> str:
    """What is not said by the heads of the columns."""
    notes = ["T/F: right, wrong; P/N: found, not found." if many else "→ 1: predicted as class 1."]
    if any(math.isnan(score) for values in scores for score in values):
        notes.append("–: not defined, not in the mean.")
    return " ".join(notes)


def _shown(score: float) -> str:
    return "–" if math.isnan(score) else f"{score:.3f}"
