"""Stability: how far does an explanation move when the image moves a little and the decision stays?

An image has neighbours: itself with noise that hardly anybody sees, or shifted. Each is explained again, for the same
target. What counts is how far the map moves, taken alone or by what caused it: how far the image, the model's answer or
its inner representation moved. A neighbour about which the model decides otherwise is left out, as another map may be
right for it; so is one that is no other image.

All metrics but `Continuity` share the noise: one set of images for all explainers, forwarded once, and one set of
explanations of them an explainer, whichever metric asks first.

No metric here can tell a map that is stable because the model is from one that does not look: a map that is the same
for all images (`center`, a constant) has the best score of all. Read them beside the controls and beside faithfulness.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import reduce
from typing import ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .base import TOGETHER, Category, Decisions, Explanation, Metric

LEAST = 1e-6
"""What a cause is at least, as in Agarwal et al.: nothing is divided by less."""


class Neighbours(NamedTuple):
    """R variants of each of N images, and what the model says about them."""

    name: tuple[object, ...]
    """How they were made: two of one batch that have one name are the same."""
    images: Tensor
    """(R, N, C, H, W) in [0, 1]."""
    logits: Tensor
    """(R, N, K)."""
    representations: Tensor | None
    """(R, N, F), what enters the last layer with weights; None: the model has none, or nobody was to ask."""
    kept: Tensor
    """(R, N) bool, which count: another image, the same decision."""


@dataclass(frozen=True)
class Stability(Metric, ABC):
    """How far the map moves among the neighbours of an image; from 0, lower is better.

    nan: no neighbour counts (see the module), or the map of the image itself is all-zero. A map that stays as it is
    scores 0, also a constant one. One factor for all maps of an explainer, also a negative one, changes nothing.
    """

    category: ClassVar[Category] = Category.ROBUSTNESS
    higher_is_better: ClassVar[bool] = False
    on_request: ClassVar[bool] = True

    def score(self, explanation: Explanation) -> Tensor:
        """(N,) how far the map moves."""
        neighbours = self.neighbours(explanation.decisions)
        moves = self.map_moves(explanation, neighbours) / self.causes(explanation.decisions, neighbours)
        return self.over_neighbours(moves).where(explanation.attributions.flatten(1).any(dim=1), torch.nan)

    @abstractmethod
    def neighbours(self, decisions: Decisions) -> Neighbours:
        """The neighbours of the images, the same for all explainers."""

    @abstractmethod
    def map_moves(self, explanation: Explanation, neighbours: Neighbours) -> Tensor:
        """(R, N) float64, how far the maps moved; nan where a neighbour does not count."""

    def causes(self, decisions: Decisions, neighbours: Neighbours) -> Tensor:  # noqa: ARG002
        """(R, N) or one number: how far that moved which moved the maps."""
        return torch.ones((), dtype=torch.float64, device=decisions.inputs.device)

    def over_neighbours(self, moves: Tensor) -> Tensor:
        """(N,) of (R, N): the farthest move of those that count; nan where none does."""
        return reduce(torch.fmax, moves.unbind())


@dataclass(frozen=True)
class _Noisy(Stability):
    """The neighbours are x' = x + noise, uniform within ±radius in each channel of each pixel, clamped to [0, 1].

    The draws belong to the sample: they are the same for all explainers, and the first of more draws are those of
    fewer. Costs n_samples explanations an explainer and n_samples forward passes of the batch for all explainers,
    shared by all metrics of one radius and n_samples.

    Args:
        radius: How far a value may move; images are in [0, 1].
        n_samples: How many neighbours are drawn. In as many dimensions as an image has, one draw is much like
            another: few of them find nearly the largest move that many find.

    Raises:
        ValueError: the radius is not in (0, 1], or n_samples not positive.
    """

    radius: float = 0.02
    n_samples: int = 4

    def __post_init__(self) -> None:
        if not 0 < self.radius <= 1 or self.n_samples < 1:
            raise ValueError(f"{self}: radius is within (0, 1], n_samples at least 1")

    def neighbours(self, decisions: Decisions) -> Neighbours:
        return noisy(decisions, self.radius, self.n_samples)


@dataclass(frozen=True)
class MaxSensitivity(_Noisy):
    """Farthest relative move of the map under small noise: max over x' of ‖a(x') − a(x)‖₂ / ‖a(x)‖₂; lower is better.

    From 0: the map does not move; 1 for one that vanishes, √2 for noise maps without a relation. A map that only grows
    moves. Draws, cost and arguments: see `_Noisy`; nan: no draw keeps the decision, or an all-zero map.

    It cannot flag a map that knows nothing: a constant map is the most stable one, and a random map whose noise does
    not depend on the image is as stable. Yeh et al. take the largest move itself; divided by ‖a(x)‖ as in their
    experiments, no explainer gains by its unit. Quantus 0.6 does not clamp to images, and by default (200 draws within
    ±0.2) keeps the draws that change the decision; asked to leave them out, it makes the sample nan for one of them.

    Reference: Yeh, Hsieh, Suggala, Inouye, Ravikumar, "On the (In)fidelity and Sensitivity of Explanations",
    NeurIPS 2019.
    """

    def map_moves(self, explanation: Explanation, neighbours: Neighbours) -> Tensor:
        def compute() -> Tensor:
            return _each(explanation, neighbours, _euclidean) / _length(explanation.attributions.flatten(1))

        return explanation.shared(("sensitivity", neighbours.name), compute)


@dataclass(frozen=True)
class AvgSensitivity(MaxSensitivity):
    """Mean relative move of the map under small noise: mean over x' of ‖a(x') − a(x)‖₂ / ‖a(x)‖₂; lower is better.

    `MaxSensitivity` with the mean over the draws that keep the decision, and all that is said there; never more than
    that. Costs nothing beyond it.

    Reference: Yeh et al., as there; Bhatt, Weller, Moura, "Evaluating and Aggregating Feature-based Model
    Explanations", IJCAI 2020.
    """

    def over_neighbours(self, moves: Tensor) -> Tensor:
        """(N,) of (R, N): the mean move of those that count; nan where none does."""
        return moves.nanmean(dim=0)


@dataclass(frozen=True)
class LocalLipschitzEstimate(_Noisy):
    """How steeply the map moves with the image: max over x' of ‖â(x') − â(x)‖₂ / ‖x' − x‖₂; lower is better.

    â is the map divided by its own largest absolute value (an all-zero one stays): the definition has the unit of the
    map, which is each explainer's own. So what makes a whole map grow does not count, and neither does a factor that
    changes from image to image. From 0; not bounded: it grows where the noise is smaller than what moves the map.
    Draws, cost and arguments: see `_Noisy`; nan: no draw keeps the decision, or an all-zero map. Maps that do not look
    at the image score 0.

    Alvarez-Melis and Jaakkola look for the steepest place of a ball, or of the data set; like Quantus, we draw. Quantus
    draws Gaussian noise of standard deviation 0.1 instead (uniform within ±r it is r / √3), and divides by the largest
    value of the batch, so that a score depends on the batch mates.

    Reference: Alvarez-Melis and Jaakkola, "On the Robustness of Interpretability Methods", WHI at ICML 2018.
    """

    def map_moves(self, explanation: Explanation, neighbours: Neighbours) -> Tensor:
        return _each(explanation, neighbours, lambda first, other: _euclidean(_to_one(first), _to_one(other)))

    def causes(self, decisions: Decisions, neighbours: Neighbours) -> Tensor:
        return _image_moves(decisions, neighbours)


@dataclass(frozen=True)
class _Relative(_Noisy):
    """Farthest relative move of the map, by what the model made of the noise: from 0, not bounded, lower is better.

    relative stability = max over x' of δ(a(x), a(x')) / max(cause, 1e-6), where δ(v, v') = ‖(v − v') / v‖₂ goes value
    by value, and |v| counts as `floor` times its largest, at least. Draws, cost and arguments: see `_Noisy`; nan: no
    draw keeps the decision, or the map is all-zero, or what else is divided by. Scaling the maps changes nothing.

    By value, the smallest attributions decide: a pixel of a thousandth of the largest weighs a thousand times as
    much. The floor bounds that; without it, rounding decides, and a map that is zero somewhere (behind a ReLU, say) is
    undefined. Agarwal et al. leave it open; Quantus 0.6 puts 1e-6 for what is exactly 0, so that the score of such a
    map depends on its unit. It draws from 0.02 to 0.2, so that images become only brighter, and is nan where one of its
    200 draws changes the decision.

    Args:
        floor: What |v| is at least, as a share of the largest |v| of the same map, image or representation.

    Raises:
        ValueError: the floor is not within (0, 1].

    Reference: Agarwal, Johnson, Pawelczyk, Krishna, Saxena, Zitnik, Lakkaraju, "Rethinking Stability for
    Attribution-based Explanations", arXiv:2203.06877, 2022.
    """

    floor: float = 1e-3

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.floor <= 1:
            raise ValueError(f"{self}: floor is within (0, 1]")

    def map_moves(self, explanation: Explanation, neighbours: Neighbours) -> Tensor:
        key = ("relative move", self.floor, neighbours.name)
        return explanation.shared(key, lambda: _each(explanation, neighbours, self.relative))

    def causes(self, decisions: Decisions, neighbours: Neighbours) -> Tensor:
        cause = decisions.shared((self, "cause"), lambda: self.cause(decisions, neighbours))
        return cause.clamp_min(LEAST)

    @abstractmethod
    def cause(self, decisions: Decisions, neighbours: Neighbours) -> Tensor:
        """(R, N) float64, how far that moved which the map's move is divided by; nan: not defined."""

    def relative(self, first: Tensor, other: Tensor) -> Tensor:
        """(N,) float64 δ of (N, M) values; nan: the first are all-zero, or the others are left out."""
        first, other = first.double(), other.double()
        sizes = first.abs()
        least = self.floor * sizes.amax(dim=1, keepdim=True)
        moved = _length((other - first) / torch.maximum(sizes, least))
        return moved.where(least[:, 0] > 0, torch.nan)


