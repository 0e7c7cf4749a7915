"""Melanoma in dermoscopy: rendered lesions, and the lesions of the ISIC 2017 challenge's third part.

The public data [1] are laid out as

    isic-2017/ISIC-2017_{Training,Validation}_Data/ISIC_*.jpg
              ISIC-2017_{Training,Validation}_Part1_GroundTruth/ISIC_*_segmentation.png
              ISIC-2017_{Training,Validation}_Part3_GroundTruth.csv      image_id,melanoma,seborrheic_keratosis

A lesion that is neither melanoma nor seborrheic keratosis is a nevus. Beside the images lie pictures of
superpixels (ISIC_*_superpixels.png) and a table of ages, which are not read.

[1] Codella et al., Skin lesion analysis toward melanoma detection, ISBI 2018; arXiv:1710.05006.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import ClassVar

from torch import nn
from torchvision.models import ResNet50_Weights, SqueezeNet1_0_Weights

from .base import DataSet
from .files.tables import read_table
from .networks.architectures import resnet50, squeezenet1_0
from .phantoms.dermoscopy import ISIC2017
from .published import Picture, PublishedTask, drawn, files, unnested
from .publishing import Layout, numbers, rendered, write_picture, write_table
from .rendered import PhantomTask

_COLUMNS = ("image_id", "melanoma", "seborrheic_keratosis")
_VALIDATION_FRACTION = 0.1

ISIC_2017 = DataSet(
    name="ISIC 2017",
    licence="CC0",
    citation="Codella et al., Skin lesion analysis toward melanoma detection: a challenge at the 2017 International "
    "Symposium on Biomedical Imaging, ISBI 2018",
)


class PhantomISIC2017ResNet50(PhantomTask):
    """Rendered lesions of the skin: melanoma, nevus or seborrheic keratosis, and a small ResNet-50.

    Of 400 held-out phantoms it is right in 0.965. Taking the evidence away changes 0.958 of its right decisions for
    melanoma or keratosis; the same evidence in another patient keeps 0.954 of them.
    """

    phantoms: ClassVar = ISIC2017
    name: ClassVar = "phantom_isic_2017_resnet50"
    data_set: ClassVar = ISIC_2017
    architecture: ClassVar = "ResNet-50, 5/32 as wide"
    nothing_found: ClassVar = "nevus"
    mean: ClassVar = (0.6, 0.48, 0.42)
    deviation: ClassVar = (0.25, 0.21, 0.19)

    def layout(self) -> Layout:
        return Layout(ISIC2017ResNet50.folder, _write)

    def network(self) -> nn.Sequential:
        return resnet50(len(self.classes()), width=5 / 32, mean=self.mean, deviation=self.deviation)


class ISIC2017ResNet50(PublishedTask):
    """Lesions of the public data set, and torchvision's ResNet-50, fine-tuned from ImageNet weights.

    The masks are the lesions, whatever their class. Explained is the published validation part; a tenth of the
    published training part is kept from training to choose the epoch.
    """

    name: ClassVar[str] = "isic_2017_resnet50"
    data_set: ClassVar = ISIC_2017
    architecture: ClassVar[str] = "ResNet-50"
    ground_truth: ClassVar = "lesions of every class, traced by experts"
    folder: ClassVar = "isic-2017"
    source: ClassVar = "the images and ground truth of parts 1 and 3 of the ISIC 2017 challenge"
    nothing_found: ClassVar = "nevus"
    initial: ClassVar = ResNet50_Weights.IMAGENET1K_V2

    def classes(self) -> tuple[str, ...]:
        return ISIC2017.class_names

    def network(self) -> nn.Sequential:
        return resnet50(len(self.classes()))

    def needed(self) -> Sequence[str]:
        return [
            f"ISIC-2017_{part}_{what}"
            for part in ("Training", "Validation")
            for what in ("Data", "Part1_GroundTruth", "Part3_GroundTruth.csv")
        ]

    def pictures(self, folder: Path, part: str) -> Sequence[Picture]:
        stem = f"ISIC-2017_{'Validation' if part == 'heldout' else 'Training'}"
        data, masks = (
            unnested(folder, f"{stem}_{what}").relative_to(folder).as_posix() for what in ("Data", "Part1_GroundTruth")
        )
        table = unnested(folder, f"{stem}_Part3_GroundTruth.csv")
        labels = read_labels(table)
        found = {PurePosixPath(path).stem: path for path in files(folder, f"{stem}_Data", (".jpg", ".jpeg"))}
        return [
            Picture(
                found.get(image, f"{data}/{image}.jpg"),
                labels.get(image, -1),
                mask=f"{masks}/{image}_segmentation.png",
                fault=None if image in labels else f"has no row in {table.name}",
            )
            for image in dict.fromkeys((*labels, *found))
            if part == "heldout" or drawn(image, _VALIDATION_FRACTION) == (part == "validation")
        ]


class ISIC2017SqueezeNet(ISIC2017ResNet50):
    """The same lesions, and torchvision's SqueezeNet 1.0, small enough to be fine-tuned without a GPU."""

    name: ClassVar[str] = "isic_2017_squeezenet"
    architecture: ClassVar[str] = "SqueezeNet 1.0"
    initial: ClassVar = SqueezeNet1_0_Weights.IMAGENET1K_V1
    learning_rate: ClassVar = 4e-4

    def network(self) -> nn.Sequential:
        return squeezenet1_0(len(self.classes()))


