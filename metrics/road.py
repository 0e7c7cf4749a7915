"""Remove and debias: does the model change its mind when relevant pixels are guessed from their neighbours?"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from .base import Category, Explanation, Metric
from .linear_imputation import ExactLinearImputer, IterativeLinearImputer
from .perturb import Imputer, logits_without, pixels


@dataclass(frozen=True)
class RemoveAndDebias(Metric):
    """How often the decision stands without the 1, 2, … 50 % most relevant pixels, filled in smoothly; lower is better.

    road = mean over k of [the model still decides for the target without the k % most relevant pixels]. In [0, 1].
    The decision is the class of the highest logit, and it stands if that is the target; for a multi-label task, the
    sign of the target's logit, and it stands if it is as on the whole image. Exactly ⌊k/100 · H·W⌋ pixels are
    removed; ties in a random order that is the same for all explainers, so a constant or all-zero map scores as a
    random order does. Always defined. Costs one forward pass of the batch a percentage.

    Noisy linear imputation leaves no edges from which the removed pixels' shape could be read, so that fewer of the
    model's mistakes are due to the removal itself; it favours maps of connected areas less than a constant colour does.
    Quantus's ROAD averages over the samples first, and fails on images of three channels.

    Args:
        imputer: What replaces removed pixels: the iterative or the exact noisy linear imputation.
        percentages: Of the pixels, in percent.

    Raises:
        ValueError: there are no percentages, or one is not within 0 … 100.

    Reference: Rong, Leemann, Borisov, Kasneci, Kasneci, "A Consistent and Efficient Evaluation Strategy for
    Attribution Methods", ICML 2022.
    """

    category: ClassVar[Category] = Category.FAITHFULNESS
    higher_is_better: ClassVar[bool] = False
    on_request: ClassVar[bool] = True
    imputer: Imputer
    percentages: range = range(1, 51)

    def __post_init__(self) -> None:
        if not self.percentages or min(self.percentages) < 0 or max(self.percentages) > 100:
            raise ValueError(f"{self}: percentages are some of 0 … 100")

    def score(self, explanation: Explanation) -> Tensor:
        """(N,) share of the percentages at which the decision stands."""
        decisions, order = explanation.decisions, pixels(explanation)
        kept = decisions.decided(decisions.original_logits) if decisions.multi_label else decisions.targets
        spans = [(0, percentage * order.n_places // 100) for percentage in self.percentages]
        stands = [decisions.decided(one) == kept for one in logits_without(explanation, order, self.imputer, spans)]
        return torch.stack(stands).double().mean(dim=0)


road = RemoveAndDebias(IterativeLinearImputer())
road_exact = RemoveAndDebias(ExactLinearImputer())
