"""What has to be run to know whether metrics are to be relied on: the usual run, and others with one thing changed.

The usual run's records are those of the results folder. The others lie in `<results>/reliability/<condition>`, each a
results folder of its own, and are used again as all records are.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from explainers.base import Explainer
from leaderboard import record
from leaderboard.reliability import RETESTS, Trials, chosen
from metrics.base import Category, Metric
from metrics.perturb import BlurImputer, Imputer, MeanImputer

from .catalog import Catalog, code_fingerprint, family
from .errors import UserError
from .randomized import OfRandomized
from .runner import Settings

CONTROLS = "controls"
FOLDER = "reliability"
USUAL, RANDOM = "usual", "random"

_COUNT = "n_"
"""Names of fields that count steps or draws begin so."""


@dataclass(frozen=True)
class Condition:
    """A run: of what, and how."""

    name: str
    """`USUAL`, `RANDOM`, or one of `leaderboard.reliability.RETESTS`."""
    chosen: Catalog
    settings: Settings


def conditions(wanted: Catalog, settings: Settings, controls: dict[str, Explainer]) -> list[Condition]:
    """The runs, the usual one first. One in which no metric has what would be changed is left out.

    Args:
        wanted: Tasks; explainers; metrics, of which those that measure costs are left out: they judge no explanation.
        settings: Of the usual run.
        controls: Added to the explainers of the usual run; they take no part in the others.

    Raises:
        UserError: no explainer, or no metric, is left.
    """
    ranked = {name: explainer for name, explainer in wanted.explainers.items() if family(explainer) != CONTROLS}
    metrics = {name: metric for name, metric in wanted.metrics.items() if metric.category != Category.RUNTIME}
    if not ranked:
        raise UserError(
            "--explainers: only controls are chosen; name some that explain, such as grad_cam,lrp_epsilon_plus"
        )
    if not metrics:
        raise UserError("--metrics: only costs are chosen; name some that judge explanations, such as srg,roc_auc")
    usual = Catalog(wanted.tasks, {**ranked, **controls}, metrics)
    plain = Catalog(wanted.tasks, ranked, metrics)
    of_random: dict[str, Explainer] = {
        name: OfRandomized(explainer, code_fingerprint(type(explainer))) for name, explainer in ranked.items()
    }
    # Odd, so that the last batch is of another size; and unlike the sizes that older records were made with.
    other_batch = 3 if settings.batch_size != 3 else 5
    runs = [
        Condition(USUAL, usual, settings),
        Condition(RANDOM, replace(plain, explainers=of_random), _apart(settings, RANDOM)),
        Condition("seed", plain, replace(_apart(settings, "seed"), seed=settings.seed + 1)),
        Condition("imputer", replace(plain, metrics=_changed(metrics, other_imputer)), _apart(settings, "imputer")),
        Condition("steps", replace(plain, metrics=_changed(metrics, half_the_steps)), _apart(settings, "steps")),
        Condition("batch", plain, replace(_apart(settings, f"batch_{other_batch}"), batch_size=other_batch)),
    ]
    return [run for run in runs if run.chosen.metrics]


def trials(runs: Sequence[Condition], tasks: Sequence[str]) -> Trials:
    """What the runs wrote of these tasks.

    Raises:
        ValueError: a record is missing or broken.
    """
    read = {
        run.name: chosen(record.load(run.settings.results), tasks, run.chosen.explainers, run.chosen.metrics)
        for run in runs
    }
    return Trials(read[USUAL], read[RANDOM], {name: read[name] for name in RETESTS if name in read})


def other_imputer(metric: Metric) -> Metric | None:
    """The metric with another imputer: blur, or the mean colour where it has blur; None: it has no imputer."""
    imputer = getattr(metric, "imputer", None)
    if not isinstance(imputer, Imputer):
        return None
    return _with(metric, imputer=MeanImputer() if isinstance(imputer, BlurImputer) else BlurImputer())


def half_the_steps(metric: Metric) -> Metric | None:
    """The metric with half of each of its counts (`n_steps`, `n_subsets`, …); None: it counts nothing above 1."""
    counts = {
        field.name: getattr(metric, field.name) // 2
        for field in fields(metric)
        if field.name.startswith(_COUNT) and isinstance(getattr(metric, field.name), int)
    }
    halved = {name: count for name, count in counts.items() if count >= 1}
    return _with(metric, **halved) if halved else None


def _with(metric: Metric, **settings: Any) -> Metric:
    return replace(metric, **settings)


def _changed(metrics: dict[str, Metric], change: Callable[[Metric], Metric | None]) -> dict[str, Metric]:
    changed = {name: change(metric) for name, metric in metrics.items()}
    return {name: metric for name, metric in changed.items() if metric is not None}


def _apart(settings: Settings, name: str) -> Settings:
    return replace(settings, results=settings.results / FOLDER / name, save_attributions=False)
