"""The pixels in the order of their attribution, ties as groups: what the metrics that compare map and mask share."""

from typing import NamedTuple

import torch
from torch import Tensor

from .base import Explanation


class Ordering(NamedTuple):
    """The pixels of each sample from the highest attribution to the lowest. All fields are (N, H·W).

    Pixels of the same attribution are one group; how they follow each other within it means nothing.
    """

    values: Tensor
    """The attributions."""
    inside: Tensor
    """bool, whether the pixel lies in the mask."""
    hits: Tensor
    """int64, how many pixels lie in the mask, from the first to this one."""
    first: Tensor
    """int64, the place of the first pixel of the group that this one is in."""
    last: Tensor
    """int64, the place of its last pixel."""

    @property
    def mask_sizes(self) -> Tensor:
        """(N,) int64, number of pixels of the mask."""
        return self.hits[:, -1]

    def expected_hits(self, counts: Tensor) -> Tensor:
        """(N,) float64, how many of the (N,) first pixels lie in the mask; counts are from 1 to H·W.

        Where that cuts through a group: the expected value of choosing among its pixels at random.
        """
        place = counts[:, None] - 1
        first, last = self.first.gather(1, place), self.last.gather(1, place)
        before = self.hits.gather(1, first) - self.inside.gather(1, first).long()
        of_group = self.hits.gather(1, last) - before
        share = (counts[:, None] - first).double() / (last - first + 1)
        return (before + share * of_group)[:, 0]


def ordering(explanation: Explanation) -> Ordering:
    """The pixels by their attribution; needs masks. Sorted once an explanation."""
    return explanation.shared("ordering", lambda: _ordering(explanation))


def _ordering(explanation: Explanation) -> Ordering:
    masks = explanation.decisions.masks
    if masks is None:
        raise ValueError("localization needs masks, and the task has none")
    values, order = explanation.attributions.flatten(1).sort(dim=1, descending=True)
    inside = masks.flatten(1).gather(1, order)
    places = torch.arange(values.shape[1], device=values.device).expand_as(values)
    border = torch.ones_like(inside[:, :1])
    changes = values[:, 1:] != values[:, :-1]
    begins, ends = torch.cat([border, changes], dim=1), torch.cat([changes, border], dim=1)
    first = places.where(begins, 0).cummax(dim=1).values
    last = places.where(ends, values.shape[1]).flip(1).cummin(dim=1).values.flip(1)
    return Ordering(values, inside, inside.cumsum(dim=1), first, last)
