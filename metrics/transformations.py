"""What happens to an image that should not change the decision, and how the map of such an image is brought back."""

import io
from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import functional

from .base import Decisions
from .perturb import gaussian_blur

WHOLE = 0.999
"""How much of a pixel must come from inside the image for it to count as inside; below 1 for rounding's sake."""


@dataclass(frozen=True)
class Transformation(ABC):
    """Changes images; where it moves pixels, it brings maps of changed images back. Does not depend on batch mates."""

    @abstractmethod
    def transform(self, decisions: Decisions) -> Tensor:
        """(N, C, H, W) changed images; within [0, 1] after `images` has clamped them."""

    def images(self, decisions: Decisions) -> Tensor:
        """(N, C, H, W) changed images in [0, 1]."""
        return self.transform(decisions).clamp(0, 1)

    def move(self, values: Tensor) -> Tensor:
        """(N, C, H, W) values, each where the transformation puts its pixel; zero comes in at the border."""
        return values

    def restore(self, maps: Tensor) -> Tensor:
        """(N, 1, H, W) maps of changed images, brought back to the place of the original: the inverse of `move`."""
        return maps

    def compared(self, like: Tensor) -> Tensor:
        """(H, W) bool, the pixels that stay in the image there and back; H and W as those of (N, C, H, W) `like`."""
        inside = self.move(torch.ones_like(like[:1, :1])) > WHOLE
        return self.restore(inside.to(like.dtype))[0, 0] > WHOLE


@dataclass(frozen=True)
class Blur(Transformation):
    """The image is blurred by a Gaussian.

    Args:
        sigma: Standard deviation of the Gaussian, as a fraction of the shorter side (0.01 of 224 is 2.2 pixels).
    """

    sigma: float = 0.01

    def transform(self, decisions: Decisions) -> Tensor:
        return gaussian_blur(decisions.inputs, self.sigma)


@dataclass(frozen=True)
class Sharpen(Transformation):
    """The image is sharpened: T x = x + amount · (x − smooth(x)).

    Args:
        amount: How much of the difference to the smoothed image (3 × 3 pixels, as in Pillow) is added.
    """

    amount: float = 1.0

    def transform(self, decisions: Decisions) -> Tensor:
        sharpened: Tensor = functional.adjust_sharpness(decisions.inputs, 1 + self.amount)
        return sharpened


@dataclass(frozen=True)
class Brightness(Transformation):
    """The image becomes brighter: T x = (1 + amount) · x; what would be above 1 is 1.

    Args:
        amount: Above 0 brighter, below 0 darker.
    """

    amount: float = 0.2

    def transform(self, decisions: Decisions) -> Tensor:
        return (1 + self.amount) * decisions.inputs


@dataclass(frozen=True)
class Contrast(Transformation):
    """The image gains contrast: T x = m + (1 + amount) · (x − m), m the mean grey of the image; cut to [0, 1].

    Args:
        amount: Above 0 more contrast, below 0 less.
    """

    amount: float = 0.2

    def transform(self, decisions: Decisions) -> Tensor:
        changed: Tensor = functional.adjust_contrast(decisions.inputs, 1 + self.amount)
        return changed


@dataclass(frozen=True)
class Noise(Transformation):
    """Gaussian noise is added, the same to all channels of a pixel: a grey image stays grey.

    It belongs to the sample: all explainers meet the same, and noise of another strength is the same pattern.

    Args:
        sigma: Standard deviation; the image's values are from 0 to 1.
    """

    sigma: float = 0.03

    def transform(self, decisions: Decisions) -> Tensor:
        return decisions.inputs + self.sigma * decisions.shared("gaussian noise", lambda: _noise(decisions))


@dataclass(frozen=True)
class Jpeg(Transformation):
    """The image is written as JPEG and read again: rounded to 8 bits, in blocks of 8 × 8 pixels, colour at half size.

    It happens on the CPU, an image at a time, whatever the device.

    Args:
        quality: From 1 to 100, as Pillow and libjpeg count it.

    Raises:
        ValueError: the quality is not from 1 to 100.
    """

    quality: int = 50

    def __post_init__(self) -> None:
        if not 1 <= self.quality <= 100:
            raise ValueError(f"{self}: quality is from 1 to 100")

    def transform(self, decisions: Decisions) -> Tensor:
        rounded = (255 * decisions.inputs).round().to("cpu", torch.uint8).movedim(1, 3).numpy()
        # Grey images have no axis for their one channel in Pillow.
        read = np.stack([self._read_again(image.squeeze(2) if image.shape[2] == 1 else image) for image in rounded])
        return torch.from_numpy(read.reshape(rounded.shape)).movedim(3, 1).to(decisions.inputs) / 255

    def _read_again(self, image: np.ndarray) -> np.ndarray:
        file = io.BytesIO()
        Image.fromarray(image).save(file, "JPEG", quality=self.quality)
        return np.asarray(Image.open(file))


def _noise(decisions: Decisions) -> Tensor:
    """(N, 1, H, W) of standard deviation 1."""
    shape = decisions.inputs[0, :1].shape
    drawn = [torch.randn(shape, generator=generator) for generator in decisions.generators("gaussian noise")]
    return torch.stack(drawn).to(decisions.inputs)
