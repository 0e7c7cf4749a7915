"""How pixels are taken away: imputers, the order of removal, and the answers that the faithfulness metrics share.

An imputer says what stands in an image where pixels are removed, in all channels. The MoRF curve removes the most
relevant pixels first, the LeRF curve the least relevant first; both say what is left of the decision for the target.
What the model answers is kept with the explanation, step by step, so that all metrics that remove the same pixels pay
once; what does not depend on the attributions is kept with the decisions, so that all explainers pay once.
"""

from abc import ABC, abstractmethod
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor
from torchvision.transforms import functional

from .base import Decisions, Explanation


@dataclass(frozen=True)
class Imputer(ABC):
    """Says what stands in an image where pixels are removed."""

    @abstractmethod
    def without(self, decisions: Decisions, removed: Tensor) -> Tensor:
        """(N, C, H, W) images in [0, 1], the (N, 1, H, W) bool pixels replaced. Does not depend on batch mates."""


@dataclass(frozen=True)
class BaselineImputer(Imputer):
    """A removed pixel takes the value of the baseline image, whichever other pixels are removed."""

    @abstractmethod
    def baseline(self, decisions: Decisions) -> Tensor:
        """(N, C, H, W) baseline images in [0, 1]. A baseline does not depend on batch mates."""

    def without(self, decisions: Decisions, removed: Tensor) -> Tensor:
        inputs = decisions.shared("inputs, channels last", lambda: _channels_last(decisions.inputs))
        baseline = decisions.shared(("baseline", self), lambda: _channels_last(self.baseline(decisions)))
        # Widened first: torch is slow where one mask serves several channels that lie side by side.
        return torch.where(_channels_last(removed.expand_as(inputs)), baseline, inputs)


@dataclass(frozen=True)
class ZeroImputer(BaselineImputer):
    """Every pixel becomes black: 0 in all channels, before the model's own preprocessing."""

    def baseline(self, decisions: Decisions) -> Tensor:
        return torch.zeros_like(decisions.inputs)


@dataclass(frozen=True)
class MeanImputer(BaselineImputer):
    """Every pixel becomes the image's own mean colour: the mean of each channel over all pixels."""

    def baseline(self, decisions: Decisions) -> Tensor:
        return decisions.inputs.mean(dim=(2, 3), keepdim=True).expand_as(decisions.inputs)


@dataclass(frozen=True)
class BlurImputer(BaselineImputer):
    """Every pixel becomes that of the blurred image, so that no sharp edge and no new colour appears.

    Args:
        sigma: Standard deviation of the Gaussian, as a fraction of the shorter side. The default is 11 pixels of
            224: strong enough to erase the objects' details.
    """

    sigma: float = 0.05

    def baseline(self, decisions: Decisions) -> Tensor:
        return gaussian_blur(decisions.inputs, self.sigma)


@dataclass(frozen=True)
class UniformImputer(BaselineImputer):
    """Every pixel and channel becomes a random number, uniform in [0, 1]; a sample's are the same for all explainers.

    Args:
        draw: Which of the sample's random images: another number, other noise.
    """

    draw: int = 0

    def baseline(self, decisions: Decisions) -> Tensor:
        shape = decisions.inputs.shape[1:]
        noise = [torch.rand(shape, generator=one) for one in decisions.generators(f"uniform noise {self.draw}")]
        return torch.stack(noise).to(decisions.inputs)


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


class Order(NamedTuple):
    """In which order pixels are removed; those of one place go together."""

    name: Hashable
    """What the order goes by: two orders of one explanation that have one name are the same."""
    places: Tensor
    """(N, H·W) int, the place of each pixel: 0 is removed first."""
    n_places: int


Span = tuple[int, int]
"""First and last place (exclusive) of the pixels that are removed."""


def pixels(explanation: Explanation) -> Order:
    """The pixels one by one, the most relevant first."""
    places = ranks(explanation)
    return Order("pixels", places, places.shape[1])


def most_relevant_first(order: Order, n_steps: int) -> list[Span]:
    """n_steps + 1 spans: the most relevant places are removed, from none to all in equal steps."""
    return [(0, count) for count in _counts(order.n_places, n_steps)]


def least_relevant_first(order: Order, n_steps: int) -> list[Span]:
    """n_steps + 1 spans: the least relevant places are removed, from none to all in equal steps."""
    return [(order.n_places - count, order.n_places) for count in _counts(order.n_places, n_steps)]


