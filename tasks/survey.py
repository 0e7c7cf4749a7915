"""Looking a published data set over: what its parts hold, what cannot be used, and what is there twice."""

import hashlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import torch

from .base import Sample
from .files.images import Look, look
from .files.pictures import Unreadable
from .published import PublishedTask
from .publishing import PARTS

_ENDINGS = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".gif", ".bmp", ".webp")


class Place(NamedTuple):
    """Where a picture is."""

    part: str
    id: str
    label: tuple[int, ...]
    """Its class, or for each class whether it belongs there."""


@dataclass
class Survey:
    """What was found in a data set, as a task reads it."""

    counts: dict[str, list[int]] = field(default_factory=dict)
    """For each part how many pictures of each class can be used; of each finding, for a multi-label task."""
    modes: Counter[str] = field(default_factory=Counter)
    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)
    """(width, height) -> pictures."""
    unreadable: dict[str, list[Unreadable]] = field(default_factory=dict)
    """For each part what cannot be used."""
    absent: dict[str, str] = field(default_factory=dict)
    """Parts that cannot be read at all, and why."""
    copies: list[list[Place]] = field(default_factory=list)
    """Pictures whose pixels are all the same as the task reads them, two or more in a group."""
    unused: Counter[str] = field(default_factory=Counter)
    """Folder -> pictures in it that are of no part, and no mask."""

    def duplicates(self) -> list[tuple[Place, Place]]:
        """Two places of one picture in different parts, the first of each."""
        pairs = []
        for group in self.copies:
            first = {place.part: place for place in reversed(group)}
            found = [first[part] for part in PARTS if part in first]
            pairs += [(place, other) for at, place in enumerate(found) for other in found[at + 1 :]]
        return pairs


def _nobody(part: str, done: int, total: int) -> None:
    """Report to nobody."""


def survey(task: PublishedTask, progress: Callable[[str, int, int], None] = _nobody) -> Survey:
    """Read every picture and mask of every part of a task.

    Args:
        task: Its data must be there.
        progress: Called after every picture with the part, the number read and the number there are.
    """
    found, used = Survey(), set[str]()
    places: dict[bytes, list[Place]] = {}
    for part in PARTS:
        try:
            pictures = task.listed(part)
        except (ValueError, OSError) as error:
            found.absent[part] = str(error)
            continue
        used.update(path for picture in pictures.pictures for path in (picture.path, picture.mask) if path)
        found.counts[part], found.unreadable[part] = [0] * len(task.classes()), []
        for index, picture in enumerate(pictures.pictures):
            try:
                sample, kind = pictures[index], look(pictures.folder / picture.path)
            except (ValueError, OSError) as error:
                found.unreadable[part].append(Unreadable(picture.path, str(error)))
            else:
                place = _counted(found, part, sample, kind)
                places.setdefault(_content(sample), []).append(place)
            progress(part, index + 1, len(pictures))
    found.copies = [group for group in places.values() if len(group) > 1]
    found.unused = _unused(task.data(), used)
    return found


def _counted(found: Survey, part: str, sample: Sample, kind: Look) -> Place:
    found.modes[kind.mode] += 1
    found.sizes[kind.width, kind.height] += 1
    label = tuple(sample.label.flatten().tolist())
    for index in label if sample.label.ndim == 0 else (at for at, there in enumerate(label) if there == 1):
        found.counts[part][index] += 1
    return Place(part, sample.id, label)


def _content(sample: Sample) -> bytes:
    """The same for images that are the same as read, at 8 bits a channel."""
    pixels = (sample.input * 255).round().to(torch.uint8)
    return hashlib.blake2b(pixels.numpy().tobytes(), digest_size=16).digest()


def _unused(folder: Path, used: set[str]) -> Counter[str]:
    """Pictures that no part has; hidden ones do not count."""
    unused: Counter[str] = Counter()
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder).as_posix()
        if path.suffix.lower() in _ENDINGS and not path.name.startswith(".") and relative not in used:
            unused[path.parent.relative_to(folder).as_posix()] += 1
    return unused
