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
[2] Cheng, Brain tumor dataset, figshare 1512427, 2017: slices of Cheng et al., Enhanced performance of brain tumor
classification via tumor region augmentation and partition, PLOS ONE 2015, where three radiologists drew the tumours.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar, NamedTuple

from torch import Tensor, nn
from torchvision.models import SqueezeNet1_0_Weights, VGG16_Weights

from .base import DataSet
from .files.tables import read_table
from .learning.augmentation import Augment, Deletion, InTurn, Jitter, of_the_studies
from .learning.fitting import Recipe
from .networks.architectures import squeezenet1_0, vgg16, without_batch_norm
from .phantoms.brain_mri import CLASSES, BrainMRI
from .published import Box, Picture, PublishedTask
from .publishing import Layout, part_sizes, rendered, write_picture, write_table
from .rendered import PhantomVGG16

_TABLE = "annotations/images.csv"
_COLUMNS = ("path", "part", "label", "cheng_id", "width", "height", "x0", "y0", "x1", "y1")
_PARTS = ("train", "heldout", "test", "duplicate")
_VALIDATION_FRACTION = 0.12

BRAIN_TUMOUR_MRI = DataSet(
    name="Brain Tumor Classification (MRI)",
    licence="MIT",
    citation="Bhuvaji et al., Brain tumor classification (MRI), Kaggle 2020; boxes: Cheng et al., Enhanced performance "
    "of brain tumor classification via tumor region augmentation and partition, PLOS ONE 2015",
)


class PhantomBrainMRI(PhantomVGG16):
    """Rendered brain slices with glioma, meningioma, pituitary tumour or none, and a small VGG16. Masks are exact.

    Of 400 held-out phantoms it is right in 0.990. Taking the evidence away changes 0.993 of its right decisions for
    a tumour; the same evidence in another patient keeps 0.990 of them.
    """

    phantoms: ClassVar = BrainMRI
    name: ClassVar = "phantom_brain_mri_vgg16"
    data_set: ClassVar = BRAIN_TUMOUR_MRI
    nothing_found: ClassVar = "no_tumor"
    mean: ClassVar = (0.22,) * 3
    deviation: ClassVar = (0.2,) * 3

    def layout(self) -> Layout:
        return Layout(BrainTumorMRI.folder, _write, _sizes)


class PhantomBrainMRIDeleted(PhantomBrainMRI):
    """The same phantoms and network, trained on with pixels deleted: in-domain for the metrics that delete pixels.

    What a metric of faithfulness asks of the other network are images such as it has never met; comparing the two
    columns says how much of a score is owed to that. Of 400 held-out phantoms it is right in 0.9825. Taking the
    evidence away changes 0.987 of its right decisions for a tumour; the same evidence in another patient keeps 0.987
    of them.
    """

    name: ClassVar = "phantom_brain_mri_vgg16_deleted"
    augment: ClassVar = InTurn((Jitter(rotation=5, shift=0.03), Deletion()))

    def network(self) -> nn.Sequential:
        return without_batch_norm(super().network())

    def pretrained(self) -> Mapping[str, Tensor]:
        trained: nn.Module = PhantomBrainMRI().model()
        return trained.get_submodule("network").state_dict()

    def recipe(self) -> Recipe:
        return replace(super().recipe(), epochs=6, learning_rate=3e-4)


class Slice(NamedTuple):
    """A row of the table."""

    path: str
    part: str
    label: int
    """Index into the classes."""
    number: int
    """In Cheng's set; -1: not known."""
    box: Box | None
    """The tumour's; None: not known."""

    def picture(self) -> Picture:
        """As what is read: without a tumour there is no box, with one whose box is not known there is no mask."""
        boxes = None if self.box is None else (self.box,)
        return Picture(self.path, self.label, boxes=() if CLASSES[self.label] == "no_tumor" else boxes)


class BrainTumorMRI(PublishedTask):
    """Slices of the public data set, and torchvision's SqueezeNet 1.0, fine-tuned from ImageNet weights.

    The masks are the tumours' boxes. Explained are the held-out slices, tumours without a known box left out.
    """

    name: ClassVar = "brain_mri_squeezenet"
    folder: ClassVar = "brain-tumor-classification-mri"
    source: ClassVar = f"the Kaggle set sartajbhuvaji/brain-tumor-classification-mri and its {_TABLE}"
    nothing_found: ClassVar = "no_tumor"
    initial: ClassVar = SqueezeNet1_0_Weights.IMAGENET1K_V1
    data_set: ClassVar = BRAIN_TUMOUR_MRI
    architecture: ClassVar[str] = "SqueezeNet 1.0"
    ground_truth: ClassVar = "tumour boxes, about outlines drawn by three radiologists"
    epochs: ClassVar = 6
    learning_rate: ClassVar = 2e-4
    augment: ClassVar[Augment | None] = Jitter()  # in so few epochs, more costs a tenth of the accuracy

    def classes(self) -> tuple[str, ...]:
        return CLASSES

    def network(self) -> nn.Sequential:
        return squeezenet1_0(len(CLASSES))

    def needed(self) -> Sequence[str]:
        return (_TABLE,)

    def pictures(self, folder: Path, part: str) -> Sequence[Picture]:
        return [row.picture() for row in _rows(read_slices(folder / _TABLE), part)]


