"""Among companions: are images that are explained alike decided alike, and are those of one class told from others?"""

import torch

from metrics.base import Decisions, Explanation
from metrics.mosaics import share_of_target
from metrics.sufficiency import Sufficiency

from ..crosscheck import Case, NotComparableError, Ours, Pair, Theirs
from .matching import ABSOLUTE, by_ours, scores_of


def _sufficiency(case: Case) -> tuple[Ours, Theirs]:
    """The samples are each other's companions, as in Quantus."""
    whole, maps = case.decisions, case.explanation.attributions

    def decide(pool: Decisions | None) -> Decisions:
        among = None if pool is None else lambda: pool
        return Decisions(whole.model, whole.inputs, whole.targets, whole.labels, whole.ids, companions=among)

    if whole.multi_label:
        raise NotComparableError("Quantus knows one label an image only")
    explanation = Explanation(decide(decide(None)), maps.abs(), lambda *_: maps.abs())
    return by_ours(Sufficiency(1), explanation), lambda: scores_of(case.ask("Sufficiency", maps, settings=ABSOLUTE))


def _focus(case: Case) -> tuple[Ours, Theirs]:
    """Two tiles of each map are drawn to be the target's."""
    maps = case.explanation.attributions
    if any(side % 2 for side in maps.shape[2:]):
        raise NotComparableError("images of odd sides are no mosaics")
    drawn = [torch.randperm(4, generator=one) < 2 for one in case.decisions.generators("crosscheck of focus")]
    of_target = torch.stack(drawn).to(maps.device)
    return (
        lambda: share_of_target(maps, of_target).cpu(),
        lambda: scores_of(case.ask("Focus", maps, custom=of_target.int().tolist())),
    )


PAIRS: tuple[Pair, ...] = (
    Pair(
        *("sufficiency", "Sufficiency", "|a|; among the samples of the batch, ours of the nearest one", _sufficiency),
        "differs by definition: Quantus takes those within 0.6 of the largest distance in the batch, 0 if none are",
    ),
    Pair("focus", "Focus", "the formula alone, on the maps as if they were of mosaics; two tiles drawn", _focus),
)
