"""How alike two maps of one decision are: their structure, their highest pixels, the signs of their evidence."""

import torch
import torch.nn.functional as F
from torch import Tensor

WINDOW = 11
"""Width of the windows of structural similarity, in pixels."""
SIGMA = 1.5
"""Standard deviation of the Gaussian that weights their pixels."""


def structural_similarity(first: Tensor, second: Tensor, compared: Tensor) -> Tensor:
    """(M,) float64 mean SSIM of (M, H, W) and (M, H, W) maps, over windows that lie wholly in (H, W) bool `compared`.

    Each map is divided by its largest absolute value over the compared pixels and brought from [−1, 1] to [0, 1], so
    that zero is ½: were values negative, a map and its opposite would be alike, for both factors below would change
    their signs. In a window of 11 × 11 pixels, weighted by a Gaussian with a standard deviation of 1.5,

        SSIM = (2 μ₁ μ₂ + C₁) (2 σ₁₂ + C₂) / ((μ₁² + μ₂² + C₁) (σ₁² + σ₂² + C₂)),

    with C₁ = (0.01 L)², C₂ = (0.03 L)² and L = 1, the width of [0, 1]. nan: no window lies wholly in `compared`, or
    one of the maps is zero wherever it is compared.

    Reference: Wang, Bovik, Sheikh, Simoncelli, "Image Quality Assessment: From Error Visibility to Structural
    Similarity", IEEE Transactions on Image Processing 13, 2004.
    """
    x, y = (_scaled(maps.double(), compared) for maps in (first, second))
    if min(compared.shape) < WINDOW:
        return torch.full_like(x[:, 0, 0], torch.nan)
    means = _window_means(torch.stack([x, y, x * x, y * y, x * y], dim=1))
    x_mean, y_mean, x_square, y_square, product = means.unbind(dim=1)
    c_1, c_2 = 0.01**2, 0.03**2
    mean_product, mean_squares = x_mean * y_mean, x_mean.square() + y_mean.square()
    values = (2 * mean_product + c_1) * (2 * (product - mean_product) + c_2)
    values /= (mean_squares + c_1) * (x_square + y_square - mean_squares + c_2)
    outside = F.max_pool2d((~compared)[None, None].float(), WINDOW, stride=1)[0, 0]
    return values[:, outside == 0].mean(dim=1)


def top_overlap(first: Tensor, second: Tensor, k: int) -> Tensor:
    """(M,) float64 share of the k highest of (M, P) values that are also among the k highest of the other ones.

    Where the k-th highest is shared by several pixels: the expected value of choosing among them at random, for each
    of the two on its own.
    """
    return (among_the_highest(first, k) * among_the_highest(second, k)).sum(dim=1) / k


def sign_flips(first: Tensor, second: Tensor, k: int) -> Tensor:
    """(M,) float64 share of the k strongest of (M, P) values, by their size, that have the opposite sign in `second`.

    Zeros are no evidence: where fewer than k values are not zero, it is the share of those; and what is zero in
    `second` has not flipped. Ties at the k-th: the expected value of choosing at random. nan: no value is below
    zero, or none above, in either of the two (nothing could flip), or `first` is all zero.
    """
    strong = among_the_highest(first.abs(), k) * (first != 0)
    flipped = first.sign() * second.sign() < 0
    both = torch.cat([first, second], dim=1)
    two_signed = (both < 0).any(dim=1) & (both > 0).any(dim=1)
    return ((strong * flipped).sum(dim=1) / strong.sum(dim=1)).where(two_signed, torch.nan)


def among_the_highest(values: Tensor, k: int) -> Tensor:
    """(M, P) float64 probability that a value is among the k highest of its row, ties broken at random."""
    threshold = values.topk(k, dim=1).values[:, -1:]
    above, level = values > threshold, values == threshold
    places = k - above.sum(dim=1, keepdim=True)
    return above + level * (places.double() / level.sum(dim=1, keepdim=True))


def _scaled(maps: Tensor, compared: Tensor) -> Tensor:
    """(M, H, W) maps within [0, 1] where they are compared, zero brought to ½."""
    return (maps / maps[:, compared].abs().amax(dim=1)[:, None, None] + 1) / 2


def _window_means(values: Tensor) -> Tensor:
    """(M, C, H − 10, W − 10) weighted means of (M, C, H, W) values over every window that lies in the map."""
    places = torch.arange(WINDOW, dtype=values.dtype, device=values.device) - WINDOW // 2
    weights = torch.exp(-places.square() / (2 * SIGMA**2))
    weights /= weights.sum()
    planes = values.flatten(0, 1)[:, None]
    means = F.conv2d(F.conv2d(planes, weights.view(1, 1, 1, -1)), weights.view(1, 1, -1, 1))
    return means.view(*values.shape[:2], *means.shape[2:])
