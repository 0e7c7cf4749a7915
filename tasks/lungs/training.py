"""Fitting the U-Net of the lungs to phantoms, whose lungs are known exactly, distorted anew in every epoch."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..networks.checkpoints import save_checkpoint
from ..phantoms.chest_xray import ChestXray, CovidQuEx, Pneumonia, Radiography
from .distortion import distorted
from .segmentation import CHECKPOINT, CLASSES, SIZE, LungUNet

KINDS: tuple[type[ChestXray], ...] = (Pneumonia, Radiography, CovidQuEx)
"""The sets that take turns: all findings there are."""


@dataclass(frozen=True)
class LungRecipe:
    """How the network is fitted: AdamW under a one-cycle schedule, to cross-entropy plus one minus Dice."""

    n_phantoms: int = 2400
    epochs: int = 7
    learning_rate: float = 3e-3
    """The highest of the cycle."""
    batch_size: int = 16
    weight_decay: float = 1e-3
    seed: int = 0


class LungPhantoms(NamedTuple):
    """Radiographs and where their lungs lie."""

    images: Tensor
    """(N, 1, S, S) float32 in [0, 1]."""
    masks: Tensor
    """(N, 1, S, S) float32, 0 or 1."""


class LungProgress(NamedTuple):
    """Where a training stands."""

    stage: str
    """What is being done, in words: "drawing phantoms", "epoch 2 of 7"."""
    done: int
    total: int
    """Phantoms to draw, or batches of all epochs."""
    loss: float | None = None
    """Mean of the epoch that has just ended, if one has."""


Report = Callable[[LungProgress], None]


def _silent(progress: LungProgress) -> None:
    """Report to nobody."""


def lung_phantoms(n_phantoms: int, seed: int, size: int = SIZE, progress: Report = _silent) -> LungPhantoms:
    """Rendered radiographs of every set in turn, with every finding, and their lungs."""
    sets = [kind(n_phantoms, seed, size) for kind in KINDS]
    images, masks = [], []
    for index in range(n_phantoms):
        phantoms = sets[index % len(sets)]
        images.append(phantoms.sample(index).input[:1])
        masks.append(phantoms.lungs(index).float())
        progress(LungProgress("drawing phantoms", index + 1, n_phantoms))
    return LungPhantoms(torch.stack(images), torch.stack(masks))


def train_lungs(
    recipe: LungRecipe | None = None,
    checkpoint: Path = CHECKPOINT,
    progress: Report = _silent,
) -> LungUNet:
    """Fit a fresh network and keep its checkpoint. The same recipe and number of threads give the same weights.

    The global random state is as it was.

    Args:
        recipe: Default: that of the shipped weights.
        checkpoint: The file to write.
        progress: Called after every phantom, every batch and, with the loss, every epoch.

    Returns:
        The network, in eval mode.
    """
    recipe = recipe or LungRecipe()
    phantoms = lung_phantoms(recipe.n_phantoms, _TRAINING_SEED, progress=progress)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        network = LungUNet()
    _fit(network, phantoms, recipe, progress)
    metadata = {"classes": list(CLASSES), "recipe": repr(recipe), "torch": torch.__version__}
    save_checkpoint(checkpoint, network, metadata)
    return network.eval()


_TRAINING_SEED, HELDOUT_SEED = 101, 102
"""Of phantoms; those of the tasks are others."""


def _fit(network: nn.Module, phantoms: LungPhantoms, recipe: LungRecipe, progress: Report) -> None:
    network.to(memory_format=torch.channels_last)  # about half as fast again
    n_batches = len(phantoms.images) // recipe.batch_size
    optimizer = torch.optim.AdamW(network.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe.learning_rate, recipe.epochs * n_batches)
    for epoch in range(recipe.epochs):
        generator = torch.Generator().manual_seed(recipe.seed + epoch)
        order = torch.randperm(len(phantoms.images), generator=generator)
        stage, total = f"epoch {epoch + 1} of {recipe.epochs}", 0.0
        for number, chosen in enumerate(torch.split(order, recipe.batch_size)[:n_batches], start=1):
            images, masks = distorted(phantoms.images[chosen], phantoms.masks[chosen], generator)
            loss = lung_loss(network(images.contiguous(memory_format=torch.channels_last)), masks)
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            schedule.step()
            total += loss.item()
            progress(LungProgress(stage, epoch * n_batches + number, recipe.epochs * n_batches))
        progress(LungProgress(stage, (epoch + 1) * n_batches, recipe.epochs * n_batches, total / n_batches))
    network.to(memory_format=torch.contiguous_format)


def lung_loss(logits: Tensor, masks: Tensor) -> Tensor:
    """Cross-entropy plus one minus the soft Dice coefficient of each image, averaged; () in [0, inf).

    Args:
        logits: (N, 1, H, W).
        masks: (N, 1, H, W) float32, 0 or 1.
    """
    entropy = functional.binary_cross_entropy_with_logits(logits, masks)
    shares = logits.sigmoid()
    both, sum_of_areas = (shares * masks).sum((1, 2, 3)), (shares + masks).sum((1, 2, 3))
    return entropy + 1 - ((2 * both + 1) / (sum_of_areas + 1)).mean()
