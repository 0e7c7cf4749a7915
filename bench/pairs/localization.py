"""Localization: is the attribution where the mask is?"""

import torch

from metrics.localization import (
    PointingGame,
    RelevanceMassAccuracy,
    RelevanceRankAccuracy,
    RocAuc,
    TopKIntersection,
)

from ..crosscheck import Case, NotComparableError, Ours, Pair, Theirs
from .matching import ABSOLUTE, by_ours, of_the_map, scores_of


def _top_k(case: Case) -> tuple[Ours, Theirs]:
    """Small enough for the smallest mask: ours divides by what is possible, Quantus by K."""
    masks, maps = case.decisions.masks, case.explanation.attributions
    if masks is None:
        raise NotComparableError("the task has no masks")
    counts, n_pixels = masks.flatten(1).sum(dim=1), masks[0].numel()
    if not bool((counts > 0).any()):
        raise NotComparableError("all masks are empty")
    k = max(1, min(int(counts[counts > 0].min()), round(0.02 * n_pixels)))
    return by_ours(TopKIntersection(k / n_pixels), case.explanation), lambda: scores_of(
        case.ask("TopKIntersection", maps, settings={"k": k})
    )


PAIRS: tuple[Pair, ...] = (
    Pair(
        "relevance_mass_accuracy",
        "RelevanceMassAccuracy",
        "|a|: Quantus sums signed values",
        of_the_map(RelevanceMassAccuracy(), "RelevanceMassAccuracy", of=torch.abs),
        needs_masks=True,
    ),
    Pair(
        "relevance_mass_accuracy",
        "AttributionLocalisation",
        "positive attributions",
        of_the_map(RelevanceMassAccuracy(), "AttributionLocalisation", ABSOLUTE, torch.relu),
        needs_masks=True,
    ),
    Pair(
        "relevance_rank_accuracy",
        "RelevanceRankAccuracy",
        "as both are",
        of_the_map(RelevanceRankAccuracy(), "RelevanceRankAccuracy"),
        needs_masks=True,
    ),
    Pair("pointing_game", "PointingGame", "as both are", of_the_map(PointingGame(), "PointingGame"), needs_masks=True),
    Pair("top_k_intersection", "TopKIntersection", "K at most the smallest mask", _top_k, needs_masks=True),
    Pair("roc_auc", "AUC", "as both are", of_the_map(RocAuc(), "AUC"), needs_masks=True),
)
