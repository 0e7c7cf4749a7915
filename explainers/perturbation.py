"""Perturbation: parts of the image are taken away, and the logit says what they were worth. No gradients.

Pixels that are taken away get the image's own mean colour, so that neither black nor white counts as nothing (RISE
multiplies with its masks, as published: black). Random masks are a function of the seed and the image's content.
All masks are computed in batches, see `masking`; M masks cost M forward passes of the batch. Superpixels are SLIC's,
by scikit-image, found in the image itself.
"""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .base import Explainer
from .masking import Masked, at
from .seeding import generators
from .superpixels import counts, ridge, shapley, superpixels


@dataclass(frozen=True)
class Occlusion(Explainer):
    """How far the logit falls when a window covers the pixel, averaged over the windows that do. Signed.

    Zeiler and Fergus, Visualizing and understanding convolutional networks, ECCV 2014. Windows lie evenly from border
    to border, all of them within the image. Costs 1 forward pass, and one a window: 81 as set here.
    """

    on_request: ClassVar[bool] = True

    window: float = 0.2
    """Side of the window, as a share of the image's height and width."""
    stride: float = 0.1
    """From one window to the next, as a share of the image's height and width; less where that does not come out."""

    def attribute(self, model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        covered = self.windows(*inputs.shape[2:]).to(inputs.device)
        masked = Masked(model, inputs, _mean_colour(inputs))
        logits = at(masked.logits(lambda which: ~covered[None, which], len(covered)), targets)
        falls = _whole(model, inputs, targets) - logits
        total = torch.einsum("nm,mhw->nhw", falls, covered.to(inputs.dtype))
        return (total / covered.sum(dim=0))[:, None]

    def windows(self, height: int, width: int) -> Tensor:
        """(M, H, W) bool: what each window covers."""
        rows, columns = (self._spans(size) for size in (height, width))
        return (rows[:, None, :, None] & columns[None, :, None, :]).flatten(0, 1)

    def _spans(self, size: int) -> Tensor:
        """(m, size) bool: the windows along one side."""
        length = max(1, round(self.window * size))
        n_windows = ceil((1 - self.window) / self.stride - 1e-9) + 1
        starts = torch.linspace(0, size - length, n_windows, dtype=torch.float64).round()[:, None]
        places = torch.arange(size)
        return (places >= starts) & (places < starts + length)


@dataclass(frozen=True)
class RISE(Explainer):
    """The mean logit over the masks that show the pixel, less the mean over all masks. Signed.

    Petsiuk et al., RISE: randomized input sampling for explanation of black-box models, BMVC 2018: masks are random
    grids, enlarged bilinearly and shifted by a random part of a cell; what is not shown is black. The published map
    is Σ f M / (n E[M]) with 4000 masks and more; here each pixel is divided by what its own masks sum to, the
    conditional mean that the former estimates, and the mean of f is taken off, so that a pixel without effect has 0.
    The logit stands for the probability. Costs `n_masks` forward passes.
    """

    on_request: ClassVar[bool] = True

    n_masks: int = 128
    n_cells: int = 7
    """Of the grid, along each side."""
    shown: float = 0.5
    """Probability with which a node of the grid is shown."""
    seed: int = 0

    def attribute(self, model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        nodes, shifts = self._draw(inputs)
        weighted = torch.zeros_like(inputs[:, 0], dtype=torch.float64)  # sums cancel: the batch size must not show
        shown, total = torch.zeros_like(weighted), torch.zeros_like(weighted[:, 0, 0])
        masked, size = Masked(model, inputs, torch.zeros_like(inputs)), inputs.shape[2:]

        def some(which: slice) -> Tensor:
            return _enlarged(nodes[:, which], shifts[:, which], size)

        for masks, answers in masked.answers(some, self.n_masks):
            logits = at(answers, targets).double()
            weighted += torch.einsum("nm,nmhw->nhw", logits, masks.double())
            shown += masks.double().sum(dim=1)
            total += logits.sum(dim=1)
        mean = total[:, None, None] / self.n_masks
        return torch.where(shown > 0, weighted / shown - mean, 0)[:, None].to(inputs.dtype)

    def _draw(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """(N, M, g, g) nodes that are 0 or 1, and (N, M, 2) shifts in cells, down and right."""
        side = self.n_cells + 2
        draws = [torch.rand((self.n_masks, side * side + 2), generator=draw) for draw in generators(inputs, self.seed)]
        values = torch.stack(draws).to(inputs)
        nodes = (values[..., 2:] < self.shown).to(inputs.dtype)
        return nodes.view(*nodes.shape[:2], side, side), values[..., :2]


@dataclass(frozen=True)
class _Superpixels(Explainer):
    """What each superpixel is worth, painted over its pixels."""

    on_request: ClassVar[bool] = True

    n_segments: int = 36
    """How many superpixels SLIC is asked for; it finds about as many."""

    @abstractmethod
    def worth(self, model: nn.Module, inputs: Tensor, targets: Tensor, segments: Tensor) -> Tensor:
        """(N, S) of the (N, H, W) superpixels' numbers; S is the highest number of superpixels in an image."""

    def attribute(self, model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        segments = superpixels(inputs, self.n_segments)
        worth = self.worth(model, inputs, targets, segments).to(inputs.dtype)
        return worth.gather(1, segments.flatten(1)).view_as(segments)[:, None]

    def answers(self, model: nn.Module, inputs: Tensor, targets: Tensor, segments: Tensor, kept: Tensor) -> Tensor:
        """(N, M) float64 logits where (N, M, S) bool says which superpixels are kept."""

        def masks(which: slice) -> Tensor:
            rows = kept[:, which]
            places = segments.flatten(1)[:, None].expand(-1, rows.shape[1], -1)
            return rows.gather(2, places).view(*rows.shape[:2], *segments.shape[1:])

        masked = Masked(model, inputs, _mean_colour(inputs))
        return at(masked.logits(masks, kept.shape[1]), targets).double()


@dataclass(frozen=True)
class FeatureAblation(_Superpixels):
    """How far the logit falls when the superpixel is taken away. Signed. Costs one forward pass a superpixel, and 1."""

    def worth(self, model: nn.Module, inputs: Tensor, targets: Tensor, segments: Tensor) -> Tensor:
        n_features = int(segments.max()) + 1
        kept = ~torch.eye(n_features, dtype=torch.bool, device=inputs.device).expand(len(inputs), -1, -1)
        return _whole(model, inputs, targets).double() - self.answers(model, inputs, targets, segments, kept)


@dataclass(frozen=True)
class Lime(_Superpixels):
    """Slopes of a ridge regression of the logit on which superpixels are kept, near the whole image. Signed.

    Ribeiro et al., "Why should I trust you?", KDD 2016, as their package does for images: each superpixel is kept
    with probability 1/2; a sample weighs √exp(−d² / width²), d its cosine distance to the whole image, which is the
    first sample; penalty 1 on the slopes, none on the intercept. The logit stands for the probability. Costs
    `n_samples` forward passes.
    """

    n_samples: int = 128
    kernel_width: float = 0.25
    seed: int = 0

    def worth(self, model: nn.Module, inputs: Tensor, targets: Tensor, segments: Tensor) -> Tensor:
        n_features, sizes = counts(segments)
        kept = self.draw(inputs, sizes, n_features)
        logits = self.answers(model, inputs, targets, segments, kept)
        share = (kept.sum(dim=2) / torch.tensor(sizes, device=kept.device)[:, None]).double()
        weights = torch.exp(-((1 - share.sqrt()) ** 2) / self.kernel_width**2).sqrt()
        return ridge(kept.double(), logits, weights)

    def draw(self, inputs: Tensor, sizes: Sequence[int], n_features: int) -> Tensor:
        """(N, n_samples, n_features) bool; beyond an image's own number of superpixels False."""
        kept = torch.zeros(len(inputs), self.n_samples, n_features, dtype=torch.bool)
        for row, size, draw in zip(kept, sizes, generators(inputs, self.seed), strict=True):
            row[:, :size] = torch.randint(0, 2, (self.n_samples, size), generator=draw).bool()
            row[0, :size] = True
        return kept.to(inputs.device)


@dataclass(frozen=True)
class KernelShap(_Superpixels):
    """Shapley values of the superpixels, by a regression that they solve. They sum to logit minus that of mean colour.

    Lundberg and Lee, A unified approach to interpreting model predictions, NeurIPS 2017: numbers of superpixels are
    drawn in proportion to the Shapley kernel; with every sample comes its complement (Covert and Lee, Improving
    KernelSHAP, 2021). The sum is a constraint, not a heavy weight. Costs `n_samples` + 2 forward passes.
    """

    n_samples: int = 128
    seed: int = 0

    def worth(self, model: nn.Module, inputs: Tensor, targets: Tensor, segments: Tensor) -> Tensor:
        n_features, sizes = counts(segments)
        kept = self.draw(inputs, sizes, n_features)
        both_ends = torch.zeros(len(kept), 2, n_features, dtype=torch.bool, device=kept.device)
        both_ends[:, 1] = True
        logits = self.answers(model, inputs, targets, segments, torch.cat([both_ends, kept], dim=1))
        nothing, everything = logits[:, :1], logits[:, 1:2]
        there = torch.arange(n_features, device=kept.device) < torch.tensor(sizes, device=kept.device)[:, None]
        return shapley(kept.double(), logits[:, 2:] - nothing, everything - nothing, there)

    def draw(self, inputs: Tensor, sizes: Sequence[int], n_features: int) -> Tensor:
        """(N, n_samples, n_features) bool; beyond an image's own number of superpixels False."""
        kept = torch.zeros(len(inputs), self.n_samples, n_features, dtype=torch.bool)
        for row, size, draw in zip(kept, sizes, generators(inputs, self.seed), strict=True):
            if size > 1:
                number = torch.arange(1, size, dtype=torch.float64)
                chosen = torch.multinomial(1 / (number * (size - number)), self.n_samples, True, generator=draw) + 1
                order = torch.rand((self.n_samples, size), generator=draw).argsort(dim=1).argsort(dim=1)
                row[:, :size] = order < chosen[:, None]
                row[1::2, :size] = ~row[: self.n_samples // 2 * 2 : 2, :size]
        return kept.to(inputs.device)


def _enlarged(nodes: Tensor, shifts: Tensor, size: Sequence[int]) -> Tensor:
    """(N, m, H, W) masks between the (N, m, g, g) nodes: g − 2 cells wide, shifted by a part of one."""
    n_cells = nodes.shape[-1] - 2
    rows, columns = (
        (shift[..., None] + (torch.arange(length).to(nodes) + 0.5) / length * n_cells) * 2 / (n_cells + 1) - 1
        for shift, length in zip(shifts.flatten(0, 1).unbind(dim=1), size, strict=True)
    )
    grid = torch.stack([columns[:, None, :].expand(-1, size[0], -1), rows[:, :, None].expand(-1, -1, size[1])], dim=-1)
    masks = F.grid_sample(nodes.flatten(0, 1)[:, None], grid, mode="bilinear", align_corners=True)
    return masks.view(*nodes.shape[:2], *size)


def _whole(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """(N, 1) logits of the targets for the images as they are."""
    with torch.no_grad():
        logits: Tensor = model(inputs.detach().clone())
    return logits.gather(1, targets[:, None])


def _mean_colour(inputs: Tensor) -> Tensor:
    return inputs.detach().mean(dim=(2, 3), keepdim=True)


occlusion = Occlusion()
rise = RISE()
feature_ablation = FeatureAblation()
lime = Lime()
kernel_shap = KernelShap()
