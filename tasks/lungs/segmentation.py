"""Where the lungs lie in a chest X-ray: a small U-Net, fitted to rendered radiographs, and what makes masks of it.

    lungs = find_lungs(segmenter(), images)      # images: (N, 3, H, W) in [0, 1], of any size
    images * lungs.masks                         # everything outside the lungs black

The network [1] sees the image in grey, stretched to 128 x 128 and of mean 0 and deviation 1. It was fitted to
phantoms alone (`tasks/lungs/training.py`); what it reaches on real radiographs stands in docs/lungs.md.

[1] After Ronneberger et al., U-Net: convolutional networks for biomedical image segmentation, MICCAI 2015; a quarter
as deep and wide, with group norm [2] because that does the same in training and afterwards, whatever the images.
[2] Wu and He, Group normalization, ECCV 2018.
"""

from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor, nn
from torch.nn import functional

from ..networks.checkpoints import load_checkpoint

SIZE = 128
"""Side at which the network works, in pixels."""
CHECKPOINT = Path(__file__).parents[1] / "weights" / "lung_segmentation.safetensors"
CLASSES = ("background", "lungs")
_WIDTHS = (24, 32, 48, 64)
_SMALLEST_SHARE = 0.1
"""Of the larger lung's area: what is smaller is no second lung."""


class LungUNet(nn.Module):
    """A small U-Net that works at 128 x 128: (N, 3, H, W) images in [0, 1] -> (N, 1, H, W) logits of «lung».

    It halves the image at once and answers four logits at each place, which make one image of the full size.

    >>> LungUNet()(torch.rand(2, 3, 50, 70)).shape
    torch.Size([2, 1, 50, 70])
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, _WIDTHS[0], 5, stride=2, padding=2, bias=False)
        self.down = nn.ModuleList(_block(*widths) for widths in pairwise((_WIDTHS[0], *_WIDTHS)))
        self.up = nn.ModuleList(_block(fine + coarse, fine) for fine, coarse in pairwise(_WIDTHS))
        self.head = nn.Conv2d(_WIDTHS[0], 4, 1)

    def forward(self, images: Tensor) -> Tensor:
        features = self.stem(_standardised(images))
        passed = []
        for depth, block in enumerate(self.down):
            features = block(functional.max_pool2d(features, 2) if depth else features)
            passed.append(features)
        for block, fine in zip(reversed(self.up), reversed(passed[:-1]), strict=True):
            features = block(torch.cat([fine, functional.interpolate(features, scale_factor=2.0)], 1))
        return _resized(functional.pixel_shuffle(self.head(features), 2), images.shape[-2], images.shape[-1])


def _block(n_in: int, n_out: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for before in (n_in, n_out):
        layers += [nn.Conv2d(before, n_out, 3, padding=1, bias=False), nn.GroupNorm(8, n_out), nn.ReLU()]
    return nn.Sequential(*layers)


def _standardised(images: Tensor) -> Tensor:
    """(N, 1, 128, 128), each of mean 0 and deviation 1: how an image was exposed does not matter."""
    grey = _resized(images.mean(1, keepdim=True), SIZE, SIZE)
    deviation, mean = torch.std_mean(grey, (2, 3), keepdim=True)
    return (grey - mean) / (deviation + 1e-3)


def _resized(images: Tensor, height: int, width: int) -> Tensor:
    if images.shape[-2:] == (height, width):
        return images
    return functional.interpolate(images, (height, width), mode="bilinear", antialias=True, align_corners=False)


def segmenter(path: Path = CHECKPOINT) -> LungUNet:
    """The fitted network: eval mode, frozen, on the CPU.

    Raises:
        FileNotFoundError, ValueError: its weights are absent or no good; one line.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such weights; run `bench lungs train`")
    with torch.random.fork_rng(devices=[]):
        network = LungUNet()
    load_checkpoint(path, network, CLASSES)
    return network.eval().requires_grad_(False)


class Lungs(NamedTuple):
    """Where the lungs lie in some images."""

    masks: Tensor
    """(N, 1, H, W) bool; True everywhere in an image in which none was found, so that nothing is lost."""
    found: Tensor
    """(N,) bool."""


@torch.inference_mode()
def find_lungs(network: nn.Module, images: Tensor) -> Lungs:
    """Where the lungs lie: at most two pieces without holes in each image.

    Args:
        network: (N, 3, H, W) images in [0, 1] -> (N, 1, H, W) logits, in eval mode; see `segmenter`.
        images: (N, 3, H, W) in [0, 1].
    """
    masks = torch.stack([_tidied(marked[0])[None] for marked in network(images) > 0])
    found = masks.any(3).any(2)[:, 0]
    return Lungs(masks | ~found[:, None, None, None], found)


def _tidied(marked: Tensor) -> Tensor:
    mask: Tensor = torch.zeros_like(marked)
    for piece in lungs_of(marked):
        mask |= piece
    return mask


def lungs_of(marked: Tensor) -> list[Tensor]:
    """The lungs among what is marked: the two largest pieces, their holes filled, the larger one first.

    A piece is what touches by its pixels' sides. The second is left out where it is less than a tenth of the first.

    Args:
        marked: (H, W) bool.

    Returns:
        None, one or two (H, W) bool.
    """
    pieces, n_pieces = ndimage.label(marked.numpy())
    areas = np.bincount(pieces.ravel(), minlength=n_pieces + 1)[1:]
    largest = np.argsort(-areas, kind="stable")[:2]
    kept = [number for number in largest if areas[number] >= _SMALLEST_SHARE * areas[largest[0]]]
    return [torch.from_numpy(ndimage.binary_fill_holes(pieces == number + 1)) for number in kept]
