"""Regions of an image, what an explanation gives to each, and the order in which they are removed."""

import torch
from skimage.segmentation import slic
from torch import Tensor

from .base import Decisions, Explanation
from .perturb import Order


def cells(height: int, width: int, grid: int) -> Tensor:
    """(H·W,) int64 number of each pixel's cell: the image is divided into grid × grid cells, equal up to rounding.

    Raises:
        ValueError: a side of the image has fewer pixels than the grid has cells.
    """
    if grid > min(height, width):
        raise ValueError(f"an image of {height} × {width} pixels cannot be divided into {grid} × {grid} cells")
    rows, columns = torch.arange(height) * grid // height, torch.arange(width) * grid // width
    return (rows[:, None] * grid + columns).flatten()


def cells_of(decisions: Decisions, grid: int) -> Tensor:
    """(N, H·W) int64 number of each pixel's cell."""
    n_samples, _, height, width = decisions.inputs.shape
    return cells(height, width, grid).to(decisions.inputs.device).expand(n_samples, -1)


def superpixels(decisions: Decisions, n_segments: int) -> Tensor:
    """(N, H·W) int64 numbers of superpixels (SLIC), from 0 in each image; found once for all explainers."""

    def found() -> Tensor:
        images = decisions.inputs.permute(0, 2, 3, 1).cpu().double().numpy()
        numbers = [slic(image, n_segments=n_segments, start_label=0, channel_axis=-1) for image in images]
        return torch.stack([torch.from_numpy(one) for one in numbers]).flatten(1).long().to(decisions.inputs.device)

    return decisions.shared(("superpixels", n_segments), found)


def sums(values: Tensor, regions: Tensor, n_regions: int) -> Tensor:
    """(N, n_regions) float64 sums of (N, H·W) values over (N, H·W) regions."""
    zero = torch.zeros(len(values), n_regions, dtype=torch.float64, device=values.device)
    return zero.scatter_add_(1, regions, values.double())


def means(values: Tensor, regions: Tensor, n_regions: int) -> Tensor:
    """(N, n_regions) float64 means of (N, H·W) values over (N, H·W) regions; -inf: the image has no such region."""
    sizes = sums(torch.ones_like(values), regions, n_regions)
    return (sums(values, regions, n_regions) / sizes).where(sizes > 0, -torch.inf)


def by_relevance(explanation: Explanation, name: str, regions: Tensor, n_regions: int) -> Order:
    """The regions one by one, that of the highest mean attribution first.

    Equal means follow a random order that belongs to the sample: the same for all explainers. Regions that an image
    does not have come last.
    """
    decisions = explanation.decisions
    relevance = means(explanation.attributions.flatten(1), regions, n_regions)
    shuffled = decisions.shared(("tie-breaking", name), lambda: _shuffled(decisions, regions, n_regions))
    descending = relevance.gather(1, shuffled).argsort(dim=1, descending=True, stable=True)
    numbers = torch.arange(n_regions, device=regions.device).expand_as(shuffled)
    places = torch.empty_like(shuffled).scatter_(1, shuffled.gather(1, descending), numbers)
    return Order(name, places.gather(1, regions), n_regions)


def _shuffled(decisions: Decisions, regions: Tensor, n_regions: int) -> Tensor:
    """(N, n_regions) random order of the regions of each sample; those that it does not have stay at the end."""
    orders = torch.arange(n_regions).repeat(len(regions), 1)
    sizes = (regions.amax(dim=1) + 1).tolist()
    for order, size, generator in zip(orders, sizes, decisions.generators("tie-breaking of regions"), strict=True):
        order[:size] = torch.randperm(size, generator=generator)
    return orders.to(regions.device)
