"""Sufficiency: are images that are explained alike decided alike?"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from .base import Category, Explanation, Metric
from .companions import companions, explained, others

TIED = 1e-6
"""Distances that differ by no more are equal: so far a map moves with its batch in single precision."""


@dataclass(frozen=True)
class Sufficiency(Metric):
    """Share of the samples with the most similar maps that are decided as this one is; in [0, 1], higher is better.

    The paper calls the local sufficiency of an explanation the probability that an input to which it applies gets the
    same prediction: Pr(f(x') = f(x) | x' in C_e(x)). An explanation that says «zebra's stripes» should not apply to
    what is taken for a horse. Of a heat map, C_e(x) is made of the inputs whose map is near. Here the inputs are the
    task's companions (see `companions`), each explained for its own decision; near are the n_nearest of them by the
    cosine distance 1 − a·a' / |a||a'| of the signed maps, pixel by pixel, as the explainer made them.

    The nearest ones, and not those within a threshold, because no threshold means the same for two explainers: maps of
    Grad-CAM are all within a distance at which no two maps of a gradient are. And the cosine, because maps have no unit
    in common. So every explainer has as many neighbours, and the score asks nothing but who they are.

    Chance is the share of the companions with the same prediction; a constant map or one that is the same for all
    images scores that. 1 cannot be reached where fewer than n_nearest companions share the prediction (16 companions:
    where there are more than five classes). Ties: where several companions are equally far (within 1e-6) and not all
    of them are among the nearest, the expected value of choosing at random. Scaling by a positive number changes
    nothing. nan: the map is all-zero; or there are no more than n_nearest other companions with a map that is not,
    since any map would score the same.

    Where a sample may be of several classes, the prediction is whether the target is there, and the companions'
    explanations for the sample's target are compared, whatever theirs is.

    How to read it. It compares places: that a map lies where the maps of its class lie is enough. Evidence that may be
    anywhere in the image (lesions) makes near maps rare for faithful explainers too, and a map that only tells the
    class by where it is bright scores best. It does not tell a trained network from a random one, whose maps of one
    class are alike too. Few companions make one score coarse; means over samples are what counts.

    Costs, once a task and explainer, the explanation of all companions (of several labels: once for every target that
    is asked about), and once a task a forward pass of them.

    Quantus 0.6 takes those within 0.6 of the largest distance in the batch, by distances standardized over the batch,
    so that a score depends on the batch mates, and scores 0 where there are none.

    Reference: Dasgupta, Frost, Moshkovitz, "Framework for Evaluating Faithfulness of Local Explanations", ICML 2022.

    Args:
        n_nearest: How many companions are near.

    Raises:
        ValueError: n_nearest is not positive; there are no companions, or they are of another size.
    """

    category: ClassVar[Category] = Category.FAITHFULNESS
    higher_is_better: ClassVar[bool] = True
    needs_companions: ClassVar[bool] = True
    on_request: ClassVar[bool] = True
    n_nearest: int = 3

    def __post_init__(self) -> None:
        if self.n_nearest < 1:
            raise ValueError(f"{self}: n_nearest is at least 1")

    def score(self, explanation: Explanation) -> Tensor:
        """(N,) share of the nearest companions with the same prediction."""
        distances = _distances(explanation).where(others(explanation.decisions), torch.inf)
        n_there = distances.isfinite().sum(dim=1)
        k = min(self.n_nearest, distances.shape[1])
        furthest = distances.sort(dim=1).values[:, k - 1 : k]
        nearer = distances < furthest - TIED
        tied = (distances - furthest).abs() <= TIED  # nothing where the furthest is infinitely far
        same = _same_decision(explanation)
        n_drawn = k - nearer.sum(dim=1)
        agreeing = (nearer & same).sum(dim=1) + n_drawn * (tied & same).sum(dim=1) / tied.sum(dim=1).double()
        return (agreeing / k).where(n_there > self.n_nearest, torch.nan)


def _distances(explanation: Explanation) -> Tensor:
    """(N, P) float64 cosine distances of the maps to those of the companions; infinite where one of both is zero."""
    decisions = explanation.decisions
    own = _directions(explanation.attributions)
    if not decisions.multi_label:
        distances = 1 - own @ _directions(explained(explanation).attributions).T
    else:
        distances = own.new_zeros(len(own), len(companions(decisions).ids))
        for target in sorted(set(decisions.targets.tolist())):
            asked = decisions.targets == target
            distances[asked] = 1 - own[asked] @ _directions(explained(explanation, target).attributions).T
    return distances.nan_to_num(torch.inf)


def _directions(maps: Tensor) -> Tensor:
    """(M, H·W) float64 maps of length 1; nan where a map is zero everywhere."""
    values: Tensor = maps.flatten(1).double()
    values = values / values.abs().amax(dim=1, keepdim=True)  # so that no square is lost
    return values / values.square().sum(dim=1, keepdim=True).sqrt()


def _same_decision(explanation: Explanation) -> Tensor:
    """(N, P) bool, whether the model decides about the companion as about the sample."""
    decisions = explanation.decisions
    pool = companions(decisions)
    if not decisions.multi_label:
        return decisions.predictions[:, None] == pool.predictions
    there: Tensor = pool.original_logits[:, decisions.targets].T > 0
    return there == (decisions.target_logits(decisions.original_logits) > 0)[:, None]


sufficiency = Sufficiency()
