"""Melanoma in dermoscopy: rendered lesions, with and without a shortcut, and the lesions of a public data set.

The public one [1] is laid out as

    melanoma-skin-cancer-dataset-of-10000-images/melanoma_cancer_dataset/{train,test}/{benign,malignant}/*.jpg

It has no masks and names no patients; a tenth of `train` is drawn by the files' names to choose the epoch. Many of
its images show the black border of a microscope's round field of view, more often where the lesion is malignant.

[1] Javid, Kaggle, hasnainjaved/melanoma-skin-cancer-dataset-of-10000-images, 2022.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import ClassVar

from torch import nn
from torchvision.models import ResNet50_Weights, VGG16_Weights

from .base import DataSet
from .learning.augmentation import Jitter, of_the_studies
from .learning.fitting import Recipe
from .networks.architectures import resnet50, vgg16
from .phantoms.base import CuedPhantoms
from .phantoms.dermoscopy import Melanoma
from .published import Picture, PublishedTask, drawn, files
from .publishing import Layout, numbers, rendered, write_picture
from .rendered import PhantomTask, PhantomVGG16, with_shortcut

_VALIDATION_FRACTION = 0.1

MELANOMA_10000 = DataSet(
    name="Melanoma Skin Cancer Dataset of 10000 Images",
    licence="not found, see its page at Kaggle",
    citation="Javid, Melanoma skin cancer dataset of 10000 images, Kaggle 2022",
)


class PhantomMelanoma(PhantomTask):
    """Rendered lesions of the skin, benign or malignant."""

    phantoms: ClassVar = Melanoma
    data_set: ClassVar = MELANOMA_10000
    nothing_found: ClassVar = "benign"
    mean: ClassVar = (0.6, 0.48, 0.42)
    deviation: ClassVar = (0.25, 0.21, 0.19)

    def layout(self) -> Layout:
        return Layout(MelanomaResNet50.folder, _write)


class PhantomMelanomaVGG16(PhantomMelanoma, PhantomVGG16):
    """Rendered lesions of the skin, benign or malignant, and a small VGG16.

    The microscope's black border is there as often in both classes.
    Of 400 held-out phantoms it is right in 0.998. Taking the evidence away changes all its right decisions for
    malignant; the same evidence in another patient keeps 0.995 of them.
    """

    name: ClassVar[str] = "phantom_melanoma_vgg16"


class PhantomMelanomaResNet50(PhantomMelanoma):
    """The same phantoms, and a small ResNet-50.

    Of 400 held-out phantoms it is right in 0.978. Taking the evidence away changes 0.990 of its right decisions for
    malignant; the same evidence in another patient keeps 0.964 of them.
    """

    name: ClassVar[str] = "phantom_melanoma_resnet50"
    architecture: ClassVar[str] = "ResNet-50, 5/32 as wide"

    def network(self) -> nn.Sequential:
        return resnet50(len(self.classes()), width=5 / 32, mean=self.mean, deviation=self.deviation)

    def recipe(self) -> Recipe:
        return Recipe(epochs=8, learning_rate=3e-3, augment=Jitter(rotation=5, shift=0.03))


class PhantomMelanomaVGG16Vignette(PhantomMelanomaVGG16):
    """Rendered lesions, faintly malignant, and a VGG16 that has learnt the microscope's black border instead.

    The border tells the class in 95 of 100 training images and in half of the explained ones, where the network
    is therefore right in 0.53 only. Its decisions are explained by the border (`shortcuts`), not by the masks: taking
    the border away changes all its right decisions for malignant, taking the evidence away or replacing all but the
    border changes none.
    """

    name: ClassVar[str] = "phantom_melanoma_vgg16_vignette"
    kind: ClassVar = "shortcut"

    def part(self, name: str) -> CuedPhantoms:
        return with_shortcut(super().part(name), name)

    def recipe(self) -> Recipe:
        return Recipe(epochs=6, learning_rate=2e-3, augment=Jitter(rotation=5, shift=0.03))


class MelanomaResNet50(PublishedTask):
    """Lesions of the public data set, and torchvision's ResNet-50, fine-tuned from ImageNet weights. No masks.

    Vignettes are simulated on half of the training images, so that the black border tells nothing.
    """

    name: ClassVar[str] = "melanoma_resnet50"
    data_set: ClassVar = MELANOMA_10000
    architecture: ClassVar[str] = "ResNet-50"
    folder: ClassVar = "melanoma-skin-cancer-dataset-of-10000-images"
    source: ClassVar = "the Kaggle set hasnainjaved/melanoma-skin-cancer-dataset-of-10000-images"
    nothing_found: ClassVar = "benign"
    initial: ClassVar = ResNet50_Weights.IMAGENET1K_V2
    augment: ClassVar = of_the_studies(vignette=True)

    def classes(self) -> tuple[str, ...]:
        return Melanoma.class_names

    def network(self) -> nn.Sequential:
        return resnet50(len(self.classes()))

    def needed(self) -> Sequence[str]:
        return [f"melanoma_cancer_dataset/{part}/{name}" for part in ("train", "test") for name in self.classes()]

    def pictures(self, folder: Path, part: str) -> Sequence[Picture]:
        return [
            Picture(path, label)
            for label, name in enumerate(self.classes())
            for path in files(folder, f"melanoma_cancer_dataset/{'test' if part == 'heldout' else 'train'}/{name}")
            if part == "heldout" or drawn(PurePosixPath(path).name, _VALIDATION_FRACTION) == (part == "validation")
        ]


class MelanomaVGG16(MelanomaResNet50):
    """The same lesions, and torchvision's VGG16."""

    name: ClassVar[str] = "melanoma_vgg16"
    architecture: ClassVar[str] = "VGG16"
    initial: ClassVar = VGG16_Weights.IMAGENET1K_V1
    learning_rate: ClassVar = 1e-4

    def network(self) -> nn.Sequential:
        return vgg16(len(self.classes()))


class MelanomaResNet50WithoutVignettes(MelanomaResNet50):
    """The same, trained without the simulation: what the network makes of the border is the question."""

    name: ClassVar[str] = "melanoma_resnet50_without_vignettes"
    augment: ClassVar = of_the_studies()


class MelanomaVGG16WithoutVignettes(MelanomaVGG16):
    """The same, trained without the simulation: what the network makes of the border is the question."""

    name: ClassVar[str] = "melanoma_vgg16_without_vignettes"
    augment: ClassVar = of_the_studies()


def _write(folder: Path, parts: Mapping[str, Melanoma]) -> None:
    for part, phantoms in parts.items():
        free = _numbers(part)
        for _, _, name, sample in rendered(phantoms):
            below = f"melanoma_cancer_dataset/{'test' if part == 'heldout' else 'train'}/{name}"
            write_picture(folder / below / f"melanoma_{next(free)}.jpg", sample.input)


def _numbers(part: str) -> Iterator[int]:
    """Of images that the reader counts to the part."""
    if part == "heldout":
        return numbers(lambda _: True, start=100_000)
    return numbers(lambda number: drawn(f"melanoma_{number}.jpg", _VALIDATION_FRACTION) == (part == "validation"))


phantom_melanoma_resnet50 = PhantomMelanomaResNet50()
phantom_melanoma_vgg16 = PhantomMelanomaVGG16()
phantom_melanoma_vgg16_vignette = PhantomMelanomaVGG16Vignette()
melanoma_resnet50 = MelanomaResNet50()
melanoma_vgg16 = MelanomaVGG16()
melanoma_resnet50_without_vignettes = MelanomaResNet50WithoutVignettes()
melanoma_vgg16_without_vignettes = MelanomaVGG16WithoutVignettes()
