"""Fitting a network to images: drawing them, stepping, choosing the best epoch, going on after a kill."""

import os
import pickle
import time
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn
from torch.nn import functional

from .augmentation import Augment
from .memory import Images


@dataclass(frozen=True)
class Recipe:
    """How a network is fitted: AdamW under a one-cycle schedule."""

    epochs: int
    learning_rate: float
    """The highest of the cycle."""
    batch_size: int = 32
    weight_decay: float = 1e-4
    patience: int = 5
    """Epochs without a better validation score (or, that being equal, loss) after which training stops."""
    augment: Augment | None = None
    balanced: bool = True
    """Draw every class equally often, however rare it is; else every image once an epoch."""
    mixed_precision: bool = True
    """On a GPU, forward in bfloat16."""
    seed: int = 0


class Epoch(NamedTuple):
    """A point of the learning curves."""

    epoch: int
    """From 1."""
    loss: float
    """Mean cross-entropy of the epoch's batches, augmented and as drawn."""
    validation_loss: float
    score: float
    """On the validation part, in [0, 1]: accuracy; for a multi-label task the mean ROC AUC over its findings."""
    seconds: float
    """That it took. The only number that another run of the same training does not repeat."""


class Progress(NamedTuple):
    """Where a training stands."""

    stage: str
    """What is being done, in words: "reading train", "epoch 2 of 8"."""
    done: int
    total: int
    """Steps of this kind of work: images to read, or batches of all epochs (fewer, if training stops early)."""
    scores: Epoch | None = None
    """Of an epoch, where one has just ended."""


Report = Callable[[Progress], None]


