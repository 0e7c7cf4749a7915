"""Pneumonia in children's chest X-rays: rendered radiographs, and those of Kermany et al.

The public data [1] are laid out as

    chest-xray-pneumonia/chest_xray/{train,val,test}/{NORMAL,PNEUMONIA}/*.jpeg

and hold the whole of it once more in chest_xray/chest_xray. The published `val` has 16 images: where it is
there, it is added to `train`, and a tenth of the patients of both is kept from training to choose the epoch. File
names tell patients: person12_bacteria_34, IM-0115-0001, NORMAL2-IM-0501-0001. There are no masks; lungs that
the user has drawn are taken from `chest-xray-pneumonia/lung masks`, see `tasks/lungs/lungs_only.py`.

[1] Kermany et al., Identifying medical diagnoses and treatable diseases by image-based deep learning, Cell 2018;
Kaggle, paultimothymooney/chest-xray-pneumonia.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from torch import nn

from .base import DataSet, Samples
from .learning.augmentation import Augment, of_the_studies
from .learning.fitting import Recipe
from .lungs.lungs_only import LungsOnly, LungsOnlyPneumonia, mask_path
from .lungs.segmentation import segmenter
from .networks.architectures import cnn
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

    It is fitted without augmentation, as its real counterpart is. On 400 held-out phantoms it is right in 0.995. Taking
    the evidence away changes 0.99 of its right decisions for pneumonia, replacing all else by another patient 0.02.
    """

    phantoms: ClassVar[type[Pneumonia]] = Pneumonia
    name: ClassVar[str] = "phantom_chest_xray_pneumonia_cnn"
    data_set: ClassVar = CHEST_XRAY_PNEUMONIA
    architecture: ClassVar[str] = "plain CNN, 1/2 as wide"
    nothing_found: ClassVar = "NORMAL"
    mean: ClassVar = (0.45,) * 3
    deviation: ClassVar = (0.28,) * 3
    augment: ClassVar[Augment | None] = None

    def layout(self) -> Layout:
        return Layout(ChestXrayPneumonia.folder, _write)

    def network(self) -> nn.Sequential:
        return cnn(len(self.classes()), width=1 / 2, mean=self.mean, deviation=self.deviation)

    def recipe(self) -> Recipe:
        return Recipe(epochs=8, learning_rate=1e-3, augment=self.augment)


class PhantomPneumoniaAugmented(PhantomPneumonia):
    """The same phantoms, and the same network fitted with the studies' augmentation.

    On 400 held-out phantoms it is right in 0.9875. Taking the evidence away changes 0.995 of its right decisions for
    pneumonia, replacing all else by another patient 0.02.
    """

    name: ClassVar = "phantom_chest_xray_pneumonia_cnn_augmented"
    augment: ClassVar = of_the_studies()


class PhantomPneumoniaSegmented(PhantomPneumonia):
    """The same phantoms with everything outside the lungs black, and the same network fitted to these.

    The lungs are known exactly. The recipe is that of `phantom_chest_xray_pneumonia_cnn`: only what the network sees
    differs. On 400 held-out phantoms it is right in 0.98. Taking the evidence away changes 0.995 of its right decisions
    for pneumonia, replacing all else by another patient 0.05.
    """

    phantoms: ClassVar = LungsOnlyPneumonia
    name: ClassVar = "phantom_chest_xray_pneumonia_cnn_segmented"

    def layout(self) -> Layout:
        return Layout(ChestXrayPneumonia.folder, _write_with_lungs)


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

    def patient(self, sample: str) -> str | None:
        """As the file's name tells."""
        return patient(sample)


class ChestXrayPneumoniaAugmented(ChestXrayPneumonia):
    """The same, with augmentation."""

    name: ClassVar = "chest_xray_pneumonia_cnn_augmented"
    epochs: ClassVar = 20
    augment: ClassVar = of_the_studies()


class ChestXrayPneumoniaSegmented(ChestXrayPneumonia):
    """The public radiographs with everything outside the lungs black, and the same network fitted to these.

    The lungs are those in the user's masks where there are such, else found by a network; see
    `tasks/lungs/lungs_only.py`. The recipe is that of `chest_xray_pneumonia_cnn`, without augmentation: only what the
    network sees differs.
    """

    name: ClassVar = "chest_xray_pneumonia_cnn_segmented"

    def part(self, name: str) -> Samples:
        return LungsOnly(super().part(name), self.data(), segmenter())


def patient(path: str) -> str:
    """Whose image it is, by its file's name; the name itself where it does not tell.

    >>> patient("chest_xray/train/PNEUMONIA/person12_bacteria_34.jpeg"), patient("x/NORMAL2-IM-0501-0001-0002.jpeg")
    ('person12', 'NORMAL2-IM-0501')
    """
    stem = Path(path).stem
    told = re.match(r"person\d+|(NORMAL2-)?IM-\d+", stem)
    return told.group() if told else stem


def _write(folder: Path, parts: Mapping[str, Pneumonia]) -> None:
    """As published, without lung masks."""
    for _ in _written(folder, parts):
        pass


def _written(folder: Path, parts: Mapping[str, Pneumonia]) -> Iterator[tuple[Pneumonia, int, str]]:
    """Each radiograph's phantoms, index and path below the data set's folder, once it is written.

    In a folder doubled, some in colour, with what a Mac leaves; a few of the training part are in `val`.
    """
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
            yield phantoms, position, f"chest_xray/{published}/{name}/{path.name}"


def _write_with_lungs(folder: Path, parts: Mapping[str, LungsOnlyPneumonia]) -> None:
    """The whole radiographs, and the exact lungs where the user's own masks are looked for."""
    whole = {part: phantoms.whole() for part, phantoms in parts.items()}
    for phantoms, index, path in _written(folder, whole):
        write_picture(folder / mask_path(path), phantoms.lungs(index).float(), "L")


def _file_names(name: str, part: str) -> Iterator[str]:
    """Of images of patients that the reader counts to the part: two of each."""
    start = 2001 if part == "heldout" else 1
    names = {"NORMAL": "IM-{:04d}-000{}.jpeg", "PNEUMONIA": "person{}_bacteria_{}.jpeg"}

    def counts(number: int) -> bool:
        of_validation = drawn(patient(names[name].format(number, 1)), _VALIDATION_FRACTION)
        return part == "heldout" or of_validation == (part == "validation")

    return (names[name].format(number, image) for number in numbers(counts, start) for image in (1, 2))


phantom_chest_xray_pneumonia_cnn = PhantomPneumonia()
phantom_chest_xray_pneumonia_cnn_augmented = PhantomPneumoniaAugmented()
phantom_chest_xray_pneumonia_cnn_segmented = PhantomPneumoniaSegmented()
chest_xray_pneumonia_cnn = ChestXrayPneumonia()
chest_xray_pneumonia_cnn_augmented = ChestXrayPneumoniaAugmented()
chest_xray_pneumonia_cnn_segmented = ChestXrayPneumoniaSegmented()
