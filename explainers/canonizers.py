"""Canonization: the same function, written so that every step of it is a module that a rule can be given to.

LRP rules hang on modules. A sum of two branches written as `a + b`, a ReLU called as a function or a batch norm
that rescales what a convolution said have no module of their own or the wrong one, and rules then lose or
multiply relevance without a word. `canonized` traces the model (torch.fx) and rebuilds it:

- batch norm behind a convolution or linear layer is folded into it, its `eps` included;
- batch norm anywhere else becomes the channelwise 1 x 1 convolution that it is in eval mode;
- sums become zennit's `Sum`; functional ReLUs and pooling become modules, one a use;
- nothing is computed in place: what comes after a step that overwrote its input takes that step's output.

The model itself is not touched: the rebuilt one shares its tensors, except where batch norm was folded.
"""

import copy
import operator
from collections.abc import Callable
from itertools import chain
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from torch._ops import OpOverload
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_conv_bn_weights, fuse_linear_bn_eval
from torchvision.transforms import Normalize, v2
from zennit.layer import Sum

_SUMS = {operator.add, operator.iadd, torch.add, "add", "add_"}
_RELUS = {F.relu, torch.relu, torch.relu_, "relu", "relu_"}
_POOLS: dict[Any, Callable[..., nn.Module]] = {
    F.adaptive_avg_pool2d: nn.AdaptiveAvgPool2d,
    F.avg_pool2d: nn.AvgPool2d,
    F.max_pool2d: nn.MaxPool2d,
}
_IN_PLACE = {operator.iadd, torch.relu_, "add_", "relu_"}
_SHAPES: set[Any] = {torch.flatten, torch.cat, torch.stack, torch.broadcast_tensors, getattr, operator.getitem}
_SHAPES |= {"flatten", "view", "reshape", "size", "contiguous"}
"""What only moves values about: the gradient carries relevance through it unchanged."""

_WITH_RULE = (
    nn.Conv2d,
    nn.Linear,
    nn.ReLU,
    nn.ReLU6,
    nn.MaxPool2d,
    nn.AvgPool2d,
    nn.AdaptiveAvgPool2d,
    nn.Dropout,
    nn.Dropout2d,
    nn.Identity,
    nn.Flatten,
    Sum,
)


class NotCanonizableError(ValueError):
    """The model has a step without a rule, or cannot be traced; the message says which."""


def canonized(model: nn.Module) -> tuple[fx.GraphModule, tuple[str, ...]]:
    """The model rebuilt with a module for every step, and the names of the modules that only preprocess.

    Args:
        model: In eval mode. Left as it is.

    Returns:
        The rebuilt model: its logits are the model's, up to rounding. The names are those of the leading
        normalizations, through which relevance passes unchanged.

    Raises:
        NotCanonizableError: there is a step without a rule; the message names it.
    """
    _check_traceable(model)
    twin = _twin(model)
    graph = _trace(twin)
    rebuilt = fx.GraphModule(twin, graph)
    _compute_out_of_place(rebuilt)
    for node in list(graph.nodes):
        _give_module(rebuilt, node)
    _one_module_a_use(rebuilt)
    _fold_batch_norm(rebuilt)
    graph.eliminate_dead_code()
    rebuilt.delete_all_unused_submodules()
    preprocessing = _preprocessing(rebuilt)
    _check(rebuilt, preprocessing)
    rebuilt.recompile()
    return rebuilt.eval(), preprocessing


def _check_traceable(model: nn.Module) -> None:
    """Graphs that hold operations, not modules, have nothing that a rule could hang on."""
    for name, module in model.named_modules():
        what = f"{name or 'the model'} is a graph of operations, not of modules"
        if isinstance(module, torch.jit.ScriptModule):
            raise NotCanonizableError(f"{what} (TorchScript): rules need the network that it was made from")
        if isinstance(module, fx.GraphModule) and any(isinstance(n.target, OpOverload) for n in module.graph.nodes):
            raise NotCanonizableError(f"{what} (torch.export): rules need the network that it was made from")


def _twin(model: nn.Module) -> nn.Module:
    """The model once more, frozen, on the same memory."""
    shared: dict[int, Any] = {id(buffer): buffer for buffer in model.buffers()}
    shared |= {id(parameter): nn.Parameter(parameter.detach(), False) for parameter in model.parameters()}
    return copy.deepcopy(model, shared)


class _Tracer(fx.Tracer):
    """Steps into the model's own modules, not into those of torch and torchvision's transforms."""

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
        in_place = node.target in _IN_PLACE or node.kwargs.get("inplace", False)
        if node.op == "call_module":
            module = rebuilt.get_submodule(str(node.target))
            in_place = getattr(module, "inplace", False)
        if in_place:
            overwritten = node.all_input_nodes[0]
            overwritten.replace_all_uses_with(node, lambda user, place=place: order[user] > place)
    for module in rebuilt.modules():
        if getattr(module, "inplace", False):
            module.inplace = False  # type: ignore[assignment]  # a flag, whatever the module


