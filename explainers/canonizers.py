"""Canonization: the same function, written so that every step of it is a module that a rule can be given to.

LRP rules hang on modules. A sum of two branches written as `a + b`, a ReLU called as a function or a batch norm
that rescales what a convolution said have no module of their own or the wrong one, and rules then lose or
multiply relevance without a word. `canonized` traces the model (torch.fx) and rebuilds it:

- batch norm behind a convolution or linear layer is folded into it, its `eps` included;
- batch norm anywhere else becomes the channelwise 1 x 1 convolution that it is in eval mode;
- sums become zennit's `Sum`; functional ReLUs, pooling and flattening become modules, one a use, out of place.

The model itself is not touched: the rebuilt one shares its tensors, except where batch norm was folded.
"""

import copy
import operator
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import chain
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval
from zennit.layer import Sum

_SUMS = {operator.add, operator.iadd, torch.add, "add", "add_"}
_RELUS = {F.relu, torch.relu, torch.relu_, "relu", "relu_"}
_POOLS: dict[Any, Callable[..., nn.Module]] = {
    F.adaptive_avg_pool2d: nn.AdaptiveAvgPool2d,
    F.avg_pool2d: nn.AvgPool2d,
    F.max_pool2d: nn.MaxPool2d,
}
_SHAPES = {torch.flatten, torch.cat, torch.stack, "flatten", "view", "reshape", "size", getattr, operator.getitem}
"""What only moves values about: the gradient carries relevance through it unchanged."""

_WITH_RULE = (
    nn.Conv2d,
    nn.Linear,
    nn.ReLU,
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
        The rebuilt model: its logits are the model's, up to rounding. The names are those of the leading modules
        without parameters (normalization), through which relevance passes unchanged.

    Raises:
        NotCanonizableError: there is a step without a rule; the message names it.
    """
    shared = {id(tensor): tensor for tensor in chain(model.parameters(), model.buffers())}
    twin = copy.deepcopy(model, shared)
    graph = _trace(twin)
    rebuilt = fx.GraphModule(twin, graph)
    for node in list(graph.nodes):
        _give_module(rebuilt, node)
    _one_module_a_use(rebuilt)
    _fold_batch_norm(rebuilt)
    graph.eliminate_dead_code()
    rebuilt.delete_all_unused_submodules()
    preprocessing = _preprocessing(rebuilt)
    _check(rebuilt, preprocessing)
    rebuilt.recompile()
    return rebuilt.eval().requires_grad_(False), preprocessing


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


def _give_module(rebuilt: fx.GraphModule, node: fx.Node) -> None:
    """Replace a sum, a ReLU or a pooling that is called as a function by a module of its own."""
    if node.op not in ("call_function", "call_method"):
        return
    if node.target in _SUMS and all(isinstance(arg, fx.Node) for arg in node.args):
        with rebuilt.graph.inserting_before(node):
            stacked = rebuilt.graph.call_function(torch.stack, (list(node.args), -1))
        _put(rebuilt, node, Sum(), (stacked,))
    elif node.target in _RELUS:
        _put(rebuilt, node, nn.ReLU(), node.args[:1])
    elif node.target in _POOLS:
        settings = {name: value for name, value in node.kwargs.items() if name != "inplace"}
        _put(rebuilt, node, _POOLS[node.target](*node.args[1:], **settings), node.args[:1])


def _put(rebuilt: fx.GraphModule, node: fx.Node, module: nn.Module, args: tuple[Any, ...]) -> None:
    name = f"canonized_{node.name}"
    rebuilt.add_submodule(name, module)
    with rebuilt.graph.inserting_before(node):
        new = rebuilt.graph.call_module(name, args)
    node.replace_all_uses_with(new)
    rebuilt.graph.erase_node(node)


def _one_module_a_use(rebuilt: fx.GraphModule) -> None:
    """Give every further use of a module a copy of it (one ReLU used thrice), and compute nothing in place."""
    used: set[str] = set()
    for node in rebuilt.graph.nodes:
        if node.op != "call_module":
            continue
        module = rebuilt.get_submodule(node.target)
        if getattr(module, "inplace", False):
            module.inplace = False  # type: ignore[assignment]  # a flag, whatever the module
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
    if norm.running_mean is None or norm.running_var is None:
        raise NotCanonizableError("a batch norm without running statistics depends on the batch")
    channels = norm.num_features
    identity = nn.Conv2d(channels, channels, 1, groups=channels).to(norm.running_mean)
    nn.init.ones_(identity.weight)
    nn.init.zeros_(identity.bias)  # type: ignore[arg-type]  # it has one
    return fuse_conv_bn_eval(identity.eval(), norm)


def _preprocessing(rebuilt: fx.GraphModule) -> tuple[str, ...]:
    """The chain of modules from the input on that have no parameters and are not torch's own."""
    names = []
    for node in rebuilt.graph.nodes:
        if node.op == "placeholder":
            continue
        if node.op != "call_module":
            break
        module = rebuilt.get_submodule(node.target)
        if type(module).__module__.startswith("torch.nn") or any(True for _ in module.parameters()):
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


@contextmanager
def out_of_place(model: nn.Module) -> Iterator[None]:
    """Within: no module of the model computes in place, so that what hooks keep is not overwritten."""
    changed = [module for module in model.modules() if getattr(module, "inplace", False) is True]
    for module in changed:
        module.inplace = False  # type: ignore[assignment]  # a flag, whatever the module
    try:
        yield
    finally:
        for module in changed:
            module.inplace = True  # type: ignore[assignment]


def target_output(targets: Tensor) -> Callable[[Tensor], Tensor]:
    """Relevance to start from: the logit at the target, 0 elsewhere. (N,) targets -> function of (N, K) logits."""

    def at_target(logits: Tensor) -> Tensor:
        return logits * F.one_hot(targets, logits.shape[1]).to(logits)

    return at_target
