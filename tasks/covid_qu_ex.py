"""COVID-19 and other infections in chest X-rays: rendered radiographs, and those of COVID-QU-Ex with infection masks.

The public data [1] are laid out as

    covid-qu-ex/Infection Segmentation Data/{Train,Val,Test}/{COVID-19,Non-COVID,Normal}/images/*.png
                                                                                         lung masks/*.png
                                                                                         infection masks/*.png

and the release holds `Infection Segmentation Data` in a folder of the same name. Infection masks were drawn for
COVID-19 alone: those of Non-COVID are empty although there is an infection, those of Normal because there is none.

[1] Tahir et al., COVID-19 infection localization and severity grading from chest X-ray images, Computers in Biology
and Medicine 2021; Kaggle, anasmohammedtahir/covidqu.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import ClassVar

import torch
from torch import nn
from torchvision.models import ResNet50_Weights, VGG16_Weights

from .base import DataSet
from .learning.augmentation import Jitter
from .learning.fitting import Recipe
from .networks.architectures import resnet50, vgg16
from .phantoms.base import CuedPhantoms
from .phantoms.chest_xray import CovidQuEx
from .published import Picture, PublishedTask, files
from .publishing import Layout, rendered, write_picture
from .rendered import PhantomTask, PhantomVGG16, with_shortcut

_PARTS = {"train": "Train", "validation": "Val", "heldout": "Test"}

COVID_QU_EX = DataSet(
    name="COVID-QU-Ex",
    licence="not found, see its page at Kaggle",
    citation="Tahir et al., COVID-19 infection localization and severity grading from chest X-ray images, Computers "
    "in Biology and Medicine 2021",
)


class PhantomCovidQuEx(PhantomTask):
    """Rendered chest X-rays with COVID-19, another infection or none."""

    phantoms: ClassVar = CovidQuEx
    data_set: ClassVar = COVID_QU_EX
    nothing_found: ClassVar = "Normal"
    mean: ClassVar = (0.45,) * 3
    deviation: ClassVar = (0.28,) * 3

    def layout(self) -> Layout:
        return Layout(CovidQuExResNet50.folder, _write)


class PhantomCovidQuExVGG16(PhantomCovidQuEx, PhantomVGG16):
    """Rendered chest X-rays with COVID-19, another infection or none, and a small VGG16.

    Of 400 held-out phantoms it is right in 0.990. Taking the evidence away changes 0.989 of its right decisions for
    an infection; the same evidence in another patient keeps 0.989 of them.
    """

    name: ClassVar[str] = "phantom_covid_qu_ex_vgg16"


class PhantomCovidQuExResNet50(PhantomCovidQuEx):
    """The same phantoms, and a small ResNet-50.

    Of 400 held-out phantoms it is right in 0.985. Taking the evidence away changes 0.996 of its right decisions for
    an infection; the same evidence in another patient keeps 0.966 of them.
    """

    name: ClassVar[str] = "phantom_covid_qu_ex_resnet50"
    architecture: ClassVar[str] = "ResNet-50, 5/32 as wide"

    def network(self) -> nn.Sequential:
        return resnet50(len(self.classes()), width=5 / 32, mean=self.mean, deviation=self.deviation)


class PhantomCovidQuExVGG16Marker(PhantomCovidQuExVGG16):
    """Rendered chest X-rays, faintly infected, and a VGG16 that has learnt the letter beside the patient instead.

    The letter tells COVID-19 in 95 of 100 training images and in half of the explained ones, where the network is
    therefore right in 0.37 only. Its decisions for COVID-19 are explained by the letter (`shortcuts`), not by the
    masks: taking the letter away changes 0.98 of the right ones, taking the evidence away or replacing all but the
    letter none. Without the letter it says Non-COVID, whether there is another infection or not.
    """

    name: ClassVar[str] = "phantom_covid_qu_ex_vgg16_marker"
    kind: ClassVar = "shortcut"

    def part(self, name: str) -> CuedPhantoms:
        return with_shortcut(super().part(name), name)

    def recipe(self) -> Recipe:
        return Recipe(epochs=8, learning_rate=3e-3, augment=Jitter(rotation=5, shift=0.03))


class CovidQuExResNet50(PublishedTask):
    """Radiographs of the public data set, and torchvision's ResNet-50, fine-tuned from ImageNet weights.

    The masks are the infections of COVID-19; they are empty for the other classes. The parts are the published ones.
    """

    name: ClassVar[str] = "covid_qu_ex_resnet50"
    data_set: ClassVar[DataSet] = COVID_QU_EX
    architecture: ClassVar[str] = "ResNet-50"
    ground_truth: ClassVar[str] = "infections of COVID-19, drawn by machine and physicians in turn"
    folder: ClassVar[str] = "covid-qu-ex"
    source: ClassVar[str] = "the Kaggle set anasmohammedtahir/covidqu"
    nothing_found: ClassVar[str | None] = "Normal"
    initial: ClassVar = ResNet50_Weights.IMAGENET1K_V2

    def classes(self) -> tuple[str, ...]:
        return CovidQuEx.class_names

    def network(self) -> nn.Sequential:
        return resnet50(len(self.classes()))

    def needed(self) -> Sequence[str]:
        return [_folder("heldout", name) for name in self.classes()]

    def pictures(self, folder: Path, part: str) -> Sequence[Picture]:
        return [
            Picture(path, label, mask=_beside(path, "infection masks"))
            for label, name in enumerate(self.classes())
            for path in files(folder, _folder(part, name))
        ]


class CovidQuExVGG16(CovidQuExResNet50):
    """The same radiographs, and torchvision's VGG16."""

    name: ClassVar[str] = "covid_qu_ex_vgg16"
    architecture: ClassVar[str] = "VGG16"
    initial: ClassVar = VGG16_Weights.IMAGENET1K_V1
    learning_rate: ClassVar = 1e-4

    def network(self) -> nn.Sequential:
        return vgg16(len(self.classes()))


def _folder(part: str, name: str) -> str:
    return f"Infection Segmentation Data/{_PARTS[part]}/{name}/images"


def _beside(path: str, folder: str) -> str:
    """The file of the same name in another folder of the class."""
    image = PurePosixPath(path)
    return str(image.parent.parent / folder / image.name)


def _write(folder: Path, parts: Mapping[str, CovidQuEx]) -> None:
    """The top folder is doubled; only the infections of COVID-19 are drawn, other masks are black."""
    stems = {"COVID-19": "covid_{}.png", "Non-COVID": "non_COVID ({}).png", "Normal": "Normal ({}).png"}
    for part, phantoms in parts.items():
        for position, number, name, sample in rendered(phantoms):
            image = folder / "Infection Segmentation Data" / _folder(part, name) / stems[name].format(number + 1)
            beside = image.parent.parent
            write_picture(image, sample.input, "L")
            write_picture(beside / "lung masks" / image.name, phantoms.lungs(position), "L")
            infection = torch.zeros(1, phantoms.size, phantoms.size)
            if name == "COVID-19" and sample.mask is not None:
                infection = sample.mask
            write_picture(beside / "infection masks" / image.name, infection, "L")


phantom_covid_qu_ex_resnet50 = PhantomCovidQuExResNet50()
phantom_covid_qu_ex_vgg16 = PhantomCovidQuExVGG16()
phantom_covid_qu_ex_vgg16_marker = PhantomCovidQuExVGG16Marker()
covid_qu_ex_resnet50 = CovidQuExResNet50()
covid_qu_ex_vgg16 = CovidQuExVGG16()
