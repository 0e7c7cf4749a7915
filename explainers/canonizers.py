"""Canonization: the same function, written so that every step of it is a module that a rule can be given to.

LRP rules hang on modules. A sum of two branches written as `a + b`, a ReLU called as a function or a batch norm
that rescales what a convolution said have no module of their own or the wrong one, and rules then lose or
multiply relevance without a word. `canonized` takes the model as `rewriting` writes it down and goes further:

- batch norm behind a convolution or linear layer is folded into it, its `eps` included;
- batch norm anywhere else becomes the channelwise 1 x 1 convolution that it is in eval mode;
- sums become zennit's `Sum`;
- a step that no rule is known for is an answer too: the model cannot be canonized, and the message names the step.

The model itself is not touched: the rebuilt one shares its tensors, except where batch norm was folded.

Gradient methods that change what ReLUs hand back (guided backpropagation, DeepLIFT) need less, on more networks:
`one_module_a_use`.
"""

import operator
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx, nn
from torch._ops import OpOverload
from torchvision.transforms import Normalize, v2
from zennit.layer import Sum

from .folding import Fold, fold_batch_norm
from .remembering import Remembered
from .rewriting import VIEWS, put, rewritten
from .rewriting import NotCanonizableError as NotCanonizableError

_SUMS = {operator.add, operator.iadd, torch.add, "add", "add_"}
_SHAPES = VIEWS | {torch.cat, torch.stack, torch.broadcast_tensors, getattr, "size"}
"""What only moves values about: the gradient carries relevance through it unchanged."""

_WITH_RULE = (
    nn.Conv2d,
    nn.Linear,
    nn.ReLU,
    nn.ReLU6,
    nn.MaxPool2d,
    nn.AdaptiveMaxPool2d,
    nn.AvgPool2d,
    nn.AdaptiveAvgPool2d,
    nn.Dropout,
    nn.Dropout2d,
    nn.Identity,
    nn.Flatten,
    Sum,
)


def canonized(model: nn.Module) -> tuple[fx.GraphModule, tuple[str, ...]]:
    """The model rebuilt with a module for every step, and the names of the modules that only preprocess.

    The same object every time for a model that has not changed; its folded weights are computed anew at every
    call. Hooks set on it and all else that is changed there must be taken back; it is not for two threads at once.

    Args:
        model: In eval mode. Left as it is.

    Returns:
        The rebuilt model: its logits are the model's, up to rounding. The names are those of the leading
        normalizations, through which relevance passes unchanged.

    Raises:
        NotCanonizableError: there is a step without a rule; the message names it.
    """
    _check_traceable(model)
    with torch.inference_mode(False), torch.no_grad():
        made = _canonized(model)
        if isinstance(made, str):
            raise NotCanonizableError(made)
        for fold in made.folds:
            fold.refresh()
    return made.rebuilt, made.preprocessing


def one_module_a_use(model: nn.Module) -> fx.GraphModule:
    """The model with a module of its own for every activation and pooling, nothing in place; all else as it was.

    For methods that hook ReLUs: a functional ReLU becomes a module, one that serves thrice becomes three, and batch
    norm, sums and steps without a rule stay. As with `canonized`, it is the same object every time, shares the
    model's tensors (values changed in place are followed), is frozen and in eval mode, and whoever hooks it takes
    the hooks away again. The logits are the model's bit for bit.

    Raises:
        NotCanonizableError: the model's forward cannot be recorded (it branches on values, say).
    """
    _check_traceable(model)
    with torch.inference_mode(False), torch.no_grad():
        made = _one_module_a_use(model)
    if isinstance(made, str):
        raise NotCanonizableError(made)
    return made


def _check_traceable(model: nn.Module) -> None:
    """Graphs that hold operations, not modules, have nothing that a rule could hang on."""
    for name, module in model.named_modules():
        what = f"{name or 'the model'} is a graph of operations, not of modules"
        if isinstance(module, torch.jit.ScriptModule):
            raise NotCanonizableError(f"{what} (TorchScript): rules need the network that it was made from")
        if isinstance(module, fx.GraphModule) and any(isinstance(n.target, OpOverload) for n in module.graph.nodes):
            raise NotCanonizableError(f"{what} (torch.export): rules need the network that it was made from")


