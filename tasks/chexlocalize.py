"""CheXlocalize [1]: where two radiologists saw the findings of CheXpert's images, by their outlines or pixels.

Two files tell, of the published validation part (and two more of the test part, under `test`):

    gt_segmentations_val.json {"patient64541_study1_view1_frontal": {"Edema": {"size": [2320, 2828], "counts": "…"}}}
    gt_annotations_val.json   {"patient64541_study1_view1_frontal": {"img_size": [2320, 2828], "Edema": [[[x, y], …]]}}

Sizes are height and width of the full radiograph, pixels down the columns run-length encoded as COCO does [2]. Only
images with a finding are there. The segmentations are the outlines, filled; where both files are there, they are taken.

[1] Saporta et al., Benchmarking saliency methods for chest X-ray interpretation, Nature Machine Intelligence 2022.
[2] See `tasks/run_lengths.py`.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from torch import Tensor

from .files.images import look, shrunk
from .files.run_lengths import decoded

SEGMENTATIONS, ANNOTATIONS = "gt_segmentations_val.json", "gt_annotations_val.json"
_REMEDY = "replace the file by the published one"
_LARGEST = 20_000
"""Side of a radiograph, in pixels: what is said to be larger is a mistake."""


@dataclass(frozen=True)
class Outline:
    """Where a finding was seen in an image: the mask of a `Picture`."""

    file: Path
    """One of the two above."""
    image: str
    """Its key in the file."""
    finding: str

    def __call__(self, picture: Path, size: int) -> Tensor:
        """(1, size, size) bool; all False where the file says nothing about the finding.

        Args:
            picture: The image's file: it must have the proportions of the segmentation.
            size: The side to which the image is stretched.

        Raises:
            ValueError, OSError: the file is damaged, or made for another image; one line.
        """
        entry = _entries(self.file, self.file.stat().st_mtime_ns).get(self.image)
        if entry is None:
            return torch.zeros((1, size, size), dtype=torch.bool)
        try:
            marked = _marked(entry, self.finding)
        except ValueError as error:
            raise ValueError(f"{self.file}: {self.image}, {self.finding}: {error}; {_REMEDY}") from error
        if marked is None:
            return torch.zeros((1, size, size), dtype=torch.bool)
        _check_proportions(marked, picture, f"{self.file}: {self.image}, {self.finding}")
        return shrunk(torch.from_numpy(marked), size)


def outlines(folders: Sequence[Path]) -> Path | None:
    """The file that tells where findings are, in the first of the folders that has one; None: in none."""
    candidates = (folder / name for name in (SEGMENTATIONS, ANNOTATIONS) for folder in folders)
    return next((file for file in candidates if file.is_file()), None)


def key_of(path: str) -> str:
    """What CheXlocalize calls an image.

    >>> key_of("CheXpert-v1.0-small/valid/patient64541/study1/view1_frontal.jpg")
    'patient64541_study1_view1_frontal'
    """
    return "_".join(Path(path).with_suffix("").parts[-3:])


@lru_cache(maxsize=4)
def _entries(file: Path, changed: int) -> Mapping[str, Any]:  # noqa: ARG001  # a file that has changed is read again
    try:
        entries = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{file}: is no JSON ({error}); {_REMEDY}") from error
    if not isinstance(entries, dict):
        raise ValueError(f"{file}: holds no images by their names; {_REMEDY}")
    return entries


def _marked(entry: object, finding: str) -> NDArray[np.bool_] | None:
    """(H, W), where the finding is; None: it is not mentioned.

    Raises:
        ValueError: this cannot be made out.
    """
    if not isinstance(entry, dict):
        raise ValueError("holds no findings by their names")
    if (found := entry.get(finding)) is None:
        return None
    if isinstance(found, dict):
        height, width = _sides(found.get("size"))
        counts = found.get("counts")
        if not isinstance(counts, str):
            raise ValueError("has no string of runs")
        return decoded(counts, height, width)
    height, width = _sides(entry.get("img_size"))
    return _filled(found, height, width)


def _sides(size: object) -> tuple[int, int]:
    """Height and width."""
    match size:
        case [int(height), int(width)] if 0 < height <= _LARGEST and 0 < width <= _LARGEST:
            return height, width
    raise ValueError(f"its size is {size!r}, not a height and a width")


def _filled(contours: object, height: int, width: int) -> NDArray[np.bool_]:
    """(height, width), True within and on the contours, each a list of [x, y]."""
    picture = Image.new("1", (width, height))
    try:
        for contour in contours:  # type: ignore[attr-defined]
            points = [(float(x), float(y)) for x, y in contour]
            if not np.isfinite(points).all():
                raise ValueError("a point is nowhere")
            if len(points) > 1:
                ImageDraw.Draw(picture).polygon(points, fill=1, outline=1)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError("its contours are not lists of points [x, y]") from error
    return np.array(picture, dtype=bool)


def _check_proportions(marked: NDArray[np.bool_], picture: Path, what: str) -> None:
    width, height, _ = look(picture)
    down, across = marked.shape
    if abs(width * down / (height * across) - 1) > 0.02:
        raise ValueError(f"{what}: is {across} x {down}, and its image {picture} {width} x {height}; {_REMEDY}")
