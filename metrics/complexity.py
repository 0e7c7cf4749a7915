"""Complexity: on how few pixels does the explanation rest?"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from .base import Category, Explanation, Metric


@dataclass(frozen=True)
class Sparseness(Metric):
    """Gini index of the absolute attributions; in [0, 1 − 1/(H·W)], higher is better.

    With |a| in ascending order, v_1 ≤ … ≤ v_d: G = Σ_k (2k − d − 1) v_k / (d Σ_k v_k). 0 for a constant map,
    1 − 1/d for a single pixel. Order and ties among pixels do not matter; neither does scaling, also by a negative
    number; shifting does. nan: the map is all-zero.

    Reference: Chalasani, Chen, Chowdhury, Jha, Wu, "Concise Explanations of Neural Networks using Adversarial
    Training", ICML 2020.
    """

    category: ClassVar[Category] = Category.COMPLEXITY
    higher_is_better: ClassVar[bool] = True

    def score(self, explanation: Explanation) -> Tensor:
        """(N,) Gini index."""
        ascending = explanation.attributions.flatten(1).abs().double().sort(dim=1).values
        d = ascending.shape[1]
        weights = 2 * torch.arange(1, d + 1, dtype=ascending.dtype, device=ascending.device) - d - 1
        return (ascending @ weights) / (d * ascending.sum(dim=1))  # 0 / 0 where the map is all-zero


sparseness = Sparseness()
