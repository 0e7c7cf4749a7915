"""A comparison as one HTML file that needs nothing but a browser, in the style of the report."""

from pathlib import Path

import pandas as pd
from markupsafe import Markup

from ..comparison import Comparison
from ..comparison_page import LEGEND, ComparisonPage
from .gallery import Exhibit, exhibits_of, legend
from .page import environment, inline, part, policy


def comparison_html(found: Comparison, results: Path, samples: pd.DataFrame, details: bool = True) -> str:
    """The page: verdicts first, then every task and metric, then the samples on which they disagree most.

    It has no script, and its Content-Security-Policy lets none run and no request leave.

    Args:
        found: What `leaderboard.comparison.compare_explainers` found.
        results: The results folder: maps that were kept in it are shown.
        samples: What is known of the samples: see `leaderboard.record.Results.samples`.
        details: Whether every task and metric is shown.

    Raises:
        ValueError: a file of maps cannot be read; the message names it.
    """
    page = ComparisonPage(found, details)
    pictures = _exhibits(found, results, samples)
    told = zip(page.samples(), found.disagreements, strict=True)
    return (
        environment()
        .get_template("comparison.html")
        .render(
            policy=policy([]),
            style=inline(part("report.css")),
            title=page.title,
            explainers=found.explainers,
            verdicts=page.verdicts(),
            legend=LEGEND,
            tables=list(page.tables()),
            samples=[(line, pictures.get((one.task, one.sample))) for line, one in told],
            exhibits=bool(pictures),
            scale=Markup(legend()),  # made of numbers
        )
    )


def _exhibits(found: Comparison, results: Path, samples: pd.DataFrame) -> dict[tuple[str, str], Exhibit]:
    """Task and sample -> its image with the maps of those who are compared, as far as they were kept."""
    exhibits = {}
    for task in dict.fromkeys(one.task for one in found.disagreements):
        wanted = [one.sample for one in found.disagreements if one.task == task]
        of_task = exhibits_of(results, task, samples, found.explainers, wanted)
        exhibits.update({(task, name): one for name, one in of_task.items() if len(one.pictures) > 1})
    return exhibits
