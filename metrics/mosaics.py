"""Focus: asked about one class in a mosaic of images, does the map point at the images of that class?"""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from .base import Category, Decisions, Explanation, Metric
from .companions import companions, others

N_TILES, N_OF_TARGET = 4, 2


class Mosaics(NamedTuple):
    """Mosaics of 2 × 2 images: the sample, a companion of its class and two of others, in random places."""

    made: Tensor
    """(N,) bool, the M samples that have one."""
    images: Tensor
    """(M, 3, 2H, 2W) in [0, 1]."""
    of_target: Tensor
    """(M, 4) bool, which tiles show the target: top left, top right, bottom left, bottom right."""


@dataclass(frozen=True)
class Focus(Metric):
    """Share of the positive relevance in a mosaic that lies on the images of the class that is explained.

    The mosaic has four images: the sample, one of the task's companions (see `companions`) in which the network finds
    the target too, and two in which it finds another class; which ones and in which order is drawn by the sample's own
    generator, the same for all explainers. The target is explained, and score = Σ max(a, 0) over the two images of the
    target / Σ max(a, 0). In [0, 1], higher is better; chance and a constant positive map score ½. Negative attributions
    count as zero. Scaling by a positive number changes nothing. It needs no masks.

    What is of the target is what the network takes for it, and not the label: the explanation is of the network. nan:
    the network takes the sample for another class than the target; or the companions (without the sample itself) do
    not have one image of the target and two of others; or no attribution is positive. Where a sample may be of several
    classes, an image is of the target if its logit is above 0, and of another class else: nan where the sample's own
    finding is not there.

    The mosaic is twice as high and wide as an image, as Quantus makes it, so that what a network knows keeps its size.
    Reduced to the size of an image, mosaics mean little: of a ResNet-18 on phantoms of 96 pixels Grad-CAM scored 0.52
    then, and 0.87 as they are. The price: a network that takes images of one size only, without global or adaptive
    pooling, cannot be asked, and the metric is inapplicable.

    How to read it. It judges the network too: one that reads a mosaic badly, by layers that expect each thing in its
    place, or whose class is told by what is absent («no finding»), leaves nothing to point at. Compare
    explainers of one network. A map that follows a few pixels of the target scores as well as one that follows all. One
    mosaic a sample is a coarse draw: means over samples are what counts.

    Costs one explanation of four times as many pixels, made for a quarter of the batch at a time, and one forward pass
    of an image of that size a batch.

    Quantus 0.6 scores mosaics and positions that its user made, by the same formula, plus 1e-9 in the denominator.

    Reference: Arias-Duart, Parés, Garcia-Gasulla, Giménez-Ábalos, "Focus! Rating XAI Methods and Finding Biases",
    FUZZ-IEEE 2022.

    Raises:
        ValueError: the network does not take images of twice the size; there are no companions, or they are of another
            size.
    """

    category: ClassVar[Category] = Category.LOCALIZATION
    higher_is_better: ClassVar[bool] = True
    needs_companions: ClassVar[bool] = True
    on_request: ClassVar[bool] = True

    def inapplicable(self, decisions: Decisions) -> str | None:
        """Whether the network takes images of twice the size: asked once a batch."""
        return decisions.shared("obstacle to mosaics", lambda: _obstacle(decisions))

    def score(self, explanation: Explanation) -> Tensor:
        """(N,) share of the positive relevance on the two images of the target."""
        decisions = explanation.decisions
        if reason := self.inapplicable(decisions):
            raise ValueError(reason)
        made = mosaics(decisions)
        scores = torch.full(decisions.targets.shape, torch.nan, dtype=torch.float64, device=decisions.targets.device)
        if bool(made.made.any()):
            scores[made.made] = share_of_target(_maps(explanation, made), made.of_target)
        return scores


