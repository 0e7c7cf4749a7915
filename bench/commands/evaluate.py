"""`bench evaluate`: how well a task's network does, in tables and pictures."""

import math
from collections.abc import Iterable, Sequence

from rich import box
from rich.markup import escape
from rich.table import Table

from tasks.evaluation import Evaluation, macro


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
