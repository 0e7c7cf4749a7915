"""What a call could leave behind: all that can be seen of model, arguments and process, before and after.

Two looks at the same things are dicts from what is looked at to its state; `changed` compares them.
"""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules import module as all_modules

Look = dict[str, Any]
_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks", "_state_dict_hooks")
_TENSOR_HOOKS = ("_backward_hooks", "_post_accumulate_grad_hooks")
_PLAIN = (bool, int, float, str, tuple, type(None))
"""Settings of modules that are of these kinds are compared by value, others by name only."""


def of_model(model: nn.Module) -> Look:
    """Weights, buffers, modes, flags, hooks, attributes and gradients of every module."""
    look: Look = {}
    for name, part in model.named_modules(remove_duplicate=False):
        where = f" of {name}" if name else " of the model"
        look[f"mode{where}"] = part.training
        look[f"inplace flag{where}"] = getattr(part, "inplace", None)
        look[f"hooks{where}"] = [list(getattr(part, kind)) for kind in _HOOKS]
        look[f"attributes{where}"] = {name: _setting(name, value) for name, value in vars(part).items()}
        look[f"module{where}"] = (id(part), type(part), list(part._modules))
    for name, parameter in model.named_parameters():
        look |= _of_tensor(f"weights {name}", parameter)
    for name, buffer in model.named_buffers():
        look |= _of_tensor(f"buffer {name}", buffer)
    return look


def of_arguments(**tensors: Tensor) -> Look:
    """Values, flags, gradients and hooks of tensors, by their names."""
    look: Look = {}
    for name, tensor in tensors.items():
        look |= _of_tensor(name, tensor)
    return look


def of_process() -> Look:
    """Global random states, torch's modes and defaults, hooks on all modules."""
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    kinds = ("_global_forward_hooks", "_global_forward_pre_hooks", "_global_backward_hooks")
    return {
        "torch's random state": [torch.get_rng_state(), *cuda],
        "numpy's random state": [np.asarray(part).tolist() for part in np.random.get_state()],
        "random's state": random.getstate(),
        "grad mode": (torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.is_anomaly_enabled()),
        "torch's default dtype": torch.get_default_dtype(),
        "torch's deterministic algorithms": torch.are_deterministic_algorithms_enabled(),
        "hooks on all modules": [list(getattr(all_modules, kind)) for kind in kinds],
    }


def changed(before: Look, after: Look) -> list[str]:
    """What is not as it was, bit for bit, in the order of the look; what is new comes last."""
    lost = [what for what, state in before.items() if what not in after or not _same(state, after[what])]
    return lost + [what for what in after if what not in before]


@contextmanager
def random_states_kept() -> Iterator[None]:
    """The global random states are afterwards what they were."""
    ours, numpys, pythons = torch.get_rng_state(), np.random.get_state(), random.getstate()
    devices = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    try:
        yield
    finally:
        torch.set_rng_state(ours)
        np.random.set_state(numpys)
        random.setstate(pythons)
        for index, state in enumerate(devices):
            torch.cuda.set_rng_state(state, index)


def _setting(name: str, value: Any) -> Any:
    looked_at_apart = name in ("training", "inplace") or name.startswith("_")
    return value if isinstance(value, _PLAIN) and not looked_at_apart else None


def _of_tensor(name: str, tensor: Tensor) -> Look:
    return {
        name: tensor.detach().clone(),
        f"identity of {name}": id(tensor),
        f"requires_grad of {name}": tensor.requires_grad,
        f"grad of {name}": None if tensor.grad is None else tensor.grad.clone(),
        f"hooks on {name}": [list(getattr(tensor, kind, None) or ()) for kind in _TENSOR_HOOKS],
    }


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor):
        alike = isinstance(other, Tensor) and (one.dtype, one.shape) == (other.dtype, other.shape)
        return alike and bool(((one == other) | (one.isnan() & other.isnan())).all())
    if isinstance(one, list | tuple):
        return type(one) is type(other) and len(one) == len(other) and all(map(_same, one, other))
    return bool(one == other)
