"""An evaluation as data frames: what the pictures show, number by number.

What is not defined is nan in every frame, and an empty cell in a CSV file.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
import torch
from sklearn.manifold import TSNE
from sklearn.metrics import roc_curve
from torch import Tensor

from .predictions import Predictions
from .scores import Evaluation, macro

N_BINS = 15
"""Of the reliability table, as in [1] of `reliability`."""
PREDICTED = "predicted class"
"""What the reliability table of a single-label task is about."""

_MAPPED = 2000
"""Samples that t-SNE lays out at most: the first ones. It takes a minute for ten times as many."""
_PERPLEXITY = 30.0


def class_scores(evaluation: Evaluation) -> pd.DataFrame:
    """A row a class: `class, precision, recall, f1, roc_auc, n`."""
    return pd.DataFrame(
        {
            "class": evaluation.classes,
            "precision": evaluation.precision,
            "recall": evaluation.recall,
            "f1": evaluation.f1,
            "roc_auc": evaluation.roc_auc or np.nan,
            "n": evaluation.support,
        }
    )


def summary(evaluation: Evaluation, calibration: pd.DataFrame) -> pd.DataFrame:
    """A row a measure of the whole: `measure, value, classes`, the latter those that the mean is over.

    Args:
        evaluation: Of some predictions.
        calibration: Their `reliability`.
    """
    rows: list[tuple[str, float, int]] = [("accuracy", evaluation.accuracy, len(evaluation.classes))]
    for name, scores in class_scores(evaluation).drop(columns=["class", "n"]).items():
        rows.append((f"macro {name}", *macro(scores.tolist())))
    errors = calibration_errors(calibration)["calibration_error"].tolist()
    if evaluation.multi_label:
        rows.append(("macro calibration_error", *macro(errors)))
    else:
        rows.append(("calibration_error", errors[0], len(evaluation.classes)))
    return pd.DataFrame(rows, columns=["measure", "value", "classes"])


def confusion(evaluation: Evaluation) -> pd.DataFrame:
    """Counts. A row a true class, a column a predicted one; for a multi-label task a row a finding, four outcomes."""
    outcomes = ["true_negative", "false_positive", "false_negative", "true_positive"]
    frame = pd.DataFrame(
        np.array(evaluation.confusion), columns=outcomes if evaluation.multi_label else list(evaluation.classes)
    )
    frame.insert(0, "finding" if evaluation.multi_label else "true class", evaluation.classes, allow_duplicates=True)
    return frame


def answers(predictions: Predictions, classes: Sequence[str]) -> pd.DataFrame:
    """A row a sample: its id, what it is, what it is called, and the probability of each class."""
    columns: dict[str, object] = {"id": predictions.ids}
    if predictions.multi_label:
        known = predictions.labels.double().masked_fill(predictions.labels < 0, torch.nan)
        columns |= {f"truth: {name}": known[:, index].numpy() for index, name in enumerate(classes)}
    else:
        columns["label"] = [classes[label] if label >= 0 else None for label in predictions.labels.tolist()]
        columns["prediction"] = [classes[guess] for guess in predictions.logits.argmax(1).tolist()]
    probabilities = predictions.probabilities()
    columns |= {f"probability: {name}": probabilities[:, index].numpy() for index, name in enumerate(classes)}
    return pd.DataFrame(columns)


def roc(predictions: Predictions, classes: Sequence[str]) -> pd.DataFrame:
    """ROC curves: `class, false_positive_rate, true_positive_rate, threshold`, one class against the rest.

    The threshold is a probability; nan at (0, 0), where nothing is called so. A class that all known samples are of,
    or none, has no curve.
    """
    frames = []
    for name, truth, log_odds in _by_class(predictions, classes):
        if 0 < truth.sum() < len(truth):
            false_rate, true_rate, thresholds = roc_curve(truth, log_odds)
            odds = torch.from_numpy(np.where(np.isinf(thresholds), np.nan, thresholds))
            frames.append(
                pd.DataFrame(
                    {
                        "class": name,
                        "false_positive_rate": false_rate,
                        "true_positive_rate": true_rate,
                        "threshold": odds.sigmoid().numpy(),
                    }
                )
            )
    columns = ["class", "false_positive_rate", "true_positive_rate", "threshold"]
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=columns)


def reliability(predictions: Predictions, classes: Sequence[str], n_bins: int = N_BINS) -> pd.DataFrame:
    """Reliability table: `class, above, up_to, n, probability, frequency`, a row a bin of equal width [1].

    For a single-label task of the predicted class: its mean probability in the bin, and how often it is right. For a
    multi-label task of each finding: its mean probability, and how often it is there. A bin is open below and closed
    above; the first is closed on both sides. An empty one has nan.

    [1] Guo et al., On calibration of modern neural networks, ICML 2017.
    """
    if predictions.multi_label:
        rows = [(name, truth, log_odds.sigmoid()) for name, truth, log_odds in _by_class(predictions, classes)]
    else:
        known = predictions.labels >= 0
        probabilities, guesses = predictions.probabilities()[known].max(1)
        rows = [(PREDICTED, (guesses == predictions.labels[known]).long(), probabilities)]
    return pd.concat([_bins(name, truth, probability, n_bins) for name, truth, probability in rows], ignore_index=True)


def calibration_errors(reliability: pd.DataFrame) -> pd.DataFrame:
    """Expected calibration error, a row a class: `class, calibration_error, n`.

    The mean of |frequency - probability| over the bins, each weighted by its samples; 0 is best, 1 is worst.
    """
    gaps = (reliability["frequency"] - reliability["probability"]).abs() * reliability["n"]
    sums = pd.DataFrame({"class": reliability["class"], "gap": gaps, "n": reliability["n"]})
    sums = sums.groupby("class", sort=False, as_index=False).sum()
    return pd.DataFrame({"class": sums["class"], "calibration_error": sums["gap"] / sums["n"], "n": sums["n"]})


def learning_curves(history: object) -> pd.DataFrame | None:
    """What a checkpoint keeps under "history", a row an epoch; None where it keeps nothing of the kind."""
    if not isinstance(history, list) or not history or not all(isinstance(row, dict) for row in history):
        return None
    frame = pd.DataFrame(history)
    return frame if {"epoch", "loss", "validation_loss", "score"} <= set(frame.columns) else None


def no_map(predictions: Predictions) -> str | None:
    """Why the samples' embeddings cannot be laid out, or None where they can."""
    embeddings = predictions.embeddings
    if embeddings is None:
        return "the network has no linear or convolutional layer to take the embeddings from"
    if len(embeddings) < 4:
        return f"{len(embeddings)} samples are too few"
    if not bool(embeddings.isfinite().all()):
        return "the embeddings are not finite"
    if bool((embeddings == embeddings[0]).all()):
        return "all embeddings are the same"
    return None


