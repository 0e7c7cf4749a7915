"""A results folder of known answers, names that attack the page among them, for the tests of the report.

Two tasks of 24 samples. `good` and `HOSTILE` are alike, `fair` is worse and the cheapest, `bad` the worst; `HOSTILE`
has no score of `deletion`. Maps and curves are kept of the first task.
"""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from leaderboard.record import Cell, Record, Status, path_of, write, write_samples
from leaderboard.report.building import Told

HOSTILE = "<script>alert(1)</script>"
HOSTILE_METRIC = "<img src=x onerror=alert(2)>"
HOSTILE_REASON = 'RuntimeError: </script><script>alert("3")</script> {{ 7 * 7 }}'
TASKS = ("phantom_shapes", "phantom_spots")
N_SAMPLES = 24
EXPLAINERS = {
    "good": ("lrp", 2.0, 0.1),
    HOSTILE: ("mine", 2.0, 0.2),
    "fair": ("cam", 1.0, 0.01),
    "bad": ("gradient", 0.4, 0.05),
    "noise": ("controls", 0.0, 0.001),
    "center": ("controls", 0.2, 0.001),
}
METRICS = {
    "insertion": ("faithfulness", True),
    "deletion": ("faithfulness", False),
    HOSTILE_METRIC: ("localization", True),
    "rotation_mild": ("robustness", True),
    "rotation": ("robustness", True),
    "rotation_strong": ("robustness", True),
    "seconds": ("runtime", False),
}
OUTCOMES = ("true positive", "false positive", "true negative", "false negative")
STEPS = 5


def samples(task: str) -> list[str]:
    return [f"{task}-{at:02d}" for at in range(N_SAMPLES)]


def scores(task: str, explainer: str, metric: str) -> np.ndarray:
    _, effect, seconds = EXPLAINERS[explainer]
    if metric == "seconds":
        return np.full(N_SAMPLES, seconds)
    rng = np.random.default_rng([TASKS.index(task), *map(ord, explainer + metric)])
    return (effect + rng.normal(size=N_SAMPLES) * 0.3) * (1 if METRICS[metric][1] else -1)


def fill(results: Path) -> None:
    """Write the folder."""
    for task in TASKS:
        write_samples(results, task, "00000", _sample_table(task))
        for explainer in EXPLAINERS:
            _write(results, _record(task, explainer))
    _keep_maps(results / TASKS[0] / "00000" / "attributions")


def told() -> Told:
    return Told(
        tasks={TASKS[0]: [("network", "a network of <b>two</b> layers")]},
        explainers={"good": "Sums what `matters`. Reference: Somebody, 2020."},
        metrics={"insertion": "Area under the curve; `p` of <i>the</i> class."},
        not_run={"brain": "no data: set BENCH_DATA <here>"},
    )


def _cell(explainer: str, metric: str) -> Cell:
    if (explainer, metric) == (HOSTILE, "deletion"):
        return Cell(*METRICS[metric], f"{metric}()", Status.FAILED, HOSTILE_REASON)
    return Cell(*METRICS[metric], f"{metric}()", Status.SCORED)


def _record(task: str, explainer: str) -> Record:
    cells = {metric: _cell(explainer, metric) for metric in METRICS}
    rows = [
        pd.DataFrame({"sample": samples(task), "metric": metric, "score": scores(task, explainer, metric)})
        for metric, cell in cells.items()
        if cell.status is Status.SCORED
    ]
    provenance = {"task": f"Task({task!r})", "explainer": f"{explainer}()", "weights": "0123456789abcdef", "seed": "7"}
    provenance |= {"versions": "torch=2.15.0", "device": "cpu x86_64"}
    origin = {"commit": "abc123", "seconds": "1.5", "images": "40", "all_zero": "[]"}
    family = EXPLAINERS[explainer][0]
    fingerprints = {name: f"print of {name}" for name in samples(task)}
    return Record(task, "00000", explainer, family, provenance, origin, fingerprints, cells, pd.concat(rows))


def _write(results: Path, record: Record) -> None:
    """Also of an explainer whose name is no file name: as a forged file might have it."""
    plain = Record(**{**vars(record), "explainer": record.explainer.replace("/", "_")})
    write(results, plain)
    if plain.explainer != record.explainer:
        path = path_of(results, record.task, record.shard, plain.explainer)
        table = pq.read_table(path)
        head = json.loads(table.schema.metadata[b"heatmark"]) | {"explainer": record.explainer}
        pq.write_table(table.replace_schema_metadata({b"heatmark": json.dumps(head)}), path)


def _sample_table(task: str) -> pd.DataFrame:
    n = range(N_SAMPLES)
    return pd.DataFrame(
        {
            "sample": samples(task),
            "label": ["tumour" if at % 2 else "<b>none</b>" for at in n],
            "prediction": ["tumour"] * N_SAMPLES,
            "target": ["tumour"] * N_SAMPLES,
            "probability": [0.75] * N_SAMPLES,
            "outcome": [OUTCOMES[at % 3] for at in n],
            "mask_area": [0.25] * N_SAMPLES,
        }
    )


def _keep_maps(folder: Path) -> None:
    folder.mkdir()
    ids = np.array(samples(TASKS[0]))
    rng = np.random.default_rng(0)
    masks = np.zeros((N_SAMPLES, 1, 16, 16), dtype=bool)
    masks[:, :, 4:12, 4:12] = True
    images = rng.integers(0, 256, (N_SAMPLES, 3, 16, 16), dtype=np.uint8)
    np.savez(folder / "inputs.npz", inputs=images, masks=masks, ids=ids, captions=ids)
    for explainer, fall in (("good", 0.25), ("bad", 0.1)):
        maps = rng.normal(size=(N_SAMPLES, 1, 16, 16)).astype(np.float32)
        maps[0] = 0 if explainer == "bad" else maps[0]
        curves = np.clip(1 - fall * np.arange(STEPS), 0, 1) + np.linspace(-0.01, 0.01, N_SAMPLES)[:, None]
        np.savez(folder / f"{explainer}.npz", attributions=maps, ids=ids, curve_deletion=curves.astype(np.float32))
