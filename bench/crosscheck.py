"""Ours against Quantus: both judge the same maps of the same samples, and their numbers are held together.

What is compared with what, and what has to be matched for that, stands in `bench.pairs`.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy import stats
from torch import Tensor, nn

from metrics.base import Decisions, Explanation
from metrics.reference.adapter import array, ask, explaining

EQUAL = "equal"
TOLERANCE = 1e-5
"""Up to here two numbers are equal: single precision, over some hundred forward passes."""


class NotComparableError(Exception):
    """Why two metrics cannot be compared on these samples."""


@dataclass(frozen=True)
class Case:
    """One explanation that both judge; its map has no ties: see `without_ties`."""

    explanation: Explanation
    library: ModuleType
    """Quantus."""
    model: nn.Module
    """The network as Quantus gets it."""
    seed: int = 0
    """Of what Quantus draws."""

    @property
    def decisions(self) -> Decisions:
        return self.explanation.decisions

    def judging(self, attributions: Tensor) -> Explanation:
        """An explanation of the same decisions by another map."""
        return Explanation(self.decisions, attributions, self.explanation.explain)

    def ask(
        self,
        name: str,
        attributions: Tensor,
        inputs: Tensor | None = None,
        *,
        model: nn.Module | None = None,
        targets: Tensor | None = None,
        settings: Mapping[str, Any] | None = None,
        softmax: bool = False,
        custom: Any = None,
    ) -> Any:
        """What Quantus's class of a name returns for all samples at once, attributions as they are.

        Left out: the images, the network, the targets of the case; the settings are Quantus's defaults but for
        normalization and absolute values. Custom is what some classes want to know beside.
        """
        decisions = self.decisions
        masks = None if len(attributions) < len(decisions.inputs) else decisions.masks
        call = {
            "x_batch": array(decisions.inputs if inputs is None else inputs),
            "y_batch": array(decisions.targets if targets is None else targets),
            "a_batch": array(attributions),
            "s_batch": None if masks is None else array(masks),
            "explain_func": explaining(self.explanation.explain, decisions),
            "softmax": softmax,
            "batch_size": len(decisions.inputs),
            **({} if custom is None else {"custom_batch": custom}),
        }
        own = {"normalise": False, "abs": False, **(settings or {})}
        return ask(self.library, name, own, self.model if model is None else model, call, self.seed)


Ours = Callable[[], Tensor]
Theirs = Callable[[], Tensor | None]


@dataclass(frozen=True)
class Pair:
    """A metric of ours and that of Quantus which goes by the same definition, or should."""

    ours: str
    """Public name of ours."""
    quantus: str
    """Name of Quantus's class."""
    settings: str
    """What is matched, in words."""
    prepare: Callable[[Case], tuple[Ours, Theirs]]
    """Two functions that are timed: (N,) scores each, in one unit; Quantus's: None where it has none a sample."""
    expected: str = EQUAL
    """Or in what they differ, and whose fault that is."""
    needs_masks: bool = False


@dataclass
class Found:
    """What a pair gave, over all tasks and explainers."""

    pair: Pair
    ours: list[float] = field(default_factory=list)
    theirs: list[float] = field(default_factory=list)
    seconds: tuple[float, float] = (0.0, 0.0)
    obstacle: str = ""
    """Why they were not compared, at least once."""

    @property
    def difference(self) -> float:
        """The largest of the differences: absolute, of scores beyond 1 as a share of them; nan: nothing to compare."""
        if not self.ours:
            return float("nan")
        return float((np.abs(np.subtract(self.ours, self.theirs)) / np.maximum(1, np.abs(self.theirs))).max())

    @property
    def correlation(self) -> float:
        """Spearman's over the samples; nan: one of both is constant, or there are fewer than three samples."""
        if len(self.ours) < 3 or len(set(self.ours)) == 1 or len(set(self.theirs)) == 1:
            return float("nan")
        return float(stats.spearmanr(self.ours, self.theirs).statistic)

    @property
    def wanting(self) -> bool:
        """Whether both should be equal and were not found so."""
        return self.pair.expected == EQUAL and self.verdict != EQUAL and not self.verdict.startswith("not compared")

    @property
    def verdict(self) -> str:
        if self.obstacle:
            return self.obstacle
        if self.pair.expected != EQUAL:
            return self.pair.expected
        if not self.ours:
            return "not compared: no sample is defined"
        return EQUAL if self.difference <= TOLERANCE else "NOT equal"


def crosscheck(pairs: Sequence[Pair], cases: Iterable[Callable[[], Case]]) -> list[Found]:
    """Let both judge every case by every pair. A case is made anew for each pair, so that nothing is shared."""
    found = [Found(pair) for pair in pairs]
    for make in cases:
        for one in found:
            _compare(one, make())
    return found


def _compare(found: Found, case: Case) -> None:
    if found.pair.needs_masks and case.decisions.masks is None:
        found.obstacle = "not compared: the task has no masks"
        return
    try:
        ours, theirs = found.pair.prepare(case)
    except NotComparableError as error:
        found.obstacle = f"not compared: {error}"
        return
    mine, seconds = _timed(ours)
    try:
        other, seconds_of_quantus = _timed(theirs)
    except Exception as error:  # noqa: BLE001  # told in the table: a pair that should be equal is then wanting
        found.obstacle = f"Quantus fails: {type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
        return
    found.seconds = (found.seconds[0] + seconds, found.seconds[1] + seconds_of_quantus)
    if other is not None:
        defined = mine.isfinite()
        found.ours += mine[defined].tolist()
        found.theirs += other[defined].tolist()


def _timed(judge: Callable[[], Any]) -> tuple[Any, float]:
    began = time.perf_counter()
    answer = judge()
    return answer, time.perf_counter() - began


def without_ties(decisions: Decisions, attributions: Tensor) -> Tensor:
    """(N, 1, H, W) float64: over its largest size, and a random millionth more or less, so that no two are equal.

    Where pixels are equal, ours takes the mean over all orders, or a random one, and Quantus what its sorting leaves.
    """
    values = attributions.detach().double()
    largest = values.abs().amax(dim=(1, 2, 3), keepdim=True)
    scaled = values / largest.where(largest > 0, 1)
    shape = values.shape[1:]
    noise = [torch.rand(shape, generator=one, dtype=torch.float64) for one in decisions.generators("crosscheck")]
    return scaled + 1e-6 * (torch.stack(noise).to(scaled) - 0.5)


def table(found: Sequence[Found]) -> pd.DataFrame:
    """A row a pair: what was compared, and how it came out."""
    return pd.DataFrame(
        {
            "metric": [one.pair.ours for one in found],
            "Quantus": [one.pair.quantus for one in found],
            "settings": [one.pair.settings for one in found],
            "n": [len(one.ours) for one in found],
            "largest difference": [one.difference for one in found],
            "Spearman": [one.correlation for one in found],
            "seconds": [one.seconds[0] for one in found],
            "Quantus's seconds": [one.seconds[1] for one in found],
            "verdict": [one.verdict for one in found],
        }
    )
