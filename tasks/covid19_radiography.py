"""COVID-19 in chest X-rays: rendered radiographs, and those of the COVID-19 Radiography Database.

The public one [1] is laid out as

    covid19-radiography/COVID-19_Radiography_Dataset/{COVID,Lung_Opacity,Normal,Viral Pneumonia}/images/*.png
                                                                                                 masks/*.png

The masks are of the lungs, at another size than the images (256 and 299 px). The data set names no patients and
has no parts: its parts are drawn by the files' names.

[1] Rahman et al., Exploring the effect of image enhancement techniques on COVID-19 detection using chest X-ray
images, Computers in Biology and Medicine 2021; Kaggle, tawsifurrahman/covid19-radiography-database.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import ClassVar

from torch import nn
from torchvision.models import DenseNet121_Weights, ResNet18_Weights, VGG16_Weights

from .base import DataSet
from .learning.augmentation import Jitter
from .learning.fitting import Recipe
from .networks.architectures import densenet121, resnet18, vgg16
from .phantoms.chest_xray import Radiography
from .published import Picture, PublishedTask, drawn, files
from .publishing import Layout, numbers, rendered, write_picture
from .rendered import PhantomTask, PhantomVGG16

_ROOT = "COVID-19_Radiography_Dataset"
_HELD_OUT_FRACTION, _VALIDATION_FRACTION = 0.2, 0.1

COVID19_RADIOGRAPHY = DataSet(
    name="COVID-19 Radiography Database",
    licence="not found, see its page at Kaggle",
    citation="Chowdhury et al., Can AI help in screening viral and COVID-19 pneumonia?, IEEE Access 2020; Rahman et "
    "al., Exploring the effect of image enhancement techniques on COVID-19 detection using chest X-ray images, "
    "Computers in Biology and Medicine 2021",
)


class PhantomRadiography(PhantomTask):
    """Rendered chest X-rays with COVID-19, another opacity, viral pneumonia or none."""

    phantoms: ClassVar = Radiography
    data_set: ClassVar = COVID19_RADIOGRAPHY
    nothing_found: ClassVar = "Normal"
    mean: ClassVar = (0.45,) * 3
    deviation: ClassVar = (0.28,) * 3

    def layout(self) -> Layout:
        return Layout(Covid19Radiography.folder, _write)


class PhantomRadiographyVGG16(PhantomRadiography, PhantomVGG16):
    """Rendered chest X-rays with COVID-19, another opacity, viral pneumonia or none, and a small VGG16.

    Of 400 held-out phantoms it is right in 0.995. Taking the evidence away changes 0.997 of its right decisions for
    a finding; the same evidence in another patient keeps 0.997 of them.
    """

    name: ClassVar = "phantom_covid19_radiography_vgg16"


class PhantomRadiographyResNet18(PhantomRadiography):
    """Rendered chest X-rays with COVID-19, another opacity, viral pneumonia or none, and a small ResNet-18.

    Of 400 held-out phantoms it is right in 0.985. Taking the evidence away changes 0.997 of its right decisions for
    a finding; the same evidence in another patient keeps 0.997 of them.
    """

    name: ClassVar = "phantom_covid19_radiography_resnet18"
    architecture: ClassVar[str] = "ResNet-18, 1/5 as wide"

    def network(self) -> nn.Sequential:
        return resnet18(len(self.classes()), width=1 / 5, mean=self.mean, deviation=self.deviation)


class PhantomRadiographyDenseNet121(PhantomRadiography):
    """The same phantoms, and a small DenseNet-121.

    It is right on all of 400 held-out phantoms. Taking the evidence away changes all its right decisions for a
    finding; the same evidence in another patient keeps them all.
    """

    name: ClassVar = "phantom_covid19_radiography_densenet121"
    architecture: ClassVar[str] = "DenseNet-121, 1/4 as wide"

    def network(self) -> nn.Sequential:
        return densenet121(len(self.classes()), width=1 / 4, mean=self.mean, deviation=self.deviation)

    def recipe(self) -> Recipe:
        return Recipe(epochs=8, learning_rate=3e-3, augment=Jitter(rotation=5, shift=0.03))


@dataclass(frozen=True)
class Covid19Radiography(PublishedTask):
    """Radiographs of the public data set, and torchvision's ResNet-18, fine-tuned from ImageNet weights.

    The masks are the lungs, where the data set's folder holds them: what speaks for a finding lies within.
    """

    class_names: tuple[str, ...] = Radiography.class_names
    """The classes, or some of them; each is a folder of the data set."""

    name: ClassVar[str] = "covid19_radiography_resnet18"
    data_set: ClassVar[DataSet] = COVID19_RADIOGRAPHY
    architecture: ClassVar[str] = "ResNet-18"
    ground_truth: ClassVar[str] = "lungs, by the release's own masks"
    folder: ClassVar[str] = "covid19-radiography"
    source: ClassVar[str] = "the Kaggle set tawsifurrahman/covid19-radiography-database"
    nothing_found: ClassVar[str | None] = "Normal"
    initial: ClassVar = ResNet18_Weights.IMAGENET1K_V1

    def classes(self) -> tuple[str, ...]:
        return self.class_names

    def network(self) -> nn.Sequential:
        return resnet18(len(self.classes()))

    def needed(self) -> Sequence[str]:
        return [_images(name) for name in self.classes()]

    def pictures(self, folder: Path, part: str) -> Sequence[Picture]:
        return [
            Picture(path, label, mask=_lungs(folder, path))
            for label, name in enumerate(self.classes())
            for path in files(folder, _images(name))
            if _part(path) == part
        ]


class Covid19RadiographyVGG16(Covid19Radiography):
    """The same radiographs, and torchvision's VGG16."""

    name: ClassVar[str] = "covid19_radiography_vgg16"
    architecture: ClassVar[str] = "VGG16"
    initial: ClassVar = VGG16_Weights.IMAGENET1K_V1
    learning_rate: ClassVar = 1e-4

    def network(self) -> nn.Sequential:
        return vgg16(len(self.classes()))


