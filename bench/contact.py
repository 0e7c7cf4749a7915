"""What goes on a contact sheet: samples of tasks with their evidence outlined, phantoms above what they imitate."""

from collections.abc import Iterator, Mapping, Sequence

from torch import Tensor

from leaderboard.pictures.sheets import EVIDENCE, SHORTCUT, Row, Tile
from tasks.base import Sample, Task
from tasks.training import Trainable

LEGEND = {EVIDENCE: "evidence", SHORTCUT: "shortcut"}


def sample_row(name: str, task: Task, n_columns: int, masks: bool) -> Row:
    """The first samples of a task, in its order.

    Raises:
        ValueError, OSError: its data cannot be read; one line.
    """
    card = task.card()
    title = f"{name}\n{card.data}" if card else name
    return Row(title, [_tile(sample, task.classes(), masks) for sample in _first(task, n_columns)])


def phantom_rows(tasks: Mapping[str, Task], n_columns: int, masks: bool) -> Iterator[Row]:
    """Every set of phantoms once, class by class, and beneath each the real images that it imitates, if they are here.

    Raises:
        ValueError, OSError: data cannot be read; one line.
    """
    drawn: set[str] = set()
    for name, task in tasks.items():
        card = task.card()
        if card is None or card.kind == "real" or repr(task.samples()) in drawn:
            continue
        first = card.data not in drawn
        drawn |= {card.data, repr(task.samples())}
        title = f"phantoms: {card.data}"
        yield _row_by_class(title if first else f"{title}, for {name}", task, n_columns, masks)
        real = _counterpart(card.data, tasks)
        if first and real is not None:
            yield _row_by_class(f"real: {card.data}", real, n_columns, masks)


def no_samples(task: Task) -> str | None:
    """Why samples of the task cannot be drawn here and what to do about it, or None: a network is not needed."""
    return task.missing_data() if isinstance(task, Trainable) else task.unavailable()


def _counterpart(data: str, tasks: Mapping[str, Task]) -> Task | None:
    """A task on the real data set of this name, if its images are here."""
    for task in tasks.values():
        card = task.card()
        if card is not None and (card.kind, card.data) == ("real", data) and no_samples(task) is None:
            return task
    return None


def _row_by_class(title: str, task: Task, n_columns: int, masks: bool) -> Row:
    samples = _first(task, n_columns)
    if all(sample.label.ndim == 0 for sample in samples):
        samples.sort(key=lambda sample: int(sample.label))
    return Row(title, [_tile(sample, task.classes(), masks) for sample in samples])


def _first(task: Task, n_samples: int) -> list[Sample]:
    samples = task.samples()
    return [samples[index] for index in range(min(n_samples, len(samples)))]


def _tile(sample: Sample, classes: Sequence[str], masks: bool) -> Tile:
    outlines = {EVIDENCE: sample.mask, SHORTCUT: sample.shortcut} if masks else {}
    return Tile(
        image=sample.input.numpy(),
        caption=called(sample.label, classes),
        outlines={colour: mask[0].numpy() for colour, mask in outlines.items() if mask is not None},
    )


def called(label: Tensor, classes: Sequence[str], longest: int = 24) -> str:
    """The class; of many labels those that hold, as many as have room."""
    if label.ndim == 0:
        return classes[int(label)]
    text = ", ".join(name for name, holds in zip(classes, label.tolist(), strict=True) if holds == 1) or "none"
    return text if len(text) <= longest else text[: longest - 1] + "…"