def one_after_another(order: Order, n_steps: int) -> list[Span]:
    """n_steps spans: the places of each step are removed, and no others."""
    counts = _counts(order.n_places, n_steps)
    return list(pairwise(counts))


def target_logits(explanation: Explanation, order: Order, imputer: Imputer, spans: Sequence[Span]) -> Tensor:
    """(N, spans) float64 logit of the target, the pixels of each span removed."""
    decisions = explanation.decisions
    return _by_sample(decisions, decisions.target_logits(_answers(explanation, order, imputer, spans)))


def target_probabilities(explanation: Explanation, order: Order, imputer: Imputer, spans: Sequence[Span]) -> Tensor:
    """(N, spans) float64 probability of the target, the pixels of each span removed."""
    decisions = explanation.decisions
    return _by_sample(decisions, decisions.target_probabilities(_answers(explanation, order, imputer, spans)))


def morf(explanation: Explanation, imputer: Imputer, n_steps: int) -> Tensor:
    """(N, n_steps + 1) float64 probability of the target, the most relevant pixels removed first."""
    order = pixels(explanation)
    return target_probabilities(explanation, order, imputer, most_relevant_first(order, n_steps))


def lerf(explanation: Explanation, imputer: Imputer, n_steps: int) -> Tensor:
    """(N, n_steps + 1) float64 probability of the target, the least relevant pixels removed first.

    The order is that of `morf` reversed, also between ties. Read from its end, the curve is that of insertion:
    the most relevant pixels are put first into the baseline.
    """
    order = pixels(explanation)
    return target_probabilities(explanation, order, imputer, least_relevant_first(order, n_steps))


def area(curve: Tensor, n_places: int) -> Tensor:
    """(N,) area under (N, n_steps + 1) curves over the fraction of removed places, by the trapezoid rule."""
    counts = _counts(n_places, curve.shape[1] - 1)
    fractions = torch.tensor(counts, dtype=curve.dtype, device=curve.device) / n_places
    return torch.trapezoid(curve, fractions, dim=1)


def logits_without(explanation: Explanation, order: Order, imputer: Imputer, spans: Sequence[Span]) -> list[Tensor]:
    """(N, K) logits a span, its pixels removed: forwarded once, whichever metric asks first.

    Costs no forward pass where nothing is removed, and one for all explainers where everything is.
    """
    decisions = explanation.decisions

    def key(span: Span) -> Hashable:
        return "without", order.name, imputer, span

    ends = {(0, order.n_places)} | {span for span in spans if span[0] == span[1]}
    new = [span for span in dict.fromkeys(spans) if span not in ends and not explanation.knows(key(span))]
    images = (imputer.without(decisions, removed(decisions, order, span)) for span in new)
    forwarded = dict(zip(new, decisions.logits_of_variants(images), strict=True))

    def logits(span: Span) -> Tensor:
        if span[0] == span[1]:
            return decisions.original_logits
        if span in ends:
            return logits_of_nothing(decisions, imputer)
        return explanation.shared(key(span), lambda: forwarded[span])

    return [logits(span) for span in spans]


def logits_of_nothing(decisions: Decisions, imputer: Imputer) -> Tensor:
    """(N, K) logits where all pixels are removed, forwarded once for all explainers."""

    def compute() -> Tensor:
        everything = torch.ones_like(decisions.inputs[:, :1], dtype=torch.bool)
        return decisions.logits(imputer.without(decisions, everything))

    return decisions.shared(("everything removed", imputer), compute)


def removed(decisions: Decisions, order: Order, span: Span) -> Tensor:
    """(N, 1, H, W) bool, the pixels of the span."""
    places = order.places.view(-1, 1, *decisions.inputs.shape[2:])
    return (places >= span[0]) & (places < span[1])


def _answers(explanation: Explanation, order: Order, imputer: Imputer, spans: Sequence[Span]) -> Tensor:
    return torch.cat(logits_without(explanation, order, imputer, spans))


def _by_sample(decisions: Decisions, values: Tensor) -> Tensor:
    """(N, R) float64 of R·N values, R variants of the batch one after another."""
    return values.view(-1, len(decisions.inputs)).T.double()


def _counts(n_places: int, n_steps: int) -> list[int]:
    """How many places are removed at each of the n_steps + 1 points: from none to all, evenly."""
    return [step * n_places // n_steps for step in range(n_steps + 1)]


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


def _channels_last(images: Tensor) -> Tensor:
    # The forward pass wants this layout: made once here, it is not made again at every step.
    return images.contiguous(memory_format=torch.channels_last)
