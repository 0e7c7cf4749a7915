"""What a task on a published data set is: its folder, its pictures and their masks, its parts, ImageNet weights.

The user names one folder that holds the data sets, each in a folder of its own; an archive that holds a folder
of its own name once more is read all the same.
"""

import hashlib
import re
from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import ClassVar

from torch import Tensor
from torchvision.models import WeightsEnum

from .base import Card, DataSet, Samples, balanced_order, checkpoint_folder, data_folder
from .files.pictures import REMEDY, Pictures, Unreadable, collapsed
from .files.pictures import Box as Box
from .files.pictures import Picture as Picture
from .learning.augmentation import Augment, of_the_studies
from .learning.fitting import Recipe
from .networks.architectures import imagenet_weights
from .training import Trainable


@dataclass(frozen=True)
class PublishedTask(Trainable):
    """A torchvision network on a published data set. A subclass says which, and how the files are laid out."""

    size: int = 224
    """Side to which the images are stretched, in pixels."""
    skip_unreadable: bool = False
    """Leave pictures out that cannot be used, or whose masks cannot; else the first one met ends the work."""

    name: ClassVar[str]
    """The task's public name: the stem of its checkpoint."""
    folder: ClassVar[str]
    """Of the data set, in the folder of data sets."""
    source: ClassVar[str]
    """Where the data set is published, in words."""
    data_set: ClassVar[DataSet]
    architecture: ClassVar[str]
    """The network by its name, for people."""
    ground_truth: ClassVar[str] = "none"
    """What the masks mark, and who drew them."""
    nothing_found: ClassVar[str | None] = None
    """The class that means «nothing found»."""
    initial: ClassVar[WeightsEnum | None] = None
    """The ImageNet weights to start from; None: from scratch."""
    epochs: ClassVar[int] = 8
    learning_rate: ClassVar[float] = 3e-4
    augment: ClassVar[Augment | None] = of_the_studies()
    """Of the training images."""

    @abstractmethod
    def needed(self) -> Sequence[str]:
        """Files or folders without which the data set is not there; relative to its folder."""

    @abstractmethod
    def pictures(self, folder: Path, part: str) -> Sequence[Picture]:
        """The pictures of the part "train", "validation" or "heldout".

        Raises:
            ValueError, OSError: the data set is not as it is published; one line.
        """

    def negative(self) -> str | None:
        return self.nothing_found

    def card(self) -> Card:
        data = self.data_set
        return Card(data.name, self.architecture, self.ground_truth, data.licence, data.citation)

    def part(self, name: str) -> Samples:
        pictures = self._readable(name)
        if name == "heldout":
            pictures = [pictures[index] for index in balanced_order([picture.label for picture in pictures])]
        return Pictures(self.data(), pictures, self.size)

    def _readable(self, part: str) -> Sequence[Picture]:
        listed = self.listed(part)
        if faulty := [picture for picture in listed.pictures if picture.fault is not None and not self.skip_unreadable]:
            raise ValueError(f"{listed.folder / faulty[0].path}: {faulty[0].fault}; {REMEDY}")
        left_out = {path for path, _ in self.skipped(part)}
        pictures = [picture for picture in listed.pictures if collapsed(picture.path) not in left_out]
        if not pictures:
            raise ValueError(f"{listed.folder}: there is no picture of the part {part!r}; unpack the data set again")
        return pictures

    def listed(self, part: str) -> Pictures:
        """All pictures of a part, in the data set's order, whether they can be used or not."""
        return Pictures(self.data(), tuple(self.pictures(self.data(), part)), self.size)

    def skipped(self, part: str) -> Sequence[Unreadable]:
        """The pictures of a part that are left out because they cannot be used: none without `skip_unreadable`.

        The first call of a process reads every file of the part; it is not looked at again.
        """
        return _unreadable(self.listed(part)) if self.skip_unreadable else ()

    def data(self) -> Path:
        """The folder of the data set, whether it is there or not."""
        return unnested((data_folder() or Path()) / self.folder)

    def missing_data(self) -> str | None:
        if data_folder() is None:
            return f"data not found: name the folder that holds {self.folder} with `--data DIR` or BENCH_DATA"
        for path in self.needed():
            if not unnested(self.data(), path).exists():
                return (
                    f"data not found: no {self.data() / path}{_lookalike(unnested(self.data(), path))}; "
                    f"put {self.source} there, "
                    "or name the folder that holds it with `--data DIR` or BENCH_DATA"
                )
        return None

    def checkpoint(self) -> Path:
        return checkpoint_folder() / f"{self.name}.safetensors"

    def pretrained(self) -> Mapping[str, Tensor] | None:
        return None if self.initial is None else imagenet_weights(self.initial)

    def recipe(self) -> Recipe:
        return Recipe(self.epochs, self.learning_rate, augment=self.augment)


