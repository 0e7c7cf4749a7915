"""How well a classifier does on samples whose class is known."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support
from torch import nn

from .base import Samples


@dataclass(frozen=True)
class Evaluation:
    """How well a classifier does on some samples. Scores in [0, 1], one a class in the order of `classes`."""

    classes: tuple[str, ...]
    accuracy: float
    precision: tuple[float, ...]
    """Of what was called so, the fraction that is so; 0 where nothing was called so."""
    recall: tuple[float, ...]
    f1: tuple[float, ...]
    support: tuple[int, ...]
    """Number of samples of the class."""
    confusion: tuple[tuple[int, ...], ...]
    """Counts: a row a true class, a column a predicted class."""


@torch.inference_mode()
def evaluate(model: nn.Module, samples: Samples, classes: Sequence[str], batch_size: int = 64) -> Evaluation:
    """Compare the model's predictions with the truth of single-label samples."""
    labels, predictions = [], []
    for start in range(0, len(samples), batch_size):
        part = [samples[index] for index in range(start, min(start + batch_size, len(samples)))]
        labels += [int(sample.label) for sample in part]
        predictions += model(torch.stack([sample.input for sample in part])).argmax(1).tolist()
    indices = list(range(len(classes)))
    confusion = confusion_matrix(labels, predictions, labels=indices)
    precision, recall, f1, support = precision_recall_fscore_support(
        labels, predictions, labels=indices, zero_division=0.0
    )
    return Evaluation(
        classes=tuple(classes),
        accuracy=float(confusion.trace() / confusion.sum()),
        precision=tuple(precision.tolist()),
        recall=tuple(recall.tolist()),
        f1=tuple(f1.tolist()),
        support=tuple(support.tolist()),
        confusion=tuple(map(tuple, confusion.tolist())),
    )
