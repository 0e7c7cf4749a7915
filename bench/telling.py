"""What the catalog knows of its entries, as strings for the report: descriptions, cards, why a task did not run."""

import inspect
import re
from pathlib import Path

from explainers.base import Explainer
from leaderboard.report.building import Told
from metrics.base import Metric

from .about import About, about
from .catalog import Catalog


def told_of(found: Catalog, results: Path) -> Told:
    """What there is to tell of the entries; tasks without records are those without a folder in the results."""
    known = {name: about(name, task) for name, task in found.tasks.items()}
    absent = {name: one for name, one in known.items() if not (results / name).is_dir()}
    return Told(
        tasks={name: _facts(one) for name, one in known.items() if name not in absent},
        explainers={name: description(entry) for name, entry in found.explainers.items()},
        metrics={name: description(entry) for name, entry in found.metrics.items()},
        not_run={name: one.unavailable or "it was not asked for" for name, one in absent.items()},
    )


def description(entry: Explainer | Metric) -> str:
    """The first paragraph of what the class says of itself, and its references; those of a base that it points to.

    >>> from metrics.localization import pointing_game
    >>> description(pointing_game).partition(" Reference: ")[0]
    '1 where the pixel of the highest attribution lies in the mask, else 0.'
    """
    own = _told_by(type(entry))
    return " ".join([own, *(_told_by(base) for base in type(entry).__mro__[1:] if f"`{base.__name__}`" in own)])


def _told_by(kind: type) -> str:
    paragraphs = inspect.cleandoc(kind.__doc__ or "").split("\n\n")
    wanted = [paragraphs[0], *(part for part in paragraphs[1:] if re.match(r"References?:", part))]
    return " ".join(" ".join(part.split()) for part in wanted)


def _facts(task: About) -> list[tuple[str, str]]:
    score = "" if task.accuracy is None or task.multi_label else f"{task.accuracy:.3f} on the held-out part"
    facts = {
        "kind": task.kind,
        "data": task.data,
        "classes": ", ".join(task.classes),
        "network": task.network,
        "accuracy": score,
        "ROC AUC": "" if task.roc_auc is None else f"{task.roc_auc:.3f} on the held-out part, mean of the classes",
        "ground truth": task.ground_truth,
        "licence": task.licence,
        "citation": task.citation,
    }
    return [(head, text) for head, text in facts.items() if text]