def share_of_target(maps: Tensor, of_target: Tensor) -> Tensor:
    """(M,) share of the positive relevance on the tiles of the target; nan: nothing is positive.

    Args:
        maps: (M, 1, 2H, 2W), of mosaics.
        of_target: (M, 4) bool, see `Mosaics`.
    """
    height, width = (side // 2 for side in maps.shape[2:])
    positive = maps.double().clamp(min=0).reshape(-1, 2, height, 2, width).sum(dim=(2, 4)).flatten(1)
    return (positive * of_target).sum(dim=1) / positive.sum(dim=1)


def mosaics(decisions: Decisions) -> Mosaics:
    """The mosaics of the batch, made once for all explainers.

    Raises:
        ValueError: as `Focus`.
    """
    return decisions.shared("mosaics", lambda: _mosaics(decisions))


def _mosaics(decisions: Decisions) -> Mosaics:
    pool = companions(decisions)
    drawn = [
        (torch.rand(len(pool.ids), generator=generator), torch.randperm(N_TILES, generator=generator))
        for generator in decisions.generators("focus")
    ]
    turns, places = (torch.stack(part).to(decisions.inputs.device) for part in zip(*drawn, strict=True))
    shown, other = _shown(decisions, pool), others(decisions)
    same, different = shown & other, ~shown & other
    n_same, n_different = N_OF_TARGET - 1, N_TILES - N_OF_TARGET
    made = _is_target(decisions) & (same.sum(dim=1) >= n_same) & (different.sum(dim=1) >= n_different)
    chosen = torch.cat([_first(turns, same, n_same), _first(turns, different, n_different)], dim=1)[made]
    tiles = torch.cat([decisions.inputs[made, None], pool.inputs[chosen]], dim=1)
    tiles = tiles[torch.arange(len(tiles), device=tiles.device)[:, None], places[made]]
    return Mosaics(made, _assembled(tiles), places[made] < N_OF_TARGET)


def _is_target(decisions: Decisions) -> Tensor:
    """(N,) bool, whether the network finds the target in the sample."""
    if decisions.multi_label:
        return decisions.target_logits(decisions.original_logits) > 0
    return decisions.predictions == decisions.targets


def _shown(decisions: Decisions, pool: Decisions) -> Tensor:
    """(N, P) bool, whether the network finds the sample's target in the companion."""
    if decisions.multi_label:
        return pool.original_logits[:, decisions.targets].T > 0
    return pool.predictions == decisions.targets[:, None]


def _first(turns: Tensor, allowed: Tensor, n: int) -> Tensor:
    """(N, n) places of the allowed ones whose turn comes first; any places where there are fewer."""
    order = turns.where(allowed, torch.inf).argsort(dim=1)
    return order[:, torch.arange(n, device=order.device).clamp(max=order.shape[1] - 1)]


def _assembled(tiles: Tensor) -> Tensor:
    """(M, C, 2H, 2W) of (M, 4, C, H, W)."""
    n, _, channels, height, width = tiles.shape
    grid = tiles.view(n, 2, 2, channels, height, width).permute(0, 3, 1, 4, 2, 5)
    return grid.reshape(n, channels, 2 * height, 2 * width)


def _obstacle(decisions: Decisions) -> str | None:
    """Why the network cannot be asked about images of twice the size, or None where it can."""
    image = decisions.inputs[:1].repeat(1, 1, 2, 2)
    size, n_classes = " × ".join(map(str, image.shape[2:])), decisions.original_logits.shape[1]
    try:
        found = tuple(decisions.logits(image).shape)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # noqa: BLE001  # the network's, in whatever way it refuses: told as the reason
        said = str(error).strip().partition("\n")[0]
        return f"the network does not take mosaics, images of {size} pixels: {said}"
    if found != (1, n_classes):
        return f"the network answers a mosaic, an image of {size} pixels, by {found} logits, not {(1, n_classes)}"
    return None


def _maps(explanation: Explanation, made: Mosaics) -> Tensor:
    """(M, 1, 2H, 2W) maps of the mosaics; as much memory at a time as the batch itself."""
    decisions = explanation.decisions
    size = max(1, len(decisions.inputs) // N_TILES)
    parts = zip(torch.split(made.images, size), torch.split(decisions.targets[made.made], size), strict=True)
    return torch.cat([explanation.explain(decisions.model, *part) for part in parts])


focus = Focus()
