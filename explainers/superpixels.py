"""Superpixels of an image, and the regressions that tell what each is worth."""

import torch
from skimage.segmentation import slic
from torch import Tensor


def superpixels(inputs: Tensor, n_segments: int) -> Tensor:
    """(N, H, W) int64 numbers of superpixels, from 0 in each image. Of float64 images the nearest float32 counts."""
    found = [
        torch.from_numpy(slic(image.numpy(), n_segments=n_segments, sigma=1, start_label=0, channel_axis=-1))
        for image in inputs.detach().permute(0, 2, 3, 1).to("cpu", torch.float32)
    ]
    return torch.stack(found).to(inputs.device, torch.int64)


def counts(segments: Tensor) -> tuple[int, list[int]]:
    """The highest number of superpixels in an image, and that of each."""
    sizes = [int(size) + 1 for size in segments.flatten(1).amax(dim=1)]
    return max(sizes), sizes


def ridge(features: Tensor, answers: Tensor, weights: Tensor, penalty: float = 1.0) -> Tensor:
    """(N, S) slopes that minimize Σ_m w_m (y_m − z_m·β − c)² + penalty |β|²: (N, M, S), (N, M), (N, M)."""
    share = (weights / weights.sum(dim=1, keepdim=True))[..., None]
    centred = features - (share * features).sum(dim=1, keepdim=True)
    gain = answers - (share[..., 0] * answers).sum(dim=1, keepdim=True)
    weighted = (weights[..., None] * centred).mT
    normal = weighted @ centred + penalty * torch.eye(features.shape[2]).to(features)
    slopes: Tensor = torch.linalg.solve(normal, (weighted @ gain[..., None])[..., 0])
    return slopes


def shapley(features: Tensor, gains: Tensor, whole: Tensor, there: Tensor) -> Tensor:
    """(N, S) values that minimize Σ_m (gain_m − z_m·φ)² under Σ φ = whole.

    Args:
        features: (N, M, S), drawn by the Shapley kernel.
        gains: (N, M) logits less that of no feature.
        whole: (N, 1), that of all features.
        there: (N, S) bool, which features the image has; the others get 0.
    """
    ones = there.to(features.dtype)
    # A little ridge: fewer samples than features are no error.
    normal = features.mT @ features / features.shape[1] + torch.diag_embed(torch.where(there, 1e-9, 1.0)).to(features)
    right = (features.mT @ gains[..., None])[..., 0] / features.shape[1]
    free, along = torch.linalg.solve(normal, torch.stack([right, ones], dim=2)).unbind(dim=2)
    excess = free.sum(dim=1, keepdim=True) - whole
    values: Tensor = (free - along * excess / along.sum(dim=1, keepdim=True)) * ones
    return values
