"""Weights in files: checkpoints of the tasks (safetensors) and initial weights (.pth).

Whatever is wrong with a file, the reader raises one error of one line: which file, what is wrong, what to do.
"""

import json
import os
import pickle
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

_OLD_DENSENET = re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12]\.)")
"""torchvision publishes its DenseNets under the names that their layers had long ago."""
_COUNTER = "num_batches_tracked"
"""Of a batch norm: absent from old files, and of no use in eval mode."""


def save_checkpoint(path: Path, model: nn.Module, metadata: Mapping[str, object]) -> None:
    """Write the model's weights and what is known about them; the file is whole or absent.

    Args:
        path: The file; its folder is made. It is written under a temporary name beside it and renamed.
        model: Any module.
        metadata: JSON values; "classes" is what `load_checkpoint` compares.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    weights = {key: value.detach().cpu().contiguous() for key, value in model.state_dict().items()}
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        save_file(weights, unfinished, {key: json.dumps(value) for key, value in metadata.items()})
        unfinished.chmod(0o644)  # safetensors lets nobody else read it
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def load_checkpoint(path: Path, model: nn.Module, classes: Sequence[str]) -> dict[str, object]:
    """Put a checkpoint's weights into the model, and return its metadata.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it cannot be read, was made for other classes, or its weights do not fit the model or are
            not finite. The model is then as it was.
    """
    remedy = _remedy(path)
    with _opened(path) as file:
        metadata = _metadata(file)
        weights = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118  # not a dict
    made_for = metadata.get("classes")
    if made_for != list(classes):
        raise ValueError(f"{path}: made for the classes {made_for}, not {list(classes)}; {remedy}")
    load_weights(path, model, weights, remedy)
    return metadata


def read_metadata(path: Path) -> dict[str, object]:
    """What a checkpoint tells about its weights, which are not read.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it cannot be read.
    """
    with _opened(path) as file:
        return _metadata(file)


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """The checkpoint's file; what goes wrong while it is read is blamed on it."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such checkpoint; run `bench train {path.stem}`")
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except (SafetensorError, ValueError, OSError) as error:
        raise ValueError(f"{path}: not a readable checkpoint ({_line(error)}); {_remedy(path)}") from error


def _metadata(file: Any) -> dict[str, object]:
    return {key: json.loads(value) for key, value in (file.metadata() or {}).items()}


def _remedy(path: Path) -> str:
    return f"delete it and run `bench train {path.stem}`"


def read_initial_weights(path: Path) -> dict[str, Tensor]:
    """The state dict in a .pth file, as `torch.save(network.state_dict(), path)` writes it.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no such file; nothing but tensors is ever unpickled.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file of initial weights")
    remedy = "give a .pth file that holds a state dict"
    try:
        weights = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, EOFError, RuntimeError, ValueError, LookupError, pickle.UnpicklingError) as error:
        raise ValueError(f"{path}: not readable as weights ({_line(error)}); {remedy}") from error
    if not isinstance(weights, Mapping) or not weights:
        raise ValueError(f"{path}: holds no state dict but a {type(weights).__name__}; {remedy}")
    if odd := [key for key, value in weights.items() if not isinstance(value, Tensor)]:
        raise ValueError(f"{path}: {odd[0]!r} is not a tensor; {remedy}")
    return dict(weights)


def initialise(network: nn.Module, weights: Mapping[str, Tensor], source: str) -> None:
    """Start the network from weights that were trained on other classes.

    The last layer keeps its fresh initialisation where its shape differs, that is, where the number of
    classes does (1000 of ImageNet, say); all else must fit.

    Args:
        network: Without preprocessing, torchvision's key names.
        weights: A state dict, of any floating type.
        source: What to call it in an error.

    Raises:
        ValueError: the weights do not fit the network or are not finite. The network is then as it was.
    """
    fresh = network.state_dict()
    last_layer = next(reversed(fresh)).rpartition(".")[0] + "."
    head = {key: value for key, value in fresh.items() if key.startswith(last_layer)}
    weights = {_OLD_DENSENET.sub(r"\1\2", key): value for key, value in weights.items()}
    weights.update({key: value for key, value in fresh.items() if key not in weights and key.endswith(_COUNTER)})
    if all(key in weights for key in head) and any(weights[key].shape != head[key].shape for key in head):
        weights.update(head)
    load_weights(Path(source), network, weights, f"give weights of this {type(network).__name__}")


def load_weights(path: Path, model: nn.Module, weights: Mapping[str, Tensor], remedy: str) -> None:
    """Put a whole state dict into the model.

    Args:
        path: Where the weights are from; named in an error, as is the remedy.
        remedy: What to do about weights that do not fit.

    Raises:
        ValueError: they do not fit the model or are not finite; one line. The model is then as it was.
    """
    wanted = model.state_dict()
    if lacking := [key for key in wanted if key not in weights]:
        raise ValueError(f"{path}: lacks {_named(lacking)}; {remedy}")
    if unknown := [key for key in weights if key not in wanted]:
        raise ValueError(f"{path}: has {_named(unknown)}, which the network does not; {remedy}")
    for key, value in weights.items():
        if value.shape != wanted[key].shape:
            shapes = f"{tuple(value.shape)}, not {tuple(wanted[key].shape)}"
            raise ValueError(f"{path}: the shape of {key} is {shapes}; {remedy}")
        if not bool(value.isfinite().all()):
            raise ValueError(f"{path}: {key} is not finite; {remedy}")
    model.load_state_dict(dict(weights))


def _named(keys: Sequence[str]) -> str:
    more = f" and {len(keys) - 1} more" if len(keys) > 1 else ""
    return f"{keys[0]}{more}"


def _line(error: Exception) -> str:
    """The first line of an error's message; its type where it has none."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
