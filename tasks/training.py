"""Fitting a classifier, and what a task with a network of its own is."""

import dataclasses
import hashlib
from abc import abstractmethod
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from .base import Samples, Task
from .checkpoints import initialise, load_checkpoint, read_initial_weights, save_checkpoint
from .evaluation import Evaluation, evaluate

Augment = Callable[[Tensor, torch.Generator], Tensor]
"""(N, 3, H, W) images in [0, 1] -> as many changed ones, drawn from the generator."""


class Progress(NamedTuple):
    """Where a training stands after an epoch."""

    epoch: int
    """From 1."""
    n_epochs: int
    """At most as many; training stops early when it no longer gets better."""
    loss: float
    """Mean cross-entropy of the epoch's batches."""
    accuracy: float
    """On the validation part, in [0, 1]."""


@dataclass(frozen=True)
class Jitter:
    """Augmentation: images flipped left to right, turned and moved a little; the border is continued."""

    flip: float = 0.5
    """Probability."""
    rotation: float = 8.0
    """Largest angle, in degrees."""
    shift: float = 0.05
    """Largest way, as a fraction of the side."""

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        count = len(images)
        angle = (2 * torch.rand(count, generator=generator) - 1) * self.rotation * torch.pi / 180
        mirror = 1 - 2 * (torch.rand(count, generator=generator) < self.flip).float()
        cos, sin = angle.cos(), angle.sin()
        theta = torch.stack([torch.stack([cos * mirror, -sin], 1), torch.stack([sin * mirror, cos], 1)], 1)
        move = (2 * torch.rand(count, 2, 1, generator=generator) - 1) * 2 * self.shift
        grid = functional.affine_grid(torch.cat([theta, move], 2), list(images.shape), align_corners=False)
        return functional.grid_sample(images, grid, padding_mode="border", align_corners=False)


@dataclass(frozen=True)
class Recipe:
    """How a network is fitted: AdamW under a one-cycle schedule, classes drawn equally often."""

    epochs: int
    learning_rate: float
    """The highest of the cycle."""
    batch_size: int = 32
    weight_decay: float = 1e-4
    patience: int = 5
    """Epochs without a better validation accuracy (or, that being equal, loss) after which training stops."""
    augment: Augment | None = None
    seed: int = 0


class Images(NamedTuple):
    """Samples held in memory for training, at 8 bits a channel."""

    images: Tensor
    """(N, 3, H, W) uint8."""
    labels: Tensor
    """(N,) int64."""

    def fingerprint(self) -> str:
        """SHA-256 of the images and labels: tells on what a network was trained."""
        digest = hashlib.sha256(self.images.numpy().tobytes())
        digest.update(self.labels.numpy().tobytes())
        return digest.hexdigest()


def in_memory(samples: Samples) -> Images:
    """Read every sample once.

    Raises:
        ValueError: there is none, or they differ in size.
    """
    if len(samples) == 0:
        raise ValueError("no samples to train on")
    first = samples[0].input
    images = torch.empty((len(samples), *first.shape), dtype=torch.uint8)
    labels = torch.empty(len(samples), dtype=torch.int64)
    for index in range(len(samples)):
        sample = samples[index]
        if sample.input.shape != first.shape:
            raise ValueError(f"{sample.id}: is {tuple(sample.input.shape)}, not {tuple(first.shape)} as the first")
        images[index] = (sample.input * 255).round().to(torch.uint8)
        labels[index] = sample.label
    return Images(images, labels)