def _give_module(rebuilt: fx.GraphModule, node: fx.Node) -> None:
    """Replace a sum, a ReLU or a pooling that is called as a function by a module of its own."""
    if node.op not in ("call_function", "call_method"):
        return
    if node.target in _SUMS and _is_sum_of_tensors(node):
        with rebuilt.graph.inserting_before(node):
            branches = rebuilt.graph.call_function(torch.broadcast_tensors, node.args)
            stacked = rebuilt.graph.call_function(torch.stack, (branches, -1))
        _put(rebuilt, node, Sum(), (stacked,))
    elif node.target in _RELUS:
        _put(rebuilt, node, nn.ReLU(), node.args[:1])
    elif node.target is F.relu6:
        _put(rebuilt, node, nn.ReLU6(), node.args[:1])
    elif node.target is F.dropout and node.kwargs["training"] is False:
        _put(rebuilt, node, nn.Identity(), node.args[:1])
    elif node.target in _POOLS:
        settings = {name: value for name, value in node.kwargs.items() if name != "inplace"}
        _put(rebuilt, node, _POOLS[node.target](*node.args[1:], **settings), node.args[:1])


def _is_sum_of_tensors(node: fx.Node) -> bool:
    """Not of a tensor and a number, and not weighted (`alpha` of torch.add)."""
    return len(node.args) == 2 and not node.kwargs and all(isinstance(arg, fx.Node) for arg in node.args)


def _put(rebuilt: fx.GraphModule, node: fx.Node, module: nn.Module, args: tuple[Any, ...]) -> None:
    name = f"canonized_{node.name}"
    rebuilt.add_submodule(name, module)
    with rebuilt.graph.inserting_before(node):
        new = rebuilt.graph.call_module(name, args)
    node.replace_all_uses_with(new)
    rebuilt.graph.erase_node(node)


def _one_module_a_use(rebuilt: fx.GraphModule) -> None:
    """Give every further use of a module a copy of it (one ReLU used thrice)."""
    used: set[str] = set()
    for node in rebuilt.graph.nodes:
        if node.op != "call_module":
            continue
        module = rebuilt.get_submodule(node.target)
        if node.target in used:
            name = f"canonized_{node.name}"
            shared = {id(tensor): tensor for tensor in chain(module.parameters(), module.buffers())}
            rebuilt.add_submodule(name, copy.deepcopy(module, shared))
            node.target = name
        used.add(node.target)


def _fold_batch_norm(rebuilt: fx.GraphModule) -> None:
    for node in list(rebuilt.graph.nodes):
        if node.op != "call_module":
            continue
        norm = rebuilt.get_submodule(node.target)
        if not isinstance(norm, nn.BatchNorm2d | nn.BatchNorm1d):
            continue
        if norm.running_mean is None:
            raise NotCanonizableError(f"batch norm {node.target} has no running statistics: it depends on the batch")
        before = node.args[0]
        linear = rebuilt.get_submodule(before.target) if before.op == "call_module" else None
        if len(before.users) == 1 and isinstance(linear, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
            rebuilt.set_submodule(before.target, fuse_conv_bn_eval(linear, norm))
        elif len(before.users) == 1 and isinstance(linear, nn.Linear):
            rebuilt.set_submodule(before.target, fuse_linear_bn_eval(linear, norm))
        elif isinstance(norm, nn.BatchNorm2d):
            rebuilt.set_submodule(node.target, as_convolution(norm))
            continue
        else:
            raise NotCanonizableError(f"batch norm {node.target} has no linear layer before it")
        node.replace_all_uses_with(before)
        rebuilt.graph.erase_node(node)


def as_convolution(norm: nn.BatchNorm2d) -> nn.Conv2d:
    """The channelwise 1 x 1 convolution that a batch norm is in eval mode."""
    channels, mean, variance = norm.num_features, norm.running_mean, norm.running_var
    if mean is None or variance is None:
        raise NotCanonizableError("a batch norm without running statistics depends on the batch")
    # On the meta device nothing is initialised, which would draw from the global random state.
    convolution = nn.Conv2d(channels, channels, 1, groups=channels, device="meta")
    ones = torch.ones_like(mean)[:, None, None, None]
    convolution.weight, convolution.bias = fuse_conv_bn_weights(
        ones, None, mean, variance, norm.eps, norm.weight, norm.bias
    )
    return convolution


def _preprocessing(rebuilt: fx.GraphModule) -> tuple[str, ...]:
    """The chain of normalizations from the input on; no other transform keeps every pixel in its place."""
    names = []
    for node in rebuilt.graph.nodes:
        if node.op == "placeholder" or node.target == "contiguous":
            continue
        if node.op != "call_module":
            break
        if not isinstance(rebuilt.get_submodule(node.target), Normalize | v2.Normalize):
            break
        names.append(str(node.target))
    return tuple(names)


def _check(rebuilt: fx.GraphModule, preprocessing: tuple[str, ...]) -> None:
    for node in rebuilt.graph.nodes:
        if node.op == "call_module":
            module = rebuilt.get_submodule(node.target)
            known = isinstance(module, _WITH_RULE) or node.target in preprocessing
            what = f"{type(module).__name__} {node.target}"
        else:
            known = node.op not in ("call_function", "call_method") or node.target in _SHAPES
            what = getattr(node.target, "__name__", str(node.target))
        if not known:
            raise NotCanonizableError(f"no rule for {what}")


def target_output(targets: Tensor) -> Callable[[Tensor], Tensor]:
    """Relevance to start from: the logit at the target, 0 elsewhere. (N,) targets -> function of (N, K) logits."""

    def at_target(logits: Tensor) -> Tensor:
        return logits * F.one_hot(targets, logits.shape[1]).to(logits)

    return at_target