@dataclass(frozen=True)
class RelativeInputStability(_Relative):
    """Farthest relative move of the map under small noise, over how far the image moved; lower is better.

    max over x' of δ(a(x), a(x')) / δ(x, x'). δ, range, draws, cost, arguments, nan and Quantus: see `_Relative`. Where
    an image is black, the noise is large by its values: black surroundings (of MRI, say) make an image's score small,
    whichever explainer it is.
    """

    def cause(self, decisions: Decisions, neighbours: Neighbours) -> Tensor:
        first = decisions.inputs.flatten(1)
        return torch.stack([self.relative(first, images.flatten(1)) for images in neighbours.images])


@dataclass(frozen=True)
class RelativeOutputStability(_Relative):
    """Farthest relative move of the map under small noise, over how far the logits moved; lower is better.

    max over x' of δ(a(x), a(x')) / ‖f(x) − f(x')‖₂ with the logits f. δ, range, draws, cost, arguments, nan and
    Quantus: see `_Relative`. All logits count, and in their own unit: scores of two models cannot be compared.
    """

    def cause(self, decisions: Decisions, neighbours: Neighbours) -> Tensor:
        return torch.stack([_euclidean(decisions.original_logits, logits) for logits in neighbours.logits])


@dataclass(frozen=True)
class RelativeRepresentationStability(_Relative):
    """Farthest relative move of the map under small noise, over how far the model's features moved; lower is better.

    max over x' of δ(a(x), a(x')) / δ(L(x), L(x')). L is what enters the last layer with weights, an `nn.Linear` or a
    convolution: the features by which a classifier decides. Agarwal et al. leave the layer open; Quantus puts the
    outputs of all layers in a row, so that the largest ones decide, in gigabytes. δ, range, draws, arguments, nan and
    Quantus: see `_Relative`; nan also for all samples where the model shows no such layer (TorchScript, say). Costs one
    forward pass of the batch more, once for all explainers.
    """

    def cause(self, decisions: Decisions, neighbours: Neighbours) -> Tensor:
        if neighbours.representations is None:
            return torch.full_like(neighbours.kept, torch.nan, dtype=torch.float64)
        with representations(decisions.model) as found:
            decisions.logits(decisions.inputs)
        first = torch.cat(found)
        return torch.stack([self.relative(first, others) for others in neighbours.representations])


