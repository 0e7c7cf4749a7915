"""Writing phantoms as the data sets that they imitate are published: the same folders, names, modes and tables.

Which file holds what is told beside each data set's reader, by a `Layout`; here is what they have in common.
"""

import csv
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image
from torch import Tensor

from .base import Sample
from .phantoms.base import Phantoms

PARTS = ("train", "validation", "heldout")


def part_sizes(n_samples: int) -> dict[str, int]:
    """How many of a class's samples each part gets: a fifth is held out, a tenth for validation.

    >>> part_sizes(50)
    {'train': 35, 'validation': 5, 'heldout': 10}
    """
    heldout, validation = (max(round(fraction * n_samples), 1) for fraction in (0.2, 0.1))
    return {"train": n_samples - validation - heldout, "validation": validation, "heldout": heldout}


class Layout(NamedTuple):
    """How a data set is published."""

    folder: str
    """Of the data set, in the folder of data sets: the `folder` of its reader."""
    write: Callable[[Path, Mapping[str, Any]], None]
    """Writes phantoms into the (absent) folder, given them for each of the parts "train", "validation" and "heldout".

    The reader's part of that name must then have just these, whatever decides it there (a folder, a table, a hash of
    the file's name). The phantoms are those of the task: with `lungs`, `lesion` and so on.
    """
    sizes: Callable[[int], dict[str, int]] = part_sizes
    """Samples of each part, given those of one class: for readers that cut parts by counting."""


def publish(layout: Layout, parts: Mapping[str, Phantoms], folder: Path, n_samples: int, size: int, seed: int) -> Path:
    """Write phantoms in a layout; the folder of the data set is whole or absent.

    Args:
        layout: How.
        parts: The phantoms of each part; their number, size and seed are set here.
        folder: Of data sets: what `--data` names.
        n_samples: In all; rounded up so that all classes have the same number.
        size: Side of a rendered image, in pixels; some files are stretched, where the published ones differ in size.
        seed: 0: the first samples of each part as they are; else others.

    Returns:
        The folder of the data set.

    Raises:
        ValueError: there are too few samples for the parts.
        FileExistsError: there is something in the data set's folder; one line.
        OSError: it cannot be written.
    """
    target = folder / layout.folder
    n_classes = len(parts["train"].class_names)
    sizes = layout.sizes(-(-n_samples // n_classes))
    if min(sizes.values()) < 1:
        raise ValueError(f"{n_samples} samples are too few for {n_classes} classes in {len(sizes)} parts; take more")
    if target.exists() and not (target.is_dir() and not any(target.iterdir())):
        raise FileExistsError(f"{target}: is there already; remove it, or choose another folder")
    chosen = {
        part: replace(parts[part], n_samples=n * n_classes, size=size, seed=parts[part].seed + len(sizes) * seed)
        for part, n in sizes.items()
    }
    unfinished = folder / f".{layout.folder}.{os.getpid()}"
    try:
        layout.write(unfinished, chosen)
        if target.exists():
            target.rmdir()
        unfinished.rename(target)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return target


def numbers(counts: Callable[[int], bool], start: int = 1) -> Iterator[int]:
    """The numbers that count, from `start` on: those whose file the reader draws into a part, say.

    >>> even = numbers(lambda number: number % 2 == 0)
    >>> next(even), next(even)
    (2, 4)
    """
    return filter(counts, count(start))


class Phantom(NamedTuple):
    """A sample on its way into a file."""

    position: int
    """In its part: the index of the phantom."""
    number: int
    """In its class and part: 0, 1, …"""
    name: str
    """Of its class."""
    sample: Sample


def rendered(phantoms: Phantoms) -> Iterator[Phantom]:
    """The samples of a part, one by one."""
    n_classes = len(phantoms.class_names)
    for index in range(len(phantoms)):
        name = phantoms.class_names[phantoms.label(index)]
        yield Phantom(index, index // n_classes, name, phantoms.sample(index))


def write_picture(path: Path, image: Tensor, mode: str = "RGB", size: tuple[int, int] | None = None) -> None:
    """Write an image, or a mask, as the ending of its name says.

    Args:
        path: The file; its folder is made.
        image: (3 or 1, H, W) in [0, 1], or bool.
        mode: As Pillow calls it: "L", "RGB", "RGBA", "I;16".
        size: (width, height) to stretch it to; a mask keeps its two values.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = (image.expand(3, -1, -1).permute(1, 2, 0).float() * 255).round().byte().numpy()
    picture = Image.fromarray(pixels)
    if size is not None and size != picture.size:
        two_valued = image.shape[0] == 1
        picture = picture.resize(size, Image.Resampling.NEAREST if two_valued else Image.Resampling.BICUBIC)
    _in_mode(picture, mode).save(path, quality=95)  # of a JPEG; other formats pass over it


def _in_mode(picture: Image.Image, mode: str) -> Image.Image:
    if mode != "I;16":
        return picture.convert(mode)
    return Image.fromarray(np.asarray(picture.convert("L")).astype(np.uint16) * 257)


def write_table(path: Path, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a CSV file; its folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([columns, *rows])
