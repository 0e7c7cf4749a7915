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
    """SSIM of the signed maps, each cut at its 1st and 99th percentile and stretched to [0, 1]; in [−1, 1].

    The mean over all windows of n × n pixels that lie in the map of

        (2 μ ν + C₁) (2 cov + C₂) / ((μ² + ν² + C₁) (var + var' + C₂)),

    with the windows' means μ, ν and unbiased variances and covariance, C₁ = 0.01² and C₂ = 0.03². Below 0 where one map
    is the other turned round. No increasing linear function of a map changes anything. Where both maps are flat a
    window counts as alike, so sparse maps are more alike than full ones; the cut keeps single pixels from making a map
    flat. If both percentiles are one value, the lowest and the highest take their place; a constant second map is 0 all
    over. nan also where the map is smaller than the window.

    Without the stretching a map and its negative would be alike: mean and covariance change sign together.

    References: Wang, Bovik, Sheikh, Simoncelli, "Image Quality Assessment: From Error Visibility to Structural
    Similarity", IEEE Transactions on Image Processing 13, 2004, with uniform windows, as scikit-image has it. The cut
    and the window of 5 pixels are those that Sixt, Granz, Landgraf published with "When Explanations Lie", ICML 2020;
    they also compare with the negative of the second map, and take the larger.

    Args:
        window: n, in pixels.

    Raises:
        ValueError: the window is below 2 pixels.
    """

    window: int = 5

    def __post_init__(self) -> None:
        if self.window < 2:
            raise ValueError(f"{self}: window is at least 2")

    def compare(self, first: Tensor, second: Tensor) -> Tensor:
        if min(first.shape[2:]) < self.window:
            return torch.full((len(first),), torch.nan, dtype=torch.float64, device=first.device)
        a, b = _stretched(first), _stretched(second)
        mean_a, mean_b = self._mean(a), self._mean(b)
        unbiased = self.window**2 / (self.window**2 - 1)
        variances = unbiased * (self._mean(a * a) - mean_a**2 + self._mean(b * b) - mean_b**2)
        covariance = unbiased * (self._mean(a * b) - mean_a * mean_b)
        alike = (2 * mean_a * mean_b + _C1) * (2 * covariance + _C2)
        return (alike / ((mean_a**2 + mean_b**2 + _C1) * (variances + _C2))).mean(dim=(1, 2, 3))

    def _mean(self, maps: Tensor) -> Tensor:
        return F.avg_pool2d(maps, self.window, stride=1)


_C1, _C2 = 0.01**2, 0.03**2


def _stretched(maps: Tensor) -> Tensor:
    """(N, 1, H, W) float64 maps in [0, 1]."""
    ascending = maps.flatten(1).double().sort(dim=1).values
    lowest, highest = _quantile(ascending, 0.01), _quantile(ascending, 0.99)
    flat = lowest == highest
    lowest, highest = ascending[:, 0].where(flat, lowest), ascending[:, -1].where(flat, highest)
    span = (highest - lowest).where(highest > lowest, 1.0)
    return ((maps.double() - lowest.view(-1, 1, 1, 1)) / span.view(-1, 1, 1, 1)).clamp(0, 1)


def _quantile(ascending: Tensor, share: float) -> Tensor:
    """(N,) of (N, M) sorted values, with linear interpolation; torch's own takes at most 16 million values."""
    place = share * (ascending.shape[1] - 1)
    below = int(place)
    above = min(below + 1, ascending.shape[1] - 1)
    return torch.lerp(ascending[:, below], ascending[:, above], place - below)