@dataclass(frozen=True, eq=False)
class _Canonized:
    rebuilt: fx.GraphModule
    preprocessing: tuple[str, ...]
    folds: tuple[Fold, ...]


def _canonize(model: nn.Module) -> _Canonized | str:
    """The rebuilt model, its folds still to be refreshed; or why there is none."""
    try:
        rebuilt = rewritten(model)
        for node in list(rebuilt.graph.nodes):
            if node.target in _SUMS and _is_sum_of_tensors(node):
                _give_sum(rebuilt, node)
        folds = fold_batch_norm(rebuilt)
        rebuilt.graph.eliminate_dead_code()
        rebuilt.delete_all_unused_submodules()
        preprocessing = _preprocessing(rebuilt, folds)
        _check(rebuilt, preprocessing)
    except NotCanonizableError as error:
        return str(error)
    rebuilt.recompile()
    return _Canonized(rebuilt.eval(), preprocessing, tuple(folds.values()))


def _rewrite(model: nn.Module) -> fx.GraphModule | str:
    try:
        rebuilt = rewritten(model)
    except NotCanonizableError as error:
        return str(error)
    rebuilt.recompile()
    return rebuilt


# State of this module, so that no trace is left on the model: entries go when their model goes or changes.
_canonized = Remembered(_canonize)
_one_module_a_use = Remembered(_rewrite)


def _is_sum_of_tensors(node: fx.Node) -> bool:
    """Not of a tensor and a number, and not weighted (`alpha` of torch.add)."""
    return len(node.args) == 2 and not node.kwargs and all(isinstance(arg, fx.Node) for arg in node.args)


def _give_sum(rebuilt: fx.GraphModule, node: fx.Node) -> None:
    with rebuilt.graph.inserting_before(node):
        branches = rebuilt.graph.call_function(torch.broadcast_tensors, node.args)
        stacked = rebuilt.graph.call_function(torch.stack, (branches, -1))
    put(rebuilt, node, Sum(), (stacked,))


def _preprocessing(rebuilt: fx.GraphModule, folds: dict[str, Fold]) -> tuple[str, ...]:
    """The chain of normalizations from the input on; no other transform keeps every pixel in its place.

    A batch norm on the pixels is one of them.
    """
    names = []
    for node in rebuilt.graph.nodes:
        if node.op == "placeholder" or node.target == "contiguous":
            continue
        if node.op != "call_module":
            break
        norm_alone = node.target in folds and folds[node.target].linear is None
        if not norm_alone and not isinstance(rebuilt.get_submodule(node.target), Normalize | v2.Normalize):
            break
        names.append(str(node.target))
    return tuple(names)


def _check(rebuilt: fx.GraphModule, preprocessing: tuple[str, ...]) -> None:
    """Raise where a step has no rule: the first by its place, further kinds of steps by what they are."""
    missing: dict[str, str] = {}
    for node in rebuilt.graph.nodes:
        if node.op == "call_module":
            module = rebuilt.get_submodule(node.target)
            known = isinstance(module, _WITH_RULE) or node.target in preprocessing
            what, place = type(module).__name__, f" {node.target}"
        else:
            known = node.op not in ("call_function", "call_method") or node.target in _SHAPES
            what, place = getattr(node.target, "__name__", str(node.target)), _owner(node)
        if not known:
            missing.setdefault(what, place)
    if missing:
        (first, place), *others = missing.items()
        rest = f", nor for {', '.join(what for what, _ in others)}" if others else ""
        raise NotCanonizableError(f"no rule for {first}{place}{rest}")


def _owner(node: fx.Node) -> str:
    """The module in whose forward a function is called, as far as it has a name."""
    stack: dict[str, Any] = node.meta.get("nn_module_stack") or {}
    if not stack:
        return ""
    name, (_, kind) = list(stack.items())[-1]
    return f" in {getattr(kind, '__name__', kind)} {name}".rstrip()
