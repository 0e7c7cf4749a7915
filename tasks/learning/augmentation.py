"""Augmentation: training images changed at random, so that a network does not rest on what does not matter."""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional
from torchvision.transforms import v2


class Augment(Protocol):
    """A change of training images. Its `repr` tells its settings."""

    def __call__(self, images: Tensor, generator: torch.Generator, /) -> Tensor:
        """(N, 3, H, W) images in [0, 1] -> as many changed ones, drawn from the generator."""


@dataclass(frozen=True)
class Jitter:
    """Images flipped left to right, turned and moved a little; the border is continued."""

    flip: float = 0.5
    """Probability."""
    rotation: float = 8.0
    """Largest angle, in degrees."""
    shift: float = 0.05
    """Largest way, as a fraction of the side."""

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        count = len(images)
        angle = (2 * torch.rand(count, generator=generator) - 1) * self.rotation * torch.pi / 180
        mirror = 1 - 2 * (torch.rand(count, generator=generator) < self.flip).float()
        cos, sin = angle.cos(), angle.sin()
        theta = torch.stack([torch.stack([cos * mirror, -sin], 1), torch.stack([sin * mirror, cos], 1)], 1)
        move = (2 * torch.rand(count, 2, 1, generator=generator) - 1) * 2 * self.shift
        grid = functional.affine_grid(torch.cat([theta, move], 2), list(images.shape), align_corners=False)
        return functional.grid_sample(images, grid, padding_mode="border", align_corners=False)


@dataclass(frozen=True)
class Each:
    """A random transform of torchvision, drawn anew for each image."""

    transform: v2.Transform

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        seed = int(torch.randint(2**62, (), generator=generator))
        with torch.random.fork_rng(devices=[]):  # torchvision draws from the global state
            torch.manual_seed(seed)
            return torch.stack([self.transform(image) for image in images]).clamp(0, 1)


@dataclass(frozen=True)
class Vignette:
    """The round field of view of a microscope, put on some of the images: black without, an edge soft or sharp.

    A network that meets it on images of every class cannot take it for a sign of one.
    """

    probability: float = 0.5
    radius: tuple[float, float] = (0.75, 1.3)
    """Of the field, in halves of the shorter side; a half diagonal is 1.41."""
    edge: tuple[float, float] = (0.01, 0.25)
    """Way from all to nothing, in the same unit."""
    shift: float = 0.1
    """Largest way of the field's centre, along each axis."""

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        count, (height, width) = len(images), images.shape[-2:]
        half = min(height, width) / 2

        def drawn(low: float, high: float) -> Tensor:
            return low + (high - low) * torch.rand(count, 1, 1, generator=generator)

        x = (torch.arange(width) + 0.5 - width / 2)[None, None, :] / half - drawn(-self.shift, self.shift)
        y = (torch.arange(height) + 0.5 - height / 2)[None, :, None] / half - drawn(-self.shift, self.shift)
        field = ((drawn(*self.radius) - torch.hypot(x, y)) / drawn(*self.edge) + 0.5).clamp(0, 1)
        chosen = torch.rand(count, 1, 1, generator=generator) < self.probability
        return images * torch.where(chosen, field, torch.ones(()))[:, None]


@dataclass(frozen=True)
class Deletion:
    """Pixels taken away, as the metrics of faithfulness do, from some of the images: cells of any size, any share.

    What stands there instead is the image's mean colour or, as often, the blurred image. A network that was trained so
    meets nothing new when a metric deletes pixels: what it answers then is of the evidence that is left.

    Hesse, Schaub-Meyer, Roth, Benchmarking the attribution quality of vision models, NeurIPS 2024, train with single
    patches deleted; here any share is, since removal curves go on until nothing is left.
    """

    probability: float = 0.5
    cells: tuple[int, ...] = (4, 8, 16, 32, 96)
    """A side of the image is so many cells long; one number is drawn an image."""
    blur: float = 0.05
    """Standard deviation of the Gaussian, as a fraction of the shorter side."""

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        count, size = len(images), images.shape[-2:]
        chosen, share, blurs = torch.rand(3, count, 1, 1, 1, generator=generator)
        instead = torch.where(blurs < 0.5, self._blurred(images), images.mean((2, 3), keepdim=True))
        removed = torch.stack([self._order(size, generator) for _ in range(count)]) < share
        return torch.where(removed & (chosen < self.probability), instead, images)

    def _blurred(self, images: Tensor) -> Tensor:
        sigma = self.blur * min(images.shape[-2:])
        width = 2 * round(3 * sigma) + 1
        rows = v2.functional.gaussian_blur(images, [width, 1], [sigma, sigma])
        blurred: Tensor = v2.functional.gaussian_blur(rows, [1, width], [sigma, sigma])
        return blurred

    def _order(self, size: torch.Size, generator: torch.Generator) -> Tensor:
        """(1, H, W) random numbers in [0, 1), those of a cell the same."""
        cells = self.cells[int(torch.randint(len(self.cells), (), generator=generator))]
        drawn = torch.rand(1, 1, min(cells, size[0]), min(cells, size[1]), generator=generator)
        return functional.interpolate(drawn, size=size, mode="nearest-exact")[0]


@dataclass(frozen=True)
class InTurn:
    """Several augmentations, one after the other."""

    steps: tuple[Augment, ...]

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        for step in self.steps:
            images = step(images, generator)
        return images


def of_the_studies(vignette: bool = False) -> InTurn:
    """What the five studies trained with: flip and rotation, perspective, colour jitter, erasing.

    Args:
        vignette: Also simulate the microscope's vignette. Without it, a network of melanoma learns the border.
    """
    steps: tuple[Augment, ...] = (
        Jitter(rotation=15),
        Each(v2.RandomPerspective(distortion_scale=0.2, p=0.5)),
        Each(v2.ColorJitter(brightness=0.2, contrast=0.2, saturation=0.2, hue=0.02)),
        Each(v2.RandomErasing(p=0.25, scale=(0.02, 0.1))),
    )
    return InTurn((*steps, Vignette()) if vignette else steps)
