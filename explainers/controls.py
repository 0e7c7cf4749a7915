"""Controls: maps that know nothing of the model. An explainer that does not beat them explains nothing."""

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .base import Explainer
from .seeding import generators


@dataclass(frozen=True)
class Noise(Explainer):
    """Independent standard normal values, a function of the seed and of the image's content.

    The same image gets the same map in any batch, on any device; another image gets another map.
    """

    seed: int = 0

    def attribute(self, model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:  # noqa: ARG002
        shape = (1, *inputs.shape[2:])
        maps = [torch.randn(shape, generator=generator) for generator in generators(inputs, self.seed)]
        return torch.stack(maps).to(inputs)


@dataclass(frozen=True)
class CoarseNoise(Explainer):
    """Standard normal values in grid × grid cells, enlarged bilinearly as Grad-CAM's maps are; otherwise as `Noise`.

    What a map gains by being smooth alone: pixels that are removed in connected areas may hit a network harder than
    scattered ones, whatever they show, and smooth maps come back better from a rotation. A coarse map that does not
    beat this control has nothing over its resolution.

    Song, Cha, Seo, On pitfalls of RemOve-And-Retrain: data processing inequality perspective, arXiv:2304.13836, 2023,
    find that removal favours blurry maps.

    Args:
        grid: Cells a side: 7 as the last feature map of most networks at 224 pixels.
        seed: As of `Noise`.

    Raises:
        ValueError: the grid has fewer than two cells a side.
    """

    on_request: ClassVar[bool] = True

    grid: int = 7
    seed: int = 0

    def __post_init__(self) -> None:
        if self.grid < 2:
            raise ValueError(f"{self}: grid is at least 2")

    def attribute(self, model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:  # noqa: ARG002
        shape = (1, self.grid, self.grid)
        cells = [torch.randn(shape, generator=generator) for generator in generators(inputs, self.seed)]
        coarse = torch.stack(cells).to(inputs)
        return F.interpolate(coarse, size=inputs.shape[2:], mode="bilinear", align_corners=False)


@dataclass(frozen=True)
class Constant(Explainer):
    """1 everywhere: no pixel matters more than another, so it shows what each metric makes of ties.

    Faithfulness removes tied pixels in a random order that belongs to the sample; localization scores the share of
    the image that the mask covers; complexity is the lowest there is; rank correlations of robustness are undefined.
    """

    on_request: ClassVar[bool] = True

    def attribute(self, model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:  # noqa: ARG002
        return torch.ones_like(inputs[:, :1])


@dataclass(frozen=True)
class Center(Explainer):
    """A Gaussian bump in the middle of the image, the same for every image: what centred data sets reward."""

    sigma: float = 0.25
    """Standard deviation, as a share of the height and of the width."""

    def attribute(self, model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:  # noqa: ARG002
        rows, columns = (self._profile(size).to(inputs) for size in inputs.shape[2:])
        return torch.outer(rows, columns).expand(len(inputs), 1, -1, -1)

    def _profile(self, size: int) -> Tensor:
        offset = (torch.arange(size, dtype=torch.float64) + 0.5) / size - 0.5
        return torch.exp(-0.5 * (offset / self.sigma) ** 2)


@dataclass(frozen=True)
class Edges(Explainer):
    """The magnitude of the image's Sobel gradient: what a map that only redraws the image looks like.

    Adebayo et al., Sanity checks for saliency maps, NeurIPS 2018, compare with an edge detector.
    """

    def attribute(self, model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:  # noqa: ARG002
        gray = F.pad(inputs.detach().mean(dim=1, keepdim=True), (1, 1, 1, 1), mode="replicate")
        horizontal = torch.tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]]).to(inputs)
        kernels = torch.stack([horizontal, horizontal.T])[:, None]
        return F.conv2d(gray, kernels).square().sum(dim=1, keepdim=True).sqrt()


noise = Noise()
coarse_noise = CoarseNoise()
constant = Constant()
center = Center()
edges = Edges()
