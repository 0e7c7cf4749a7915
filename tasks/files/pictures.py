"""The pictures of a data set: files, what is known about each, and reading them when they are asked for."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import torch
from torch import Tensor

from ..base import Sample
from .images import check_same_shape, read_image, read_mask

REMEDY = "mend it, or leave such pictures out with `--skip-unreadable`"
"""What to do about a picture that cannot be used though its file is whole."""

SECOND_READER = "second reader"
"""Folder, in a data set's, of a second reader's masks: under the paths that the first reader's have in the data set,
without folders in folders of their own name."""


class Box(NamedTuple):
    """Edges of a rectangle as fractions of the image's sides."""

    left: float
    top: float
    right: float
    bottom: float


class Picture(NamedTuple):
    """An image file of a data set and what is known about it. Paths are relative to the data set's folder."""

    path: str
    label: int | tuple[int, ...]
    """Index into the classes; or, of each of them, 1, 0 or -1: it is there, is not, nobody knows."""
    mask: str | None = None
    """The file of its mask, above half where the evidence lies."""
    boxes: tuple[Box, ...] | None = None
    """Where the evidence lies, if there is no such file; none: nowhere; None: not known."""
    fault: str | None = None
    """Why it cannot be used, whatever its file holds: it has no label, say."""
    target: int | None = None
    """The class that is explained, and to which the mask belongs; None: the one that the model predicts."""
    name: str | None = None
    """Its id; None: its path."""
    outline: Callable[[Path, int], Tensor] | None = None
    """Makes the mask, if there is no file of it: (the image's file, size) -> (1, size, size) bool."""


class Unreadable(NamedTuple):
    """A picture that cannot be used."""

    path: str
    """Relative to the data set's folder."""
    reason: str
    """One line that names the file."""


@dataclass(frozen=True)
class Pictures:
    """Pictures read from their files when they are asked for, stretched to squares."""

    folder: Path
    pictures: Sequence[Picture]
    size: int

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, index: int) -> Sample:
        picture = self.pictures[index]
        if picture.fault is not None:
            raise ValueError(f"{self.folder / picture.path}: {picture.fault}; {REMEDY}")
        return Sample(
            input=read_image(self._file(picture.path), self.size),
            label=torch.tensor(picture.label),
            id=collapsed(picture.path) if picture.name is None else picture.name,
            mask=self._mask(picture),
            target=picture.target,
            second=self._second(picture),
        )

    def _second(self, picture: Picture) -> Tensor | None:
        """The mask by a second reader; None: the image was not read again."""
        if picture.mask is None:
            return None
        path = f"{SECOND_READER}/{collapsed(picture.mask)}"
        if not (self.folder / path).is_file():
            return None
        check_same_shape(self._file(picture.path), self._file(path))
        return read_mask(self._file(path), self.size)

    def _mask(self, picture: Picture) -> Tensor | None:
        if picture.mask is not None:
            check_same_shape(self._file(picture.path), self._file(picture.mask))
            return read_mask(self._file(picture.mask), self.size)
        if picture.outline is not None:
            return picture.outline(self._file(picture.path), self.size)
        if picture.boxes is None:
            return None
        mask = torch.zeros((1, self.size, self.size), dtype=torch.bool)
        for box in picture.boxes:
            left, top = (min(round(edge * self.size), self.size - 1) for edge in (box.left, box.top))
            right, bottom = (round(edge * self.size) for edge in (box.right, box.bottom))
            mask[:, top : max(bottom, top + 1), left : max(right, left + 1)] = True
        return mask

    def _file(self, path: str) -> Path:
        """The file, which lies in the data set's folder: what is elsewhere may change, or be absent elsewhere.

        Raises:
            ValueError: a link leads out of the folder.
        """
        file = self.folder / path
        target = Path(os.path.realpath(file))  # `resolve` raises where links go in a circle
        if not target.is_relative_to(os.path.realpath(self.folder)):
            raise ValueError(f"{file}: leads out of the data set, to {target}; put the file itself in its place")
        return file

    def unreadable(self) -> list[Unreadable]:
        """The pictures that cannot be used: every file is read."""
        found = []
        for index, picture in enumerate(self.pictures):
            try:
                self[index]
            except (ValueError, OSError) as error:
                found.append(Unreadable(collapsed(picture.path), str(error)))
        return found


def collapsed(path: str) -> str:
    """The path without folders in folders of their own name: the same however the archive was unpacked."""
    parts = PurePosixPath(path).parts
    return "/".join(part for before, part in pairwise(("", *parts)) if part != before)
