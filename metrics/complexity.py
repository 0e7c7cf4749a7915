"""Complexity: on how few pixels does the explanation rest, and how fine is it?

None of it asks whether the map is right: a single pixel anywhere is the simplest map. Read it beside faithfulness and
localization.
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from .base import Category, Explanation, Metric


@dataclass(frozen=True)
class Sparseness(Metric):
    """How few pixels hold the map: Gini index of the absolute attributions; in [0, 1 − 1/(H·W)], higher is better.

    With |a| in ascending order, v_1 ≤ … ≤ v_d: G = Σ_k (2k − d − 1) v_k / (d Σ_k v_k). 0 for a constant map,
    1 − 1/d for a single pixel. Order and ties among pixels do not matter; neither does scaling, also by a negative
    number; shifting does. nan: the map is all-zero.

    Reference: Chalasani, Chen, Chowdhury, Jha, Wu, "Concise Explanations of Neural Networks using Adversarial
    Training", ICML 2020.
    """

    category: ClassVar[Category] = Category.COMPLEXITY
    higher_is_better: ClassVar[bool] = True

    def score(self, explanation: Explanation) -> Tensor:
        """(N,) Gini index."""
        ascending = _ascending(explanation)
        d = ascending.shape[1]
        weights = 2 * torch.arange(1, d + 1, dtype=ascending.dtype, device=ascending.device) - d - 1
        return (ascending @ weights) / (d * ascending.sum(dim=1))  # 0 / 0 where the map is all-zero


@dataclass(frozen=True)
class Complexity(Metric):
    """How spread out the map is: entropy of |a| over that of a constant map; in [0, 1], lower is better.

    With p_i = |a_i| / Σ |a|: −Σ p_i log p_i / log(H·W), where 0 log 0 = 0. 0 for a single pixel, 1 for a constant map.
    Order and ties among pixels do not matter; neither does scaling, also by a negative number; shifting does. nan: the
    map is all-zero.

    Quantus 0.6 does not divide by log(H·W), so its numbers grow with the image; of signed maps, if not told to take
    absolute values, it takes the logarithm of negative numbers.

    Reference: Bhatt, Weller, Moura, "Evaluating and Aggregating Feature-based Model Explanations", IJCAI 2020.
    """

    category: ClassVar[Category] = Category.COMPLEXITY
    higher_is_better: ClassVar[bool] = False

    def score(self, explanation: Explanation) -> Tensor:
        """(N,) entropy, as a share of the largest possible."""
        sizes = _ascending(explanation)
        shares = sizes / sizes.sum(dim=1, keepdim=True)  # 0 / 0 where the map is all-zero
        entropy = -torch.xlogy(shares, shares).sum(dim=1)
        return (entropy / math.log(sizes.shape[1])).clamp(0, 1)  # rounding may lead a little beyond the bounds


@dataclass(frozen=True)
class EffectiveComplexity(Metric):
    """Share of the pixels that are needed to hold most of the absolute attributions; lower is better.

    The smallest K for which the K largest |a| sum to at least `held` · Σ |a|, over H·W: in [1/(H·W), 1]; `held` for a
    constant map, rounded up to a pixel, and 1/(H·W) for a single pixel. Order and ties among pixels do not matter;
    neither does scaling, also by a negative number; shifting does. nan: the map is all-zero.

    The reference asks for the fewest features, by |a|, that tell the model's answer up to an error ε. Without the
    model, Quantus 0.6 counts the pixels above ε = 1e-5, after dividing by the largest of the whole batch: a number that
    depends on the unit of the map, on batch mates, and is H·W for nearly every map of floats. Here it is a share of the
    map's own total, free of any scale.

    Reference: after Nguyen, Martínez, "On quantitative aspects of model interpretability", arXiv:2007.07584, 2020.

    Args:
        held: Which share of Σ |a| is to be held.

    Raises:
        ValueError: `held` is not in (0, 1].
    """

    category: ClassVar[Category] = Category.COMPLEXITY
    higher_is_better: ClassVar[bool] = False
    held: float = 0.95

    def __post_init__(self) -> None:
        if not 0 < self.held <= 1:
            raise ValueError(f"{self}: held is above 0 and at most 1")

    def score(self, explanation: Explanation) -> Tensor:
        """(N,) share of the pixels that are needed."""
        sums = _ascending(explanation).cumsum(dim=1)
        total = sums[:, -1:]
        # Summed from the smallest on, since the little that may be left out is what counts.
        n_dispensable = (sums <= (1 - self.held) * total).sum(dim=1)
        share = 1 - n_dispensable.double() / sums.shape[1]
        return share.where(total[:, 0] > 0, torch.nan)


@dataclass(frozen=True)
class Granularity(Metric):
    """How fine the map is: the mean spatial frequency of its power spectrum, in cycles per pixel.

    Σ_f |f| P(f) / Σ_f P(f) over all frequencies but 0, where P is the squared discrete cosine transform (DCT-II) of
    the map, f = (i / 2H, j / 2W) and |f| the Euclidean norm. The cosine transform continues the map beyond its border
    as in a mirror, so that a border is no sharp edge as it would be for the Fourier transform. In (0, √½): a grating
    of n pixels a period scores 1/n; white noise about 0.38; a map of 7 × 7 values enlarged to 224 about 0.01 to 0.03.
    The signed map is taken. Scaling, also by a negative number, and shifting change nothing; the order of pixels
    counts. nan: the map is constant, also all-zero.

    Neither is better in itself: a fine map may be noise, and that control is hard to beat; a coarse one cannot tell
    small evidence from what is beside it. Higher counts as better because studies of medical images name granularity as
    what LRP has over Grad-CAM. Therefore on request, to be read beside localization.

    Reference: our own definition; the spectral centroid is standard in signal processing.
    """

    category: ClassVar[Category] = Category.COMPLEXITY
    higher_is_better: ClassVar[bool] = True
    on_request: ClassVar[bool] = True

    def score(self, explanation: Explanation) -> Tensor:
        """(N,) mean frequency in cycles per pixel."""
        maps = explanation.attributions[:, 0].double()
        height, width = maps.shape[1:]
        power = (_cosines(height, maps) @ maps @ _cosines(width, maps).T).square()
        power[:, 0, 0] = 0
        rows, columns = (
            torch.arange(side, dtype=maps.dtype, device=maps.device) / (2 * side) for side in maps.shape[1:]
        )
        frequency = torch.hypot(rows[:, None], columns)
        centroid = (power * frequency).sum(dim=(1, 2)) / power.sum(dim=(1, 2))
        # The transform of a constant map is not quite 0.
        return centroid.where(_varies(maps), torch.nan)


@dataclass(frozen=True)
class Checkerboard(Metric):
    """How much of the map is a regular grid, an artefact of strides: share of variance, less chance; lower is better.

    The share of the variance of |a| that a pixel's place in a grid of s × s pixels explains, less what chance explains.
    Networks that halve their maps by convolutions of stride 2, residual ones first, hand back relevance on a grid of
    period 2, 4, 8 …: the grid of s = 8 holds all three. With r = |a| less its mean over a window of s × s pixels,
    which is blind to what repeats with the grid and takes all that is smooth: the share η² = Var(mean of r by place)
    / Var(|a|), over the pixels that have a whole window, cropped to whole grids. Of n pixels that are shuffled the s²
    places explain c = (s² − 1) / (n − 1) on average: the score is (η² − c) / (1 − c), and 0 where that is negative,
    since smooth maps have less than chance. In [0, 1], lower is better: 1 for a map that is nothing but a grid, below
    c / 10 on average for white noise, 0 for smooth maps. Scaling, also by a negative number, changes nothing. nan: the
    map is constant or all-zero where it is looked at, or the image is smaller than 3s − 1 pixels.

    Nothing is wrong with the explainer where the network itself looks at every s-th pixel only: compare explainers of
    one network, and networks with care. Therefore on request.

    Reference: our own; the artefact: Odena, Dumoulin, Olah, "Deconvolution and Checkerboard Artifacts", Distill 2016;
    the correction is that of ε² for analyses of variance (Kelley 1935).

    Args:
        stride: s, the period of the grid in pixels; its divisors are held too.

    Raises:
        ValueError: the stride is below 2.
    """

    category: ClassVar[Category] = Category.COMPLEXITY
    higher_is_better: ClassVar[bool] = False
    on_request: ClassVar[bool] = True
    stride: int = 8

    def __post_init__(self) -> None:
        if self.stride < 2:
            raise ValueError(f"{self}: stride is at least 2")

    def score(self, explanation: Explanation) -> Tensor:
        """(N,) share of the variance, less chance."""
        s = self.stride
        sizes = explanation.attributions.abs().double()
        if min(sizes.shape[2:]) < 3 * s - 1:
            return torch.full((len(sizes),), torch.nan)
        rows, columns = ((side - s + 1) // s * s for side in sizes.shape[2:])
        local_mean = F.avg_pool2d(sizes, s, stride=1)[..., :rows, :columns]
        centre = slice(s // 2, None)
        looked_at = sizes[..., centre, centre][..., :rows, :columns]
        by_place = (looked_at - local_mean).unfold(2, s, s).unfold(3, s, s).mean(dim=(2, 3))
        share = by_place.var(dim=(1, 2, 3), correction=0) / looked_at.var(dim=(1, 2, 3), correction=0)
        chance = (s**2 - 1) / (rows * columns - 1)
        return ((share - chance) / (1 - chance)).clamp(0, 1).where(_varies(looked_at[:, 0]), torch.nan)


def _ascending(explanation: Explanation) -> Tensor:
    """(N, H·W) float64 absolute attributions in ascending order. Sorted once an explanation."""
    return explanation.shared(
        "ascending sizes", lambda: explanation.attributions.flatten(1).abs().double().sort(dim=1).values
    )


def _cosines(n: int, like: Tensor) -> Tensor:
    """(n, n) orthonormal basis of the DCT-II, a row a frequency."""
    places = torch.arange(n, dtype=like.dtype, device=like.device)
    basis = torch.cos(torch.pi / n * places[:, None] * (places + 0.5)) * math.sqrt(2 / n)
    basis[0] /= math.sqrt(2)
    return basis


def _varies(maps: Tensor) -> Tensor:
    """(N,) bool, whether (N, H, W) maps are more than one value."""
    flat = maps.flatten(1)
    return (flat != flat[:, :1]).any(dim=1)


sparseness = Sparseness()
complexity = Complexity()
effective_complexity = EffectiveComplexity()
granularity = Granularity()
checkerboard = Checkerboard()