def fit(
    network: nn.Module,
    train: Images,
    validation: Images,
    recipe: Recipe,
    progress: Callable[[Progress], None],
) -> None:
    """Fit the network and leave it in eval mode with the weights that were best on the validation part.

    The same network, images, recipe and number of threads give the same weights. The global random state is
    as it was.

    Raises:
        ValueError: the loss is no longer finite: the learning rate is too high.
    """
    steps = -(-len(train.labels) // recipe.batch_size)
    optimizer = torch.optim.AdamW(network.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe.learning_rate, recipe.epochs * steps)
    network.to(memory_format=torch.channels_last)  # about twice as fast on a CPU
    best, best_score, best_epoch = deepcopy(network.state_dict()), (-1.0, 0.0), 0
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        for epoch in range(1, recipe.epochs + 1):
            loss = _epoch(network, train, recipe, epoch, optimizer, schedule)
            score = _validate(network, validation)
            progress(Progress(epoch, recipe.epochs, loss, score[0]))
            if score > best_score:
                best, best_score, best_epoch = deepcopy(network.state_dict()), score, epoch
            elif epoch - best_epoch >= recipe.patience:
                break
    network.load_state_dict(best)
    network.to(memory_format=torch.contiguous_format)
    network.eval()


def _epoch(
    network: nn.Module,
    train: Images,
    recipe: Recipe,
    epoch: int,
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
) -> float:
    """One pass over as many images as there are, the classes drawn equally often; the mean loss."""
    generator = torch.Generator().manual_seed(recipe.seed * 100_003 + epoch)
    weights = 1 / torch.bincount(train.labels)[train.labels].double()
    order = torch.multinomial(weights, len(weights), replacement=True, generator=generator)
    network.train()
    total = 0.0
    for chosen in torch.split(order, recipe.batch_size):
        images = train.images[chosen].float() / 255
        if recipe.augment is not None:
            images = recipe.augment(images, generator)
        images = images.contiguous(memory_format=torch.channels_last)
        loss = functional.cross_entropy(network(images), train.labels[chosen])
        if not loss.isfinite():
            raise ValueError(f"training diverged in epoch {epoch}: lower the recipe's learning rate")
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        schedule.step()
        total += loss.item() * len(chosen)
    return total / len(order)


@torch.inference_mode()
def _validate(network: nn.Module, images: Images) -> tuple[float, float]:
    """Accuracy, and minus the loss: greater is better, the loss breaks ties."""
    network.eval()
    logits = torch.cat([network(part.float() / 255) for part in torch.split(images.images, 64)])
    accuracy = (logits.argmax(1) == images.labels).float().mean().item()
    return accuracy, -functional.cross_entropy(logits, images.labels).item()


def _silent(progress: Progress) -> None:
    """Report to nobody."""


@dataclass(frozen=True)
class Trainable(Task):
    """A task whose network is fitted here, by `train`, and kept in a checkpoint.

    The checkpoint's stem is the task's public name.
    """

    @abstractmethod
    def network(self) -> nn.Sequential:
        """The network as it is trained, freshly initialised: `preprocessing`, then `network`."""

    @abstractmethod
    def part(self, name: str) -> Samples:
        """The samples of the part "train", "validation" or "heldout".

        Raises:
            ValueError, OSError: the data cannot be read; one line.
        """

    @abstractmethod
    def checkpoint(self) -> Path:
        """The file of the trained weights."""

    @abstractmethod
    def recipe(self) -> Recipe:
        """How the network is fitted."""

    def pretrained(self) -> Mapping[str, Tensor] | None:
        """Weights to start from where the user names none (downloaded, say); None: from scratch.

        Raises:
            OSError: they cannot be had; one line.
        """
        return None

    def finished(self, network: nn.Sequential) -> nn.Sequential:
        """What is kept of a trained network: the network itself, or a simpler one that computes the same."""
        return network

    def missing_data(self) -> str | None:
        """What the task lacks to train and to have samples, and where it looked; None: nothing."""
        return None

    def train(
        self,
        init: Path | None = None,
        from_scratch: bool = False,
        progress: Callable[[Progress], None] = _silent,
    ) -> Evaluation:
        """Fit a fresh network on `train`, keep its checkpoint, and return its scores on `heldout`.

        Args:
            init: A .pth state dict to start from; the last layer may have other classes and is then fresh.
                Default: `pretrained()`.
            from_scratch: Start from random weights.
            progress: Called after every epoch.

        Raises:
            ValueError, OSError: the data, the initial weights or both switches at once are no good; one line.
        """
        if init is not None and from_scratch:
            raise ValueError(f"{init}: initial weights cannot be used together with training from scratch")
        if reason := self.missing_data():
            raise FileNotFoundError(reason)
        recipe = self.recipe()
        network = self._started(init, from_scratch, recipe.seed)
        heldout = self.part("heldout")
        if len(heldout) == 0:
            raise ValueError(f"{self}: there is no held-out sample to evaluate on")
        train = in_memory(self.part("train"))
        fit(network, train, in_memory(self.part("validation")), recipe, progress)
        model = self.finished(network).eval()
        evaluation = evaluate(model, heldout, self.classes())
        metadata = {
            "classes": list(self.classes()),
            "task": repr(self),
            "recipe": repr(recipe),
            "init": init.name if init else "scratch" if from_scratch else "default",
            "heldout": dataclasses.asdict(evaluation),
            "data": train.fingerprint(),
            "torch": torch.__version__,
        }
        save_checkpoint(self.checkpoint(), model, metadata)
        return evaluation

    def _started(self, init: Path | None, from_scratch: bool, seed: int) -> nn.Sequential:
        """The network with its first weights."""
        weights = None if from_scratch else read_initial_weights(init) if init else self.pretrained()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = self.network()
        if weights is not None:
            initialise(network.get_submodule("network"), weights, str(init or "the default initial weights"))
        return network

    def model(self) -> nn.Module:
        """The trained network: eval mode, frozen.

        Raises:
            ValueError, OSError: its checkpoint is absent or no good; one line.
        """
        with torch.random.fork_rng(devices=[]):
            model = self.finished(self.network())
        load_checkpoint(self.checkpoint(), model, self.classes())
        return model.eval().requires_grad_(False)

    def samples(self) -> Samples:
        return self.part("heldout")

    def unavailable(self) -> str | None:
        if reason := self.missing_data():
            return reason
        if not self.checkpoint().is_file():
            return f"no checkpoint at {self.checkpoint()}: run `bench train {self.checkpoint().stem}`"
        return None
