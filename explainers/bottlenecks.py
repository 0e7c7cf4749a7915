"""The layers of a network that all of a decision goes through, and what they are called.

A bottleneck is a step of the canonized model without a way round it, shortcut or branch: in a VGG every layer, in a
ResNet the ReLU behind the sum of each block, in a DenseNet what a block hands on, in an Inception or SqueezeNet the
concatenation of branches. It counts here where it puts out feature maps behind the first convolution and a layer with
weights reads them: so the maps of a last convolution that are the logits, averaged, do not.

Its depth is the number of layers with weights on the longest way from the pixels up to it. Of several steps of one
depth (convolution, sum, ReLU, concatenation) the last one counts; pooling and what only moves values do not.
"""

from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch import Tensor, fx, nn
from zennit.layer import Sum

from .base import InapplicableError
from .rules import depths, sources

_COMPUTES = (nn.Conv2d, nn.ReLU, nn.ReLU6, Sum)


def bottlenecks(rebuilt: fx.GraphModule) -> dict[fx.Node, int]:
    """The bottlenecks of a canonized model with their depths, from the pixels to the logits; one a depth.

    Whether what they put out has more than one pixel depends on the images: that is not looked at.
    """
    depth = depths(rebuilt)
    steps = _on_the_way(rebuilt)
    place = {step: number for number, step in enumerate(steps)}
    by_depth: dict[int, fx.Node] = {}
    last_use = {source: place[step] for step in steps for source in sources(step)}
    reached = 0  # the furthest step that takes something from before this one
    for step in steps[:-1]:
        if step.op == "call_module" and isinstance(rebuilt.get_submodule(str(step.target)), nn.Linear):
            break  # all that comes behind it are features without a place
        if reached <= place[step] and 0 < depth[step] < depth[steps[-1]] and _puts_out_maps(rebuilt, step):
            by_depth[depth[step]] = step
        reached = max(reached, last_use[step])
    return {step: n for n, step in by_depth.items()}


def nearest(found: Mapping[fx.Node, int], maps: Mapping[fx.Node, Tensor], part: float) -> fx.Node:
    """The bottleneck whose depth is nearest to a part of the deepest one's; of two as near, the shallower.

    Args:
        found: Bottlenecks and their depths.
        maps: What they put out; those of a single pixel do not count.
        part: Of the depth of the deepest one: 0 < part <= 1.

    Raises:
        InapplicableError: none has more than one pixel.
    """
    spatial = {node: n for node, n in found.items() if maps[node].ndim == 4 and maps[node].shape[2:].numel() > 1}
    if not spatial:
        raise InapplicableError("the model has no layer of more than one pixel that all of the decision goes through")
    deepest = max(spatial.values())
    return min(spatial, key=lambda node: (abs(spatial[node] - part * deepest), spatial[node]))


def called(rebuilt: fx.GraphModule, step: fx.Node) -> str:
    """The outermost module whose last step it is; of what is called as a function, where: `network.relu()`."""
    last = {name: other for other in rebuilt.graph.nodes for name in _within(other)}
    return next((name for name in _within(step) if last[name] is step), _as_function(step))


def step_called(rebuilt: fx.GraphModule, name: str) -> fx.Node:
    """The last step of the module of that name, or the function that `called` names so.

    Raises:
        ValueError: there is neither.
    """
    steps: list[fx.Node] = [step for step in rebuilt.graph.nodes if name in (_as_function(step), *_within(step))]
    if not steps:
        raise ValueError(f"the canonized model has no layer {name!r}")
    return steps[-1]


class Recorder(fx.Interpreter):
    """Runs a canonized model and keeps what some of its steps put out."""

    def __init__(self, rebuilt: fx.GraphModule, wanted: Collection[fx.Node]) -> None:
        super().__init__(rebuilt)
        self.wanted = wanted
        self.maps: dict[fx.Node, Tensor] = {}

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        if n in self.wanted:
            self.maps[n] = value
        return value


def _within(step: fx.Node) -> list[str]:
    """The modules in whose forward a step is, from the outermost on; a second use of one is `name@1`."""
    return list(step.meta.get("nn_module_stack") or ())


def _as_function(step: fx.Node) -> str:
    return ".".join([*_within(step)[-1:], f"{step.name.removeprefix('canonized_')}()"])


def _on_the_way(rebuilt: fx.GraphModule) -> list[fx.Node]:
    """The steps that the logits are computed from, in their order; not those that compute sizes."""
    output = next(node for node in rebuilt.graph.nodes if node.op == "output")
    found, left = {output}, [output]
    while left:
        new = [node for node in sources(left.pop()) if node not in found]
        found.update(new)
        left += new
    return [node for node in rebuilt.graph.nodes if node in found]


def _puts_out_maps(rebuilt: fx.GraphModule, node: fx.Node) -> bool:
    """Whether it computes something, rather than to pool or to move."""
    if node.op == "call_module":
        return isinstance(rebuilt.get_submodule(str(node.target)), _COMPUTES)
    return node.target is torch.cat