@dataclass(frozen=True)
class Continuity(Stability):
    """How steeply the map moves as the image is shifted: max over x' of ‖â(x') − â(x)‖₁ / ‖x' − x‖₂; lower is better.

    x' is the image, shifted to the side; black comes in from beyond the border. The map is not brought back: it is
    to follow the image no farther than the image itself moves. â is the map divided by its own largest absolute value
    (an all-zero one stays). From 0; not bounded; grows with the size of the image, as a sum over its pixels is
    divided by a root of one. A map that does not look at the image scores 0, and one of few large pixels beats one of
    many. nan: no shift keeps the decision, or an all-zero map. Costs an explanation a shift and explainer, and a
    forward pass of the batch a shift for all explainers.

    Quantus 0.6 shifts in equal steps, from one border to the other, also by nothing and until nothing is left, and what
    comes in is the darkest value of the image. It divides by the largest value of the batch, so that a score
    depends on the batch mates, takes absolute values, and keeps the shifts that change the decision:
    `return_nan_when_prediction_changes` fails on today's numpy.

    Args:
        shifts: By which shares of the width the image is shifted, to the right if positive; rounded to pixels.

    Raises:
        ValueError: there are no shifts, or one is not within (−1, 1).

    Reference: explanation continuity, Montavon, Samek, Müller, "Methods for Interpreting and Understanding Deep Neural
    Networks", Digital Signal Processing 73, 2018.
    """

    shifts: tuple[float, ...] = (-0.2, -0.1, -0.05, 0.05, 0.1, 0.2)

    def __post_init__(self) -> None:
        if not self.shifts or not all(-1 < shift < 1 for shift in self.shifts):
            raise ValueError(f"{self}: shifts are shares of the width, within (-1, 1), one at least")

    def neighbours(self, decisions: Decisions) -> Neighbours:
        return shifted(decisions, self.shifts)

    def map_moves(self, explanation: Explanation, neighbours: Neighbours) -> Tensor:
        return _each(explanation, neighbours, lambda first, other: _manhattan(_to_one(first), _to_one(other)))

    def causes(self, decisions: Decisions, neighbours: Neighbours) -> Tensor:
        return _image_moves(decisions, neighbours)


