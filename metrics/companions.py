"""A task's companions: a few of its samples, beside those that are judged, for scores that compare with other samples.

They are the same for every batch, shard and explainer, so a score does not depend on batch mates. They are decided once
a task, and explained once a task and explainer. A sample that is one of them is left out of its own companions, and so
is another question about the same image.
"""

import torch
from torch import Tensor

from .base import Decisions, Explanation


def companions(decisions: Decisions) -> Decisions:
    """What the model decides about the P companions: the same object for all batches of a task.

    Raises:
        ValueError: there are none, or their images are of another size.
    """
    if decisions.companions is None:
        raise ValueError("needs companions, and these decisions are given none")
    pool = decisions.companions()
    if pool.inputs.shape[1:] != decisions.inputs.shape[1:]:
        sizes = " and ".join(" × ".join(map(str, one.inputs.shape[2:])) for one in (decisions, pool))
        raise ValueError(f"companions are images of the same size, not {sizes} pixels")
    return pool


def others(decisions: Decisions) -> Tensor:
    """(N, P) bool, which companions are other samples: by their ids, and by their images, which two ids may share."""
    return decisions.shared("other companions", lambda: _others(decisions, companions(decisions)))


def _others(decisions: Decisions, pool: Decisions) -> Tensor:
    device = decisions.inputs.device
    named = torch.tensor([[one != name for one in pool.ids] for name in decisions.ids], device=device)
    same = [(decisions.inputs == image).flatten(1).all(dim=1) for image in pool.inputs]
    return named & ~torch.stack(same, dim=1)


def explained(explanation: Explanation, target: int | None = None) -> Explanation:
    """What the explainer says of the companions: of the decision about each, or of one class in all of them.

    Costs P explanations, once a task and explainer (and target). Explained `batch_size` at a time.
    """
    pool, explainer = companions(explanation.decisions), explanation.explainer

    def make() -> tuple[object, Tensor]:
        targets = pool.targets if target is None else torch.full_like(pool.targets, target)
        parts = zip(torch.split(pool.inputs, pool.batch_size), torch.split(targets, pool.batch_size), strict=True)
        maps = torch.cat([explanation.explain(pool.model, *part) for part in parts])
        return explainer, maps  # the explainer is held, so that no other one gets its id

    _, maps = pool.shared(("explained", id(explainer), target), make)
    return Explanation(pool, maps, explainer)
