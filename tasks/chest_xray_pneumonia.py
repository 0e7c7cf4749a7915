"""Pneumonia in children's chest X-rays: rendered radiographs, and those of Kermany et al.

The public data [1] are laid out as

    chest-xray-pneumonia/chest_xray/{train,val,test}/{NORMAL,PNEUMONIA}/*.jpeg

and hold the whole of it once more in chest_xray/chest_xray. The published `val` has 16 images: where it is
there, it is added to `train`, and a tenth of the patients of both is kept from training to choose the epoch. File
names tell patients: person12_bacteria_34, IM-0115-0001, NORMAL2-IM-0501-0001. There are no masks.

[1] Kermany et al., Identifying medical diagnoses and treatable diseases by image-based deep learning, Cell 2018;
Kaggle, paultimothymooney/chest-xray-pneumonia.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from torch import nn

from .augmentation import Augment, Jitter, of_the_studies
from .base import DataSet
from .fitting import Recipe
from .networks import cnn
from .phantoms.chest_xray import Pneumonia
from .published import Picture, PublishedTask, drawn, files, unnested
from .publishing import Layout, numbers, rendered, write_picture
from .rendered import PhantomTask

_VALIDATION_FRACTION = 0.1

CHEST_XRAY_PNEUMONIA = DataSet(
    name="Chest X-Ray Images (Pneumonia)",
    licence="CC BY 4.0",
    citation="Kermany et al., Identifying medical diagnoses and treatable diseases by image-based deep learning, "
    "Cell 2018",
)


class PhantomPneumonia(PhantomTask):
    """Rendered chest X-rays with and without pneumonia, and a small network of plain convolutions.

    On 400 held-out phantoms it is right in 0.9925; taking the evidence away changes all its right decisions for
    pneumonia.
    """

    phantoms: ClassVar = Pneumonia
    name: ClassVar = "phantom_chest_xray_pneumonia_cnn"
    data_set: ClassVar = CHEST_XRAY_PNEUMONIA
    architecture: ClassVar[str] = "plain CNN, 1/2 as wide"
    nothing_found: ClassVar = "NORMAL"
    mean: ClassVar = (0.45,) * 3
    deviation: ClassVar = (0.28,) * 3

    def layout(self) -> Layout:
        return Layout(ChestXrayPneumonia.folder, _write)

    def network(self) -> nn.Sequential:
        return cnn(len(self.classes()), width=1 / 2, mean=self.mean, deviation=self.deviation)

    def recipe(self) -> Recipe:
        return Recipe(epochs=14, learning_rate=1e-3, augment=Jitter(rotation=5, shift=0.03))


class ChestXrayPneumonia(PublishedTask):
    """The public radiographs, and a small network of plain convolutions, fitted from scratch without augmentation."""

    name: ClassVar[str] = "chest_xray_pneumonia_cnn"
    data_set: ClassVar = CHEST_XRAY_PNEUMONIA
    architecture: ClassVar[str] = "plain CNN"
    folder: ClassVar = "chest-xray-pneumonia"
    source: ClassVar = "the Kaggle set paultimothymooney/chest-xray-pneumonia"
    nothing_found: ClassVar = "NORMAL"
    epochs: ClassVar[int] = 12
    learning_rate: ClassVar = 1e-3
    augment: ClassVar[Augment | None] = None

    def classes(self) -> tuple[str, ...]:
        return Pneumonia.class_names

    def network(self) -> nn.Sequential:
        return cnn(len(self.classes()), mean=(0.48,) * 3, deviation=(0.24,) * 3)

    def needed(self) -> Sequence[str]:
        return [f"chest_xray/{part}/{name}" for part in ("train", "test") for name in self.classes()]

    def pictures(self, folder: Path, part: str) -> Sequence[Picture]:
        val = unnested(folder, "chest_xray/val").is_dir()
        published = ("test",) if part == "heldout" else ("train", "val") if val else ("train",)
        return [
            Picture(path, label)
            for source in published
            for label, name in enumerate(self.classes())
            for path in files(folder, f"chest_xray/{source}/{name}")
            if part == "heldout" or drawn(patient(path), _VALIDATION_FRACTION) == (part == "validation")
        ]


class ChestXrayPneumoniaAugmented(ChestXrayPneumonia):
    """The same, with augmentation."""

    name: ClassVar = "chest_xray_pneumonia_cnn_augmented"
    epochs: ClassVar = 20
    augment: ClassVar = of_the_studies()


def patient(path: str) -> str:
    """Whose image it is, by its file's name; the name itself where it does not tell.

    >>> patient("chest_xray/train/PNEUMONIA/person12_bacteria_34.jpeg"), patient("x/NORMAL2-IM-0501-0001-0002.jpeg")
    ('person12', 'NORMAL2-IM-0501')
    """
    stem = Path(path).stem
    told = re.match(r"person\d+|(NORMAL2-)?IM-\d+", stem)
    return told.group() if told else stem


def _write(folder: Path, parts: Mapping[str, Pneumonia]) -> None:
    """In a folder doubled, some in colour, with what a Mac leaves; a few of the training part are in `val`."""
    root = folder / "chest_xray/chest_xray"
    for part, phantoms in parts.items():
        free = {name: _file_names(name, part) for name in phantoms.class_names}
        n_val = min(8, len(phantoms) // len(phantoms.class_names) // 4) if part == "train" else 0
        for position, number, name, sample in rendered(phantoms):
            published = "test" if part == "heldout" else "val" if number < n_val else "train"
            path = root / published / name / next(free[name])
            write_picture(path, sample.input, "RGB" if position % 3 == 0 else "L")
            (path.parent / ".DS_Store").write_bytes(b"\0\0\0\1Bud1")
            (path.parent / f"._{path.name}").write_bytes(b"\0\5\x16\7")


def _file_names(name: str, part: str) -> Iterator[str]:
    """Of images of patients that the reader counts to the part: two of each."""
    start = 2001 if part == "heldout" else 1
    names = {"NORMAL": "IM-{:04d}-000{}.jpeg", "PNEUMONIA": "person{}_bacteria_{}.jpeg"}

    def counts(number: int) -> bool:
        of_validation = drawn(patient(names[name].format(number, 1)), _VALIDATION_FRACTION)
        return part == "heldout" or of_validation == (part == "validation")

    return (names[name].format(number, image) for number in numbers(counts, start) for image in (1, 2))


phantom_chest_xray_pneumonia_cnn = PhantomPneumonia()
chest_xray_pneumonia_cnn = ChestXrayPneumonia()
chest_xray_pneumonia_cnn_augmented = ChestXrayPneumoniaAugmented()
