"""Which feature maps a network has: watched while it runs, so any way of writing it will do.

A feature map is a (N, C, h, w) tensor of more than one pixel that a step behind the first convolution puts out.
Pooling, dropout and what only moves values about put out none: behind them the maps before them still count. Nor do
steps between two permutations, which work on (N, h, w, C) tensors. A map that a step in place overwrites counts as
what became of it.

- The last feature map is the one that is put out last: the ReLU before the last pooling of a VGG, the ReLU behind the
  sum of a ResNet's last block, the ReLU (or its like) behind the last norm of a DenseNet.
- A stage is one resolution. Its map is the last one put out there by the outermost module that does so: a block
  rather than a layer within the next block that is about to halve the resolution. That of the resolution of the last
  feature map is the last feature map.

Watching every step costs a tenth of a small network's forward pass, so where a chosen map is a module's output, the
next pass of the same model begins its graph there instead (`beginning_at`).
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.hooks import RemovableHandle

from .base import InapplicableError

_CONVOLUTIONS: set[Any] = {torch.conv2d, F.conv2d}
_PERMUTATIONS: set[Any] = {torch.permute, Tensor.permute}
_NO_MAPS: set[Any] = _PERMUTATIONS | {
    *(F.max_pool2d, torch.max_pool2d, F.avg_pool2d, F.lp_pool2d, F.adaptive_avg_pool2d, F.adaptive_max_pool2d),
    *(F.dropout, F.dropout2d, F.feature_alpha_dropout, torch.dropout, torch.dropout_),
    *(torch.transpose, Tensor.transpose, Tensor.contiguous, Tensor.to, Tensor.float, Tensor.double),
    *(torch.reshape, Tensor.reshape, Tensor.view, torch.clone, Tensor.clone, Tensor.detach, F.channel_shuffle),
}
"""Steps that make no feature map of their own."""


@dataclass(frozen=True)
class FeatureMap:
    """What a step put out, and which."""

    name: str
    """The outermost module that puts it out; or a function and the module that calls it."""
    depth: int
    """How many modules that one lies within."""
    maps: Tensor
    """(N, C, h, w), part of the graph."""
    module: str | None = None
    """The outermost module that puts it out; None: a function does."""
    call: int = 0
    """Which of that module's calls within the forward pass did, from 0."""


def feature_maps(model: nn.Module, inputs: Tensor) -> tuple[Tensor, list[FeatureMap]]:
    """Logits of the images, and the feature maps in the order in which they became what they are.

    Raises:
        InapplicableError: there is none.
    """
    with _Watch(model, len(inputs)) as watch:
        logits = model(inputs)
    if not watch.found:
        raise InapplicableError("no convolution of the model has an output of more than one pixel")
    return logits, list(watch.found.values())


def stages(found: list[FeatureMap]) -> list[FeatureMap]:
    """The feature map of each stage, from the highest resolution to the lowest."""
    chosen: dict[torch.Size, FeatureMap] = {}
    for feature_map in found:
        size = feature_map.maps.shape[2:]
        if size not in chosen or feature_map.depth <= chosen[size].depth:
            chosen[size] = feature_map
    chosen[found[-1].maps.shape[2:]] = found[-1]
    return [chosen[size] for size in sorted(chosen, key=lambda size: -size.numel())]


def beginning_at(model: nn.Module, inputs: Tensor, known: FeatureMap) -> tuple[Tensor, Tensor]:
    """Logits of the images, and (N, C, h, w) the feature map that a module puts out, where their graph begins.

    Weights that want gradients of their own have a graph before it, too.

    Args:
        known: The same one of an earlier pass of the same model.
    """
    maps: list[Tensor] = []

    def begin(_module: nn.Module, _inputs: object, output: Tensor) -> None:
        # The tensor itself, not another in its place: what is overwritten may go on under its old name.
        begins = len(maps) == known.call and not output.requires_grad
        maps.append(output.requires_grad_() if begins else output)

    handle = model.get_submodule(known.module or "").register_forward_hook(begin)
    try:
        logits = model(inputs)
    finally:
        handle.remove()
    return logits, maps[known.call]


class _Watch(TorchFunctionMode):
    """Within it, keeps what steps put out while the model runs, and the names of the modules that they lie in."""

    def __init__(self, model: nn.Module, n_images: int) -> None:
        super().__init__()
        self.found: dict[int, FeatureMap] = {}
        """By the tensor's identity: one that is overwritten, or passed on by an outer module, is the same."""
        self._model, self._n_images = model, n_images
        self._behind_convolution = False
        self._permuted: dict[int, Tensor] = {}
        self._running: list[str] = []
        self._n_calls: Counter[str] = Counter()
        self._handles: list[RemovableHandle] = []

    def __enter__(self) -> "_Watch":
        super().__enter__()  # type: ignore[no-untyped-call]
        for name, module in self._model.named_modules():
            self._handles.append(module.register_forward_pre_hook(self._begin(name)))
            self._handles.append(module.register_forward_hook(self._end(name)))
        return self

    def __exit__(self, *error: object) -> None:
        for handle in self._handles:
            handle.remove()
        super().__exit__(*error)  # type: ignore[no-untyped-call]

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        answer = func(*args, **(kwargs or {}))
        self._behind_convolution |= func in _CONVOLUTIONS
        permuted = any(id(arg) in self._permuted for arg in args) != (func in _PERMUTATIONS)
        if permuted and isinstance(answer, Tensor):
            self._permuted[id(answer)] = answer
        elif self._behind_convolution and func not in _NO_MAPS and self._is_map(answer):
            place = self._running[-1] if self._running else ""
            step = getattr(func, "__name__", str(func)).strip("_")
            before = self.found.pop(id(answer), None)  # overwritten: now the last
            name = f"{before.name}, {step}" if before else f"{step} in {place or 'the model'}"
            self._keep(FeatureMap(name, before.depth if before else _depth(place) + 1, answer))
        return answer

    def _keep(self, new: FeatureMap) -> None:
        """What is neither the last nor its stage's map any more is let go, so that its memory is used again."""
        size = new.maps.shape[2:]
        gone = [key for key, old in self.found.items() if old.maps.shape[2:] == size and old.depth >= new.depth]
        for key in gone:
            del self.found[key]
        self.found[id(new.maps)] = new

    def _is_map(self, answer: Any) -> bool:
        if not isinstance(answer, Tensor) or not answer.is_floating_point():
            return False
        return answer.ndim == 4 and len(answer) == self._n_images and answer.shape[2:].numel() > 1

    def _begin(self, name: str) -> Callable[..., None]:
        return lambda _module, _inputs: self._running.append(name)

    def _end(self, name: str) -> Callable[..., None]:
        def end(_module: nn.Module, _inputs: object, output: Any) -> None:
            self._running.pop()
            if id(output) in self.found:
                depth = min(self.found[id(output)].depth, _depth(name))
                self.found[id(output)] = FeatureMap(name or "the model", depth, output, name, self._n_calls[name])
            self._n_calls[name] += 1

        return end


def _depth(name: str) -> int:
    return name.count(".") + 1 if name else 0
