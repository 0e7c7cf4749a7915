"""What one wants to know of a task before running it: its data, network and scores, and whether it can run here."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch

from tasks.base import Card, Task
from tasks.evaluation.scores import macro
from tasks.networks.checkpoints import read_metadata
from tasks.training import Trainable

_UNTOLD = Card(data="", network="", ground_truth="", licence="", citation="")
"""Of a task whose author does not tell."""


@dataclass(frozen=True)
class About:
    """What is known of a task."""

    name: str
    kind: str
    """real, phantom or shortcut; empty for a task without a card."""
    data: str
    classes: tuple[str, ...]
    network: str
    parameters: int | None
    """Of the network; None: the task brings its own model, which is not built only to be counted."""
    accuracy: float | None
    """On the held-out part, when it was trained; None: not trained, or not known."""
    roc_auc: float | None
    """The mean of the classes' areas under the ROC curve, there."""
    multi_label: bool | None
    """Whether a sample may have several classes: accuracy then says little. None: not known before training."""
    ground_truth: str
    licence: str
    citation: str
    unavailable: str | None
    """Why it cannot run here, and what to do about it."""


class DataRow(NamedTuple):
    """A data set that tasks are about."""

    data: str
    licence: str
    citation: str


def about(name: str, task: Task) -> About:
    """What is known of a task; neither its data nor its weights are read."""
    card = task.card()
    told = card or _UNTOLD
    unavailable = task.unavailable()
    try:
        heldout = _heldout(task)
    except (ValueError, OSError) as error:
        heldout, unavailable = {}, unavailable or str(error)
    return About(
        name=name,
        kind=card.kind if card else "",
        data=told.data,
        classes=task.classes(),
        network=told.network,
        parameters=_parameters(task),
        accuracy=heldout.get("accuracy"),
        roc_auc=_mean(heldout.get("roc_auc")),
        multi_label=heldout.get("multi_label"),
        ground_truth=told.ground_truth,
        licence=told.licence,
        citation=told.citation,
        unavailable=unavailable,
    )


def data_sets(tasks: Iterable[About]) -> list[DataRow]:
    """The data sets of the tasks, each once; all rendered ones are one."""
    rows = (
        DataRow(task.data if task.kind == "real" else "phantoms", task.licence, task.citation)
        for task in tasks
        if task.kind
    )
    return sorted(dict.fromkeys(rows), key=lambda row: row.data == "phantoms")


def _parameters(task: Task) -> int | None:
    if not isinstance(task, Trainable):
        return None
    # On "meta" nothing is allocated: a full VGG16 costs milliseconds.
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        network = task.finished(task.network())
    return sum(parameter.numel() for parameter in network.parameters())


def _heldout(task: Task) -> Mapping[str, Any]:
    """The scores in the task's checkpoint, if it has one.

    Raises:
        ValueError, OSError: it cannot be read; one line.
    """
    if not isinstance(task, Trainable) or not task.checkpoint().is_file():
        return {}
    heldout = read_metadata(task.checkpoint()).get("heldout")
    return heldout if isinstance(heldout, dict) else {}


def _mean(scores: Sequence[float] | None) -> float | None:
    mean, n_defined = macro(scores or ())
    return mean if n_defined else None
