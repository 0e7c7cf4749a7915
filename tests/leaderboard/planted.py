"""Results with planted effects, for the tests of standings and comparisons."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from leaderboard.record import Results

Array = NDArray[np.float64]


def planted(
    scores: Mapping[tuple[str, str, str, str], Array],
    lower_is_better: tuple[str, ...] = (),
    patients: Mapping[str, list[str]] | None = None,
) -> Results:
    """Results of (task, family of metrics, metric, explainer) -> scores (N,); an explainer called c_… is a control.

    Samples are called s0, s1, …; patients: task -> whose they are.
    """
    cells, samples = [], {}
    for (task, family, metric, explainer), values in scores.items():
        samples[task] = [f"s{index:03d}" for index in range(len(values))]
        cells.append(
            {
                **{"task": task, "shard": "0", "explainer": explainer, "metric": metric, "category": family},
                "family": "controls" if explainer.startswith("c_") else "mine",
                **{"higher_is_better": metric not in lower_is_better, "settings": "M()"},
                **{"status": "scored", "reason": ""},
            }
        )
    keys = np.array([(task, explainer, metric) for task, _, metric, explainer in scores], dtype=object)
    rows = pd.DataFrame(
        np.repeat(keys, [len(values) for values in scores.values()], axis=0), columns=["task", "explainer", "metric"]
    )
    rows["sample"] = [sample for task, *_ in scores for sample in samples[task]]
    rows["score"] = np.concatenate(list(scores.values()))
    told = pd.DataFrame([(task, sample) for task, ids in samples.items() for sample in ids], columns=["task", "sample"])
    told["outcome"] = "right"
    if patients is not None:
        told["patient"] = [patient for task in samples for patient in patients[task]]
    names = dict.fromkeys(("task", "explainer", "metric", "sample"), "category")
    return Results(rows.astype(names), pd.DataFrame(cells), told)


def normal(n: int, seed: int, shift: float = 0.0) -> Array:
    """n standard normal scores, moved."""
    return np.random.default_rng(seed).normal(size=n) + shift
