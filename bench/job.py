"""The smallest piece of work: one explainer on one shard, judged by some metrics."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from explainers.base import Explainer, InapplicableError
from explainers.human import SecondReader
from metrics.base import Decisions, Explanation, Metric

from .errors import one_line

EXPLAINING = "explaining"


class Job:
    """One explainer on one shard, judged by the metrics that are still missing."""

    def __init__(
        self, model: nn.Module, decisions: Sequence[Decisions], explainer: Explainer, metrics: Mapping[str, Metric]
    ) -> None:
        self.model = model
        self.decisions = decisions
        self.explainer = explainer
        self.metrics = metrics
        self.explanations: list[Explanation] = []
        self.scores: dict[str, Tensor] = {}
        self.failures: dict[str, str] = {}
        self.inapplicable: dict[str, str] = {}
        self.description: dict[str, str] = {}
        self.error: Exception | None = None
        self.times: dict[str, float] = {}
        """Seconds by what they went into: EXPLAINING, and the metrics' categories. What metrics share counts for the
        first that asks."""
        self.n_forwarded = 0

    @property
    def all_zero(self) -> list[str]:
        """The samples whose maps are 0 everywhere: legal, but no metric can say much about them."""
        flags = [bool(flag) for made in self.explanations for flag in ~made.attributions.flatten(1).any(dim=1)]
        ids = [sample for batch in self.decisions for sample in batch.ids]
        return [sample for sample, flag in zip(ids, flags, strict=True) if flag] if flags else []

    def run(self) -> None:
        before = sum(batch.n_forwarded for batch in self.decisions)
        with self._timed(EXPLAINING):
            self._explain()
        if self.explanations:
            for name, metric in self.metrics.items():
                with self._timed(str(metric.category)):
                    self._judge(name, metric)
        self.n_forwarded = sum(batch.n_forwarded for batch in self.decisions) - before

    @property
    def seconds(self) -> float:
        return sum(self.times.values())

    def curves(self, metrics: Mapping[str, Metric]) -> dict[str, Tensor]:
        """(N, L + 1) curves of those of the metrics that have one and did not fail; one that raises now has failed."""
        found = {}
        for name, metric in metrics.items():
            if metric.has_curve and name not in self.failures and self.explanations:
                try:
                    found[name] = torch.cat([metric.curve(one).float().cpu() for one in self.explanations])
                except Exception as error:  # noqa: BLE001  # as in `_judge`
                    self.failures[name] = f"curve: {one_line(error)}"
                    self.error = self.error or error
        return found

    @contextmanager
    def _timed(self, what: str) -> Iterator[None]:
        began = time.perf_counter()
        yield
        self.times[what] = self.times.get(what, 0.0) + time.perf_counter() - began

    def _explain(self) -> None:
        try:
            reason = self.explainer.inapplicable(self.model)
            if reason is not None:
                self.inapplicable = dict.fromkeys(self.metrics, reason)
                return
            self.description = self.explainer.describe(self.model, self.decisions[0].inputs)
            self.explanations = [
                Explanation(batch, self.explainer(self.model, batch.inputs, batch.targets), self.explainer)
                for batch in self.decisions
            ]
        except InapplicableError as error:
            self.inapplicable = dict.fromkeys(self.metrics, str(error))
            self.explanations = []
        except Exception as error:  # noqa: BLE001  # an explainer is a plugin: its cells fail, with the reason
            self.failures = dict.fromkeys(self.metrics, f"explainer: {one_line(error)}")
            self.explanations = []
            self.error = error

    def _judge(self, name: str, metric: Metric) -> None:
        if metric.needs_masks and any(batch.masks is None for batch in self.decisions):
            self.inapplicable[name] = "the task has no masks"
            return
        if metric.needs_shortcuts and any(batch.shortcuts is None for batch in self.decisions):
            self.inapplicable[name] = "the task has no masks of shortcuts"
            return
        try:
            reason = metric.inapplicable(self.decisions[0])
            if reason is not None:
                self.inapplicable[name] = reason
                return
            self.scores[name] = torch.cat([metric(explanation) for explanation in self.explanations])
        except Exception as error:  # noqa: BLE001  # a metric is a plugin: its cell fails, with the reason
            self.failures[name] = one_line(error)
            self.error = self.error or error


class Reading(Job):
    """A second reader's masks on one shard, judged as if they were maps.

    Args:
        model: The model, which did not take part.
        decisions: One a batch, with the second reader's masks; of a sample without one no score is defined.
        metrics: Of localization. Those that need no masks compare nothing with a reader, and are inapplicable.
    """

    def __init__(self, model: nn.Module, decisions: Sequence[Decisions], metrics: Mapping[str, Metric]) -> None:
        super().__init__(model, decisions, SecondReader(), metrics)
        self.masks = [batch.seconds or (None,) * len(batch.ids) for batch in decisions]
        self.unread = torch.tensor([mask is None for of_batch in self.masks for mask in of_batch])

    @property
    def all_zero(self) -> list[str]:
        ids = [sample for batch in self.decisions for sample in batch.ids]
        unread = {sample for sample, unread in zip(ids, self.unread.tolist(), strict=True) if unread}
        return [sample for sample in super().all_zero if sample not in unread]

    def _explain(self) -> None:
        for batch, masks in zip(self.decisions, self.masks, strict=True):
            nothing = torch.zeros_like(batch.inputs[0, :1])
            maps = torch.stack([nothing if mask is None else mask.to(nothing) for mask in masks])
            self.explanations.append(Explanation(batch, maps, self.explainer))

    def _judge(self, name: str, metric: Metric) -> None:
        if not metric.needs_masks:
            self.inapplicable[name] = "it compares a map with no mask"
            return
        super()._judge(name, metric)
        if name in self.scores:
            self.scores[name] = self.scores[name].masked_fill(self.unread.to(self.scores[name].device), torch.nan)
