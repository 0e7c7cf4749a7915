"""Random numbers that belong to an image: the same in any batch, in any order, on any device, in any precision."""

import hashlib

import torch
from torch import Tensor


def generators(inputs: Tensor, seed: int) -> list[torch.Generator]:
    """One fresh CPU generator an image, seeded by the seed and by the image's content.

    Args:
        inputs: (N, C, H, W) images; of float64 ones the nearest float32 counts.
        seed: A setting of the explainer's.
    """
    return [_generator(image, seed) for image in inputs.detach()]


def _generator(image: Tensor, seed: int) -> torch.Generator:
    content = image.to("cpu", torch.float32).contiguous().numpy().tobytes()
    digest = hashlib.blake2b(content, digest_size=8, key=str(seed).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest) >> 1)
