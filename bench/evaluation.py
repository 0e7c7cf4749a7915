"""What `bench evaluate` writes: an evaluation as CSV files, as pictures, and in one JSON file."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from matplotlib.figure import Figure

from leaderboard.style import Style
from tasks.evaluation import figures, tables
from tasks.evaluation.predictions import Predictions
from tasks.evaluation.scores import Evaluation, assess

FORMATS = (".png", ".pdf")
"""Of every picture."""
_STEMS = ("answers", "calibration", "classes", "confusion", "learning_curves", "reliability", "roc", "summary", "tsne")
"""Of all files that an evaluation can have."""

_DEFINITIONS = {
    "precision": "of what was called so, the fraction that is so; 0 where nothing was called so",
    "recall": "of what is so, the fraction that was called so",
    "f1": "harmonic mean of precision and recall",
    "roc_auc": "area under the ROC curve, the class against the rest; null where either has no sample",
    "macro": "mean over the classes that have the score; `classes` says how many those are",
    "calibration_error": f"expected calibration error: mean of |frequency - probability| over {tables.N_BINS} bins "
    "of equal width, each weighted by its samples; of the predicted class, or of each finding of a multi-label task",
}


class Report(NamedTuple):
    """An evaluation with all that is written of it."""

    evaluation: Evaluation
    tables: dict[str, pd.DataFrame]
    """File's stem -> content."""
    figures: dict[str, Figure]
    notes: list[str]
    """What is missing and why, a line each."""


def report(
    predictions: Predictions, classes: tuple[str, ...], history: object, name: str, samples: str, style: Style
) -> Report:
    """Everything that predictions and a checkpoint's learning curves tell.

    Args:
        predictions: With labels.
        classes: Their names.
        history: The checkpoint's "history"; None where it has none, or where there is no checkpoint.
        name: Of the task.
        samples: Which they are, in words: the pictures' titles say so.
        style: The pictures' look.

    Raises:
        ValueError: of no sample the truth is known.
    """
    evaluation = assess(predictions, classes)
    title = f"{name}, {samples}"
    found = _tables(predictions, evaluation)
    drawn = {
        "classes": figures.draw_classes(found["classes"], title, style),
        "confusion": figures.draw_confusion(found["confusion"], title, style),
        "reliability": figures.draw_reliability(found["reliability"], title, style),
        "roc": figures.draw_roc(found["roc"], found["classes"], title, style),
    }
    notes = []
    curves = tables.learning_curves(history)
    if curves is None:
        notes.append("no learning curves: none are kept with the weights")
    else:
        found["learning_curves"] = curves
        drawn["learning_curves"] = figures.draw_learning_curves(curves, name, style)
    if reason := tables.no_map(predictions):
        notes.append(f"no t-SNE: {reason}")
    else:
        found["tsne"] = tables.embedding_map(predictions, classes)
        drawn["tsne"] = figures.draw_map(found["tsne"], classes, title, style)
    return Report(evaluation, found, drawn, notes)


def _tables(predictions: Predictions, evaluation: Evaluation) -> dict[str, pd.DataFrame]:
    reliability = tables.reliability(predictions, evaluation.classes)
    return {
        "answers": tables.answers(predictions, evaluation.classes),
        "calibration": tables.calibration_errors(reliability),
        "classes": tables.class_scores(evaluation),
        "confusion": tables.confusion(evaluation),
        "reliability": reliability,
        "roc": tables.roc(predictions, evaluation.classes),
        "summary": tables.summary(evaluation, reliability),
    }


def write(found: Report, about: Mapping[str, object], folder: Path, style: Style) -> None:
    """Write a report; files of an earlier one that are not written again are deleted.

    Args:
        found: What to write.
        about: Where it comes from, JSON values: the summary begins with them.
        folder: Where to write; it is there.
    """
    for stem in _STEMS:
        for suffix in (".csv", ".json", *FORMATS):
            (folder / f"{stem}{suffix}").unlink(missing_ok=True)
    for stem, frame in found.tables.items():
        frame.to_csv(folder / f"{stem}.csv", index=False)
    for stem, figure in found.figures.items():
        for suffix in FORMATS:
            with style.context():
                style.save(figure, folder / f"{stem}{suffix}")
    content = {
        **about,
        "multi_label": found.evaluation.multi_label,
        "summary": {row.pop("measure"): row for row in _rows(found.tables["summary"])},
        "classes": _rows(found.tables["classes"]),
        "calibration": _rows(found.tables["calibration"]),
        "confusion": _rows(found.tables["confusion"]),
        "definitions": _DEFINITIONS,
        "notes": found.notes,
    }
    (folder / "summary.json").write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """A data frame as JSON values; what is not defined is None."""
    rows = frame.to_dict(orient="records")
    return [{str(key): None if _undefined(value) else value for key, value in row.items()} for row in rows]


def _undefined(value: object) -> bool:
    return isinstance(value, float) and math.isnan(value)
