"""The two maps that robustness compares: of an image, and of the transformed image, brought back."""

from typing import NamedTuple

import torch
from torch import Tensor

from .base import Decisions, Explanation
from .transformations import Transformation


class Pair(NamedTuple):
    """The maps that are compared, of the samples that count."""

    counted: Tensor
    """(N,) bool, M of them."""
    before: Tensor
    """(M, H, W) maps of the images."""
    after: Tensor
    """(M, H, W) maps of the transformed images, brought back."""
    compared: Tensor
    """(H, W) bool, the pixels that stay in the image there and back."""

    def values(self) -> tuple[Tensor, Tensor]:
        """(M, P) and (M, P) attributions of the pixels that are compared."""
        return self.before[:, self.compared], self.after[:, self.compared]


def explained_again(explanation: Explanation, transformation: Transformation) -> Pair:
    """The maps, and those of the transformed images: of the samples whose prediction is kept and whose maps vary.

    Costs one forward pass of the batch, once for all explainers, and one explanation of the samples whose prediction
    is kept, once for all that ask.
    """
    return explanation.shared(
        ("explained again", transformation), lambda: _explained_again(explanation, transformation)
    )


def round_trip(explanation: Explanation, transformation: Transformation) -> Pair:
    """The maps, and the maps moved and brought back: of all samples whose maps vary. The model is not asked."""
    return explanation.shared(("round trip", transformation), lambda: _round_trip(explanation, transformation))


def _explained_again(explanation: Explanation, transformation: Transformation) -> Pair:
    decisions, maps = explanation.decisions, explanation.attributions
    images, kept = decisions.shared(("transformed", transformation), lambda: _prepare(decisions, transformation))
    again = torch.zeros_like(maps)
    if bool(kept.any()):
        # Only the samples that count are explained again: it is what robustness costs.
        again[kept] = explanation.explain(decisions.model, images[kept], decisions.targets[kept]).to(maps)
    return _pair(transformation, kept, maps, again)


def _round_trip(explanation: Explanation, transformation: Transformation) -> Pair:
    maps = explanation.attributions
    every = torch.ones(len(maps), dtype=torch.bool, device=maps.device)
    return _pair(transformation, every, maps, transformation.move(maps))


def _prepare(decisions: Decisions, transformation: Transformation) -> tuple[Tensor, Tensor]:
    """(N, C, H, W) transformed images; (N,) bool, whose prediction is kept."""
    images = transformation.images(decisions)
    return images, decisions.decided(decisions.logits(images)) == decisions.decided(decisions.original_logits)


def _pair(transformation: Transformation, kept: Tensor, maps: Tensor, moved: Tensor) -> Pair:
    """Of the (N, 1, H, W) maps and those of the transformed images, still as they are, the kept ones that vary."""
    restored = transformation.restore(moved)
    compared = transformation.compared(maps)
    # A constant map is not quite constant once it is interpolated: it is known before that.
    counted = kept & _varies(maps.flatten(1)) & _varies(moved.flatten(1))
    counted &= _varies(maps[:, 0, compared]) & _varies(restored[:, 0, compared])
    return Pair(counted, maps[counted, 0], restored[counted, 0], compared)


def _varies(values: Tensor) -> Tensor:
    """(N,) bool, of (N, P) values."""
    return (values != values[:, :1]).any(dim=1)
