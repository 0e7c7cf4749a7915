"""What became of each sample: label, prediction, and whether that was right."""

from collections.abc import Sequence

import pandas as pd
from torch import Tensor

from metrics.base import Decisions

UNKNOWN = "unknown"


def sample_table(decisions: Sequence[Decisions], classes: Sequence[str], negative: str | None) -> pd.DataFrame:
    """One row a sample: sample, label, prediction, target, probability (of the target), outcome, mask_area.

    Class names; for a multi-label task the labels are the names of the positive classes, joined by ` | `. Where
    nobody knows the label, it and the outcome are `UNKNOWN`.
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
    right = prediction in label.split(" | ")
    return f"{'true' if right else 'false'} {'negative' if prediction == negative else 'positive'}"


def _table(batch: Decisions, classes: Sequence[str], negative: str | None) -> pd.DataFrame:
    if batch.labels is None:
        raise ValueError("a task's batches have labels")
    predictions = [classes[index] for index in batch.predictions.tolist()]
    labels = [_label_name(label, classes) for label in batch.labels]
    masks = batch.masks
    return pd.DataFrame(
        {
            "sample": list(batch.ids),
            "label": labels,
            "prediction": predictions,
            "target": [classes[index] for index in batch.targets.tolist()],
            "probability": batch.target_probabilities(batch.original_logits).double().cpu().numpy(),
            "outcome": [outcome(*pair, negative) for pair in zip(labels, predictions, strict=True)],
            "mask_area": float("nan") if masks is None else masks.double().mean(dim=(1, 2, 3)).cpu().numpy(),
        }
    )


def _label_name(label: Tensor, classes: Sequence[str]) -> str:
    if label.ndim == 0:
        return classes[int(label)] if label >= 0 else UNKNOWN
    return " | ".join(name for name, positive in zip(classes, label.tolist(), strict=True) if positive == 1)
