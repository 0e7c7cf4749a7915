"""What a task is: a classifier, and the decisions of it that are to be explained."""

import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

import platformdirs
import torch
from torch import Tensor, nn


class Sample(NamedTuple):
    """One image and the truth about it."""

    input: Tensor
    """(3, H, W) float32 in [0, 1]."""
    label: Tensor
    """() int64, or (K,) int64 in {0, 1} for a multi-label task; there -1 where nobody knows."""
    id: str
    """Stable between runs and machines, unique within its task."""
    mask: Tensor | None = None
    """(1, H, W) bool, where the evidence lies; all False where there is none."""
    shortcut: Tensor | None = None
    """(1, H, W) bool, where a misleading cue lies (a marker, a vignette)."""
    target: int | None = None
    """The class whose logit is explained, and to which the mask belongs; None: the class that the model predicts."""
    second: Tensor | None = None
    """(1, H, W) bool, where a second reader of the image saw the evidence, who did not know of the first; None: not
    read a second time."""


class Samples(Protocol):
    """Samples read one by one, when they are asked for. A list of samples will do."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Sample: ...


class DataSet(NamedTuple):
    """A published data set, as its users cite it. One line each, for tables."""

    name: str
    licence: str
    """As its publisher states it; where none was found, that."""
    citation: str
    """Authors, title, where, year."""


class Card(NamedTuple):
    """What people want to know of a task before they trust its numbers. One line each, for tables."""

    data: str
    """The data set by its name; for rendered images, which they imitate."""
    network: str
    """The architecture by its name in its paper, and what is unusual about it."""
    ground_truth: str
    """What the masks mark, and who drew them; "none" where there are no masks."""
    licence: str
    """Of the data, as their publisher states it."""
    citation: str
    """Of the data: authors, title, where, year."""
    kind: Literal["real", "phantom", "shortcut"] = "real"
    """Published images; rendered ones; rendered ones with which the network has learnt a misleading cue."""


class Batch(NamedTuple):
    """Samples of one size, stacked."""

    inputs: Tensor
    """(N, 3, H, W) float32 in [0, 1]."""
    targets: Tensor | None
    """(N,) int64, the class whose logit is explained; None: the class that the model predicts."""
    labels: Tensor
    """(N,) int64, or (N, K) int64 in {0, 1} for a multi-label task: the truth; -1 where nobody knows."""
    ids: tuple[str, ...]
    """N names, stable between runs and machines."""
    masks: Tensor | None = None
    """(N, 1, H, W) bool, where the evidence lies; all False: none for this sample. None: not known."""
    shortcuts: Tensor | None = None
    """(N, 1, H, W) bool, where a misleading cue lies; None: not known."""
    seconds: tuple[Tensor | None, ...] | None = None
    """N times (1, H, W) bool, where a second reader saw the evidence, or None: not read again. None: no sample was."""


@dataclass(frozen=True)
class Task(ABC):
    """A classifier and the decisions of it that are to be explained.

    A subclass is a frozen dataclass whose fields are its settings; an instance at the top level of a module
    is an entry, and the variable's name is its public name.
    """

    @abstractmethod
    def classes(self) -> tuple[str, ...]:
        """Names of the K classes, in the order of the logits."""

    def negative(self) -> str | None:
        """The class that means «nothing found», or None where no class does."""
        return None

    @abstractmethod
    def model(self) -> nn.Module:
        """The classifier: eval mode, frozen, on the CPU; (N, 3, H, W) images in [0, 1] -> (N, K) logits.

        Its first module normalizes the images: a model owns its preprocessing.
        """

    @abstractmethod
    def samples(self) -> Samples:
        """The samples to explain: every prefix is balanced over the classes, the order never changes."""

    def patient(self, sample: str) -> str | None:  # noqa: ARG002  # for those that know
        """Whose image a sample is, by its id: those of one patient are not independent. None: not known."""
        return None

    def card(self) -> Card | None:
        """What the task is about, for people; None: its author does not tell."""
        return None

    def unavailable(self) -> str | None:
        """Why the task cannot run here and what to do about it, or None where it can."""
        return None

    def batches(self, batch_size: int, start: int = 0, stop: int | None = None) -> Iterator[Batch]:
        """The samples from `start` up to `stop` (default: all), `batch_size` at a time."""
        samples = self.samples()
        stop = len(samples) if stop is None else min(stop, len(samples))
        for first in range(start, stop, batch_size):
            yield collate([samples[index] for index in range(first, min(first + batch_size, stop))])


def collate(samples: Sequence[Sample]) -> Batch:
    """Stack samples into a batch.

    Raises:
        ValueError: a sample breaks the contract of `Sample`; the message names it.
    """
    for sample in samples:
        _check(sample)
    size = samples[0].input.shape
    if odd := [sample.id for sample in samples if sample.input.shape != size]:
        raise ValueError(f"samples of one batch must have one size: {odd[0]} is not {tuple(size)}")
    masks = [sample.mask for sample in samples if sample.mask is not None]
    shortcuts = [sample.shortcut for sample in samples if sample.shortcut is not None]
    targets = [sample.target for sample in samples if sample.target is not None]
    seconds = tuple(sample.second for sample in samples)
    return Batch(
        inputs=torch.stack([sample.input for sample in samples]),
        targets=torch.tensor(targets) if len(targets) == len(samples) else None,
        labels=torch.stack([sample.label for sample in samples]),
        ids=tuple(sample.id for sample in samples),
        masks=torch.stack(masks) if len(masks) == len(samples) else None,
        shortcuts=torch.stack(shortcuts) if len(shortcuts) == len(samples) else None,
        seconds=seconds if any(mask is not None for mask in seconds) else None,
    )


def _check(sample: Sample) -> None:
    image = sample.input
    if image.ndim != 3 or image.shape[0] != 3 or image.dtype != torch.float32:
        raise ValueError(f"{sample.id}: an input is (3, H, W) float32, not {tuple(image.shape)} {image.dtype}")
    if not bool(((image >= 0) & (image <= 1)).all()):
        raise ValueError(f"{sample.id}: an input lies in [0, 1], not in [{image.min():g}, {image.max():g}]")
    for name, mask in (("mask", sample.mask), ("shortcut", sample.shortcut), ("second mask", sample.second)):
        if mask is not None and (mask.shape != (1, *image.shape[1:]) or mask.dtype != torch.bool):
            wanted = (1, *image.shape[1:])
            raise ValueError(f"{sample.id}: its {name} is {wanted} bool, not {tuple(mask.shape)} {mask.dtype}")


def balanced_order(labels: Sequence[int | tuple[int, ...]]) -> list[int]:
    """Indices of the labels in an order whose every prefix is balanced: one of each class in turn.

    A class that has run out is passed over. Tuples, the labels of a multi-label task, count as a class each.

    >>> balanced_order([0, 0, 0, 1, 1, 2])
    [0, 3, 5, 1, 4, 2]
    """
    turns: dict[int | tuple[int, ...], int] = {}
    keys: list[tuple[int, Any, int]] = []
    for index, label in enumerate(labels):
        turns[label] = turns.get(label, -1) + 1
        keys.append((turns[label], label, index))
    return [index for _, _, index in sorted(keys)]


def data_folder() -> Path | None:
    """The folder that holds the published data sets: `bench … --data DIR`, or the variable BENCH_DATA."""
    folder = os.environ.get("BENCH_DATA")
    return Path(folder) if folder else None


def checkpoint_folder() -> Path:
    """Where `bench train` keeps the checkpoints of tasks on real data: the user's cache directory."""
    return platformdirs.user_cache_path("heatmark") / "checkpoints"
