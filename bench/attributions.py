"""Attributions kept beside the records, for people to look at: `<shard>/attributions/<explainer>.npz`.

`attributions` (N, 1, H, W) float32, `ids`, and of each metric that has one its curve, `curve_<metric>` (N, L + 1);
in `inputs.npz`: `inputs` (N, 3, H, W) uint8, `masks` where known, `ids`, and
`captions`: label → prediction, or, for a multi-label task, target: outcome.
"""

import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from leaderboard.removal import PREFIX
from metrics.base import Decisions, Explanation

from .outcome import captions, sample_table

INPUTS = "inputs"


def folder(results: Path, task: str, shard: str) -> Path:
    """Where the attributions of a shard lie."""
    return results / task / shard / "attributions"


def saved(folder: Path, explainer: str, samples: Collection[str], curves: Collection[str] = ()) -> bool:
    """Whether an explainer's attributions of all the samples are there, and the curves of the metrics named."""
    path = folder / f"{explainer}.npz"
    if not path.exists():
        return False
    with np.load(path) as content:
        there = {f"{PREFIX}{metric}" for metric in curves} <= set(content.files)
        return there and set(samples) <= set(content["ids"].tolist())


def save(
    folder: Path,
    explainer: str,
    decisions: Sequence[Decisions],
    explanations: Sequence[Explanation],
    classes: Sequence[str],
    curves: Mapping[str, Tensor] | None = None,
) -> None:
    """Write one explainer's attributions with the metrics' curves and, beside them, the images."""
    folder.mkdir(parents=True, exist_ok=True)
    ids = np.array([name for batch in decisions for name in batch.ids])
    maps = torch.cat([explanation.attributions.float().cpu() for explanation in explanations])
    drawn = {f"{PREFIX}{metric}": curve.numpy() for metric, curve in (curves or {}).items()}
    _write(folder / f"{explainer}.npz", attributions=maps.numpy(), ids=ids, **drawn)
    table = sample_table(decisions, classes, None)
    content: dict[str, Any] = {
        "inputs": (torch.cat([batch.inputs.cpu() for batch in decisions]) * 255).round().byte().numpy(),
        "ids": ids,
        "captions": np.array(captions(table, decisions[0].multi_label)),
    }
    masks = [batch.masks.cpu() for batch in decisions if batch.masks is not None]
    if len(masks) == len(decisions):
        content["masks"] = torch.cat(masks).numpy()
    _write(folder / f"{INPUTS}.npz", **content)


def _write(path: Path, **content: Any) -> None:
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with unfinished.open("wb") as file:
            np.savez_compressed(file, **content)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
