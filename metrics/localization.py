"""Localization: does the relevance lie where the evidence lies? Needs masks."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from .base import Category, Explanation, Metric


@dataclass(frozen=True)
class _Localization(Metric):
    """Compares the map with the mask of the evidence. In [0, 1], higher is better; nan: the mask is empty.

    A perfect map scores 1, and so does any map if the mask is the whole image.
    """

    category: ClassVar[Category] = Category.LOCALIZATION
    higher_is_better: ClassVar[bool] = True
    needs_masks: ClassVar[bool] = True


@dataclass(frozen=True)
class PointingGame(_Localization):
    """1 where the pixel of the highest attribution lies in the mask, else 0.

    If several pixels share the highest attribution: the expected value of picking one at random, the share of them
    that lies in the mask. So a constant or all-zero map scores the mask's share of the image. The sign counts: of
    an all-negative map the pixel nearest to zero is taken. Scaling by a positive number and shifting change nothing.
    No tolerance around the mask: some protocols on photographs widen it by 15 pixels. nan: the mask is empty.

    Quantus 0.6 counts constant maps and empty masks as hits.

    Reference: Zhang, Bargal, Lin, Brandt, Shen, Sclaroff, "Top-Down Neural Attention by Excitation Backprop",
    International Journal of Computer Vision 126, 2018.
    """

    def score(self, explanation: Explanation) -> Tensor:
        """(N,) share of the maximal pixels inside the mask."""
        flat, inside = _flat(explanation)
        maximal = flat == flat.amax(dim=1, keepdim=True)
        share = (maximal & inside).sum(dim=1).double() / maximal.sum(dim=1)
        return share.where(inside.any(dim=1), torch.nan)


@dataclass(frozen=True)
class RelevanceMassAccuracy(_Localization):
    """Share of the positive relevance that lies in the mask: Σ_mask max(a, 0) / Σ max(a, 0).

    Negative attributions count as zero: evidence against the class is not asked for. A constant positive map scores
    the mask's share of the image. Scaling by a positive number changes nothing, shifting does. nan: the mask is
    empty, or no attribution is positive (all-zero and all-negative maps).

    Quantus 0.6 sums signed values, which may leave [0, 1].

    Reference: Arras, Osman, Samek, "CLEVR-XAI: A Benchmark Dataset for the Ground Truth Evaluation of Neural Network
    Explanations", Information Fusion 81, 2022.
    """

    def score(self, explanation: Explanation) -> Tensor:
        """(N,) share of the positive relevance inside the mask."""
        flat, inside = _flat(explanation)
        positive = flat.double().clamp(min=0)
        share = (positive * inside).sum(dim=1) / positive.sum(dim=1)
        return share.where(inside.any(dim=1), torch.nan)


@dataclass(frozen=True)
class RelevanceRankAccuracy(_Localization):
    """Share of the K highest attributions that lies in the mask, K the number of the mask's pixels.

    If several pixels share the K-th highest attribution, the expected value of choosing among them at random; so a
    constant or all-zero map scores the mask's share of the image. The sign counts: negative ranks below zero. Any
    increasing function of the map scores the same. nan: the mask is empty.

    Quantus 0.6 breaks ties by the position of the pixel.

    Reference: Arras, Osman, Samek, "CLEVR-XAI: A Benchmark Dataset for the Ground Truth Evaluation of Neural Network
    Explanations", Information Fusion 81, 2022.
    """

    def score(self, explanation: Explanation) -> Tensor:
        """(N,) share of the K highest attributions inside the mask."""
        flat, inside = _flat(explanation)
        size = inside.sum(dim=1, keepdim=True)
        threshold = flat.sort(dim=1, descending=True).values.gather(1, (size - 1).clamp(min=0))
        above, tied = flat > threshold, flat == threshold
        free = size - above.sum(dim=1, keepdim=True)
        chance = free.double() / tied.sum(dim=1, keepdim=True)
        hits = (above & inside).sum(dim=1) + chance[:, 0] * (tied & inside).sum(dim=1)
        return hits / size[:, 0]  # 0 / 0 where the mask is empty


def _flat(explanation: Explanation) -> tuple[Tensor, Tensor]:
    """(N, H·W) attributions and (N, H·W) bool masks."""
    masks = explanation.decisions.masks
    if masks is None:
        raise ValueError("localization needs masks, and the task has none")
    return explanation.attributions.flatten(1), masks.flatten(1)


pointing_game = PointingGame()
relevance_mass_accuracy = RelevanceMassAccuracy()
relevance_rank_accuracy = RelevanceRankAccuracy()
