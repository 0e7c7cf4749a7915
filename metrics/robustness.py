"""Robustness: does the explanation keep up when the image changes and the decision does not?"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torchvision.transforms import InterpolationMode, functional

from .base import Category, Decisions, Explanation, Metric
from .correlation import spearman
from .perturb import gaussian_blur


@dataclass(frozen=True)
class Augmentation(Metric, ABC):
    """Spearman's rank correlation between the map and that of a transformed image, brought back.

    score = ρ(a(x), T⁻¹ a(T x)) over the pixels that stay in the image through T and T⁻¹, for the same target; T⁻¹
    is the identity where T moves no pixel. In [−1, 1], higher is better; ties get their average rank. Only the
    order of the attributions takes part: any increasing function of the map scores the same (for `Rotation`,
    which interpolates maps, any increasing linear function).

    nan: the model's prediction (the class of the highest logit; for a multi-label task, whether the target is there)
    changed with the image, so that another map may be right; or one of the two maps is constant, also all-zero, or
    constant over the pixels that are compared.

    Reference: the equivariance of explanations, Crabbé and van der Schaar, "Evaluating the Robustness of
    Interpretability Methods through Explanation Invariance and Equivariance", NeurIPS 2023, with rank correlation
    for similarity; and the robustness to augmentations that studies of medical images measure. Quantus's
    Consistency and Continuity do not bring the map of a moved image back.
    """

    category: ClassVar[Category] = Category.ROBUSTNESS
    higher_is_better: ClassVar[bool] = True

    @abstractmethod
    def transform(self, inputs: Tensor) -> Tensor:
        """(N, C, H, W) transformed images; within [0, 1] after `score` has clamped them."""

    def restore(self, attributions: Tensor) -> Tensor:
        """(N, 1, H, W) maps of transformed images, brought back to the place of the original."""
        return attributions

    def compared(self, inputs: Tensor) -> Tensor:
        """(H·W,) bool, the pixels that stay in the image there and back."""
        return torch.ones(inputs[0, 0].numel(), dtype=torch.bool, device=inputs.device)

    def score(self, explanation: Explanation) -> Tensor:
        """(N,) rank correlation, nan where the prediction changed or a map is constant."""
        decisions = explanation.decisions
        transformed, kept, compared = decisions.shared(self, lambda: self._prepare(decisions))
        scores = torch.full(kept.shape, torch.nan, dtype=torch.float64, device=kept.device)
        if not bool(kept.any()):
            return scores
        # Only the samples that count are explained again: it is what this metric costs.
        again = explanation.explain(decisions.model, transformed[kept], decisions.targets[kept])
        before = explanation.attributions[kept].flatten(1)
        after = self.restore(again).flatten(1)
        similarity = spearman(before[:, compared], after[:, compared])
        # A constant map is not quite constant once it is interpolated: it is known before that.
        varies = (before != before[:, :1]).any(dim=1) & (again.flatten(1) != again.flatten(1)[:, :1]).any(dim=1)
        scores[kept] = similarity.where(varies, torch.nan)
        return scores

    def _prepare(self, decisions: Decisions) -> tuple[Tensor, Tensor, Tensor]:
        """The transformed images, whose prediction is kept, and which pixels are compared: once for all explainers."""
        transformed = self.transform(decisions.inputs).clamp(0, 1)
        kept = decisions.decided(decisions.logits(transformed)) == decisions.decided(decisions.original_logits)
        return transformed, kept, self.compared(decisions.inputs)


@dataclass(frozen=True)
class Blur(Augmentation):
    """The image is blurred by a Gaussian. Score, range and undefined cases: see `Augmentation`.

    Args:
        sigma: Standard deviation of the Gaussian, as a fraction of the shorter side (0.01 of 224 is 2.2 pixels).
    """

    sigma: float = 0.01

    def transform(self, inputs: Tensor) -> Tensor:
        """(N, C, H, W) blurred images."""
        return gaussian_blur(inputs, self.sigma)


@dataclass(frozen=True)
class Sharpen(Augmentation):
    """The image is sharpened: T x = x + amount · (x − smooth(x)). Score, range, nan: see `Augmentation`.

    Args:
        amount: How much of the difference to the smoothed image (3 × 3 pixels, as in Pillow) is added.
    """

    amount: float = 1.0

    def transform(self, inputs: Tensor) -> Tensor:
        """(N, C, H, W) sharpened images."""
        sharpened: Tensor = functional.adjust_sharpness(inputs, 1 + self.amount)
        return sharpened


@dataclass(frozen=True)
class Rotation(Augmentation):
    """The image is rotated about its centre and the map is rotated back. See `Augmentation` for score and nan.

    Images and maps are interpolated bilinearly and the corners that come into view are black. Bringing the map
    back smooths it: a map that is pixel-fine noise stays below 1 even if the explainer rotates perfectly.

    Args:
        angle: In degrees, counter-clockwise.
    """

    angle: float = 10.0

    def transform(self, inputs: Tensor) -> Tensor:
        """(N, C, H, W) rotated images."""
        return _rotate(inputs, self.angle)

    def restore(self, attributions: Tensor) -> Tensor:
        """(N, 1, H, W) maps, rotated back."""
        return _rotate(attributions, -self.angle)

    def compared(self, inputs: Tensor) -> Tensor:
        """(H·W,) bool, pixels for which neither interpolation reached beyond the border."""
        inside = _rotate(torch.ones_like(inputs[:1, :1]), self.angle) > 0.999
        return _rotate(inside.to(inputs.dtype), -self.angle).flatten() > 0.999


def _rotate(images: Tensor, angle: float) -> Tensor:
    rotated: Tensor = functional.rotate(images, angle, InterpolationMode.BILINEAR)
    return rotated


blur = Blur()
sharpen = Sharpen()
rotation = Rotation()