class Covid19RadiographyDenseNet121(Covid19Radiography):
    """The same radiographs, and torchvision's DenseNet-121."""

    name: ClassVar[str] = "covid19_radiography_densenet121"
    architecture: ClassVar[str] = "DenseNet-121"
    initial: ClassVar = DenseNet121_Weights.IMAGENET1K_V1

    def network(self) -> nn.Sequential:
        return densenet121(len(self.classes()))


def _write(folder: Path, parts: Mapping[str, Radiography]) -> None:
    """The masks are smaller than the images, and in colour."""
    for part, phantoms in parts.items():
        free = {
            name: numbers(lambda number, name=name, part=part: _part(f"{name}-{number}.png") == part)  # type: ignore[misc]
            for name in phantoms.class_names
        }
        for position, _, name, sample in rendered(phantoms):
            image = folder / _images(name) / f"{name}-{next(free[name])}.png"
            write_picture(image, sample.input, "L")
            side = phantoms.size * 256 // 299
            mask = image.parent.parent / "masks" / image.name
            write_picture(mask, phantoms.lungs(position), "RGB", (side, side))
            (folder / f"{_ROOT}/{name}.metadata.xlsx").write_bytes(b"")


def _images(name: str) -> str:
    """The folder of a class."""
    return f"{_ROOT}/{name}/images"


def _lungs(folder: Path, path: str) -> str | None:
    """The mask of an image: the file of the same name in the folder beside its own, if there is that folder."""
    image = PurePosixPath(path)
    mask = image.parent.parent / "masks" / image.name
    return str(mask) if (folder / mask.parent).is_dir() else None


def _part(path: str) -> str:
    name = PurePosixPath(path).name
    if drawn(name, _HELD_OUT_FRACTION):
        return "heldout"
    return "validation" if drawn(f"validation {name}", _VALIDATION_FRACTION) else "train"


phantom_covid19_radiography_vgg16 = PhantomRadiographyVGG16()
phantom_covid19_radiography_resnet18 = PhantomRadiographyResNet18()
phantom_covid19_radiography_densenet121 = PhantomRadiographyDenseNet121()
covid19_radiography_resnet18 = Covid19Radiography()
covid19_radiography_vgg16 = Covid19RadiographyVGG16()
covid19_radiography_densenet121 = Covid19RadiographyDenseNet121()
