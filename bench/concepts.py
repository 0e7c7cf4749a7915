"""What `bench concepts` shows: the channels that a class's decisions rest on, and where in training images they speak.

The decisions are those of training images, drawn at random with a fixed seed, that the network takes for the class
(several labels an image: whose logit for it is positive). Each explains the class's logit.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from explainers.crp import CRP, concepts, conditional, crp_deep, crp_middle, crp_shallow, ranked
from leaderboard.pictures.concepts import ConceptRow, Patch
from tasks.base import Sample, Samples, Task, collate
from tasks.training import Trainable

from .contact import called
from .errors import UserError

LAYERS: dict[str, CRP] = {"deep": crp_deep, "middle": crp_middle, "shallow": crp_shallow}
_BATCH = 16
_TAIL = 0.05
"""Of a heat map's weight, what is left out of a patch at each of its four sides."""
_SMALLEST = 1 / 6
"""Of a patch's side, over the image's shorter one."""
_LONGEST = 20
"""Caption of a patch, characters."""

Report = Callable[[int, int], None]


class Box(NamedTuple):
    """A part of an image in pixels; bottom and right are one beyond."""

    top: int
    left: int
    bottom: int
    right: int


@dataclass(frozen=True)
class Decisions:
    """Training images that the network takes for a class."""

    name: str
    """Of the class."""
    inputs: Tensor
    """(N, 3, H, W)."""
    targets: Tensor
    """(N,), the class."""
    truths: tuple[str, ...]
    """What the images are, N captions."""
    n_seen: int
    """How many images were looked at."""


@dataclass(frozen=True)
class Concept:
    """A channel of a layer, and what it counts for in the decisions."""

    layer: str
    channel: int
    share: float
    """Of the relevance that goes through the layer, over all decisions; negative: it speaks against the class."""
    n_top: int
    """In how many of the decisions it is among the `of_top` most relevant ones."""
    of_top: int
    strongest: tuple[int, ...]
    """The decisions in which it has the largest relevance, the largest first."""


def training_samples(name: str, task: Task) -> Samples:
    """
    Raises:
        UserError: the task has none.
        ValueError, OSError: its data cannot be read; one line.
    """
    if not isinstance(task, Trainable):
        raise UserError(f"{name} brings its own model and has no training images to look for concepts in")
    return task.part("train")


def class_index(task: Task, name: str | None) -> int:
    """The class that is asked about; without a name the first that is not «nothing found».

    Raises:
        UserError: there is no such class.
    """
    classes = task.classes()
    if name is None:
        return next((index for index, one in enumerate(classes) if one != task.negative()), 0)
    if name not in classes:
        raise UserError(f"no class is called {name!r}: choose among {', '.join(classes)}")
    return classes.index(name)


def check_network(model: nn.Module) -> None:
    """
    Raises:
        UserError: concepts cannot be found in this network; the reason is told.
    """
    if reason := crp_deep.inapplicable(model):
        raise UserError(f"the network has no concepts to look for: {reason}")


def decisions(
    model: nn.Module, samples: Samples, classes: Sequence[str], index: int, n_images: int, report: Report
) -> Decisions:
    """The decisions for a class among training images.

    Args:
        model: On the device where it is to compute.
        samples: The training images.
        classes, index: Names of all classes, and which one it is.
        n_images: At most so many images are looked at.
        report: Told after every batch how many images were, and of how many.

    Raises:
        UserError: there is none.
        ValueError, OSError: an image cannot be read; one line.
    """
    order = torch.randperm(len(samples), generator=torch.Generator().manual_seed(0))[:n_images].tolist()
    kept: list[Sample] = []
    for first in range(0, len(order), _BATCH):
        batch = [samples[place] for place in order[first : first + _BATCH]]
        with torch.no_grad():
            logits = model(collate(batch).inputs.to(_device(model))).cpu()
        several = batch[0].label.ndim == 1
        taken = logits[:, index] > 0 if several else logits.argmax(1) == index
        kept += [sample for sample, yes in zip(batch, taken.tolist(), strict=True) if yes]
        report(first + len(batch), len(order))
    if not kept:
        raise UserError(
            f"the network takes none of {len(order)} training images for {classes[index]!r}: "
            "look at more by --images, or choose another --class"
        )
    inputs = torch.stack([sample.input for sample in kept])
    truths = tuple(called(sample.label, classes, _LONGEST).replace("_", " ") for sample in kept)
    return Decisions(classes[index], inputs, torch.full((len(kept),), index), truths, len(order))


