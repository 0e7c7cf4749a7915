"""COVID-19 in chest CT: rendered slices, and the slices of the SARS-CoV-2 CT scan data set.

The public one [1] is laid out as

    sars-cov-2-ct-scan/COVID/Covid (n).png
                       non-COVID/Non-Covid (n).png

It names no patients; neighbouring numbers are often slices of one, so its parts are stretches of numbers. The
slices differ in size and proportion, some carry an alpha channel. Not every patient of `non-COVID` is healthy.

[1] Soares et al., SARS-CoV-2 CT-scan dataset, medRxiv 2020.04.24.20078584; Kaggle,
plameneduardo/sarscov2-ctscan-dataset.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from torch import nn
from torchvision.models import VGG16_Weights

from .base import DataSet
from .networks.architectures import vgg16
from .phantoms.chest_ct import ChestCT
from .published import Picture, PublishedTask, consecutive, files
from .publishing import Layout, rendered, write_picture
from .rendered import PhantomVGG16

SARS_COV_2_CT = DataSet(
    name="SARS-CoV-2 CT-scan",
    licence="CC BY-NC-SA 4.0",
    citation="Soares et al., SARS-CoV-2 CT-scan dataset: a large dataset of real patients CT scans for SARS-CoV-2 "
    "identification, medRxiv 2020",
)


class PhantomChestCTVGG16(PhantomVGG16):
    """Rendered CT slices with and without COVID-19, and a small VGG16.

    Of 400 held-out phantoms it is right in 0.998. Taking the evidence away changes all its right decisions for
    COVID-19; the same evidence in another patient keeps 0.990 of them.
    """

    phantoms: ClassVar = ChestCT
    name: ClassVar = "phantom_sars_cov_2_ct_vgg16"
    data_set: ClassVar = SARS_COV_2_CT
    nothing_found: ClassVar = "non-COVID"
    mean: ClassVar = (0.48,) * 3
    deviation: ClassVar = (0.32,) * 3

    def layout(self) -> Layout:
        return Layout(SARSCoV2CT.folder, _write)


class SARSCoV2CT(PublishedTask):
    """Slices of the public data set, and torchvision's VGG16, fine-tuned from ImageNet weights. There are no masks."""

    name: ClassVar = "sars_cov_2_ct_vgg16"
    data_set: ClassVar = SARS_COV_2_CT
    architecture: ClassVar = "VGG16"
    folder: ClassVar = "sars-cov-2-ct-scan"
    source: ClassVar = "the Kaggle set plameneduardo/sarscov2-ctscan-dataset"
    nothing_found: ClassVar = "non-COVID"
    initial: ClassVar = VGG16_Weights.IMAGENET1K_V1
    learning_rate: ClassVar = 1e-4

    def classes(self) -> tuple[str, ...]:
        return ChestCT.class_names

    def network(self) -> nn.Sequential:
        return vgg16(len(self.classes()))

    def needed(self) -> Sequence[str]:
        return self.classes()

    def pictures(self, folder: Path, part: str) -> Sequence[Picture]:
        return [
            Picture(path, label)
            for label, name in enumerate(self.classes())
            for path in consecutive(files(folder, name), part)
        ]


def _write(folder: Path, parts: Mapping[str, ChestCT]) -> None:
    """The parts are stretches of the numbers; sizes vary, every other file has an alpha channel."""
    stems = {"COVID": "Covid", "non-COVID": "Non-Covid"}
    n_before = 0
    for phantoms in parts.values():
        for index, number, name, sample in rendered(phantoms):
            path = folder / name / f"{stems[name]} ({n_before + number + 1}).png"
            size = (phantoms.size + index % 3, phantoms.size)
            write_picture(path, sample.input, ("RGB", "RGBA")[number % 2], size)
        n_before += len(phantoms) // len(phantoms.class_names)


phantom_sars_cov_2_ct_vgg16 = PhantomChestCTVGG16()
sars_cov_2_ct_vgg16 = SARSCoV2CT()