def embedding_map(predictions: Predictions, classes: Sequence[str], seed: int = 0) -> pd.DataFrame:
    """t-SNE of the embeddings: `id, x, y`, then what the sample is, as in `answers` [1].

    Perplexity 30, or a third of the other samples where they are fewer than 90; at most the first 2000 samples.
    Neighbours mean something; distances between groups, their sizes and both axes do not.

    Args:
        predictions: For which `no_map` has no objection.
        classes: Their names.
        seed: Of what is random.

    [1] van der Maaten and Hinton, Visualizing data using t-SNE, JMLR 9, 2008.
    """
    if reason := no_map(predictions):
        raise ValueError(f"no t-SNE: {reason}")
    assert predictions.embeddings is not None
    embeddings = predictions.embeddings[:_MAPPED]
    n_samples, n_features = embeddings.shape
    places = TSNE(
        perplexity=min(_PERPLEXITY, (n_samples - 1) / 3),
        init="pca" if n_features > 1 else "random",
        random_state=seed,
    ).fit_transform(embeddings.numpy())
    frame = answers(predictions, classes)[:_MAPPED]
    known = frame[[column for column in frame if not str(column).startswith("probability: ")]]
    return pd.concat([known["id"], pd.DataFrame(places, columns=["x", "y"]), known.drop(columns="id")], axis=1)


def _by_class(predictions: Predictions, classes: Sequence[str]) -> Iterator[tuple[str, Tensor, Tensor]]:
    """Name, truth (n,) in {0, 1} and log odds (n,) of the n samples whose truth is known."""
    for name, truth, log_odds in zip(classes, predictions.truth().T, predictions.log_odds().T, strict=True):
        yield name, truth[truth >= 0], log_odds[truth >= 0]


def _bins(name: str, truth: Tensor, probability: Tensor, n_bins: int) -> pd.DataFrame:
    edges = np.arange(n_bins + 1) / n_bins
    places = np.maximum(np.searchsorted(edges, probability.numpy(), side="left") - 1, 0)
    counts = np.bincount(places, minlength=n_bins)
    some = np.where(counts > 0, counts, np.nan)
    return pd.DataFrame(
        {
            "class": name,
            "above": edges[:-1],
            "up_to": edges[1:],
            "n": counts,
            "probability": np.bincount(places, probability.numpy(), n_bins) / some,
            "frequency": np.bincount(places, truth.numpy(), n_bins) / some,
        }
    )
