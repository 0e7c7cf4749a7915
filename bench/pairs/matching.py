"""What the pairs share: how our side is asked, and how Quantus is kept from cutting pixels apart.

Quantus counts each channel of a pixel as a feature and cuts steps through pixels; where it removes, it is therefore
given an image of one channel that says what is there, 1, and what is not, 0, and a network that puts the real image in
(`Revealed`). So a feature is a pixel, or a cell, and what stands for removed ones is the same on both sides.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from metrics.base import Explanation, Metric
from metrics.perturb import BaselineImputer, MeanImputer
from metrics.reference.faithfulness import features_in_step
from metrics.regions import cells, sums

from ..crosscheck import Case, NotComparableError, Ours, Theirs

MEAN = MeanImputer()
GRID = 8
ABSOLUTE = {"abs": True}
"""Where the map is not negative in any case: Quantus prints a complaint otherwise."""
STEPS = "pixels in 32 steps, mean colour"
CELLS = "8 × 8 cells, mean colour"


class Revealed(nn.Module):
    """The network on what is revealed of the images of a batch.

    (N, 1, h, w) -> (N, K) logits, where 1 says that a cell is there and 0, −1, … that the first, the second … baseline
    stands for it. A cell is a pixel where h, w are the image's sides. For a task with several labels the logits are
    (N, 2), 0 and the target's, so that the softmax is its sigmoid.
    """

    def __init__(self, case: Case, *imputers: BaselineImputer, scale: Tensor | None = None) -> None:
        super().__init__()
        self.network, self.scale = case.model, scale
        self.decisions = case.decisions
        self.baselines = torch.stack([imputer.baseline(case.decisions) for imputer in imputers])
        self.eval()

    def forward(self, kept: Tensor) -> Tensor:
        inputs = self.decisions.inputs
        height, width = inputs.shape[2:]
        if kept.shape[2:] != inputs.shape[2:]:
            place = cells(height, width, kept.shape[2]).to(kept.device)
            kept = kept.flatten(1)[:, place].view(-1, 1, height, width)
        number = int(kept.min().clamp(max=0).neg())
        logits: Tensor = self.network(torch.where(kept == 1, inputs, self.baselines[number]))
        if self.scale is not None:
            logits = logits * self.scale[:, None].to(logits)
        if not self.decisions.multi_label:
            return logits
        target = self.decisions.target_logits(logits)
        return torch.stack([torch.zeros_like(target), target], dim=1)

    @property
    def targets(self) -> Tensor:
        """(N,) of these logits."""
        decisions = self.decisions
        return torch.ones_like(decisions.targets) if decisions.multi_label else decisions.targets


def removing(case: Case, name: str, imputer: BaselineImputer, settings: dict[str, Any], softmax: bool) -> Tensor:
    """What Quantus answers where it takes pixels of the revealed image away."""
    model = Revealed(case, imputer)
    everything = torch.ones_like(case.decisions.inputs[:, :1])
    settings = {"perturb_baseline": 0.0, **settings}
    answer = case.ask(
        name,
        case.explanation.attributions,
        everything,
        model=model,
        targets=model.targets,
        settings=settings,
        softmax=softmax,
    )
    return scores_of(answer)


def scores_of(answer: Any) -> Tensor:
    return torch.from_numpy(np.asarray(answer, dtype=float))


def by_ours(metric: Metric, explanation: Explanation, factor: float = 1.0) -> Ours:
    return lambda: factor * metric(explanation)


def of_the_map(
    metric: Metric, name: str, settings: dict[str, Any] | None = None, of: Callable[[Tensor], Tensor] = torch.clone
) -> Callable[[Case], tuple[Ours, Theirs]]:
    """Both judge the map alone, or what is made of it."""

    def prepare(case: Case) -> tuple[Ours, Theirs]:
        maps = of(case.explanation.attributions)
        return by_ours(metric, case.judging(maps)), lambda: scores_of(case.ask(name, maps, settings=settings))

    return prepare


def side_of_cell(case: Case) -> int:
    height, width = case.decisions.inputs.shape[2:]
    if height != width or height % GRID:
        raise NotComparableError(f"images of {height} × {width} pixels are not {GRID} × {GRID} squares")
    return int(height // GRID)


def of_cells(case: Case, grid: int) -> Tensor:
    """(N, 1, grid, grid) sums of the absolute attributions."""
    sizes = case.explanation.attributions.abs()
    place = cells(sizes.shape[2], sizes.shape[3], grid).to(sizes.device).expand(len(sizes), -1)
    return sums(sizes.flatten(1), place, grid**2).view(-1, 1, grid, grid)


def whole_steps(case: Case) -> tuple[int, int]:
    """How many pixels go at a time, and how many times: both take whole steps only."""
    n_pixels = case.decisions.inputs[0, 0].numel()
    size = features_in_step(n_pixels, 32)
    return size, n_pixels // size
