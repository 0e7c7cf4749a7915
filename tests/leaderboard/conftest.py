"""Records of known scores, for results that are exchanged."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pandas as pd
import pytest

from leaderboard.record import Cell, Record, Status, write, write_samples

CATEGORIES = {"srg": "faithfulness", "iou": "localization", "seconds": "runtime"}
PROVENANCE = {
    "task": "Toy(n=3)",
    "weights": "aaaa",
    "seed": "0",
    "versions": "torch=2.6 numpy=2.0",
    "device": "cpu x86_64",
}

Make = Callable[..., Record]
"""(folder, explainer="grad_cam", shard="00000", metrics={metric: scores}, …) -> the record, written there."""


@pytest.fixture
def make() -> Make:
    """Write a record and what is known of its samples; samples are called after their shard and number."""

    def made(
        folder: Path,
        explainer: str = "grad_cam",
        shard: str = "00000",
        metrics: Mapping[str, Sequence[float]] | None = None,
        failed: Mapping[str, str] | None = None,
        inapplicable: Mapping[str, str] | None = None,
        settings: Mapping[str, str] | None = None,
        content: str = "f00d",
        made: str = "2026-01-01T00:00:00+00:00",
        all_zero: Sequence[str] = (),
        family: str = "cam",
        task: str = "toy",
        prediction: str = "left",
        explainer_settings: str = "",
        patients: Sequence[str | None] | None = None,
        **provenance: str,
    ) -> Record:
        scored = {"srg": [0.5, 0.25, 1.0]} if metrics is None else metrics
        statuses = {
            **dict.fromkeys(scored, (Status.SCORED, "")),
            **{metric: (Status.FAILED, reason) for metric, reason in (failed or {}).items()},
            **{metric: (Status.INAPPLICABLE, reason) for metric, reason in (inapplicable or {}).items()},
        }
        cells = {
            metric: Cell(CATEGORIES[metric], True, (settings or {}).get(metric, f"{metric}() c0de"), *state)
            for metric, state in statuses.items()
        }
        n = max([len(scores) for scores in scored.values()], default=3)
        ids = [f"{shard}-{index}" for index in range(n)]
        rows = [(ids[at], metric, score) for metric, scores in scored.items() for at, score in enumerate(scores)]
        origin = {"commit": "abc", "made": made, "all_zero": json.dumps(list(all_zero))}
        record = Record(
            task,
            shard,
            explainer,
            family,
            {**PROVENANCE, "explainer": explainer_settings or f"{explainer}() c0de", **provenance},
            origin,
            dict.fromkeys(ids, content),
            cells,
            pd.DataFrame(rows, columns=["sample", "metric", "score"]).astype({"sample": object, "metric": object}),
        )
        write(folder, record)
        facts = {"label": "left", "prediction": prediction, "target": prediction, "probability": 0.75}
        outcome = "true positive" if prediction == "left" else "false positive"
        samples = pd.DataFrame({"sample": ids}).assign(**facts, outcome=outcome, mask_area=0.5)
        write_samples(folder, task, shard, samples if patients is None else samples.assign(patient=patients))
        return record

    return made