def noisy(decisions: Decisions, radius: float, n_samples: int) -> Neighbours:
    """The images with uniform noise within ±radius, clamped to [0, 1]; n_samples draws."""

    def images() -> Iterator[Tensor]:
        generators = decisions.generators("noise around the image")
        shape = decisions.inputs.shape[1:]
        for _ in range(n_samples):
            noise = torch.stack([2 * torch.rand(shape, generator=generator) - 1 for generator in generators])
            yield (decisions.inputs + radius * noise.to(decisions.inputs)).clamp(0, 1)

    name = ("noise", radius, n_samples)
    return decisions.shared(name, lambda: _asked(decisions, name, images(), represented=True))


def shifted(decisions: Decisions, shifts: tuple[float, ...]) -> Neighbours:
    """The images, shifted to the right by shares of their width; what comes into view is black."""
    distances = [round(shift * decisions.inputs.shape[3]) for shift in shifts]
    images = (F.pad(decisions.inputs, (distance, -distance)) for distance in distances)
    name = ("shifts", shifts)
    return decisions.shared(name, lambda: _asked(decisions, name, images, represented=False))


@contextmanager
def representations(model: nn.Module) -> Iterator[list[Tensor]]:
    """Within it, each forward pass of M images adds the (M, F) values that enter the last layer with weights.

    The layer is the `nn.Linear` or convolution that is called last, whatever the model's structure. The list stays
    empty where the model calls none.
    """
    found: list[Tensor] = []
    latest: list[Tensor] = []

    def enters(_layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        latest[:] = inputs[:1]

    def ends(_model: nn.Module, _inputs: object, logits: Tensor) -> None:
        found.extend(values.reshape(len(logits), -1) for values in latest)

    layers = [layer for layer in model.modules() if isinstance(layer, _WITH_WEIGHTS)]
    handles = [layer.register_forward_pre_hook(enters) for layer in layers]
    handles += [model.register_forward_hook(ends)] if layers else []
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


_WITH_WEIGHTS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


def _asked(decisions: Decisions, name: tuple[object, ...], variants: Iterable[Tensor], represented: bool) -> Neighbours:
    images = torch.stack(list(variants))
    with representations(decisions.model) as found:
        logits = decisions.logits(images.flatten(0, 1))
    shape = images.shape[:2]
    same = decisions.decided(logits).view(shape) == decisions.decided(decisions.original_logits)
    moved = (images != decisions.inputs).flatten(2).any(dim=2)
    entered = torch.cat(found).view(*shape, -1) if found and represented else None
    return Neighbours(name, images, logits.view(*shape, -1), entered, same & moved)


def _maps(explanation: Explanation, neighbours: Neighbours) -> Tensor:
    """(R, N, H·W) maps of the neighbours, nan where one does not count: those are not explained."""

    def compute() -> Tensor:
        decisions = explanation.decisions
        shape = (len(neighbours.images), *explanation.attributions.shape)
        maps = explanation.attributions.new_full(shape, torch.nan)
        # Of a small batch, several neighbours are explained together.
        n_together = max(1, TOGETHER // len(decisions.inputs))
        groups = (torch.split(whole, n_together) for whole in (neighbours.images, neighbours.kept, maps))
        for images, kept, into in zip(*groups, strict=True):
            if bool(kept.any()):
                targets = decisions.targets.expand(kept.shape)
                into[kept] = explanation.explain(decisions.model, images[kept], targets[kept])
        return maps.flatten(2)

    return explanation.shared(("maps of neighbours", neighbours.name), compute)


def _each(explanation: Explanation, neighbours: Neighbours, distance: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """(R, N) float64 distances of the map to those of the neighbours."""
    first = explanation.attributions.flatten(1)
    return torch.stack([distance(first, other) for other in _maps(explanation, neighbours)])


def _image_moves(decisions: Decisions, neighbours: Neighbours) -> Tensor:
    """(R, N) float64 Euclidean distances of the neighbours to the image."""
    first = decisions.inputs.flatten(1)
    return decisions.shared(
        ("image moves", neighbours.name),
        lambda: torch.stack([_euclidean(first, images.flatten(1)) for images in neighbours.images]),
    )


def _euclidean(first: Tensor, other: Tensor) -> Tensor:
    return _length(other.double() - first.double())


def _manhattan(first: Tensor, other: Tensor) -> Tensor:
    return (other.double() - first.double()).abs().sum(dim=1)


def _length(values: Tensor) -> Tensor:
    """(N,) float64 Euclidean norm of (N, M) values: in float32 the squares of tiny ones would vanish."""
    return values.double().square().sum(dim=1).sqrt()


def _to_one(maps: Tensor) -> Tensor:
    """(N, M) float64, each map divided by its own largest absolute value; an all-zero one stays."""
    largest = maps.double().abs().amax(dim=1, keepdim=True)
    return maps.double() / largest.where(largest != 0, 1)


max_sensitivity = MaxSensitivity()
avg_sensitivity = AvgSensitivity()
local_lipschitz_estimate = LocalLipschitzEstimate()
relative_input_stability = RelativeInputStability()
relative_output_stability = RelativeOutputStability()
relative_representation_stability = RelativeRepresentationStability()
continuity = Continuity()
