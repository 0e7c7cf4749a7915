"""Curves of removal, kept beside the maps: what is left of a decision while pixels are taken away, with its band.

`bench run --save-attributions` keeps them in `<shard>/attributions/<explainer>.npz`, next to the map:
`curve:<metric>` (N, L + 1), the probability of the target at equal steps, and `ids`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .statistics import intervals

PREFIX = "curve:"
"""Of the names under which curves are kept."""
VERBS = {"insertion": "shown, the most relevant first", "deletion": "removed, the most relevant first"}

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Curve:
    """The mean curve of one explainer on one task."""

    task: str
    metric: str
    """The one whose score is the area under it."""
    explainer: str
    n_samples: int
    removed: Array
    """(L + 1,) shares in [0, 1]."""
    mean: Array
    """(L + 1,) over the samples."""
    low: Array
    high: Array
    """(L + 1,) ends of the 95 % interval at each step by itself."""

    @property
    def verb(self) -> str:
        """What happens to the pixels."""
        return VERBS.get(self.metric.partition("_")[0], "changed, the most relevant first")


def removal_curves(results: Path) -> list[Curve]:
    """The curves of a results folder, by task, metric and explainer; empty: none were kept.

    Raises:
        ValueError: a file cannot be read, or shards have curves of different lengths; the message names it.
    """
    kept: dict[tuple[str, str, str], dict[str, Array]] = {}
    for path in sorted(results.glob("*/*/attributions/*.npz")):
        task = path.parents[2].name
        for metric, ids, curves in _read(path):
            of_samples = kept.setdefault((task, metric, path.stem), {})
            # A sample that two shards share counts once.
            of_samples.update(zip(ids, curves, strict=True))
    return [_curve(*key, np.stack(list(of_samples.values()))) for key, of_samples in sorted(kept.items())]


def _read(path: Path) -> Iterator[tuple[str, list[str], Array]]:
    try:
        with np.load(path) as content:
            for name in content.files:
                if name.startswith(PREFIX):
                    yield name.removeprefix(PREFIX), content["ids"].tolist(), content[name].astype(np.float64)
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(f"{path} cannot be read ({error}): delete it and run again") from error


def _curve(task: str, metric: str, explainer: str, curves: Array) -> Curve:
    n, mean, low, high = intervals(curves)
    steps: Any = np.linspace(0, 1, curves.shape[1])
    known = np.isfinite(low)
    return Curve(
        task, metric, explainer, int(n.max()), steps, mean, np.where(known, low, mean), np.where(known, high, mean)
    )
