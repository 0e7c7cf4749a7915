"""How pixels are taken away: imputers, the order of removal, and the curves that the faithfulness metrics share.

An imputer makes a baseline image; a removed pixel takes the baseline's value in all channels. The MoRF curve
removes the most relevant pixels first, the LeRF curve the least relevant first; both say what is left of the
probability of the target. Curves are kept with the explanation, so that all metrics that read them pay
once; what does not depend on the attributions is kept with the decisions, so that all explainers pay once.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision.transforms import functional

from .base import Decisions, Explanation


@dataclass(frozen=True)
class Imputer(ABC):
    """Makes the baseline image, whose pixels replace the removed ones."""

    @abstractmethod
    def __call__(self, inputs: Tensor) -> Tensor:
        """(N, C, H, W) baselines of (N, C, H, W) images. A baseline does not depend on batch mates."""


@dataclass(frozen=True)
class MeanImputer(Imputer):
    """Every pixel becomes the image's own mean colour: the mean of each channel over all pixels."""

    def __call__(self, inputs: Tensor) -> Tensor:
        return inputs.mean(dim=(2, 3), keepdim=True).expand_as(inputs)


@dataclass(frozen=True)
class BlurImputer(Imputer):
    """Every pixel becomes that of the blurred image, so that no sharp edge and no new colour appears.

    Args:
        sigma: Standard deviation of the Gaussian, as a fraction of the shorter side. The default is 11 pixels of
            224: strong enough to erase the objects' details.
    """

    sigma: float = 0.05

    def __call__(self, inputs: Tensor) -> Tensor:
        return gaussian_blur(inputs, self.sigma)


def gaussian_blur(inputs: Tensor, sigma: float) -> Tensor:
    """(N, C, H, W) images in [0, 1], blurred; sigma is a fraction of the shorter side.

    The Gaussian is cut at three sigma, and the image continues beyond its border as in a mirror.
    """
    side = min(inputs.shape[2:])
    radius = min(round(3 * sigma * side), side - 1)
    width = 2 * radius + 1
    # Rows and columns one after the other: the same kernel, width / 2 times cheaper than in one go.
    rows = functional.gaussian_blur(inputs, [width, 1], [sigma * side, sigma * side])
    blurred: Tensor = functional.gaussian_blur(rows, [1, width], [sigma * side, sigma * side])
    return blurred.clamp(0, 1)


def ranks(explanation: Explanation) -> Tensor:
    """(N, H·W) int32 rank of each pixel: 0 for the highest attribution, H·W − 1 for the lowest.

    Each rank occurs once, so `ranks < k` are exactly k pixels. Equal attributions follow a random order that
    belongs to the sample: the same for all explainers. A constant map is thus a random order.
    """
    return explanation.shared("ranks", lambda: _ranks(explanation))


def morf(explanation: Explanation, imputer: Imputer, n_steps: int) -> Tensor:
    """(N, n_steps + 1) float64 probability of the target, the most relevant pixels removed first."""
    return explanation.shared(
        ("morf", imputer, n_steps), lambda: _curve(explanation.decisions, ranks(explanation), imputer, n_steps)
    )


def lerf(explanation: Explanation, imputer: Imputer, n_steps: int) -> Tensor:
    """(N, n_steps + 1) float64 probability of the target, the least relevant pixels removed first.

    The order is that of `morf` reversed, also between ties. Read from its end, the curve is that of insertion:
    the most relevant pixels are put first into the baseline.
    """

    def compute() -> Tensor:
        order = ranks(explanation)
        return _curve(explanation.decisions, order.shape[1] - 1 - order, imputer, n_steps)

    return explanation.shared(("lerf", imputer, n_steps), compute)


def area(curve: Tensor, n_pixels: int) -> Tensor:
    """(N,) area under (N, n_steps + 1) curves over the fraction of removed pixels, by the trapezoid rule."""
    counts = _counts(n_pixels, curve.shape[1] - 1)
    fractions = torch.tensor(counts, dtype=curve.dtype, device=curve.device) / n_pixels
    return torch.trapezoid(curve, fractions, dim=1)


def _counts(n_pixels: int, n_steps: int) -> list[int]:
    """How many pixels are removed at each of the n_steps + 1 points: from none to all, evenly."""
    return [step * n_pixels // n_steps for step in range(n_steps + 1)]


def _ranks(explanation: Explanation) -> Tensor:
    flat = explanation.attributions.flatten(1)
    shuffled = explanation.decisions.shared("tie-breaking", lambda: _shuffled(explanation.decisions, flat.shape[1]))
    descending = flat.gather(1, shuffled).argsort(dim=1, descending=True, stable=True)
    places = torch.arange(flat.shape[1], device=flat.device).expand_as(flat)
    return torch.empty_like(shuffled).scatter_(1, shuffled.gather(1, descending), places).int()


def _shuffled(decisions: Decisions, n_pixels: int) -> Tensor:
    """(N, n_pixels) random order of the pixels of each sample."""
    orders = [torch.randperm(n_pixels, generator=generator) for generator in decisions.generators("tie-breaking")]
    return torch.stack(orders).to(decisions.inputs.device)


def _curve(decisions: Decisions, order: Tensor, imputer: Imputer, n_steps: int) -> Tensor:
    """What is left of the target's probability after 0, ..., all pixels of an (N, H·W) order are removed."""
    inputs = decisions.shared("inputs, channels last", lambda: _channels_last(decisions.inputs))
    baseline = decisions.shared(("baseline", imputer), lambda: _channels_last(imputer(decisions.inputs)))
    whole = decisions.shared("probability", lambda: decisions.target_probabilities(decisions.original_logits))
    nothing = decisions.shared(("baseline's probability", imputer), lambda: decisions.probabilities(baseline))
    places = order.view(len(order), 1, *inputs.shape[2:])
    between = [
        decisions.probabilities(torch.where(places < count, baseline, inputs))
        for count in _counts(order.shape[1], n_steps)[1:-1]
    ]
    return torch.stack([whole, *between, nothing], dim=1).double()


def _channels_last(images: Tensor) -> Tensor:
    # The forward pass wants this layout: made once here, it is not made again at every step.
    return images.contiguous(memory_format=torch.channels_last)
