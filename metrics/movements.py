"""Transformations that move pixels, and how the maps of moved images are brought back."""

import math
from abc import abstractmethod
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor
from torchvision.transforms import InterpolationMode, functional

from .base import Decisions
from .transformations import Transformation


@dataclass(frozen=True)
class Movement(Transformation):
    """Moves the pixels and leaves their values as they are, up to interpolation."""

    def transform(self, decisions: Decisions) -> Tensor:
        return self.move(decisions.inputs)

    @abstractmethod
    def move(self, values: Tensor) -> Tensor:
        """As `Transformation.move`."""

    @abstractmethod
    def restore(self, maps: Tensor) -> Tensor:
        """As `Transformation.restore`."""


@dataclass(frozen=True)
class Flip(Movement):
    """The image is mirrored, left to right. Exact, and its own inverse."""

    def move(self, values: Tensor) -> Tensor:
        return values.flip(3)

    def restore(self, maps: Tensor) -> Tensor:
        return maps.flip(3)


@dataclass(frozen=True)
class Rotation(Movement):
    """The image is rotated about its centre and the map is rotated back.

    Images and maps are interpolated bilinearly and the corners that come into view are black. Bringing the map
    back smooths it: a map that is pixel-fine noise is not what it was even if the explainer rotates perfectly.

    Args:
        angle: In degrees, counter-clockwise.
    """

    angle: float = 10.0

    def move(self, values: Tensor) -> Tensor:
        return _rotate(values, self.angle)

    def restore(self, maps: Tensor) -> Tensor:
        return _rotate(maps, -self.angle)


@dataclass(frozen=True)
class Translation(Movement):
    """The image is shifted to the right and down, and the map is shifted back. Black comes in at the border.

    A shift that is not a whole number of pixels interpolates bilinearly, images and maps, and so smooths them; one
    that is loses nothing but what leaves the image.

    Args:
        shift: As a fraction of the width and of the height (0.05 of 224 is 11.2 pixels).
    """

    shift: float = 0.05

    def move(self, values: Tensor) -> Tensor:
        return _translate(values, self.shift)

    def restore(self, maps: Tensor) -> Tensor:
        return _translate(maps, -self.shift)


def _rotate(values: Tensor, angle: float) -> Tensor:
    rotated: Tensor = functional.rotate(values, angle, InterpolationMode.BILINEAR)
    return rotated


def _translate(values: Tensor, shift: float) -> Tensor:
    height, width = values.shape[2:]
    return _slide(_slide(values, shift * width).mT, shift * height).mT


def _slide(values: Tensor, distance: float) -> Tensor:
    """(N, C, H, W) values, moved by a distance in pixels along their last axis; zeros come in."""
    whole = math.floor(distance)
    rest = distance - whole
    near, far = (F.pad(values, (step, -step)) for step in (whole, whole + 1))
    return near + rest * (far - near) if rest else near
