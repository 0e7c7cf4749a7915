"""How well lungs are found: on phantoms, on the masks of COVID-QU-Ex, on the boxes of covid-chestxray-dataset.

The masks [1] are read from every folder `lung masks` in `covid-qu-ex`, whichever parts are there; an image lies beside
in `images` under the same name. The boxes [2], one of the left and one of the right lung of an image [3], lie in
`covid-chestxray-dataset/annotations/annotations.json` (COCO). The patient's right lung is on the left of the image.

[1] Tahir et al., COVID-19 infection localization and severity grading from chest X-ray images, Computers in Biology
and Medicine 2021.
[2] General Blockchain, COVID-19 chest X-ray lung bounding boxes dataset, 2020.
[3] Cohen et al., COVID-19 image data collection, 2020.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..files.images import read_image, read_mask
from .segmentation import find_lungs, lungs_of
from .training import HELDOUT_SEED, lung_phantoms

MASKS_FOLDER, BOXES_FOLDER = "covid-qu-ex", "covid-chestxray-dataset"
_SIZE = 256
"""Side to which real images are stretched, in pixels."""
_RIGHT, _LEFT = "Right Lung", "Left Lung"


class LungScore(NamedTuple):
    """How well the lungs were found in one image."""

    name: str
    found: bool
    """Whether any was."""
    dice: float
    """Of the masks: 2 |A and B| / (|A| + |B|), in [0, 1]."""
    iou: float
    """Of the masks: |A and B| / |A or B|, in [0, 1]."""


class BoxScore(NamedTuple):
    """How well the boxes about the lungs of one image fit: intersection over union, in [0, 1]; 0: not found."""

    name: str
    right: float
    """Of the patient's right lung, on the left of the image."""
    left: float


class Box(NamedTuple):
    """A rectangle; edges as fractions of the image's sides."""

    left: float
    top: float
    right: float
    bottom: float

    def area(self) -> float:
        return max(self.right - self.left, 0.0) * max(self.bottom - self.top, 0.0)


def overlap(masks: Tensor, truth: Tensor) -> tuple[list[float], list[float]]:
    """Dice and intersection over union of each pair of masks; both 1 where both are empty.

    Args:
        masks, truth: (N, 1, H, W) bool.

    >>> overlap(torch.tensor([[[[True, True, False]]]]), torch.tensor([[[[False, True, True]]]]))[0]
    [0.5]
    """
    both = (masks & truth).sum((1, 2, 3)).double()
    either = (masks | truth).sum((1, 2, 3)).double()
    empty = either == 0
    dice, iou = torch.where(empty, 1, 2 * both / (both + either)), torch.where(empty, 1, both / either)
    return dice.tolist(), iou.tolist()


def box_overlap(one: Box, other: Box) -> float:
    """Intersection over union of two boxes' areas, in [0, 1].

    >>> box_overlap(Box(0, 0, 2, 1), Box(1, 0, 3, 1)) == 1 / 3
    True
    """
    both = Box(*(f(a, b) for f, a, b in zip((max, max, min, min), one, other, strict=True))).area()
    either = one.area() + other.area() - both
    return both / either if either > 0 else 0.0


def boxes_of(mask: Tensor) -> tuple[Box | None, Box | None]:
    """The boxes about the patient's right lung (left in the image) and left lung in a mask; None where there is none.

    Of two pieces, the one whose box's middle lies further left is the right lung; one alone is that of its half of
    the image.

    Args:
        mask: (H, W) bool.
    """
    boxes = sorted((_box(piece) for piece in lungs_of(mask)), key=lambda box: box.left + box.right)
    if len(boxes) == 2:
        return boxes[0], boxes[1]
    if not boxes:
        return None, None
    return (boxes[0], None) if boxes[0].left + boxes[0].right < 1 else (None, boxes[0])


