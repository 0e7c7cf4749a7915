"""What a task with a network of its own is: its parts, its recipe, its checkpoint."""

import copy
import dataclasses
import hashlib
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from .base import Samples, Task
from .evaluation.scores import Evaluation, evaluate
from .learning.fitting import Epoch, Progress, Recipe, Report, fit, history_of
from .learning.memory import Duplicate, Images, in_memory, without_duplicates
from .networks.checkpoints import initialise, load_checkpoint, read_initial_weights, save_checkpoint


class Training(NamedTuple):
    """What came of a training."""

    evaluation: Evaluation
    """On the held-out part."""
    history: list[Epoch]
    """The learning curves."""
    duplicates: list[Duplicate]
    """Images that were in two parts, and were left out of the one that matters less."""


class _Parts(NamedTuple):
    """What a network is fitted to."""

    train: Images
    validation: Images
    duplicates: list[Duplicate]


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
        progress: Report = _silent,
        device: torch.device | str = "cpu",
        epochs: Path | None = None,
    ) -> Training:
        """Fit a fresh network on `train`, keep its checkpoint, and score it on `heldout`.

        Images of `train` and `validation` that are in a later part too are left out. A training that was killed
        goes on after the last whole epoch: its state lies beside the checkpoint.

        Args:
            init: A .pth state dict to start from; the last layer may have other classes and is then fresh.
                Default: `pretrained()`.
            from_scratch: Start from random weights.
            progress: Called after every image read, every batch, and, with its scores, every epoch.
            device: Where to compute.
            epochs: A folder for a checkpoint after every epoch, `<stem>-epoch-01.safetensors` and on, each scored on
                `heldout`; epochs that an earlier process did are not made again. Default: only the best one is kept.

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
        parts = self._parts(progress)
        data = parts.train.fingerprint()
        identity = _identity(network, repr(self), repr(recipe), data, torch.__version__)
        resume = self.checkpoint().with_suffix(".unfinished")
        report = progress if epochs is None else self._keeping(epochs, network, heldout, progress, device)
        history = fit(network, parts.train, parts.validation, recipe, report, device, resume, identity)
        model = self.finished(network).eval()
        evaluation = evaluate(model, heldout, self.classes())
        metadata = {
            "classes": list(self.classes()),
            "task": repr(self),
            "recipe": repr(recipe),
            "init": init.name if init else "scratch" if from_scratch else "default",
            "preprocessing": repr(model[0]),
            "heldout": dataclasses.asdict(evaluation),
            "history": history_of(history),
            "duplicates": len(parts.duplicates),
            "data": data,
            "device": str(device),
            "torch": torch.__version__,
        }
        save_checkpoint(self.checkpoint(), model, metadata)
        return Training(evaluation, history, parts.duplicates)

    def _keeping(
        self, folder: Path, network: nn.Sequential, heldout: Samples, progress: Report, device: torch.device | str
    ) -> Report:
        """A report that also keeps the network as it is after every epoch."""

        def report(state: Progress) -> None:
            if state.scores is not None:
                model = self.finished(copy.deepcopy(network)).eval()
                metadata = {
                    "classes": list(self.classes()),
                    "task": repr(self),
                    "epoch": state.scores.epoch,
                    "heldout": dataclasses.asdict(evaluate(model, heldout, self.classes(), device=device)),
                }
                path = folder / f"{self.checkpoint().stem}-epoch-{state.scores.epoch:02d}.safetensors"
                save_checkpoint(path, model, metadata)
            progress(state)

        return report

    def _parts(self, progress: Report) -> _Parts:
        """The training and validation part, without what is in a later part too."""

        def read(name: str) -> Images:
            return in_memory(self.part(name), lambda done, total: progress(Progress(f"reading {name}", done, total)))

        train, validation, heldout = read("train"), read("validation"), read("heldout")
        validation, first = without_duplicates(validation, heldout, "heldout")
        train, second = without_duplicates(train, heldout, "heldout")
        train, third = without_duplicates(train, validation, "validation")
        return _Parts(train, validation, first + second + third)

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


def _identity(network: nn.Module, *settings: str) -> str:
    """What training this is: the first weights and all settings, hashed."""
    digest = hashlib.sha256("\n".join(settings).encode())
    for name, value in network.state_dict().items():
        digest.update(name.encode() + value.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
