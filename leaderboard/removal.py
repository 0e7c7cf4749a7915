"""Curves of removal, kept beside the maps: what is left of a decision while pixels are taken away, with its band.

`bench run --save-attributions` keeps them in `<shard>/attributions/<explainer>.npz`, next to the map:
`curve_<metric>` (N, L + 1), the probability of the target at equal steps, and `ids`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .statistics import intervals

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
        return VERBS.get(self.metric.partition("_")[0], "changed")


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
    return [_curve(*key, list(of_samples.values())) for key, of_samples in sorted(kept.items())]


def _read(path: Path) -> Iterator[tuple[str, list[str], Array]]:
    try:
        with np.load(path) as content:
            for name in content.files:
                if name.startswith(PREFIX):
                    yield name.removeprefix(PREFIX), content["ids"].tolist(), content[name].astype(np.float64)
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(f"{path} cannot be read ({error}): delete it and run again") from error


def _curve(task: str, metric: str, explainer: str, curves: Sequence[Array]) -> Curve:
    if len({len(one) for one in curves}) > 1:
        raise ValueError(
            f"{task}, {explainer}: curves of {metric} have different numbers of steps; delete its maps and run again"
        )
    n, mean, low, high = intervals(np.stack(curves))
    return Curve(task, metric, explainer, int(n.max()), np.linspace(0, 1, len(mean)), mean, low, high)
