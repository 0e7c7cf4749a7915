"""Brain tumours in MRI: rendered slices, and the slices of a public data set with its tumours' boxes.

The public one is «Brain Tumor Classification (MRI)» by Bhuvaji et al. [1], most of which is Cheng's set [2]:

    brain-tumor-classification-mri/{Training,Testing}/{glioma,meningioma,no,pituitary}_tumor/*.jpg
                                   annotations/images.csv

The table is not the publishers'. Its rows are images, its columns at least `path, part, label, cheng_id,
width, height, x0, y0, x1, y1`: to which part an image belongs (train, heldout, test, or duplicate: left out
here), its number in Cheng's set, and there the tumour's box in an image of that width and height; empty where
not known.

Known defects, each a reason to look at what a classifier uses: images without a tumour come from other
sources, so their size and contrast give them away; 14 images labelled pituitary are meningioma in Cheng's set
(the published label is kept).

[1] Kaggle, sartajbhuvaji/brain-tumor-classification-mri, 2020.
[2] Cheng, Brain tumor dataset, figshare 1512427, 2017.
"""

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torchvision.models import SqueezeNet1_0_Weights

from .base import Sample, Samples, balanced_order, checkpoint_folder, data_folder
from .images import read_image
from .networks import imagenet_weights, squeezenet1_0
from .phantoms.brain_mri import CLASSES, BrainMRI
from .rendered import PhantomVGG16
from .training import Jitter, Recipe, Trainable

_FOLDER = "brain-tumor-classification-mri"
_TABLE = "annotations/images.csv"
_COLUMNS = ("path", "part", "label", "cheng_id", "width", "height", "x0", "y0", "x1", "y1")
_VALIDATION_FRACTION = 0.12


class PhantomBrainMRI(PhantomVGG16):
    """Rendered brain slices with glioma, meningioma, pituitary tumour or none, and a small VGG16. Masks are exact."""

    phantoms: ClassVar = BrainMRI
    name: ClassVar = "phantom_brain_mri_vgg16"
    nothing_found: ClassVar = "no_tumor"
    mean: ClassVar = (0.22,) * 3
    deviation: ClassVar = (0.2,) * 3


class Slice(NamedTuple):
    """A row of the table."""

    path: str
    part: str
    label: int
    """Index into the classes."""
    number: int
    """In Cheng's set; -1: not known."""
    box: tuple[float, float, float, float] | None
    """The tumour's left, top, right and bottom edge as fractions of the image's sides; None: not known."""


@dataclass(frozen=True)
class Slices:
    """Slices read from their files when they are asked for."""

    folder: Path
    rows: Sequence[Slice]
    size: int

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Sample:
        row = self.rows[index]
        return Sample(
            input=read_image(self.folder / row.path, self.size),
            label=torch.tensor(row.label),
            id=row.path,
            mask=_mask(row, self.size),
        )


def _mask(row: Slice, size: int) -> Tensor | None:
    """(1, size, size) bool: the box; all False where there is no tumour; None where it is not known."""
    mask = torch.zeros((1, size, size), dtype=torch.bool)
    if CLASSES[row.label] == "no_tumor":
        return mask
    if row.box is None:
        return None
    left, top = (min(round(edge * size), size - 1) for edge in row.box[:2])
    right, bottom = (round(edge * size) for edge in row.box[2:])
    mask[:, top : max(bottom, top + 1), left : max(right, left + 1)] = True
    return mask


@dataclass(frozen=True)
class BrainTumorMRI(Trainable):
    """Slices of the public data set, and torchvision's SqueezeNet 1.0, fine-tuned from ImageNet weights.

    The masks are the tumours' boxes. Explained are the held-out slices, tumours without a known box left out.
    """

    size: int = 224
    """Side to which the images are stretched, in pixels."""

    def classes(self) -> tuple[str, ...]:
        return CLASSES

    def negative(self) -> str | None:
        return "no_tumor"

    def network(self) -> nn.Sequential:
        return squeezenet1_0(len(CLASSES))

    def pretrained(self) -> Mapping[str, Tensor]:
        return imagenet_weights(SqueezeNet1_0_Weights.IMAGENET1K_V1)

    def part(self, name: str) -> Samples:
        folder = self._folder()
        rows = _rows(read_table(folder / _TABLE), name)
        return Slices(folder, rows, self.size)

    def checkpoint(self) -> Path:
        return checkpoint_folder() / "brain_mri_squeezenet.safetensors"

    def recipe(self) -> Recipe:
        return Recipe(epochs=6, learning_rate=4e-4, augment=Jitter())

    def missing_data(self) -> str | None:
        if data_folder() is None:
            return f"data not found: name the folder that holds {_FOLDER} with `--data DIR` or BENCH_DATA"
        table = self._folder() / _TABLE
        if not table.is_file():
            return (
                f"data not found: no {table}; put the Kaggle set sartajbhuvaji/{_FOLDER} "
                f"and its {_TABLE} there, or name the folder that holds it with `--data DIR` or BENCH_DATA"
            )
        return None

    def _folder(self) -> Path:
        return (data_folder() or Path()) / _FOLDER


def read_table(path: Path) -> list[Slice]:
    """The rows of the table of images.

    Raises:
        ValueError: a column is absent or a row makes no sense; the message names the row.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            if absent := [column for column in _COLUMNS if column not in (reader.fieldnames or ())]:
                raise ValueError(f"has no column {', '.join(absent)}")
            return [_slice(row, reader.line_num) for row in reader]
    except (ValueError, csv.Error) as error:
        raise ValueError(f"{path}: {error}; restore the table that came with the data") from error


def _slice(row: Mapping[str, str | None], line: int) -> Slice:
    try:
        cells = {column: (row[column] or "").strip() for column in _COLUMNS}
        width, height, *edges = (float(cells[name] or "nan") for name in _COLUMNS[4:])
        box = None
        if all(cells[name] for name in _COLUMNS[4:]):
            box = (edges[0] / width, edges[1] / height, edges[2] / width, edges[3] / height)
            if not (0 <= box[0] < box[2] <= 1 and 0 <= box[1] < box[3] <= 1):
                raise ValueError("the box does not lie within the image")
        number = int(float(cells["cheng_id"] or -1))
        return Slice(cells["path"], cells["part"], CLASSES.index(cells["label"]), number, box)
    except (ValueError, ZeroDivisionError) as error:
        raise ValueError(f"line {line}: {error}") from error


def _rows(table: Iterable[Slice], part: str) -> list[Slice]:
    """The slices of a part; the validation part is carved out of the published training part.

    Neighbours in Cheng's set are slices of one patient: the validation part is the end of each class in that
    order, so that hardly any patient is in both.
    """
    rows = [row for row in table if row.part == ("train" if part == "validation" else part)]
    if part == "heldout":
        rows = [row for row in rows if row.box is not None or CLASSES[row.label] == "no_tumor"]
        return [rows[index] for index in balanced_order([row.label for row in rows])]
    kept = []
    for label in range(len(CLASSES)):
        ordered = sorted((row for row in rows if row.label == label), key=lambda row: (row.number, row.path))
        cut = len(ordered) - round(_VALIDATION_FRACTION * len(ordered))
        kept += ordered[cut:] if part == "validation" else ordered[:cut]
    return kept


phantom_brain_mri_vgg16 = PhantomBrainMRI()
brain_mri_squeezenet = BrainTumorMRI()
