"""What a metric is, and what it is given: the decisions of a batch, and one explainer's explanation of them."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor, nn

Shared = TypeVar("Shared")
Explain = Callable[[nn.Module, Tensor, Tensor], Tensor]
TOGETHER = 8
"""Images that a forward pass has at least where it can: fewer cost up to twice as much each, more no less."""


class Category(StrEnum):
    """The families of metrics, by the names that Quantus gave them, and what an explanation costs."""

    FAITHFULNESS = "faithfulness"
    ROBUSTNESS = "robustness"
    LOCALIZATION = "localization"
    RANDOMIZATION = "randomization"
    COMPLEXITY = "complexity"
    AXIOMATIC = "axiomatic"
    RUNTIME = "runtime"


class Decisions:
    """One batch of one task: images, and what the model decided about them. Shared by all explainers.

    Args:
        model: In eval mode; (N, 3, H, W) images in [0, 1] -> (N, K) logits.
        inputs: (N, 3, H, W) float images in [0, 1], on the model's device, as the rest.
        targets: (N,) int64, the class whose logit is explained; None: the class that the model predicts.
        labels: (N,) int64, or (N, K) int64 in {0, 1, -1: nobody knows} for a multi-label task: each class is then
            decided on its own, and is there where its logit is above 0. None: not known.
        ids: N names; None: the samples' numbers.
        masks: (N, 1, H, W) bool, where the evidence lies; all False: none for this sample.
        shortcuts: (N, 1, H, W) bool, where a misleading cue lies.
        seconds: N masks (1, H, W) bool by a second reader, or None: not read again. No metric looks at them: they are
            judged as maps are.
        companions: Answers the decisions about a few samples of the task, the same ones whichever batch asks; None:
            there are none. See `companions`.
        task: Name of the task; takes part in seeding.
        seed: The run's seed.
        batch_size: How many images `logits` forwards at a time.
    """

    def __init__(
        self,
        model: nn.Module,
        inputs: Tensor,
        targets: Tensor | None = None,
        labels: Tensor | None = None,
        ids: tuple[str, ...] | None = None,
        masks: Tensor | None = None,
        shortcuts: Tensor | None = None,
        seconds: tuple[Tensor | None, ...] | None = None,
        *,
        companions: "Callable[[], Decisions] | None" = None,
        task: str = "",
        seed: int = 0,
        batch_size: int = 32,
    ) -> None:
        self.model = model
        self.inputs = inputs
        self.labels = labels
        self.ids = ids if ids is not None else tuple(str(index) for index in range(len(inputs)))
        self.masks = masks
        self.shortcuts = shortcuts
        self.seconds = seconds
        self.companions = companions
        self.task = task
        self.seed = seed
        self.batch_size = batch_size
        self.n_forwarded = 0
        self._shared: dict[Hashable, Any] = {}
        self.original_logits = self.logits(inputs)
        self.predictions = self.original_logits.argmax(dim=1)
        self.targets = self.predictions if targets is None else targets

    @property
    def multi_label(self) -> bool:
        """Whether an image may be of several classes, or of none."""
        return self.labels is not None and self.labels.ndim == 2

    def logits(self, inputs: Tensor) -> Tensor:
        """(M, K) logits of (M, 3, H, W) images, without gradients. The only door to the forward pass: it counts.

        Where memory runs out, the batch is halved and tried again, down to one image.
        """
        self.n_forwarded += len(inputs)
        answers = []
        first = 0
        while first < len(inputs):
            chunk = inputs[first : first + self.batch_size]
            try:
                with torch.inference_mode():
                    answers.append(self.model(chunk.contiguous(memory_format=torch.channels_last)))
            except torch.OutOfMemoryError:
                if self.batch_size == 1:
                    raise
                self.batch_size //= 2
                continue
            first += len(chunk)
        return torch.cat(answers)

    def logits_of_variants(self, variants: Iterable[Tensor]) -> list[Tensor]:
        """(N, K) logits of each variant of the batch, (N, 3, H, W) images, made as they are needed.

        Of a small batch, several variants are forwarded together: `TOGETHER` images at a time.
        """
        n_together = max(1, min(TOGETHER, self.batch_size) // len(self.inputs))
        answers: list[Tensor] = []
        waiting = iter(variants)
        while group := list(islice(waiting, n_together)):
            images = group[0] if len(group) == 1 else torch.cat(group)
            answers += torch.split(self.logits(images), len(self.inputs))
        return answers

    def decided(self, logits: Tensor) -> Tensor:
        """(M,) what the model decides by (M, K) logits, M a multiple of N: equal answers are one decision.

        The class of the highest logit; for a multi-label task, whether the target is there: 1 where its logit is
        above 0, else 0.
        """
        return (self._of_targets(logits) > 0).long() if self.multi_label else logits.argmax(dim=1)

    def probabilities(self, inputs: Tensor) -> Tensor:
        """(M,) probability of the targets for M = R·N images: R variants of the batch, one after another."""
        return self.target_probabilities(self.logits(inputs))

    def target_probabilities(self, logits: Tensor) -> Tensor:
        """(M,) probability of the targets for (M, K) logits, M a multiple of N: softmax, or sigmoid if multi-label."""
        return self._of_targets(logits.sigmoid() if self.multi_label else logits.softmax(dim=1))

    def target_logits(self, logits: Tensor) -> Tensor:
        """(M,) logits of the targets for (M, K) logits, M a multiple of N."""
        return self._of_targets(logits)

    def _of_targets(self, values: Tensor) -> Tensor:
        """(M,) the targets' of (M, K) values."""
        targets = self.targets.repeat(len(values) // len(self.targets))
        return values.gather(1, targets[:, None])[:, 0]

    def generators(self, purpose: str) -> list[torch.Generator]:
        """N fresh CPU generators, seeded by the run's seed, the task, the purpose and the sample's id.

        Neither the explainer nor the batch takes part: all explainers meet the same random numbers, and a
        sample meets them in any batch. A metric's purpose is its own name, or that of the draws it shares.
        """
        return [_generator(f"{self.seed}/{self.task}/{purpose}/{name}") for name in self.ids]

    def task_generator(self, purpose: str) -> torch.Generator:
        """A fresh CPU generator for what all samples of the task share: seeded by the run's seed, task and purpose."""
        return _generator(f"{self.seed}/{self.task}/{purpose}")

    def shared(self, key: Hashable, compute: Callable[[], Shared]) -> Shared:
        """The answer of `compute`, computed once for this batch, whichever metric or explainer asks first."""
        if key not in self._shared:
            self._shared[key] = compute()
        answer: Shared = self._shared[key]
        return answer


class Explanation:
    """Decisions together with one explainer's attributions.

    Args:
        decisions: What was explained.
        attributions: (N, 1, H, W), as the explainer made them.
        explain: (model, inputs, targets) -> attributions, for metrics that ask again.

    Raises:
        ValueError: attributions of another shape, or some that are not finite; also where `explain` answers so.
    """

    def __init__(self, decisions: Decisions, attributions: Tensor, explain: Explain) -> None:
        self.decisions = decisions
        self.attributions = _checked(attributions, decisions.inputs)
        self.explainer = explain
        self._shared: dict[Hashable, Any] = {}

    def explain(self, model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        """(M, 1, H, W) attributions of other images, or by another model: held to what the first ones are held to.

        Ranks and signs of NaN would be numbers like any other.
        """
        return _checked(self.explainer(model, inputs, targets), inputs)

    def shared(self, key: Hashable, compute: Callable[[], Shared]) -> Shared:
        """The answer of `compute`, computed once for this explanation, whichever metric asks first."""
        if key not in self._shared:
            self._shared[key] = compute()
        answer: Shared = self._shared[key]
        return answer

    def knows(self, key: Hashable) -> bool:
        """Whether `shared` has the answer of this key."""
        return key in self._shared


@dataclass(frozen=True)
class Metric(ABC):
    """Scores explanations, one number a sample.

    A subclass is a frozen dataclass whose fields are its settings and which writes `score`; an instance at the
    top level of a module is an entry, and the variable's name is its public name. A score does not depend on
    batch mates. What is done with ties, constant and all-zero maps and empty masks stands in the docstring.
    """

    category: ClassVar[Category]
    higher_is_better: ClassVar[bool]
    needs_masks: ClassVar[bool] = False
    needs_shortcuts: ClassVar[bool] = False
    needs_companions: ClassVar[bool] = False
    has_curve: ClassVar[bool] = False
    """Whether the score is the area under a curve that `curve` tells."""

    @property
    def on_request(self) -> bool:
        """Whether it runs only where a name or pattern asks for it, and not with `--all` alone.

        A subclass says so for all its entries by a class variable, or lets each entry say so by a field.
        """
        return False

    def __call__(self, explanation: Explanation) -> Tensor:
        """(N,) float64 scores on the CPU; nan: not defined for this sample.

        Raises:
            ValueError: the metric's answer has a wrong shape or is infinite, or it needs masks (of the evidence, of
                shortcuts) or companions and there are none.
        """
        if self.needs_masks and explanation.decisions.masks is None:
            raise ValueError(f"{self}: needs masks, and the task has none")
        if self.needs_shortcuts and explanation.decisions.shortcuts is None:
            raise ValueError(f"{self}: needs masks of shortcuts, and the task has none")
        if self.needs_companions and explanation.decisions.companions is None:
            raise ValueError(f"{self}: needs companions, and these decisions are given none")
        scores = self.score(explanation)
        if scores.shape != explanation.decisions.targets.shape:
            raise ValueError(f"{self}: one score a sample, not {tuple(scores.shape)}")
        if bool(scores.isinf().any()):
            raise ValueError(f"{self}: scores are infinite")
        return scores.detach().double().cpu()

    def inapplicable(self, decisions: Decisions) -> str | None:  # noqa: ARG002  # for those that ask the network
        """Why such decisions cannot be judged by it, whatever the explanation, or None where they can."""
        return None

    @abstractmethod
    def score(self, explanation: Explanation) -> Tensor:
        """(N,) scores; nan: not defined for this sample."""

    def curve(self, explanation: Explanation) -> Tensor:
        """(N, L + 1) what the score is the area under, at L equal steps from 0 to 1, for people to look at.

        After `score` it costs no further forward pass.

        Raises:
            ValueError: the metric has no curve.
        """
        raise ValueError(f"{self}: has no curve, asked for with {len(explanation.attributions)} attributions")


def _checked(attributions: Tensor, inputs: Tensor) -> Tensor:
    wanted = (len(inputs), 1, *inputs.shape[2:])
    if attributions.shape != wanted:
        raise ValueError(f"attributions of these images are {wanted}, not {tuple(attributions.shape)}")
    broken = ~attributions.isfinite().flatten(1).all(dim=1)
    if bool(broken.any()):
        raise ValueError(f"{int(broken.sum())} of {len(broken)} maps are not finite")
    return attributions


def _generator(name: str) -> torch.Generator:
    digest = hashlib.blake2b(name.encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest) >> 1)
