"""A task made of a model and samples that are in memory, checked before anything is computed."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from tasks.base import Sample, Task
from tasks.networks.foreign import Ready, ready

from .errors import one_line


@dataclass(frozen=True, eq=False)
class InMemory(Task):
    """Samples in memory. Fingerprints, not the repr, tell what they and the model are."""

    n_classes: int
    network: nn.Module = field(repr=False)
    inputs: Tensor = field(repr=False)
    targets: Tensor | None = field(repr=False)
    labels: Tensor | None = field(repr=False)
    ids: tuple[str, ...] = field(repr=False)
    masks: Tensor | None = field(repr=False)

    def classes(self) -> tuple[str, ...]:
        return tuple(str(index) for index in range(self.n_classes))

    def model(self) -> nn.Module:
        return self.network

    def samples(self) -> "InMemory":
        return self

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, index: int) -> Sample:
        return Sample(
            input=self.inputs[index].detach().cpu(),
            label=torch.tensor(-1) if self.labels is None else self.labels[index].cpu(),
            id=self.ids[index],
            mask=None if self.masks is None else self.masks[index].cpu(),
            target=None if self.targets is None else int(self.targets[index]),
        )


def in_memory(
    model: nn.Module,
    inputs: Tensor,
    targets: Tensor | None,
    masks: Tensor | None,
    labels: Tensor | None,
    ids: Sequence[str] | None,
) -> InMemory:
    """The task, on a copy of the model. See `bench.notebook.score` for the arguments.

    Raises:
        ValueError: an argument is not as described there; one line.
    """
    _check_images(inputs)
    names = tuple(str(index) for index in range(len(inputs))) if ids is None else tuple(ids)
    _check_ids(names, len(inputs))
    _check_masks(masks, inputs)
    own = _ready_copy(model, inputs)
    _check_classes("targets", targets, len(inputs), 0, own.n_classes)
    if isinstance(labels, Tensor) and labels.ndim == 2:
        _check_many(labels, len(inputs), own.n_classes)
    else:
        _check_classes("labels", labels, len(inputs), -1, own.n_classes)
    return InMemory(own.n_classes, own.model, inputs, targets, labels, names, masks)


def _ready_copy(model: nn.Module, inputs: Tensor) -> Ready:
    if not isinstance(model, nn.Module):
        raise ValueError(f"model: an nn.Module, not a {type(model).__name__}")
    try:
        own = copy.deepcopy(model).cpu()
    except Exception as error:  # what a model holds may refuse in any way
        raise ValueError(f"model: cannot be copied ({one_line(error)}); give one as it was built") from error
    return ready(own, (inputs.shape[2], inputs.shape[3]), "model")


def _check_images(inputs: Tensor) -> None:
    if not isinstance(inputs, Tensor) or inputs.dtype != torch.float32:
        what = inputs.dtype if isinstance(inputs, Tensor) else f"a {type(inputs).__name__}"
        raise ValueError(f"inputs: a float32 tensor in [0, 1], not {what}; 8-bit images are divided by 255")
    if inputs.ndim != 4 or inputs.shape[1] != 3 or inputs.numel() == 0:
        raise ValueError(f"inputs: (N, 3, H, W) with at least one image, not {tuple(inputs.shape)}")
    if not bool(inputs.isfinite().all()):
        raise ValueError("inputs: some are not finite")
    if inputs.min() < 0 or inputs.max() > 1:
        raise ValueError(
            f"inputs: in [0, 1], not [{inputs.min():g}, {inputs.max():g}]; normalization belongs into the model: "
            "nn.Sequential(torchvision.transforms.Normalize(mean, deviation), model)"
        )


def _check_classes(name: str, classes: Tensor | None, n: int, least: int, n_classes: int) -> None:
    if classes is None:
        return
    if not isinstance(classes, Tensor) or classes.dtype != torch.int64 or classes.shape != (n,):
        what = f"{tuple(classes.shape)} {classes.dtype}" if isinstance(classes, Tensor) else type(classes).__name__
        raise ValueError(f"{name}: ({n},) int64, one an image, not {what}")
    if classes.min() < least or classes.max() >= n_classes:
        raise ValueError(
            f"{name}: in [{least}, {n_classes}), as the model has {n_classes} logits, "
            f"not [{classes.min()}, {classes.max()}]"
        )


def _check_many(labels: Tensor, n: int, n_classes: int) -> None:
    """Of a multi-label task."""
    if labels.dtype != torch.int64 or labels.shape != (n, n_classes) or labels.min() < -1 or labels.max() > 1:
        raise ValueError(
            f"labels: ({n},) classes, or ({n}, {n_classes}) int64 in {{0, 1, -1}} where an image may be of several, "
            f"not {tuple(labels.shape)} {labels.dtype} in [{labels.min()}, {labels.max()}]"
        )


def _check_masks(masks: Tensor | None, inputs: Tensor) -> None:
    wanted = (len(inputs), 1, *inputs.shape[2:])
    if masks is not None and (not isinstance(masks, Tensor) or masks.shape != wanted or masks.dtype != torch.bool):
        what = f"{tuple(masks.shape)} {masks.dtype}" if isinstance(masks, Tensor) else type(masks).__name__
        raise ValueError(f"masks: {wanted} bool, not {what}")


def _check_ids(ids: Sequence[str], n: int) -> None:
    if len(ids) != n or len(set(ids)) != n or not all(isinstance(name, str) for name in ids):
        raise ValueError(f"ids: {n} strings, each once, not {len(ids)} of which {len(set(ids))} differ")