def _box(piece: Tensor) -> Box:
    height, width = piece.shape
    rows, columns = (piece.any(axis).nonzero()[:, 0] for axis in (1, 0))
    return Box(
        columns[0].item() / width, rows[0].item() / height,
        (columns[-1].item() + 1) / width, (rows[-1].item() + 1) / height,
    )  # fmt: skip


def score_phantoms(network: nn.Module, n_phantoms: int = 120, size: int = 128) -> list[LungScore]:
    """On phantoms that the network has not seen, undistorted."""
    phantoms = lung_phantoms(n_phantoms, HELDOUT_SEED, size)
    lungs = find_lungs(network, phantoms.images.expand(-1, 3, -1, -1))
    scores = zip(lungs.found.tolist(), *overlap(lungs.masks, phantoms.masks > 0), strict=True)
    return [LungScore(f"phantom {index}", *score) for index, score in enumerate(scores)]


def score_masks(network: nn.Module, folder: Path) -> list[LungScore]:
    """On the real masks.

    Args:
        network: See `find_lungs`.
        folder: That of the data sets.

    Raises:
        FileNotFoundError: no lung mask is there, or an image lacks; one line.
        ValueError: a file is no picture; one line.
    """
    paths = sorted((folder / MASKS_FOLDER).rglob("lung masks/*.png"))
    paths = [path for path in paths if not path.name.startswith(".")]
    if not paths:
        raise FileNotFoundError(f"{folder / MASKS_FOLDER}: holds no lung mask (…/lung masks/*.png)")
    scores = []
    for path in paths:
        lungs = find_lungs(network, read_image(path.parent.with_name("images") / path.name, _SIZE)[None])
        dice, iou = overlap(lungs.masks, read_mask(path, _SIZE)[None])
        name = path.relative_to(folder / MASKS_FOLDER).as_posix()
        scores.append(LungScore(name, bool(lungs.found), dice[0], iou[0]))
    return scores


def score_boxes(network: nn.Module, folder: Path) -> list[BoxScore]:
    """On the real boxes, of the images that are there.

    Args:
        network: See `find_lungs`.
        folder: That of the data sets.

    Raises:
        FileNotFoundError: neither boxes nor images are there; one line.
        ValueError: a file is not what it should be; one line.
    """
    scores = []
    for path, right, left in _boxed(folder / BOXES_FOLDER):
        lungs = find_lungs(network, read_image(path, _SIZE)[None])
        boxes = boxes_of(lungs.masks[0, 0]) if lungs.found else (None, None)
        scores.append(BoxScore(path.name, *map(_overlap_if_found, boxes, (right, left))))
    if not scores:
        raise FileNotFoundError(f"{folder / BOXES_FOLDER / 'images'}: holds no image that has boxes")
    return scores


def _overlap_if_found(found: Box | None, truth: Box) -> float:
    return 0.0 if found is None else box_overlap(found, truth)


def _boxed(folder: Path) -> Iterator[tuple[Path, Box, Box]]:
    """Image files that are there, with the boxes of right and left lung."""
    path = folder / "annotations" / "annotations.json"
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
        names = {category["id"]: category["name"] for category in table["categories"]}
        boxes: dict[int, dict[str, Sequence[float]]] = {}
        for row in table["annotations"]:
            boxes.setdefault(row["image_id"], {})[names[row["category_id"]]] = row["bbox"]
        for image in table["images"]:
            file, found = folder / "images" / image["file_name"], boxes.get(image["id"], {})
            if file.is_file() and {_RIGHT, _LEFT} <= found.keys():
                sides = float(image["width"]), float(image["height"])
                yield file, _scaled(found[_RIGHT], *sides), _scaled(found[_LEFT], *sides)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: not COCO boxes ({error!r}); replace it by the published file") from error


def _scaled(box: Sequence[float], width: float, height: float) -> Box:
    x, y, wide, high = box
    return Box(x / width, y / height, (x + wide) / width, (y + high) / height)
