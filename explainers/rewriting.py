"""A model rewritten (torch.fx) so that every step is a module of its own and nothing is computed in place.

Rules and hooks hang on modules. A ReLU that is called as a function has none, one that serves three steps has one
for all of them, and one in place overwrites what another step still needs. In the rewritten model activations and
pooling are modules, one a use, out of place. The model is not touched: the rewritten one is made of copies of its
modules on the same memory.
"""

import copy
from collections.abc import Callable
from itertools import chain
from operator import getitem, iadd
from typing import Any

import torch
import torch.nn.functional as F
from torch import fx, nn
from torchvision.ops import stochastic_depth

RELUS = {F.relu, torch.relu, torch.relu_, "relu", "relu_"}
POOLS: dict[Any, Callable[..., nn.Module]] = {
    F.adaptive_avg_pool2d: nn.AdaptiveAvgPool2d,
    F.adaptive_max_pool2d: nn.AdaptiveMaxPool2d,
    F.avg_pool2d: nn.AvgPool2d,
    F.max_pool2d: nn.MaxPool2d,
}
IN_PLACE = {iadd, torch.relu_, "add_", "relu_"}
VIEWS: set[Any] = {torch.flatten, torch.chunk, torch.split, torch.squeeze, torch.unsqueeze, torch.permute, getitem}
VIEWS |= {"flatten", "view", "reshape", "chunk", "split", "squeeze", "unsqueeze", "permute", "transpose", "contiguous"}
DROPOUTS = {F.dropout, F.dropout2d, stochastic_depth}
SPATIAL = {(2, 3), (3, 2), (-2, -1), (-1, -2)}


class NotCanonizableError(ValueError):
    """The model's forward cannot be written down as a graph, or has a step without a rule; the message says which."""


def rewritten(model: nn.Module) -> fx.GraphModule:
    """The model with a module of its own for every activation and pooling, nothing in place, in eval mode, frozen.

    Batch norm, sums and steps that torch.fx can record but that have no module stay what they were.

    Raises:
        NotCanonizableError: the model's forward cannot be recorded.
    """
    if "forward" in vars(model):  # torch.fx would record that of its class
        raise NotCanonizableError("the model cannot be traced (its forward was replaced on the object)")
    twin = _twin(model)
    rebuilt = fx.GraphModule(twin, _trace(twin))
    _compute_out_of_place(rebuilt)
    for node in list(rebuilt.graph.nodes):
        if node.op in ("call_function", "call_method"):
            _give_module(rebuilt, node)
    _one_module_a_use(rebuilt)
    return rebuilt.eval()


def put(rebuilt: fx.GraphModule, node: fx.Node, module: nn.Module, args: tuple[Any, ...]) -> fx.Node:
    """Let a module, called with these arguments, take the place of a node; returns the module's node."""
    name = f"canonized_{node.name}"
    rebuilt.add_submodule(name, module)
    with rebuilt.graph.inserting_before(node):
        new = rebuilt.graph.call_module(name, args)
    new.meta = dict(node.meta)  # the module in whose forward it is called
    node.replace_all_uses_with(new)
    rebuilt.graph.erase_node(node)
    return new


def _twin(model: nn.Module) -> nn.Module:
    """The model once more, frozen, on the same memory (tensors of inference mode are copied: autograd has no use
    for them)."""
    shared: dict[int, Any] = {}
    for tensor in chain(model.parameters(), model.buffers()):
        own = tensor.detach().clone() if tensor.is_inference() else tensor.detach()
        shared[id(tensor)] = nn.Parameter(own, False) if isinstance(tensor, nn.Parameter) else own
    try:
        return copy.deepcopy(model, shared)
    except RuntimeError as error:  # a tensor that is computed from others, as weight norm's
        raise NotCanonizableError(f"the model cannot be copied ({str(error).splitlines()[0]})") from error