def read_labels(path: Path) -> dict[str, int]:
    """The class of every image in a table of the third part, as an index into the classes.

    Raises:
        ValueError: a column is absent or a row makes no sense; the message names the row.
    """
    rows = read_table(
        path, _COLUMNS, lambda cells: (cells["image_id"], _label(cells)), "replace it by the published file", "image_id"
    )
    return dict(rows)


def _label(cells: Mapping[str, str]) -> int:
    """The numbers are written 0.0 and 1.0."""
    flags = [cells[column] for column in _COLUMNS[1:]]
    names = {("0", "0"): "nevus", ("1", "0"): "melanoma", ("0", "1"): "seborrheic_keratosis"}
    name = names.get((flags[0].removesuffix(".0"), flags[1].removesuffix(".0")))
    if name is None:
        raise ValueError(f"melanoma {flags[0]!r} and seborrheic_keratosis {flags[1]!r} are no class")
    return ISIC2017.class_names.index(name)


def _write(folder: Path, parts: Mapping[str, ISIC2017]) -> None:
    """Photographs are wider than high; beside them lie superpixels, and a table of patients."""
    rows: dict[str, list[tuple[object, ...]]] = {"Training": [], "Validation": []}
    for part, phantoms in parts.items():
        published = "Validation" if part == "heldout" else "Training"
        stem = f"ISIC-2017_{published}"
        free = _numbers(part)
        for position, _, name, sample in rendered(phantoms):
            image = f"ISIC_{next(free):07d}"
            size = (phantoms.size * 4 // 3, phantoms.size)
            write_picture(folder / f"{stem}_Data/{image}.jpg", sample.input, size=size)
            write_picture(folder / f"{stem}_Data/{image}_superpixels.png", sample.input, size=size)
            lesion = phantoms.lesion(position)
            write_picture(folder / f"{stem}_Part1_GroundTruth/{image}_segmentation.png", lesion, "L", size)
            rows[published].append((image, *(float(name == column) for column in _COLUMNS[1:])))
    for published, lines in rows.items():
        stem = f"ISIC-2017_{published}"
        write_table(folder / f"{stem}_Part3_GroundTruth.csv", _COLUMNS, sorted(lines))
        ages = [(line[0], "unknown", "unknown") for line in sorted(lines)]
        write_table(folder / f"{stem}_Data/{stem}_Data_metadata.csv", ("image_id", "age_approximate", "sex"), ages)


def _numbers(part: str) -> Iterator[int]:
    """Of images that the reader counts to the part."""
    if part == "heldout":
        return numbers(lambda _: True, start=1_000_000)
    return numbers(lambda number: drawn(f"ISIC_{number:07d}", _VALIDATION_FRACTION) == (part == "validation"))


phantom_isic_2017_resnet50 = PhantomISIC2017ResNet50()
isic_2017_resnet50 = ISIC2017ResNet50()
isic_2017_squeezenet = ISIC2017SqueezeNet()
