"""What became of each sample: label, prediction, and whether that was right."""

from collections.abc import Sequence

import pandas as pd
from torch import Tensor

from metrics.base import Decisions

UNKNOWN = "unknown"


def sample_table(decisions: Sequence[Decisions], classes: Sequence[str], negative: str | None) -> pd.DataFrame:
    """One row a sample: sample, label, prediction, target, probability (of the target), outcome, mask_area.

    Class names. For a multi-label task label and prediction are the names of all classes that are there, and that the
    model says are there, joined by ` | `; the outcome is that of the target alone. Where nobody knows the label (of
    the target), the outcome is `UNKNOWN`, and so is the label of a task of one label.
    `mask_area` is the share of the image that the mask covers, missing where no mask is known.
    """
    return pd.concat([_table(batch, classes, negative) for batch in decisions], ignore_index=True)


def outcome(label: str, prediction: str, negative: str | None) -> str:
    """True or false, positive or negative, seen from the predicted class.

    A prediction of `negative` («nothing found») is a negative, any other a positive; where no class means that,
    every prediction is a positive.

    >>> outcome("glioma", "meningioma", "no_tumor"), outcome("glioma", "no_tumor", "no_tumor")
    ('false positive', 'false negative')
    """
    if label == UNKNOWN:
        return UNKNOWN
    return _told(right=prediction == label, positive=prediction != negative)


def captions(table: pd.DataFrame, multi_label: bool) -> list[str]:
    """What stands beside each sample of a table in a picture: label → prediction, or the target and its outcome."""
    first, second = ("target", "outcome") if multi_label else ("label", "prediction")
    mark = ": " if multi_label else " → "
    return [f"{one}{mark}{other}" for one, other in zip(table[first], table[second], strict=True)]


def _table(batch: Decisions, classes: Sequence[str], negative: str | None) -> pd.DataFrame:
    if batch.labels is None:
        raise ValueError("a task's batches have labels")
    if batch.multi_label:
        predictions = [_joined(answers > 0, classes) for answers in batch.original_logits]
        labels = [_joined(label == 1, classes) for label in batch.labels]
        outcomes = _outcomes_of_targets(batch, batch.labels)
    else:
        predictions = [classes[index] for index in batch.predictions.tolist()]
        labels = [classes[label] if label >= 0 else UNKNOWN for label in batch.labels.tolist()]
        outcomes = [outcome(*pair, negative) for pair in zip(labels, predictions, strict=True)]
    masks = batch.masks
    return pd.DataFrame(
        {
            "sample": list(batch.ids),
            "label": labels,
            "prediction": predictions,
            "target": [classes[index] for index in batch.targets.tolist()],
            "probability": batch.target_probabilities(batch.original_logits).double().cpu().numpy(),
            "outcome": outcomes,
            "mask_area": float("nan") if masks is None else masks.double().mean(dim=(1, 2, 3)).cpu().numpy(),
        }
    )


def _outcomes_of_targets(batch: Decisions, labels: Tensor) -> list[str]:
    """Of a multi-label task, whose labels are (N, K): is the target said to be there, and rightly?"""
    truth = labels.gather(1, batch.targets[:, None])[:, 0].tolist()
    said = batch.decided(batch.original_logits).tolist()
    return [
        UNKNOWN if label < 0 else _told(right=label == answer, positive=answer == 1)
        for label, answer in zip(truth, said, strict=True)
    ]


def _told(right: bool, positive: bool) -> str:
    return f"{'true' if right else 'false'} {'positive' if positive else 'negative'}"


def _joined(there: Tensor, classes: Sequence[str]) -> str:
    return " | ".join(name for name, is_there in zip(classes, there.tolist(), strict=True) if is_there)
