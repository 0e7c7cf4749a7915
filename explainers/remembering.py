"""What was made of a model, remembered as long as the model lives and is the same.

Recording a network's graph takes longer (17 to 310 ms) than many an explanation on a GPU, and leaves source code
in Python's `linecache` each time. So it is done once a model.

A model is the same when all that recording its graph looks at is: classes, forward methods, settings, names, and
where in memory every tensor lies. Not the values there, which what is made shares with the model or reads again. A
model that has something about it that cannot be compared, a hook or a function, say, is never remembered.
"""

import enum
from collections.abc import Callable
from types import NoneType
from typing import Any, Generic, TypeVar
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

Made = TypeVar("Made")


class _NotComparableError(TypeError):
    pass


class Remembered(Generic[Made]):
    """A function of a model that is computed again only where the model has changed.

    The answer must hold the memory of the model's tensors, so that no other tensor can come to lie there, but
    neither the model nor what refers to it. It is one object for all callers: what they change they change back.
    """

    def __init__(self, make: Callable[[nn.Module], Made]) -> None:
        self._make = make
        self._made: WeakKeyDictionary[nn.Module, tuple[list[Any], Made]] = WeakKeyDictionary()

    def __call__(self, model: nn.Module) -> Made:
        try:
            look = _look(model)
        except _NotComparableError:
            return self._make(model)
        then = self._made.get(model)
        if then is None or then[0] != look:
            then = self._made[model] = (look, self._make(model))
        return then[1]


def _look(model: nn.Module) -> list[Any]:
    """All about a model that its graph depends on, as values that can be compared and hold nothing of it alive."""
    look: list[Any] = []
    for name, module in model.named_modules(remove_duplicate=False):
        kind = type(module)
        look += (name, kind, kind.forward)
        for key, value in vars(module).items():
            if type(value) in (int, bool, str, NoneType):  # most are, and there are ten thousand of them
                look += (key, value)
            elif key in ("_parameters", "_buffers"):
                look += ((name, None if tensor is None else _place(tensor)) for name, tensor in value.items())
            elif value and key != "_modules":
                look += (key, _plain(value))
    return look


def _place(tensor: Tensor) -> tuple[Any, ...]:
    if tensor.is_inference():  # its copies do not follow it
        raise _NotComparableError
    return type(tensor), tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype, tensor.device


def _plain(value: Any) -> Any:
    """A setting as a value that does not change. A hook or a function is no setting: it may see more than one can."""
    if value is None or isinstance(value, bool | int | float | str | type | enum.Enum | torch.dtype | torch.device):
        return value
    if isinstance(value, list | tuple):
        return tuple(map(_plain, value))
    if isinstance(value, set | frozenset):
        return frozenset(map(_plain, value))
    if isinstance(value, dict):
        return tuple((_plain(key), _plain(item)) for key, item in value.items())
    raise _NotComparableError
