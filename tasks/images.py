"""Reading picture files: whatever the file's mode, three channels in [0, 1]; masks, True or False."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

_Pixels = np.ndarray[tuple[int, int, int], np.dtype[np.float32]]
_SIXTEEN_BITS = ("I", "I;16", "I;16B", "I;16L")


def read_image(path: Path, size: int) -> Tensor:
    """A picture, stretched to a square: (3, size, size) float32 in [0, 1].

    Grey, palette, colour and 16-bit pictures are read; a transparent one is laid on black.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no picture, or a damaged one.
    """
    pixels = _read(path)
    image = torch.from_numpy(pixels).permute(2, 0, 1)[None]
    image = functional.interpolate(image, (size, size), mode="bilinear", antialias=True, align_corners=False)
    return image[0].expand(3, -1, -1).clamp(0, 1).contiguous()


def read_mask(path: Path, size: int) -> Tensor:
    """A mask, stretched to a square: (1, size, size) bool, True where most of a pixel is above half.

    The smallest mask still has a pixel.

    Raises:
        FileNotFoundError, ValueError: as for `read_image`.
    """
    marked = torch.from_numpy(_read(path)).amax(2)[None, None] >= 0.5
    share = functional.interpolate(marked.float(), (size, size), mode="bilinear", antialias=True, align_corners=False)[
        0
    ]
    return share >= (min(0.5, share.max().item()) if marked.any() else 2)


def check_same_shape(image: Path, mask: Path) -> None:
    """Make sure that a mask was made for an image: their sides must have one proportion, not one length.

    Raises:
        FileNotFoundError, ValueError: one of them cannot be read, or they do not belong together.
    """
    (width, height), (across, down) = (_sides(path) for path in (image, mask))
    if abs(width * down / (height * across) - 1) > 0.02:
        raise ValueError(
            f"{mask}: is {across} x {down}, and its image {width} x {height}; replace it by the published file"
        )


def _sides(path: Path) -> tuple[int, int]:
    with _opened(path) as picture:
        return picture.size


def _read(path: Path) -> _Pixels:
    with _opened(path) as picture:
        return _pixels(picture)


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """The picture; whatever is wrong with the file, while it is open, is one error that names it."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such image; the data set is incomplete, unpack it again")
    try:
        with Image.open(path) as picture:
            yield picture
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(f"{path}: not a readable image; replace it by the published file") from error


def _pixels(picture: Image.Image) -> _Pixels:
    """(H, W, 1 or 3) float32 in [0, 1]."""
    if picture.mode in _SIXTEEN_BITS:
        return np.asarray(picture, dtype=np.float32)[..., None] / np.float32(65535)
    if picture.mode == "F":
        raise ValueError("the range of floating-point pixels is not known")
    if picture.mode == "L":
        return np.asarray(picture, dtype=np.float32)[..., None] / np.float32(255)
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, (0, 0, 0, 255)), picture)
    return np.asarray(picture.convert("RGB"), dtype=np.float32) / np.float32(255)
