"""What a classifier answers to samples, and how it sees them: logits, truth and embeddings of one pass."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..base import Samples, collate

_LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
"""What a network's last layer with parameters can be."""


class Predictions(NamedTuple):
    """A model's answers to N samples whose truth is known. On the CPU."""

    logits: Tensor
    """(N, K) float64."""
    labels: Tensor
    """(N,) int64, or (N, K) int64 in {0, 1} for a multi-label task; -1 where nobody knows."""
    ids: tuple[str, ...]
    embeddings: Tensor | None = None
    """(N, D) float32, what the network's last layer with parameters is given; None: it has no such layer."""

    @property
    def multi_label(self) -> bool:
        """Whether a sample may be of several classes, or of none."""
        return self.labels.ndim == 2

    def log_odds(self) -> Tensor:
        """How sure the model is of each class, (N, K) float64: log p / (1 - p).

        For a multi-label task the logit; else minus the logsumexp of what the other classes' logits are more. Unlike
        the probability it does not become the same number for all samples that the model is very sure of; and for
        samples of which the model is equally sure it is the same number, to the last digit: differences of float32
        logits are exact in float64, and they are summed in order of size.
        """
        if self.multi_label:
            return self.logits
        n_classes = self.logits.shape[1]
        gaps = self.logits[:, None, :] - self.logits[:, :, None]  # (N, K, K): how much more the other's logit is
        others = gaps[:, ~torch.eye(n_classes, dtype=torch.bool)].reshape(-1, n_classes, n_classes - 1)
        return -others.sort(2).values.logsumexp(2)

    def probabilities(self) -> Tensor:
        """Softmax of the logits, or for a multi-label task their sigmoid; (N, K) in [0, 1]."""
        return self.logits.sigmoid() if self.multi_label else self.logits.softmax(1)

    def truth(self) -> Tensor:
        """Whether a sample is of a class, (N, K) int64: 1, 0, or -1 where nobody knows."""
        if self.multi_label:
            return self.labels
        classes = torch.arange(self.logits.shape[1])
        return torch.where(self.labels[:, None] < 0, -1, (self.labels[:, None] == classes).long())


def _nobody(done: int, total: int) -> None:
    """Report to nobody."""


@torch.inference_mode()
def predict(
    model: nn.Module,
    samples: Samples,
    n_classes: int,
    batch_size: int = 64,
    device: torch.device | str = "cpu",
    chosen: Sequence[int] | None = None,
    progress: Callable[[int, int], None] = _nobody,
) -> Predictions:
    """Ask the model about every sample once.

    Args:
        model: In eval mode, on `device`; (N, 3, H, W) images in [0, 1] -> (N, K) logits.
        samples: Read one by one; of one size within a batch.
        n_classes: Number K of logits that are expected.
        batch_size: Samples forwarded at once.
        device: Where the model is.
        chosen: Indices of the samples to ask about. Default: all.
        progress: Called after every batch with the number of samples done and the number there are.

    Raises:
        ValueError: there is no sample, a sample breaks its contract, its label is no class, or the model's
            answer is not (N, K) or not finite; one line.
    """
    indices = range(len(samples)) if chosen is None else chosen
    if len(indices) == 0:
        raise ValueError("there is no sample to evaluate on")
    logits, labels, embeddings = [], [], []
    ids: list[str] = []
    with _last_inputs(model) as last:
        for start in range(0, len(indices), batch_size):
            batch = collate([samples[index] for index in indices[start : start + batch_size]])
            last.clear()
            logits.append(_checked(model(batch.inputs.to(device)), batch.labels, batch.ids, n_classes))
            labels.append(batch.labels)
            ids += batch.ids
            embeddings += [each.float().cpu() for each in last if len(each) == len(batch.ids)]
            progress(len(ids), len(indices))
    whole = torch.cat(embeddings) if embeddings else None
    complete = whole is not None and len(whole) == len(ids)
    return Predictions(torch.cat(logits), torch.cat(labels), tuple(ids), whole if complete else None)


def _checked(logits: Tensor, labels: Tensor, ids: Sequence[str], n_classes: int) -> Tensor:
    """The logits as float64 on the CPU, if they and the labels are what they must be."""
    if logits.shape != (len(ids), n_classes):
        raise ValueError(f"the model answers {tuple(logits.shape)} to {len(ids)} images, not {(len(ids), n_classes)}")
    if labels.ndim == 2 and labels.shape[1] != n_classes:
        raise ValueError(f"{ids[0]}: has {labels.shape[1]} labels, not {n_classes}")
    largest = 1 if labels.ndim == 2 else n_classes - 1
    wrong = ((labels > largest) | (labels < -1)).reshape(len(ids), -1).any(1)
    for name, is_wrong, answer in zip(ids, wrong.tolist(), logits, strict=True):
        if is_wrong:
            raise ValueError(f"{name}: its label is not in 0 to {largest}, nor -1 for not known")
        if not bool(answer.isfinite().all()):
            raise ValueError(f"{name}: the model's answer is not finite")
    return logits.cpu().double()


@contextmanager
def _last_inputs(model: nn.Module) -> Iterator[list[Tensor]]:
    """A list that holds, after a forward pass, what the last layer with parameters was given, averaged to (N, D).

    The last that is called counts, not the last that is registered: an auxiliary head is passed over.
    """
    last: list[Tensor] = []

    def keep(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        last[:] = [_averaged(layer, inputs[0])]

    hooks = [layer.register_forward_pre_hook(keep) for layer in model.modules() if isinstance(layer, _LAYERS)]
    try:
        yield last
    finally:
        for hook in hooks:
            hook.remove()


def _averaged(layer: nn.Module, features: Tensor) -> Tensor:
    """One vector a sample: the mean over space (convolution) or over tokens (linear layer)."""
    if isinstance(layer, nn.Linear):
        return features.flatten(1, -2).mean(1) if features.ndim > 2 else features
    return features.flatten(2).mean(2)
