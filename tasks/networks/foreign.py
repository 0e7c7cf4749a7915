"""Networks made elsewhere: modules, TorchScript and torch.export files, made to keep the contract of a task's model."""

import logging
import warnings
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Self

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, fx, nn

from .checkpoints import load_weights, read_initial_weights

_EXPORTED = ".pt2"


class Ready(NamedTuple):
    """A model that keeps the contract."""

    model: nn.Module
    n_classes: int
    """Number K of its logits."""


class PlainLayout(nn.Module):
    """A network that cannot work channels last: it views its maps as rows, `x.view(len(x), -1)`.

    A run turns models and images to channels last, which is faster. This one stays as it is.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, inputs: Tensor) -> Tensor:
        logits: Tensor = self.network(inputs.contiguous())
        return logits

    def to(self, *args: Any, **kwargs: Any) -> Self:
        kwargs.pop("memory_format", None)
        return super().to(*args, **kwargs) if args or kwargs else self


def foreign_network(network: Callable[[], nn.Module] | None, weights: Path | None) -> nn.Module:
    """A network with its weights, on the CPU.

    Args:
        network: Makes it; None: the file holds the network too.
        weights: A state dict (.safetensors, or .pth as `torch.save(network.state_dict(), path)` writes it), or
            without `network` a TorchScript file (.pt) or a torch.export file (.pt2). None: it has its weights.

    Raises:
        FileNotFoundError, ValueError: the file is absent, unreadable, or does not fit the network; one line.
    """
    if network is None:
        if weights is None:
            raise ValueError("a network is needed: give `network`, `weights`, or both")
        return _exported(weights) if weights.suffix == _EXPORTED else _scripted(weights)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # where there are no weights, the random ones are the same in every run
        made = network()
    if not isinstance(made, nn.Module):
        raise ValueError(f"`network` makes a {type(made).__name__}, not an nn.Module; give a function that makes one")
    if weights is not None:
        load_weights(weights, made, _state_dict(weights), f"give weights of this {type(made).__name__}")
    return made.cpu()


def ready(model: nn.Module, size: tuple[int, int], name: str) -> Ready:
    """The model as a task answers with it: eval mode, frozen, nothing in place, at home in any memory layout.

    It is tried on three images of noise. The model itself is changed: give a copy of one that is still needed.

    Args:
        model: On the CPU; (N, 3, H, W) images in [0, 1] -> (N, K) logits.
        size: Height and width of the images, in pixels.
        name: What to call the model in an error.

    Raises:
        ValueError: it does not take such images, or what it answers are no logits or depend on the other images
            or on chance; one line.
    """
    _freeze(model)
    images = torch.rand((3, 3, *size), generator=torch.Generator().manual_seed(0))
    logits = _answer(model, images, name)
    _check_logits(logits, name)
    alone = torch.cat([_answer(model, image[None], name) for image in images])
    scale = logits.abs().max().item()
    for again in (_answer(model, images, name), alone):
        if not torch.allclose(again, logits, rtol=0, atol=1e-3 * scale):
            raise ValueError(
                f"{name}: what it answers depends on the other images, or on chance: "
                "a batch norm or a dropout of it is in training mode; put it into eval mode before it is saved"
            )
    return Ready(model if _works_channels_last(model, images) else PlainLayout(model), logits.shape[1])


def _freeze(model: nn.Module) -> None:
    try:
        model.eval()
    except NotImplementedError:  # of an exported graph, which stays in the mode in which it was exported
        for module in model.modules():
            module.training = False
    for parameter in model.parameters():  # TorchScript has no `requires_grad_` of the whole
        parameter.requires_grad_(False)
    for module in model.modules():
        # Explainers keep what flows between the layers. TorchScript's layers are out of their reach anyway.
        if not isinstance(module, torch.jit.ScriptModule) and getattr(module, "inplace", False):
            module.inplace = False  # type: ignore[assignment]  # a flag, whatever the module


def _answer(model: nn.Module, images: Tensor, name: str) -> Tensor:
    try:
        with torch.no_grad():
            logits = model(images)
    except Exception as error:  # the model's own code: it may raise anything
        hint = ""
        if any(isinstance(module, fx.GraphModule) for module in model.modules()):
            hint = "; was it exported for one number of images? Give torch.export `dynamic_shapes`"
        raise ValueError(
            f"{name}: cannot take {tuple(images.shape)} float32 images ({_reason(error)}){hint}"
        ) from error
    if not isinstance(logits, Tensor) or logits.ndim != 2 or len(logits) != len(images):
        what = tuple(logits.shape) if isinstance(logits, Tensor) else f"a {type(logits).__name__}"
        raise ValueError(f"{name}: answers {what} to {len(images)} images, not (N, K) logits; wrap it so that it does")
    return logits


def _check_logits(logits: Tensor, name: str) -> None:
    if not logits.is_floating_point() or not bool(logits.isfinite().all()):
        raise ValueError(f"{name}: its logits are not finite numbers; are its weights?")
    sums = logits.sum(dim=1)
    if bool((logits >= 0).all()) and torch.allclose(sums, torch.ones_like(sums), atol=1e-4):
        raise ValueError(
            f"{name}: answers probabilities, and logits are explained; leave its softmax out, "
            "or take the logarithm of what it answers"
        )


def _works_channels_last(model: nn.Module, images: Tensor) -> bool:
    try:
        model.to(memory_format=torch.channels_last)
        with torch.no_grad():
            model(images.contiguous(memory_format=torch.channels_last))
    except RuntimeError:
        return False
    finally:
        model.to(memory_format=torch.contiguous_format)
    return True


def _state_dict(path: Path) -> dict[str, Tensor]:
    if path.suffix == _EXPORTED:
        raise ValueError(f"{path}: a torch.export file is a whole network; leave `network` out")
    if path.suffix != ".safetensors":
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*looks like a TorchScript archive")  # an error follows
            return read_initial_weights(path)
    try:
        return load_file(path)
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: no such file") from None
    except (SafetensorError, OSError, ValueError) as error:
        raise ValueError(f"{path}: not readable as weights ({_reason(error)}); save them again") from error


def _scripted(path: Path) -> nn.Module:
    remedy = "give a TorchScript file; if it holds weights only, say with `network` what makes the network"
    with _blamed(path, "TorchScript", remedy), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"`torch\.jit\.load` is (deprecated|not supported)")
        network: nn.Module = torch.jit.load(path, map_location="cpu")  # type: ignore[no-untyped-call]
        return network


def _exported(path: Path) -> nn.Module:
    with _blamed(path, "a network", "write it with torch.export.save"), _quiet("torch.export"):
        return torch.export.load(path).module().cpu()


@contextmanager
def _blamed(path: Path, what: str, remedy: str) -> Iterator[None]:
    """What goes wrong within is the file's fault."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    if not zipfile.is_zipfile(path):
        raise ValueError(f"{path}: not readable as {what} (not a zip archive); {remedy}")
    try:
        yield
    except Exception as error:  # readers of foreign files raise whatever they met
        raise ValueError(f"{path}: not readable as {what} ({_reason(error)}); {remedy}") from error


@contextmanager
def _quiet(name: str) -> Iterator[None]:
    """Within, a library does not log the traceback of what it also raises."""
    logger = logging.getLogger(name)
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)


def _reason(error: Exception) -> str:
    """What an error says, in one line: TorchScript's traceback comes first, any other's last."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return lines[-1] if "TorchScript interpreter" in lines[0] else lines[0]
