"""Robustness by strength: metrics that change the image in the same way, more and more."""

from collections.abc import Iterator
from typing import NamedTuple

import pandas as pd

ENDINGS = {"_mild": "mild", "": "medium", "_strong": "strong"}
"""Ending of a robustness metric's name -> how strongly it changes the image."""


class Change(NamedTuple):
    """One kind of change on one task."""

    task: str
    base: str
    """The metric of medium strength."""
    rows: pd.DataFrame
    """Of the long table, with a column `strength`: the words of `ENDINGS`."""


def by_strength(table: pd.DataFrame) -> Iterator[Change]:
    """The kinds of change of which the long table has two strengths or more, task by task."""
    metrics = list(dict.fromkeys(table.metric.astype(str)))
    for task, of_task in table.groupby("task", sort=True, observed=True):
        for base in metrics:
            words = {base + ending: word for ending, word in ENDINGS.items()}
            rows = of_task[of_task.metric.isin(list(words))]
            if not base.endswith(tuple(filter(None, ENDINGS))) and rows.metric.nunique() > 1:
                yield Change(str(task), base, rows.assign(strength=rows.metric.astype(str).map(words)))


def of_explainer(change: Change, explainer: str) -> pd.DataFrame:
    """The rows with a score of one explainer, by strength, from mild to strong."""
    own = change.rows[(change.rows.explainer == explainer) & change.rows["mean"].notna()].set_index("strength")
    return own.reindex([word for word in ENDINGS.values() if word in own.index])
