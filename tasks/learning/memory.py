"""Samples held at 8 bits a channel while a network is fitted: in memory, or in a file where they are too many."""

import hashlib
import math
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from ..base import Samples

_LARGEST_IN_MEMORY = 8 * 2**30
"""Bytes; more lie in a temporary file, of which the system keeps in memory what it can."""


class Images(NamedTuple):
    """Samples to fit a network to."""

    images: Tensor
    """(N, 3, H, W) uint8."""
    labels: Tensor
    """(N,) int64, or (N, K) int64 in {0, 1, -1: not known} for a multi-label task."""
    ids: tuple[str, ...] = ()

    def fingerprint(self) -> str:
        """SHA-256 of the images and labels: tells on what a network was trained."""
        digest = hashlib.sha256()
        for image in self.images:
            digest.update(image.numpy().tobytes())
        digest.update(self.labels.numpy().tobytes())
        return digest.hexdigest()

    def contents(self) -> list[bytes]:
        """A hash of each image: the same for images that are the same, whatever they are called."""
        return [hashlib.blake2b(image.numpy().tobytes(), digest_size=16).digest() for image in self.images]

    def of(self, chosen: Sequence[int]) -> "Images":
        """Some of the samples."""
        indices = torch.tensor(chosen, dtype=torch.int64)
        return Images(self.images[indices], self.labels[indices], tuple(self.ids[index] for index in chosen))


class Duplicate(NamedTuple):
    """One image in two parts. Kept where it is worth more: in the held-out part before the validation part."""

    dropped: str
    """Its name where it was left out."""
    kept: str
    part: str
    """The part that keeps it."""


def _nobody(done: int, total: int) -> None:
    """Report to nobody."""


def in_memory(samples: Samples, progress: Callable[[int, int], None] = _nobody) -> Images:
    """Read every sample once.

    Args:
        samples: Of one size.
        progress: Called after every sample with the number read and the number there are.

    Raises:
        ValueError: there is none, or they differ in size.
    """
    if len(samples) == 0:
        raise ValueError("no samples to train on")
    first = samples[0]
    images = _bytes((len(samples), *first.input.shape))
    labels, ids = [], []
    for index in range(len(samples)):
        sample = samples[index]
        if sample.input.shape != first.input.shape:
            raise ValueError(
                f"{sample.id}: is {tuple(sample.input.shape)}, not {tuple(first.input.shape)} as the first"
            )
        images[index] = (sample.input * 255).round().to(torch.uint8)
        labels.append(sample.label)
        ids.append(sample.id)
        progress(index + 1, len(samples))
    return Images(images, torch.stack(labels), tuple(ids))


def _bytes(shape: tuple[int, ...]) -> Tensor:
    """Room for so many bytes."""
    size = math.prod(shape)
    if size <= _LARGEST_IN_MEMORY:
        return torch.empty(shape, dtype=torch.uint8)
    with tempfile.TemporaryDirectory() as folder:  # the mapping outlives its name
        path = Path(folder) / "images"
        return torch.from_file(str(path), shared=True, size=size, dtype=torch.uint8).reshape(shape)


def without_duplicates(images: Images, others: Images, part: str) -> tuple[Images, list[Duplicate]]:
    """The images that are not among the others, and which were.

    Two images are duplicates where all their pixels are equal, as read at the size of the task.

    Args:
        images: To choose from.
        others: Of the part called `part`.

    Raises:
        ValueError: none is left.
    """
    names = dict(zip(others.contents(), others.ids, strict=True))
    contents = images.contents()
    duplicates = [
        Duplicate(name, names[content], part)
        for name, content in zip(images.ids, contents, strict=True)
        if content in names
    ]
    if not duplicates:
        return images, []
    chosen = [index for index, content in enumerate(contents) if content not in names]
    if not chosen:
        raise ValueError(f"every image is also in the part {part!r}, {duplicates[0].dropped} for one")
    return images.of(chosen), duplicates
