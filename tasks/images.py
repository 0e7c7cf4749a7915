"""Reading picture files: whatever the file's mode, three channels in [0, 1]."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

_SIXTEEN_BITS = ("I", "I;16", "I;16B", "I;16L")


def read_image(path: Path, size: int) -> Tensor:
    """A picture, stretched to a square: (3, size, size) float32 in [0, 1].

    Grey, palette, colour and 16-bit pictures are read; a transparent one is laid on black.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no picture, or a damaged one.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such image; the data set is incomplete, unpack it again")
    try:
        with Image.open(path) as picture:
            pixels = _pixels(picture)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(f"{path}: not a readable image; replace it by the published file") from error
    image = torch.from_numpy(pixels).permute(2, 0, 1)[None]
    image = functional.interpolate(image, (size, size), mode="bilinear", antialias=True, align_corners=False)
    return image[0].expand(3, -1, -1).clamp(0, 1).contiguous()


def _pixels(picture: Image.Image) -> np.ndarray[tuple[int, int, int], np.dtype[np.float32]]:
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
