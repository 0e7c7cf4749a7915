"""Concept relevance propagation: LRP through chosen channels of one layer only, each channel taken for a concept.

Relevance is handed back as in `lrp` as far as a layer. There the relevance of a channel, summed over the pixels of its
map, tells how much the concept counts in this decision; handed on from that channel alone, it tells where.

Where there is a way round the layer, a shortcut, some of the relevance takes it, and none of that belongs to a concept.
LRP conditioned on a channel, less LRP conditioned on no channel at all, leaves it out. Given the activations, going
back is linear in the relevance, so that the difference is what comes of starting at the layer with the relevance
found there, 0 in all other channels: that is how it is done here, in half the time. Summed over all channels, the maps
are the relevance that goes through the layer; of a layer without a way round it, they are the map of plain LRP.
docs/concepts.md has the figures.

Achtibat et al., From attribution maps to human-understandable explanations through concept relevance propagation,
Nature Machine Intelligence 2023.
"""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, fx, nn

from .base import Explainer
from .bottlenecks import Recorder, bottlenecks, called, nearest, step_called
from .canonizers import canonized
from .lrp import LRP, LRPEpsilonPlusFlat

AT_ONCE = 32
"""Maps, images times concepts, that `conditional` goes back for at a time: it bounds the memory."""

_LRP = LRPEpsilonPlusFlat()


