"""Samples by the size of their evidence: small, medium and large, terciles of the mask's area, task by task."""

import numpy as np
import pandas as pd

from .text.layout import number

SIZES = ("small", "medium", "large")


def by_mask_area(samples: pd.DataFrame) -> pd.DataFrame:
    """The samples with a mask that is not empty, in three strata by the share of the image that it covers.

    The boundaries are the terciles of each task's own samples: equal areas are in one stratum, so that a stratum may be
    larger than a third, or empty.

    Args:
        samples: `record.Results.samples`: task, sample, mask_area in [0, 1], and what else is known.

    Returns:
        The samples in question, each once, by task and from small to large, with a further column `stratum`: its name
        with the boundaries in per cent of the image.

    Raises:
        ValueError: no sample has a mask.
    """
    masked = samples[samples.mask_area > 0] if "mask_area" in samples else samples.iloc[:0]
    if masked.empty:
        raise ValueError("no sample of these results has a mask: there are no sizes to go by")
    masked = masked.drop_duplicates(["task", "sample"])
    return pd.concat([_of_task(of_task) for _, of_task in masked.groupby("task", sort=True)], ignore_index=True)


def _of_task(samples: pd.DataFrame) -> pd.DataFrame:
    low, high = np.quantile(samples.mask_area, [1 / 3, 2 / 3])
    size = np.searchsorted([low, high], samples.mask_area, side="left")
    first, second = (number(100 * boundary) for boundary in (low, high))
    told = [f"up to {first} % of the image", f"{first} to {second} % of the image", f"above {second} % of the image"]
    names = np.array([f"{name} evidence, {extent}" for name, extent in zip(SIZES, told, strict=True)])
    order = np.argsort(size, kind="stable")
    return samples.assign(stratum=names[size]).iloc[order]
