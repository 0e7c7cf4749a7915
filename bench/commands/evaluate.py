"""`bench evaluate`: how well a task's network does, in tables and pictures."""

import math
from collections.abc import Sequence

from rich import box
from rich.markup import escape
from rich.table import Table

from tasks.evaluation import Evaluation, macro


def evaluation_table(evaluation: Evaluation, part: str = "held-out") -> Table:
    """How well a network does, class by class, and macro: the mean over the classes."""
    caption = "For each finding: answers that are right (not found, found) and wrong (false alarm, missed)."
    columns = ["right: not found", "false alarm", "missed", "right: found"]
    if not evaluation.multi_label:
        caption, columns = "Columns → name: predicted as.", [f"→ {escape(name)}" for name in evaluation.classes]
    scores = {"precision": evaluation.precision, "recall": evaluation.recall, "F1": evaluation.f1}
    if evaluation.roc_auc:
        scores["ROC AUC"] = evaluation.roc_auc
    title = f"{part.capitalize()} accuracy {evaluation.accuracy:.3f}"
    table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left", caption=caption)
    for column in ("finding" if evaluation.multi_label else "class", *scores, "n", *columns):
        table.add_column(column, justify="right" if table.columns else "left")
    for index, name in enumerate(evaluation.classes):
        counts = (evaluation.support[index], *evaluation.confusion[index])
        table.add_row(escape(name), *(_shown(values[index]) for values in scores.values()), *map(str, counts))
    table.add_section()
    table.add_row("macro", *(_shown_macro(values) for values in scores.values()))
    return table


def _shown(score: float) -> str:
    return "–" if math.isnan(score) else f"{score:.3f}"


def _shown_macro(scores: Sequence[float]) -> str:
    """The mean over the classes; over how many, where it is not all."""
    mean, count = macro(scores)
    return _shown(mean) + (f" ({count} of {len(scores)})" if count < len(scores) else "")
