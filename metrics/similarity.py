"""How alike two explanations of one image are."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .correlation import spearman


@dataclass(frozen=True)
class Similarity(ABC):
    """Of two maps: 1 for equal ones. nan: the first map, as it is compared, is constant, also all-zero."""

    def __call__(self, first: Tensor, second: Tensor) -> Tensor:
        """(N,) float64 similarity of (N, 1, H, W) and (N, 1, H, W) maps, sample by sample."""
        first, second = self.looked_at(first), self.looked_at(second)
        flat = first.flatten(1)
        varies = (flat != flat[:, :1]).any(dim=1)
        return self.compare(first, second).where(varies, torch.nan)

    def looked_at(self, maps: Tensor) -> Tensor:
        """What of (N, 1, H, W) maps is compared."""
        return maps

    @abstractmethod
    def compare(self, first: Tensor, second: Tensor) -> Tensor:
        """(N,) float64 similarity where the first map is not constant; anything elsewhere."""


@dataclass(frozen=True)
class RankSimilarity(Similarity):
    """Spearman's rank correlation of the pixels, in [−1, 1]; −1 for the reversed order.

    Ties get their average rank. A constant second map has no order: 0, what it scores on average if its ties are broken
    at random. Any increasing function of a map changes nothing.

    Args:
        absolute: Whether the absolute values are compared: evidence for and against is then one. Otherwise the signed.
    """

    absolute: bool = False

    def looked_at(self, maps: Tensor) -> Tensor:
        return maps.abs() if self.absolute else maps

    def compare(self, first: Tensor, second: Tensor) -> Tensor:
        return spearman(first.flatten(1), second.flatten(1)).nan_to_num(0.0)


@dataclass(frozen=True)
class StructuralSimilarity(Similarity):
    """SSIM of the signed maps, each divided by its own largest absolute value; in [−1, 1].

    The mean over all windows of n × n pixels that lie in the map of

        (2 μ ν + C₁) (2 cov + C₂) / ((μ² + ν² + C₁) (var + var' + C₂)),

    with the windows' means μ, ν and unbiased variances and covariance, C₁ = (0.01 R)², C₂ = (0.03 R)², and R the range
    from the lowest to the highest value of both maps. Scaling a map by a positive number changes nothing; shifting
    does. Where both maps are near 0 a window counts as alike: sparse maps are more alike than full ones. An all-zero
    second map stays all-zero. nan also where the map is smaller than the window.

    Reference: Wang, Bovik, Sheikh, Simoncelli, "Image Quality Assessment: From Error Visibility to Structural
    Similarity", IEEE Transactions on Image Processing 13, 2004; with uniform windows, as scikit-image has it.

    Args:
        window: n, in pixels.

    Raises:
        ValueError: the window is below 2 pixels.
    """

    window: int = 7

    def __post_init__(self) -> None:
        if self.window < 2:
            raise ValueError(f"{self}: window is at least 2")

    def compare(self, first: Tensor, second: Tensor) -> Tensor:
        if min(first.shape[2:]) < self.window:
            return torch.full((len(first),), torch.nan, dtype=torch.float64, device=first.device)
        a, b = _scaled(first), _scaled(second)
        both = torch.cat([a, b], dim=1)
        squared_range = (both.amax((1, 2, 3), True) - both.amin((1, 2, 3), True)).square()
        c1, c2 = 1e-4 * squared_range, 9e-4 * squared_range
        mean_a, mean_b = self._mean(a), self._mean(b)
        unbiased = self.window**2 / (self.window**2 - 1)
        variances = unbiased * (self._mean(a * a) - mean_a**2 + self._mean(b * b) - mean_b**2)
        covariance = unbiased * (self._mean(a * b) - mean_a * mean_b)
        alike = (2 * mean_a * mean_b + c1) * (2 * covariance + c2)
        return (alike / ((mean_a**2 + mean_b**2 + c1) * (variances + c2))).mean(dim=(1, 2, 3))

    def _mean(self, maps: Tensor) -> Tensor:
        return F.avg_pool2d(maps, self.window, stride=1)


def _scaled(maps: Tensor) -> Tensor:
    largest = maps.abs().amax((1, 2, 3), True).double()
    return maps.double() / largest.where(largest > 0, 1.0)