@dataclass(frozen=True)
class CRP(Explainer):
    """The heat maps of the concepts that matter most for the decision, summed; of a layer that all of it goes through.

    They are the `n_concepts` channels with the largest relevance, signed; where the logit is negative, so that the
    decision is against the class, with the most negative one. Of equal ones the lower channel comes first. The layer is
    a bottleneck (as `bottlenecks` has it) chosen by its depth, and `describe` names it. The map sums to what these
    concepts contribute, less what biases below the layer keep. Costs as much as LRP.
    """

    on_request: ClassVar[bool] = True

    depth: float = 1.0
    """Of the layer, as a part of the deepest one's: the bottleneck nearest to it is taken, of two the shallower."""
    n_concepts: int = 5
    base: LRP = _LRP
    """By whose rules relevance is handed back."""

    def attribute(self, model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        with _at_layer(self.base, model, inputs, targets, self.depth) as flow:
            by_channel = flow.by_channel()
            chosen = ranked(by_channel)[:, : self.n_concepts]
            kept = torch.zeros_like(by_channel).scatter(1, chosen, 1)
            return flow.back(flow.relevance * kept[..., None, None]).sum(1, keepdim=True)

    def inapplicable(self, model: nn.Module) -> str | None:
        if reason := self.base.inapplicable(model):
            return reason
        return None if bottlenecks(canonized(model)[0]) else "there is a way round every feature map of the model"

    def describe(self, model: nn.Module, inputs: Tensor) -> dict[str, str]:
        rebuilt, _ = canonized(model)
        recorder = Recorder(rebuilt, _candidates(rebuilt, self.depth))
        with torch.no_grad():
            recorder.run(inputs[:1].detach())
        return {"layer": called(rebuilt, _chosen(rebuilt, self.depth, recorder.maps))}


def concepts(model: nn.Module, inputs: Tensor, targets: Tensor, layer: str, base: LRP = _LRP) -> Tensor:
    """How much each channel of a layer counts in each decision.

    Args:
        model, inputs, targets: As explainers take them.
        layer: The name of a module of the model that puts out (N, C, h, w) maps, or what `CRP.describe` says.
        base: By whose rules relevance is handed back.

    Returns:
        (N, C): the relevance that goes through each channel, in the unit of the logit; positive speaks for the class.
        What goes round the layer is not in it.

    Raises:
        ValueError: there is no such layer, or it puts out something else.
        NotCanonizableError: the model has a step without a rule.
    """
    with _at_layer(base, model, inputs, targets, layer) as flow:
        return flow.by_channel()


def conditional(
    model: nn.Module,
    inputs: Tensor,
    targets: Tensor,
    layer: str,
    channels: Tensor,
    base: LRP = _LRP,
    strongest: bool = False,
) -> Tensor:
    """The heat map of each concept: what goes back from one channel of a layer alone.

    Args:
        model, inputs, targets, layer, base: As `concepts` takes them.
        channels: (N, k) int64, of each image the channels that are asked about.
        strongest: Of each channel only the neuron with the largest relevance, the first of equal ones.

    Returns:
        (N, k, H, W): a map for each image and channel, signed, summed over the colours.

    Raises:
        ValueError: as `concepts` does, or `channels` are of another shape or type or out of range.
        NotCanonizableError: the model has a step without a rule.
    """
    if channels.ndim != 2 or len(channels) != len(inputs) or channels.dtype != torch.int64:
        raise ValueError(f"channels are ({len(inputs)}, k) int64, not {tuple(channels.shape)} {channels.dtype}")
    with _at_layer(base, model, inputs, targets, layer) as flow:
        n_channels = flow.relevance.shape[1]
        if channels.numel() and not 0 <= int(channels.min()) <= int(channels.max()) < n_channels:
            raise ValueError(f"{layer} has the channels 0 to {n_channels - 1}, not {channels.tolist()}")
        part = max(1, AT_ONCE // max(1, len(inputs)))
        maps = [flow.back_each(flow.of_channels(some, strongest)) for some in torch.split(channels, part, dim=1)]
        return torch.cat(maps).sum(2).transpose(0, 1)


def ranked(relevance: Tensor) -> Tensor:
    """The channels by their share of the relevance that goes through the layer, the largest first.

    Where that is negative in all, the class being spoken against, negative channels have the positive shares.

    Args:
        relevance: (N, C) as `concepts` gives it.

    Returns:
        (N, C) int64 channels; of equal ones the lower comes first.
    """
    direction = torch.where(relevance.sum(1, keepdim=True) < 0, -1, 1)
    return (direction * relevance).sort(dim=1, descending=True, stable=True).indices


class _Flow:
    """The relevance of decisions as far as a layer, and the way on to the pixels."""

    def __init__(self, relevance: Tensor, maps: Tensor, pixels: Tensor) -> None:
        self.relevance = relevance
        """(N, C, h, w), that goes through each neuron of the layer."""
        self._maps, self._pixels = maps, pixels

    def by_channel(self) -> Tensor:
        """(N, C)"""
        return self.relevance.sum((2, 3))

    def of_channels(self, channels: Tensor, strongest: bool = False) -> Tensor:
        """(N, k) channels -> (k, N, C, h, w): the relevance of each, or of its strongest neuron, 0 elsewhere."""
        rows = torch.arange(len(channels), device=channels.device)
        only = torch.zeros(channels.shape[1], *self.relevance.shape).to(self.relevance)
        for place, of_images in enumerate(channels.unbind(1)):
            chosen = self.relevance[rows, of_images]
            if strongest:
                neurons = torch.arange(chosen[0].numel(), device=channels.device).view_as(chosen[0])
                first = chosen.flatten(1).argmax(1)
                chosen = chosen * (neurons == first[:, None, None])
            only[place, rows, of_images] = chosen
        return only

    def back(self, relevance: Tensor) -> Tensor:
        """(N, C, h, w) relevance at the layer -> (N, 3, H, W) at the pixels."""
        return torch.autograd.grad(self._maps, self._pixels, relevance, retain_graph=True)[0]

    def back_each(self, relevance: Tensor) -> Tensor:
        """The same of (k, N, C, h, w) -> (k, N, 3, H, W), in one batch."""
        return torch.autograd.grad(self._maps, self._pixels, relevance, retain_graph=True, is_grads_batched=True)[0]


@contextmanager
def _at_layer(base: LRP, model: nn.Module, inputs: Tensor, targets: Tensor, layer: str | float) -> Iterator[_Flow]:
    """Relevance handed back as far as a layer, which is named or found by its depth."""
    rebuilt, composite = base.ruled(model, inputs)
    assert isinstance(rebuilt, fx.GraphModule), "made by `canonized`"
    with torch.enable_grad(), composite.context(rebuilt):
        pixels = inputs.detach().clone().requires_grad_()
        recorder = Recorder(rebuilt, _candidates(rebuilt, layer))
        logits = recorder.run(pixels)
        maps = recorder.maps[_chosen(rebuilt, layer, recorder.maps)]
        start = base.start(logits, targets).detach()
        yield _Flow(torch.autograd.grad(logits, maps, start, retain_graph=True)[0], maps, pixels)


def _candidates(rebuilt: fx.GraphModule, layer: str | float) -> Collection[fx.Node]:
    return [step_called(rebuilt, layer)] if isinstance(layer, str) else bottlenecks(rebuilt)


def _chosen(rebuilt: fx.GraphModule, layer: str | float, maps: Mapping[fx.Node, Tensor]) -> fx.Node:
    """Of the candidates, whose maps are known by now."""
    if not isinstance(layer, str):
        return nearest(bottlenecks(rebuilt), maps, layer)
    ((step, found),) = maps.items()
    if not isinstance(found, Tensor) or found.ndim != 4:
        raise ValueError(f"{layer} puts out no (N, C, h, w) maps: concepts are channels of such")
    return step


crp_deep = CRP(depth=1.0)
crp_middle = CRP(depth=2 / 3)
crp_shallow = CRP(depth=1 / 3)
