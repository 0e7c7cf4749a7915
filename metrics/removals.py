"""Sets of pixels that are removed whatever the explanation says: forwarded once for all explainers.

What an explanation gives to the pixels of a set is then held against how far the target's logit falls without them.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from .base import Decisions
from .perturb import Imputer
from .regions import cells_of


class Removals:
    """R sets of pixels of each sample of a batch, one bit a pixel.

    Args:
        name: What the sets go by: two of one batch that have one name are the same.
        decisions: The batch.
        masks: (N, H·W) bool, set after set.
    """

    def __init__(self, name: str, decisions: Decisions, masks: Iterable[Tensor]) -> None:
        self.name = name
        self._decisions = decisions
        self._packed = [np.packbits(mask.cpu().numpy(), axis=1) for mask in masks]

    def _masks(self) -> Iterator[Tensor]:
        n_pixels, device = self._decisions.inputs[0, 0].numel(), self._decisions.inputs.device
        for packed in self._packed:
            yield torch.from_numpy(np.unpackbits(packed, axis=1, count=n_pixels)).to(device).bool()

    def sums(self, values: Tensor) -> Tensor:
        """(N, R) float64 sums of (N, 1, H, W) values over the sets."""
        flat = values.flatten(1).double()
        return torch.stack([flat.where(mask, 0).sum(dim=1) for mask in self._masks()], dim=1)

    def falls(self, imputer: Imputer) -> Tensor:
        """(N, R) float64, see `fall`, of the target's logit without each set. Costs R forward passes, once."""
        decisions = self._decisions

        def forwarded() -> Tensor:
            shape = (-1, 1, *decisions.inputs.shape[2:])
            images = (imputer.without(decisions, mask.view(shape)) for mask in self._masks())
            logits = decisions.logits_of_variants(images)
            return fall(decisions, torch.stack([decisions.target_logits(one) for one in logits], dim=1))

        return decisions.shared(("falls", self.name, imputer), forwarded)


def fall(decisions: Decisions, logits: Tensor) -> Tensor:
    """(N, R) float64 logits of the targets on the whole images, less (N, R) logits on perturbed ones.

    Rounded to a hundred-thousandth of the logit (of 1, if it is smaller): what differs by less differs by the
    rounding of the forward pass only, and is to be a tie.
    """
    whole = decisions.target_logits(decisions.original_logits).double()
    return rounded(whole[:, None] - logits.double(), whole)


def rounded(falls: Tensor, whole: Tensor) -> Tensor:
    """(N, R) falls, rounded to a hundred-thousandth of the (N,) logits on the whole images, of 1 if those are less."""
    step = 1e-5 * whole.abs().clamp_min(1)[:, None]
    return (falls / step).round() * step


def single_cells(decisions: Decisions, grid: int) -> Removals:
    """Each of grid × grid cells alone."""
    cells = cells_of(decisions, grid)
    return _shared(decisions, f"single cells {grid}", lambda: (cells == cell for cell in range(grid**2)))


def random_subsets(decisions: Decisions, share: float, n_subsets: int) -> Removals:
    """Random subsets of a share of the pixels (one pixel at least), without replacement."""
    n_pixels = decisions.inputs[0, 0].numel()
    size = subset_size(decisions, share)

    def masks() -> Iterator[Tensor]:
        generators = decisions.generators(f"subsets {share}")
        for _ in range(n_subsets):
            chosen = torch.stack([torch.randperm(n_pixels, generator=generator)[:size] for generator in generators])
            yield torch.zeros(len(chosen), n_pixels, dtype=torch.bool).scatter_(1, chosen, True)

    return _shared(decisions, _name_of_subsets(share, n_subsets), masks)


def subset_size(decisions: Decisions, share: float) -> int:
    """How many pixels a random subset has."""
    return max(1, round(share * decisions.inputs[0, 0].numel()))


def preset_subsets(decisions: Decisions, share: float, masks: Sequence[Tensor]) -> None:
    """Take these subsets, (N, H·W) bool each, for those that `random_subsets` would draw: to compare with others'."""
    _shared(decisions, _name_of_subsets(share, len(masks)), lambda: masks)


def _name_of_subsets(share: float, n_subsets: int) -> str:
    return f"subsets {share} {n_subsets}"


def random_squares(decisions: Decisions, side: float, n_squares: int) -> Removals:
    """Squares anywhere within the image; their side is a fraction of the shorter side (one pixel at least)."""
    height, width = decisions.inputs.shape[2:]
    length = max(1, round(side * min(height, width)))

    def masks() -> Iterator[Tensor]:
        generators = decisions.generators(f"squares {side}")
        rows, columns = torch.arange(height), torch.arange(width)
        for _ in range(n_squares):
            corners = torch.stack([torch.rand(2, generator=generator) for generator in generators])
            top = (corners[:, :1] * (height - length + 1)).long()
            left = (corners[:, 1:] * (width - length + 1)).long()
            inside = (rows >= top) & (rows < top + length), (columns >= left) & (columns < left + length)
            yield (inside[0][:, :, None] & inside[1][:, None, :]).flatten(1)

    return _shared(decisions, f"squares {side} {n_squares}", masks)


def _shared(decisions: Decisions, name: str, masks: Callable[[], Iterable[Tensor]]) -> Removals:
    return decisions.shared(("removals", name), lambda: Removals(name, decisions, masks()))
