"""Reading picture files: whatever the file's mode, three channels in [0, 1]; masks, True or False."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor
from torch.nn import functional

_Pixels = np.ndarray[tuple[int, int, int], np.dtype[np.float32]]
_SIXTEEN_BITS = ("I", "I;16", "I;16B", "I;16L")
_FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP")
"""What a file may be, whatever its ending. Not PostScript, say: that is a program."""
_LEAST_SIDE = 4
"""Pixels."""


def read_image(path: Path, size: int) -> Tensor:
    """A picture, stretched to a square: (3, size, size) float32 in [0, 1].

    Grey, palette, colour, printing-colour (CMYK) and 16-bit pictures are read; a transparent one is laid on black.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no picture, a damaged one, one of floating-point pixels, more than one, a huge or a tiny one.
    """
    pixels = _read(path)
    image = torch.from_numpy(pixels).permute(2, 0, 1)[None]
    image = functional.interpolate(image, (size, size), mode="bilinear", antialias=True, align_corners=False)
    return image[0].expand(3, -1, -1).clamp(0, 1).contiguous()


def read_mask(path: Path, size: int) -> Tensor:
    """A mask, stretched to a square: (1, size, size) bool, True where most of a pixel is above half.

    The smallest mask still has a pixel.

    Raises:
        FileNotFoundError, ValueError: as for `read_image`; or something is marked, but nothing above half.
    """
    pixels = torch.from_numpy(_read(path)).amax(2)[None, None]
    marked = pixels >= 0.5
    if 0 < pixels.max() < 0.5:
        brightest = f"its brightest pixel is at {pixels.max():.1%}"
        raise ValueError(f"{path}: not a mask of black and white ({brightest}); replace it by the published file")
    return shrunk(marked[0, 0], size)


def shrunk(marked: Tensor, size: int) -> Tensor:
    """An (H, W) bool mask, stretched to a square: (1, size, size) bool, True where half of a pixel is.

    The smallest mask still has a pixel.
    """
    whole = marked[None, None].float()
    share = functional.interpolate(whole, (size, size), mode="bilinear", antialias=True, align_corners=False)[0]
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


class Look(NamedTuple):
    """What a picture's file says without being decoded."""

    width: int
    height: int
    mode: str
    """As Pillow calls it: L, RGB, RGBA, P, I;16 …"""


def look(path: Path) -> Look:
    """What kind of picture a file holds.

    Raises:
        FileNotFoundError, ValueError: as for `read_image`, as far as the beginning of the file tells.
    """
    with _opened(path) as picture:
        return Look(*picture.size, picture.mode)


def _sides(path: Path) -> tuple[int, int]:
    return look(path)[:2]


def _read(path: Path) -> _Pixels:
    with _opened(path) as picture:
        return _pixels(picture)


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """The picture; whatever is wrong with the file, while it is open, is one error that names it."""
    try:
        if not path.is_file():
            raise FileNotFoundError(f"{path}: {_absence(path)}; the data set is incomplete, unpack it again")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # odd metadata: the pixels are what is looked at
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=_FORMATS) as picture:
                if getattr(picture, "is_animated", False) and picture.format != "MPO":  # an MPO has a preview
                    raise ValueError("more than one picture")
                yield picture
    except FileNotFoundError:
        raise
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ValueError(
            f"{path}: not a readable image ({_reason(path, error)}); replace it by the published file"
        ) from error


def _absence(path: Path) -> str:
    """Why there is no file."""
    if path.is_dir():
        return "is a folder, not an image"
    if path.is_symlink():
        return f"no such image, but a link to {path.readlink()}"
    return "no such image"


def _reason(path: Path, error: Exception | Warning) -> str:
    """What is wrong with the file, in a few words."""
    match error:
        case UnidentifiedImageError():
            return "the file is empty" if path.stat().st_size == 0 else "not of a known format"
        case Image.DecompressionBombError() | Image.DecompressionBombWarning():
            return "far too many pixels"
        case OSError(strerror=str() as reason):
            return reason
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _pixels(picture: Image.Image) -> _Pixels:
    """(H, W, 1 or 3) float32 in [0, 1]."""
    if min(picture.size) < _LEAST_SIDE:
        raise ValueError(f"{picture.width} x {picture.height} pixels show nothing")
    if picture.mode in _SIXTEEN_BITS:
        pixels = np.asarray(picture, dtype=np.float32)[..., None] / np.float32(65535)
        if pixels.min() < 0 or pixels.max() > 1:
            raise ValueError("pixels of more than 16 bits")
        return pixels
    if picture.mode == "F":
        raise ValueError("the range of floating-point pixels is not known")
    if picture.mode == "L":
        return np.asarray(picture, dtype=np.float32)[..., None] / np.float32(255)
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, (0, 0, 0, 255)), picture)
    return np.asarray(picture.convert("RGB"), dtype=np.float32) / np.float32(255)