class BrainTumorMRIVGG16(BrainTumorMRI):
    """The same slices, and torchvision's VGG16, fine-tuned from ImageNet weights."""

    name: ClassVar = "brain_mri_vgg16"
    initial: ClassVar = VGG16_Weights.IMAGENET1K_V1
    architecture: ClassVar[str] = "VGG16"
    learning_rate: ClassVar = 1e-4
    augment: ClassVar = of_the_studies()

    def network(self) -> nn.Sequential:
        return vgg16(len(CLASSES))


def read_slices(path: Path) -> list[Slice]:
    """The rows of the table of images.

    Raises:
        ValueError: a column is absent or a row makes no sense; the message names the row.
    """
    return read_table(path, _COLUMNS, _slice, "restore the table that came with the data", key="path")


def _slice(cells: Mapping[str, str]) -> Slice:
    if cells["label"] not in CLASSES:
        raise ValueError(f"the label {cells['label']!r} is none of {', '.join(CLASSES)}")
    if cells["part"] not in _PARTS:
        raise ValueError(f"the part {cells['part']!r} is none of {', '.join(_PARTS)}")
    known = all(cells[name] for name in _COLUMNS[4:])
    box = _box(*(float(cells[name]) for name in _COLUMNS[4:])) if known else None
    number = int(float(cells["cheng_id"] or -1))
    return Slice(cells["path"], cells["part"], CLASSES.index(cells["label"]), number, box)


def _box(width: float, height: float, left: float, top: float, right: float, bottom: float) -> Box:
    if not (0 <= left < right <= width < math.inf and 0 <= top < bottom <= height < math.inf):
        raise ValueError("the box does not lie within the image")
    return Box(left / width, top / height, right / width, bottom / height)


def _rows(table: Iterable[Slice], part: str) -> list[Slice]:
    """The slices of a part; the validation part is carved out of the published training part.

    Neighbours in Cheng's set are slices of one patient: the validation part is the end of each class in that
    order, so that hardly any patient is in both.
    """
    rows = [row for row in table if row.part == ("train" if part == "validation" else part)]
    if part == "heldout":
        return [row for row in rows if row.box is not None or CLASSES[row.label] == "no_tumor"]
    kept = []
    for label in range(len(CLASSES)):
        ordered = sorted((row for row in rows if row.label == label), key=lambda row: (row.number, row.path))
        cut = len(ordered) - round(_VALIDATION_FRACTION * len(ordered))
        kept += ordered[cut:] if part == "validation" else ordered[:cut]
    return kept


def _write(folder: Path, parts: Mapping[str, BrainMRI]) -> None:
    """Sizes vary, some are in colour; the first held-out slices are there once more, marked as duplicates."""
    rows: list[tuple[object, ...]] = []
    n_before = 1000  # all numbers have four digits, so that their order is that of the names
    for part, phantoms in parts.items():
        for position, number, name, sample in rendered(phantoms):
            cheng_id, box = n_before + number, _edges(sample.mask)
            path = f"Training/{name}/image ({cheng_id}).jpg"
            twice = ("Testing/" + path.partition("/")[2],) if part == "heldout" and number == 0 else ()
            known = ("", "", *box) if name == "no_tumor" else (cheng_id, name, *box)
            for file in (path, *twice):
                size = (phantoms.size, phantoms.size + number % 3)
                write_picture(folder / file, sample.input, "RGB" if position % 2 else "L", size)
                listed = "duplicate" if file in twice else {"validation": "train"}.get(part, part)
                rows.append((file, listed, name, *known))
        n_before += len(phantoms) // len(CLASSES)
    columns = (*_COLUMNS[:4], "cheng_label", *_COLUMNS[4:])
    write_table(folder / _TABLE, columns, rows)


def _edges(mask: Tensor | None) -> tuple[object, ...]:
    """The box of a mask as in the table, in an image of 512 pixels: width, height, x0, y0, x1, y1; else blanks."""
    if mask is None or not mask.any():
        return ("",) * 6
    scale = 512 / mask.shape[-1]
    x, y = (mask[0].any(dim).nonzero() for dim in (0, 1))
    edges = (int(x.min()), int(y.min()), int(x.max()) + 1, int(y.max()) + 1)
    return (512, 512, *(round(edge * scale, 1) for edge in edges))


def _sizes(n_samples: int) -> dict[str, int]:
    """The reader cuts the validation part off the training part by counting."""
    heldout = part_sizes(n_samples)["heldout"]
    validation = round(_VALIDATION_FRACTION * (n_samples - heldout))
    return {"train": n_samples - heldout - validation, "validation": validation, "heldout": heldout}


phantom_brain_mri_vgg16 = PhantomBrainMRI()
phantom_brain_mri_vgg16_deleted = PhantomBrainMRIDeleted()
brain_mri_squeezenet = BrainTumorMRI()
brain_mri_vgg16 = BrainTumorMRIVGG16()