@dataclass
class _State:
    """All that changes while fitting: what a later process needs to go on."""

    network: nn.Module
    optimizer: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LRScheduler
    best: dict[str, Tensor]
    best_score: tuple[float, float] = (-1.0, 0.0)
    best_epoch: int = 0
    history: list[Epoch] = field(default_factory=list)

    def keep(self, path: Path, identity: str) -> None:
        """Write everything to a file; it is whole or absent."""
        unfinished = path.with_name(f".{path.name}.{os.getpid()}")
        content = {
            "identity": identity,
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "best": self.best,
            "best_score": self.best_score,
            "best_epoch": self.best_epoch,
            "history": [tuple(epoch) for epoch in self.history],
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            torch.save(content, unfinished)
            unfinished.replace(path)
        finally:
            unfinished.unlink(missing_ok=True)

    def take_up(self, path: Path, identity: str) -> None:
        """Go on from the file, if it is there, can be read and is of the same training."""
        if not path.is_file():
            return
        try:
            content = torch.load(path, map_location="cpu", weights_only=True)
        except (OSError, EOFError, RuntimeError, ValueError, LookupError, pickle.UnpicklingError):
            return  # cut short or foreign: training begins anew and replaces it
        if not isinstance(content, dict) or content.get("identity") != identity:
            return
        self.network.load_state_dict(content["network"])
        self.optimizer.load_state_dict(content["optimizer"])
        self.schedule.load_state_dict(content["schedule"])
        self.best, self.best_score, self.best_epoch = content["best"], content["best_score"], content["best_epoch"]
        self.history = [Epoch(*epoch) for epoch in content["history"]]


def fit(
    network: nn.Module,
    train: Images,
    validation: Images,
    recipe: Recipe,
    progress: Report,
    device: torch.device | str = "cpu",
    resume: Path | None = None,
    identity: str = "",
) -> list[Epoch]:
    """Fit the network and leave it in eval mode, on the CPU, with the weights that were best on the validation part.

    The same network, images, recipe, device and number of threads give the same weights, also where the training
    was killed and taken up again. The global random state is as it was.

    Args:
        network: (N, 3, H, W) images in [0, 1] -> (N, K) logits, with the weights to start from.
        train, validation: What to fit to, and what chooses the epoch.
        recipe: How.
        progress: Called after every batch; with scores after every epoch.
        device: Where to compute.
        resume: File in which the state is kept after every epoch; deleted at the end. Default: none.
        identity: What training this is. A state in the file with another identity is ignored and replaced.

    Returns:
        The learning curves, an element an epoch.

    Raises:
        ValueError: the loss is no longer finite: the learning rate is too high.
    """
    steps = -(-len(train.labels) // recipe.batch_size)
    network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # about twice as fast
    optimizer = torch.optim.AdamW(network.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe.learning_rate, recipe.epochs * steps)
    state = _State(network, optimizer, schedule, deepcopy(network.state_dict()))
    if resume is not None:
        state.take_up(resume, identity)
    with torch.random.fork_rng():
        for epoch in range(len(state.history) + 1, recipe.epochs + 1):
            if state.history and epoch - 1 - state.best_epoch >= recipe.patience:
                break
            _advance(state, epoch, train, validation, recipe, progress, torch.device(device))
            if resume is not None:
                state.keep(resume, identity)
    network.load_state_dict(state.best)
    network.to("cpu", memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    network.eval()
    if resume is not None:
        resume.unlink(missing_ok=True)
    return state.history


def _advance(
    state: _State,
    epoch: int,
    train: Images,
    validation: Images,
    recipe: Recipe,
    progress: Report,
    device: torch.device,
) -> None:
    """One epoch: fit, validate, keep the weights where they are the best so far."""
    began = time.perf_counter()
    loss = _epoch(state, train, recipe, epoch, progress, device)
    score, validation_loss = _validate(state.network, validation, device)
    if (score, -validation_loss) > state.best_score:
        state.best, state.best_epoch = deepcopy(state.network.state_dict()), epoch
        state.best_score = (score, -validation_loss)
    state.history.append(Epoch(epoch, loss, validation_loss, score, time.perf_counter() - began))
    steps = -(-len(train.labels) // recipe.batch_size)
    progress(Progress(f"epoch {epoch} of {recipe.epochs}", epoch * steps, recipe.epochs * steps, state.history[-1]))


def _epoch(state: _State, train: Images, recipe: Recipe, epoch: int, progress: Report, device: torch.device) -> float:
    """One pass over as many images as there are; the mean loss. What is random depends on the epoch alone."""
    seed = recipe.seed * 100_003 + epoch
    torch.manual_seed(seed)  # of dropout
    generator = torch.Generator().manual_seed(seed)
    batches = torch.split(_order(train.labels, recipe.balanced, generator), recipe.batch_size)
    precise = not (recipe.mixed_precision and device.type == "cuda")
    state.network.train()
    total = 0.0
    for number, chosen in enumerate(batches, start=1):
        images = train.images[chosen].float() / 255
        if recipe.augment is not None:
            images = recipe.augment(images, generator)
        images = images.to(device).contiguous(memory_format=torch.channels_last)
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=not precise):
            logits = state.network(images)
        loss = _loss(logits.float(), train.labels[chosen].to(device))
        if not loss.isfinite():
            raise ValueError(f"training diverged in epoch {epoch}: lower the recipe's learning rate")
        state.optimizer.zero_grad()
        torch.autograd.backward(loss)
        state.optimizer.step()
        state.schedule.step()
        total += loss.item() * len(chosen)
        done = (epoch - 1) * len(batches) + number
        progress(Progress(f"epoch {epoch} of {recipe.epochs}", done, recipe.epochs * len(batches)))
    return total / len(train.labels)


def _order(labels: Tensor, balanced: bool, generator: torch.Generator) -> Tensor:
    """Which images an epoch meets, in turn: drawn with replacement where the classes are to be balanced."""
    if not balanced:
        return torch.randperm(len(labels), generator=generator)
    return torch.multinomial(_rarity(labels), len(labels), replacement=True, generator=generator)


def _rarity(labels: Tensor) -> Tensor:
    """One over the number of images of the same class, (N,) float64; with many labels, of its rarest finding."""
    if labels.ndim == 1:
        return 1 / torch.bincount(labels)[labels].double()
    present = labels == 1
    of_finding = present / present.sum(0).clamp(min=1).double()
    nothing = ~present.any(1)
    return torch.where(nothing, 1 / nothing.sum().clamp(min=1).double(), of_finding.amax(1))


def _loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy; with many labels, binary cross-entropy averaged over those that are known."""
    if labels.ndim == 1:
        return functional.cross_entropy(logits, labels)
    known = labels >= 0
    each = functional.binary_cross_entropy_with_logits(logits, labels.clamp(min=0).float(), reduction="none")
    return (each * known).sum() / known.sum().clamp(min=1)


@torch.inference_mode()
def _validate(network: nn.Module, images: Images, device: torch.device) -> tuple[float, float]:
    """Score and loss."""
    network.eval()
    parts = [network((part.float() / 255).to(device)).float().cpu() for part in torch.split(images.images, 64)]
    logits = torch.cat(parts)
    return _score(logits, images.labels), _loss(logits, images.labels).item()


def _score(logits: Tensor, labels: Tensor) -> float:
    """Accuracy; with many labels, the mean ROC AUC over the findings of which both answers occur."""
    if labels.ndim == 1:
        return (logits.argmax(1) == labels).float().mean().item()
    areas = [
        roc_auc_score(truth[truth >= 0].numpy(), answer[truth >= 0].numpy())
        for truth, answer in zip(labels.T, logits.T, strict=True)
        if (truth == 0).any() and (truth == 1).any()
    ]
    return float(np.mean(areas)) if areas else 0.0


def history_of(epochs: list[Epoch]) -> list[dict[str, float]]:
    """The learning curves as a checkpoint keeps them."""
    return [epoch._asdict() for epoch in epochs]
