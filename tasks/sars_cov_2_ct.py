"""COVID-19 in chest CT: rendered slices, after the SARS-CoV-2 CT scan data set [1].

[1] Soares et al., SARS-CoV-2 CT-scan dataset, medRxiv 2020.04.24.20078584; Kaggle,
plameneduardo/sarscov2-ctscan-dataset.
"""

from typing import ClassVar

from .phantoms.chest_ct import ChestCT
from .rendered import PhantomVGG16


class PhantomChestCTVGG16(PhantomVGG16):
    """Rendered CT slices with and without COVID-19, and a small VGG16."""

    phantoms: ClassVar = ChestCT
    name: ClassVar = "phantom_sars_cov_2_ct_vgg16"
    nothing_found: ClassVar = "non-COVID"
    mean: ClassVar = (0.48,) * 3
    deviation: ClassVar = (0.32,) * 3


phantom_sars_cov_2_ct_vgg16 = PhantomChestCTVGG16()
