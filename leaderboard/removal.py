"""Curves of removal, kept beside the maps: what is left of a decision while pixels are taken away, with its band.

`bench run --save-attributions` keeps them in `<shard>/attributions/<explainer>.npz`, next to the map:
`curve_<metric>` (N, L + 1), the probability of the target at equal steps, and `ids`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from .statistics import intervals
from .text.layout import of_samples
from .units import n_patients, of_task, units_of

PREFIX = "curve_"
"""Of the names under which curves are kept."""
VERBS = {"insertion": "shown", "deletion": "removed"}

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Curve:
    """The mean curve of one explainer on one task."""

    task: str
    metric: str
    """The one whose score is the area under it."""
    explainer: str
    n_samples: int
    n_patients: int | None
    """Whose the samples are; None: nobody knows."""
    removed: Array
    """(L + 1,) shares in [0, 1]."""
    mean: Array
    """(L + 1,) over the samples."""
    low: Array
    high: Array
    """(L + 1,) ends of the 95 % interval at each step by itself, over patients where they are known."""

    @property
    def size(self) -> str:
        """How many samples, of how many patients."""
        return of_samples(self.n_samples, self.n_patients)

    @property
    def verb(self) -> str:
        """What happens to the pixels."""
        return VERBS.get(self.metric.partition("_")[0], "changed")


def removal_curves(results: Path, samples: pd.DataFrame) -> list[Curve]:
    """The curves of a results folder, by task, metric and explainer; empty: none were kept.

    Args:
        results: The folder.
        samples: What is known of its samples: see `record.Results.samples`.

    Raises:
        ValueError: a file cannot be read, or shards have curves of different lengths; the message names it.
    """
    kept: dict[tuple[str, str, str], dict[str, Array]] = {}
    for path in sorted(results.glob("*/*/attributions/*.npz")):
        task = path.parents[2].name
        for metric, ids, curves in _read(path):
            of_explainer = kept.setdefault((task, metric, path.stem), {})
            # A sample that two shards share counts once.
            of_explainer.update(zip(ids, curves, strict=True))
    known = {task: of_task(samples, task) for task, _, _ in kept}
    return [_curve(*key, curves, known[key[0]]) for key, curves in sorted(kept.items())]


def _read(path: Path) -> Iterator[tuple[str, list[str], Array]]:
    try:
        with np.load(path) as content:
            for name in content.files:
                if name.startswith(PREFIX):
                    yield name.removeprefix(PREFIX), content["ids"].tolist(), content[name].astype(np.float64)
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(f"{path} cannot be read ({error}): delete it and run again") from error


def _curve(task: str, metric: str, explainer: str, curves: Mapping[str, Array], samples: pd.DataFrame | None) -> Curve:
    if len({len(one) for one in curves.values()}) > 1:
        raise ValueError(
            f"{task}, {explainer}: curves of {metric} have different numbers of steps; delete its maps and run again"
        )
    names = pd.Index(curves)
    n, mean, low, high = intervals(np.stack(list(curves.values())), units_of(samples, names))
    patients = n_patients(samples, names)
    return Curve(task, metric, explainer, int(n.max()), patients, np.linspace(0, 1, len(mean)), mean, low, high)