class _Tracer(fx.Tracer):
    """Steps into the model's own modules, not into those of torch and torchvision's transforms."""

    proxy_buffer_attributes = True
    """What a forward computes from a buffer is part of the graph, not a number of the moment."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return super().is_leaf_module(m, module_qualified_name) or type(m).__module__.startswith(
            "torchvision.transforms"
        )


def _trace(model: nn.Module) -> fx.Graph:
    try:
        return _Tracer().trace(model)
    except Exception as error:  # tracing runs the model's own code: it may raise anything
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise NotCanonizableError(f"the model's forward cannot be traced ({reason})") from error


def _compute_out_of_place(rebuilt: fx.GraphModule) -> None:
    """Let what comes after a step in place take its output, where it took the input that was overwritten."""
    order = {node: place for place, node in enumerate(rebuilt.graph.nodes)}
    for node, place in order.items():
        in_place = node.target in IN_PLACE or node.kwargs.get("inplace", False)
        if node.op == "call_module":
            in_place = getattr(rebuilt.get_submodule(str(node.target)), "inplace", False)
        if in_place:
            overwritten = node.all_input_nodes[0]
            if any(order[user] > place for view in _views(overwritten) for user in view.users):
                raise NotCanonizableError(f"{node.name} computes in place on a part of what is used later")
            overwritten.replace_all_uses_with(node, lambda user, place=place: order[user] > place)
    for module in rebuilt.modules():
        if getattr(module, "inplace", False):
            module.inplace = False  # type: ignore[assignment]  # a flag, whatever the module


def _views(node: fx.Node) -> set[fx.Node]:
    """The nodes whose output may lie in the same memory, the node itself left out."""
    found, left = {node}, [node]
    while left:
        one = left.pop()
        near = [user for user in one.users if user.target in VIEWS]
        near += one.all_input_nodes[:1] if one.target in VIEWS else []
        left += [other for other in near if other not in found]
        found.update(near)
    return found - {node}


def _give_module(rebuilt: fx.GraphModule, node: fx.Node) -> None:
    """Replace an activation or a pooling that is called as a function by a module of its own."""
    tensor = node.args[:1]
    if node.target in RELUS:
        put(rebuilt, node, nn.ReLU(), tensor)
    elif node.target is F.relu6:
        put(rebuilt, node, nn.ReLU6(), tensor)
    elif node.target in DROPOUTS and node.kwargs.get("training", node.args[3:4]) in (False, (False,)):
        put(rebuilt, node, nn.Identity(), tensor)
    elif node.target in POOLS:
        settings = {name: value for name, value in node.kwargs.items() if name != "inplace"}
        put(rebuilt, node, POOLS[node.target](*node.args[1:], **settings), tensor)
    elif node.target in (torch.mean, "mean") and _is_over_pixels(node):
        mean = put(rebuilt, node, nn.AdaptiveAvgPool2d(1), tensor)
        if not node.kwargs.get("keepdim", node.args[2:3] == (True,)):
            _flatten(rebuilt, mean)


def _is_over_pixels(node: fx.Node) -> bool:
    dims = node.kwargs.get("dim", node.args[1] if len(node.args) > 1 else None)
    return isinstance(dims, list | tuple) and tuple(dims) in SPATIAL and "dtype" not in node.kwargs


def _flatten(rebuilt: fx.GraphModule, node: fx.Node) -> None:
    with rebuilt.graph.inserting_after(node):
        flat = rebuilt.graph.call_function(torch.flatten, (node, 1))
    node.replace_all_uses_with(flat, lambda user: user is not flat)


def _one_module_a_use(rebuilt: fx.GraphModule) -> None:
    """Give every further use of a module a copy of it (one ReLU used thrice)."""
    used: set[int] = set()
    for node in rebuilt.graph.nodes:
        if node.op != "call_module":
            continue
        module = rebuilt.get_submodule(node.target)
        if id(module) in used:  # also where one module has two names
            name = f"canonized_{node.name}"
            shared = {id(tensor): tensor for tensor in chain(module.parameters(), module.buffers())}
            module = copy.deepcopy(module, shared)
            rebuilt.add_submodule(name, module)
            node.target = name
        used.add(id(module))
