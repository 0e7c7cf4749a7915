"""How well a classifier does on samples whose class is known."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from sklearn.metrics import confusion_matrix, roc_auc_score
from torch import Tensor, nn

from ..base import Samples
from .predictions import Predictions, predict


@dataclass(frozen=True)
class Evaluation:
    """How well a classifier does on some samples. Scores in [0, 1], one a class in the order of `classes`.

    A class of which there is no sample has no scores: they are nan. For a multi-label task a class is a finding: it is
    called present where its logit is above 0, and what nobody knows of it is left out.
    """

    classes: tuple[str, ...]
    accuracy: float
    """Fraction of the samples that are called what they are; for a multi-label task, of all that is known."""
    precision: tuple[float, ...]
    """Of what was called so, the fraction that is so; 0 where nothing was called so."""
    recall: tuple[float, ...]
    """Of what is so, the fraction that was called so."""
    f1: tuple[float, ...]
    """Harmonic mean of precision and recall."""
    support: tuple[int, ...]
    """Number of samples of the class."""
    confusion: tuple[tuple[int, ...], ...]
    """Counts: a row a true class, a column a predicted class. For a multi-label task a row a finding: true
    negatives, false positives, false negatives, true positives."""
    roc_auc: tuple[float, ...] = ()
    """Chance that the model is surer of the class for a sample of it than for one of the rest (a tie counts half);
    nan where either is lacking. Empty in checkpoints older than this field."""
    multi_label: bool = False


def evaluate(
    model: nn.Module,
    samples: Samples,
    classes: Sequence[str],
    batch_size: int = 64,
    device: torch.device | str = "cpu",
) -> Evaluation:
    """Compare the model's predictions with the truth; see `predict` for arguments and errors."""
    return assess(predict(model, samples, len(classes), batch_size, device), classes)


def assess(predictions: Predictions, classes: Sequence[str]) -> Evaluation:
    """Compare predictions with the truth.

    Raises:
        ValueError: of no sample the truth is known.
    """
    truth = predictions.truth()
    if not bool((truth >= 0).any()):
        raise ValueError("of no sample the truth is known")
    confusion = _binary_confusions(predictions) if predictions.multi_label else _confusion(predictions)
    counts = confusion[:, [3, 1, 2]] if predictions.multi_label else _one_vs_rest(confusion)
    right = confusion[:, [0, 3]].sum() if predictions.multi_label else confusion.trace()
    scores = [_scores(*row) for row in counts.tolist()]
    return Evaluation(
        classes=tuple(classes),
        accuracy=float(right / confusion.sum()),
        precision=tuple(precision for precision, _, _ in scores),
        recall=tuple(recall for _, recall, _ in scores),
        f1=tuple(f1 for _, _, f1 in scores),
        support=tuple((truth == 1).sum(0).tolist()),
        confusion=tuple(map(tuple, confusion.tolist())),
        roc_auc=tuple(map(_roc_auc, truth.T, predictions.log_odds().T)),
        multi_label=predictions.multi_label,
    )


def macro(scores: Sequence[float]) -> tuple[float, int]:
    """The mean over the classes that have the score, each counted once, and how many those are.

    >>> macro([1.0, 0.5, math.nan])
    (0.75, 2)
    """
    defined = [score for score in scores if not math.isnan(score)]
    return (sum(defined) / len(defined) if defined else math.nan), len(defined)


def _confusion(predictions: Predictions) -> Tensor:
    """(K, K) counts: a row a true class, a column a predicted class."""
    known = predictions.labels >= 0
    guesses = predictions.logits[known].argmax(1)
    labels = list(range(predictions.logits.shape[1]))
    return torch.from_numpy(confusion_matrix(predictions.labels[known].numpy(), guesses.numpy(), labels=labels))


def _one_vs_rest(confusion: Tensor) -> Tensor:
    """(K, 3) counts: true positives, false positives, false negatives."""
    hits = confusion.diagonal()
    return torch.stack([hits, confusion.sum(0) - hits, confusion.sum(1) - hits], 1)


def _binary_confusions(predictions: Predictions) -> Tensor:
    """(K, 4) counts: true negatives, false positives, false negatives, true positives."""
    called, labels = predictions.logits > 0, predictions.labels
    outcomes = [(labels == so) & (called == guess) for so in (0, 1) for guess in (False, True)]
    return torch.stack([outcome.sum(0) for outcome in outcomes], 1)


def _scores(hits: int, false_alarms: int, misses: int) -> tuple[float, float, float]:
    """Precision, recall and F1."""
    if hits + misses == 0:
        return math.nan, math.nan, math.nan
    precision = hits / (hits + false_alarms) if hits + false_alarms else 0.0
    return precision, hits / (hits + misses), 2 * hits / (2 * hits + false_alarms + misses)


def _roc_auc(truth: Tensor, scores: Tensor) -> float:
    if not bool((truth == 0).any()) or not bool((truth == 1).any()):
        return math.nan
    known = truth >= 0
    return float(roc_auc_score(truth[known].numpy(), scores[known].numpy()))
