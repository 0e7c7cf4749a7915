"""Where a record is made: versions, device, commit, and what the samples and the weights are."""

import hashlib
import inspect
import os
import platform
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch
from torch import Tensor, nn

from tasks.base import Batch

from .errors import UserError

_LIBRARIES = ("torch", "torchvision", "captum", "zennit", "numpy", "scipy")


@cache
def versions() -> str:
    """Versions of what scores depend on; another version makes a record stale."""
    return " ".join(f"{name}={version(name).partition('+')[0]}" for name in _LIBRARIES)


@cache
def commit() -> str:
    """The commit of this benchmark's source, or its version where it was installed without its history."""
    folder = Path(__file__).parent
    answer = subprocess.run(
        ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=12"],
        capture_output=True,
        text=True,
        check=False,
    )
    if answer.returncode == 0:
        return answer.stdout.strip()
    try:
        return version("heatmark")
    except PackageNotFoundError:
        return "unknown"


def device_of(name: str) -> torch.device:
    """The device that a user names: `cpu`, `cuda`, `cuda:1`, or `auto`: a GPU where there is one.

    Raises:
        UserError: there is no such device here.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"device {name!r} cannot be used here: choose cpu, cuda or auto") from error
    return device


def device_name(device: torch.device) -> str:
    """The kind of machine that computes, for provenance."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else f"{device.type} {platform.machine()}"


def compute_exactly() -> None:
    """Turn off what makes a GPU's answers depend on the run or drop to lower precision."""
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False


@contextmanager
def computing_exactly() -> Iterator[None]:
    """Within, as `compute_exactly`; for callers whose own settings are to be as they were."""
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    before = cudnn.deterministic, cudnn.allow_tf32, matmul.allow_tf32
    compute_exactly()
    try:
        yield
    finally:
        cudnn.deterministic, cudnn.allow_tf32, matmul.allow_tf32 = before


def weights_fingerprint(model: nn.Module) -> str:
    """Hash of the model's structure, settings (preprocessing among them), code and every tensor of its state.

    The code is that of graphs and of classes outside torch and torchvision, whose versions are known.
    """
    digest = hashlib.blake2b(repr(model).encode(), digest_size=8)
    for module in model.modules():
        digest.update(_code(module))
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(_content(tensor))
    return digest.hexdigest()


def sample_fingerprints(batch: Batch) -> dict[str, str]:
    """Sample id -> hash of all that the batch says of it."""
    tensors = (batch.inputs, batch.targets, batch.labels, batch.masks, batch.shortcuts)
    return {
        name: hashlib.blake2b(
            b"".join(b"none" if tensor is None else _content(tensor[index]) for tensor in tensors), digest_size=8
        ).hexdigest()
        for index, name in enumerate(batch.ids)
    }


def second_fingerprints(batch: Batch) -> dict[str, str]:
    """Sample id -> hash of what a second reader is compared with and of what he has marked."""
    contents = sample_fingerprints(batch)
    seconds = batch.seconds or (None,) * len(batch.ids)
    marked = [b"none" if mask is None else _content(mask) for mask in seconds]
    return {
        name: hashlib.blake2b(contents[name].encode() + of_second, digest_size=8).hexdigest()
        for name, of_second in zip(batch.ids, marked, strict=True)
    }


def _code(module: nn.Module) -> bytes:
    if isinstance(module, torch.fx.GraphModule | torch.jit.ScriptModule):
        return str(getattr(module, "code", "")).encode()  # a mere list of modules has none
    library = type(module).__module__.partition(".")[0] in ("torch", "torchvision")
    return b"" if library else _source(type(module))  # type: ignore[arg-type]  # classes are hashable


@cache
def _source(kind: type) -> bytes:
    """The source of a class; where it cannot be had (a notebook's cell), something else for every class."""
    try:
        return inspect.getsource(kind).encode()
    except (OSError, TypeError):
        return os.urandom(16)


def _content(tensor: Tensor) -> bytes:
    tensor = tensor.detach().cpu().contiguous()
    if tensor.is_floating_point():
        tensor = tensor.float()
    return f"{tensor.dtype}{tuple(tensor.shape)}".encode() + tensor.numpy().tobytes()
