"""Evaluating a classifier: scores as by hand."""

import pytest
import torch
from torch import nn

from tasks.base import Sample
from tasks.evaluation import evaluate


def test_evaluate_scores_as_by_hand() -> None:
    class Fixed(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return torch.nn.functional.one_hot((images[:, 0, 0, 0] * 10).long(), 3).float()

    truth, predicted = [0, 0, 0, 1, 1, 2], [0, 0, 1, 1, 0, 0]
    samples = [
        Sample(torch.full((3, 2, 2), guess / 10 + 0.05), torch.tensor(label), "x")
        for label, guess in zip(truth, predicted, strict=True)
    ]
    evaluation = evaluate(Fixed(), samples, ("a", "b", "c"), batch_size=4)
    assert evaluation.confusion == ((2, 1, 0), (1, 1, 0), (1, 0, 0))
    assert evaluation.accuracy == pytest.approx(0.5)
    assert evaluation.precision == pytest.approx((0.5, 0.5, 0.0))
    assert evaluation.recall == pytest.approx((2 / 3, 0.5, 0.0))
    assert evaluation.f1 == pytest.approx((4 / 7, 0.5, 0.0))
    assert evaluation.support == (3, 2, 1)