def layer_names(model: nn.Module, inputs: Tensor, wanted: Iterable[str]) -> dict[str, str]:
    """Name of a layer -> what it is called here, for "deep", "middle", "shallow" and names of modules.

    Raises:
        InapplicableError: no layer of the network has a depth.
    """
    found: dict[str, str] = {}
    for one in wanted:
        layer = LAYERS[one].describe(model, inputs[:1].to(_device(model)))["layer"] if one in LAYERS else one
        found[layer] = f"{found[layer]}, {one}" if layer in found else one
    return found


def most_relevant(
    model: nn.Module, found: Decisions, layer: str, n_concepts: int, n_patches: int, report: Report
) -> list[Concept]:
    """The concepts of a layer that the decisions rest on, those of the largest share first.

    Raises:
        UserError: there is no such layer.
    """
    relevance = torch.cat([_concepts(model, layer, *batch) for batch in _batches(model, found, report)]).cpu()
    total = relevance.sum(0)
    among = torch.zeros_like(relevance).scatter(1, ranked(relevance)[:, :n_concepts], 1).sum(0)
    strongest = relevance.sort(dim=0, descending=True, stable=True).indices[:n_patches]
    return [
        Concept(
            layer=layer,
            channel=channel,
            share=float(total[channel] / total.sum()),
            n_top=int(among[channel]),
            of_top=n_concepts,
            strongest=tuple(strongest[:, channel].tolist()),
        )
        for channel in ranked(total[None])[0, :n_concepts].tolist()
    ]


def drawn(model: nn.Module, found: Decisions, concept: Concept, heading: str) -> ConceptRow:
    """A concept with its patches, each cropped to what the strongest neuron of its channel was moved by.

    The receptive field of a deep neuron is larger than the image. What counts is the part of it that the neuron's
    relevance goes back to: of the weight |a| of its heat map, 5 % are left out at each side.
    """
    chosen = list(concept.strongest)
    inputs, targets = (tensor[chosen].to(_device(model)) for tensor in (found.inputs, found.targets))
    channels = torch.full((len(chosen), 1), concept.channel, device=inputs.device)
    neurons = conditional(model, inputs, targets, concept.layer, channels, strongest=True)[:, 0].cpu()
    heat = conditional(model, inputs[:1], targets[:1], concept.layer, channels[:1])[0, 0].cpu()
    boxes = [window(neuron) for neuron in neurons]
    patches = [
        Patch(found.inputs[one, :, box.top : box.bottom, box.left : box.right].numpy(), found.truths[one])
        for one, box in zip(chosen, boxes, strict=True)
    ]
    often = f"top {concept.of_top} in {concept.n_top} of {len(found.inputs)}"
    title = f"channel {concept.channel}\n{concept.share:.1%} of the relevance\n{often}"
    return ConceptRow(heading, title, found.inputs[chosen[0]].numpy(), heat.numpy(), boxes[0], patches)


def window(heat: Tensor) -> Box:
    """The square part of an image that a heat map, (H, W), lies in but for a tail at each side; within the image.

    >>> heat = torch.zeros(12, 12)
    >>> heat[2:6, 7:10] = 1.0
    >>> window(heat)
    Box(top=2, left=6, bottom=6, right=10)
    >>> window(torch.zeros(12, 12))
    Box(top=0, left=0, bottom=12, right=12)
    """
    height, width = heat.shape
    (top, bottom), (left, right) = (_span(heat.abs().sum(dim)) for dim in (1, 0))
    shorter = min(height, width)
    side = min(shorter, max(bottom - top, right - left, round(_SMALLEST * shorter)))
    first_row = min(max((top + bottom - side) // 2, 0), height - side)
    first_column = min(max((left + right - side) // 2, 0), width - side)
    return Box(first_row, first_column, first_row + side, first_column + side)


def _span(weight: Tensor) -> tuple[int, int]:
    """From where to where a row of weights lies but for the tails; all of it where there is no weight."""
    total = weight.double().cumsum(0)
    if total[-1] == 0:
        return 0, len(weight)
    inside = (total > _TAIL * total[-1]) & (total - weight <= (1 - _TAIL) * total[-1])
    places = inside.nonzero()[:, 0]
    return int(places[0]), int(places[-1]) + 1


def _concepts(model: nn.Module, layer: str, inputs: Tensor, targets: Tensor) -> Tensor:
    try:
        return concepts(model, inputs, targets, layer)
    except ValueError as error:
        raise UserError(f"{error}; choose deep, middle, shallow or a convolution by its name") from error


def _batches(model: nn.Module, found: Decisions, report: Report) -> Iterator[tuple[Tensor, Tensor]]:
    device, n = _device(model), len(found.inputs)
    for first in range(0, n, _BATCH):
        part = slice(first, first + _BATCH)
        yield found.inputs[part].to(device), found.targets[part].to(device)
        report(min(first + _BATCH, n), n)


def _device(model: nn.Module) -> torch.device:
    return next(model.parameters()).device