@lru_cache(maxsize=32)
def _unreadable(pictures: Pictures) -> Sequence[Unreadable]:
    return pictures.unreadable()


def unnested(folder: Path, below: str = "") -> Path:
    """A path in a data set, or the one deeper if archives were unpacked so that folders lie in ones of their own name.

    >>> unnested(Path("data/isic"), "images/train").as_posix()
    'data/isic/images/train'
    """
    path = _inner(folder)
    for name in PurePosixPath(below).parts:
        path = _inner(path / name)
    return path


def _inner(path: Path) -> Path:
    again = path / path.name
    return again if again.is_dir() else path


def files(folder: Path, below: str, endings: Iterable[str] = (".png", ".jpg", ".jpeg")) -> list[str]:
    """The pictures directly in a folder of the data set, relative to it, in the order of the numbers in their names.

    Hidden files (a Mac leaves such) are passed over.

    Raises:
        FileNotFoundError: there is no such folder, or no picture in it.
    """
    place = unnested(folder, below)
    if not place.is_dir():
        hint = _lookalike(place)
        raise FileNotFoundError(f"{place}: no such folder{hint}; the data set is incomplete, unpack it again")
    found = [
        path.relative_to(folder).as_posix()
        for path in place.iterdir()
        if path.suffix.lower() in tuple(endings) and not path.name.startswith(".")
    ]
    if not found:
        raise FileNotFoundError(f"{place}: holds no picture; the data set is incomplete, unpack it again")
    return sorted(found, key=_natural)


def _lookalike(place: Path) -> str:
    """A hint at what differs in upper and lower case only, or nothing."""
    beside = place.parent.iterdir() if place.parent.is_dir() else ()
    found = [other.name for other in beside if other.name.lower() == place.name.lower() and other.name != place.name]
    return f" (there is {found[0]!r}: rename it)" if found else ""


def _natural(path: str) -> list[tuple[int, str]]:
    """A key that sorts 2 before 10."""
    return [(int(piece) if piece.isdigit() else -1, piece) for piece in re.split(r"(\d+)", path)]


def drawn(group: str, fraction: float) -> bool:
    """Whether a group (a patient, say) falls into a part of this size: always the same answer, on any machine."""
    number = int.from_bytes(hashlib.sha256(group.encode()).digest()[:8], "big")
    return number < fraction * 2**64


def consecutive(paths: Sequence[str], part: str, heldout: float = 0.2, validation: float = 0.1) -> Sequence[str]:
    """A stretch of numbered files as a part: neighbours, often of one patient, stay together.

    Training has the first, validation the next, the held-out part the last; none is empty where there are three.

    >>> [len(consecutive("abcdefghij", part)) for part in ("train", "validation", "heldout")]
    [7, 1, 2]
    """
    last = len(paths) - max(round(heldout * len(paths)), 1)
    middle = last - max(round(validation * len(paths)), 1)
    return {"train": paths[:middle], "validation": paths[middle:last], "heldout": paths[last:]}[part]
