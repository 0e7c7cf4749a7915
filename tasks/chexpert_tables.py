"""CheXpert's tables: a row an image, a column each of 14 observations, of which five are read."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from .files.tables import read_table
from .phantoms.chest_xray import CheXpertFindings

FINDINGS = CheXpertFindings.class_names
COLUMNS = (
    *("Path", "Sex", "Age", "Frontal/Lateral", "AP/PA", "No Finding", "Enlarged Cardiomediastinum", "Cardiomegaly"),
    *("Lung Opacity", "Lung Lesion", "Edema", "Consolidation", "Pneumonia", "Atelectasis", "Pneumothorax"),
    *("Pleural Effusion", "Pleural Other", "Fracture", "Support Devices"),
)
_REMEDY = "replace the table by the published one"


class Row(NamedTuple):
    """A row of a table."""

    path: str
    """Of the image, below the folder of the version."""
    patient: str
    frontal: bool
    labels: tuple[int, ...]
    """Of the five findings: 1, 0, or -1 for uncertain."""


def read_rows(table: Path) -> list[Row]:
    return read_table(table, ("Path", "Frontal/Lateral", *FINDINGS), _parsed, _REMEDY, key="Path")


def _parsed(cells: Mapping[str, str]) -> Row:
    place = re.fullmatch(r"[^/]+/((?:train|valid)/(patient\d+)/study\d+/view\d+_\w+\.jpg)", cells["Path"])
    if place is None:
        raise ValueError(f"{cells['Path']!r} is not like CheXpert-v1.0/train/patient00001/study1/view1_frontal.jpg")
    view = cells["Frontal/Lateral"]
    if view not in ("Frontal", "Lateral"):
        raise ValueError(f"Frontal/Lateral is {view!r}, not Frontal or Lateral")
    return Row(place[1], place[2], view == "Frontal", tuple(_label(name, cells[name]) for name in FINDINGS))


def _label(finding: str, cell: str) -> int:
    labels = {"": 0, "0": 0, "0.0": 0, "1": 1, "1.0": 1, "-1": -1, "-1.0": -1}
    if cell not in labels:
        raise ValueError(f"{finding} is {cell!r}, not 1, 0, -1 or blank")
    return labels[cell]


def settled(labels: tuple[int, ...], policy: str) -> tuple[int, ...]:
    """The labels with those that are uncertain replaced.

    >>> settled((-1, -1, 0, 1, -1), "by_finding"), settled((-1, -1, 0, 1, -1), "ones")
    ((1, 0, 0, 1, 0), (1, 1, 0, 1, 1))
    """
    present = {"ones": FINDINGS, "by_finding": ("Atelectasis", "Edema")}.get(policy, ())
    return tuple(
        int(finding in present) if label < 0 and policy != "ignore" else label
        for finding, label in zip(FINDINGS, labels, strict=True)
    )
