"""Randomization: does the map change when the network or the class does?

Quantus seeds all layers alike, in the order of their definition; here both meet our randomized networks (`_Stages`).
"""

from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from metrics.base import Decisions, Explain, Explanation
from metrics.cascade import cascade
from metrics.likeness import RankSimilarity
from metrics.randomization import MPRT, EfficientMPRT, RandomLogit

from ..crosscheck import Case, NotComparableError, Ours, Pair, Theirs
from .matching import ABSOLUTE, by_ours, scores_of

_SEED = 42
"""Quantus's own of RandomLogit."""


class _Stages(nn.Module):
    """One network, and after each layer that Quantus randomizes another: it has as many layers as there are others."""

    def __init__(self, networks: Sequence[nn.Module], device: torch.device) -> None:
        super().__init__()

        def network(turn: int) -> nn.Module:  # so they are no parts of this one, and not copied with it
            return networks[turn]

        self.network = network
        self.turn = [0]
        self.layers = nn.ModuleList(_Turning(self.turn) for _ in networks[1:])
        self.place = nn.Parameter(torch.zeros((), device=device), requires_grad=False)

    @property
    def now(self) -> nn.Module:
        return self.network(self.turn[0])

    def forward(self, inputs: Tensor) -> Tensor:
        logits: Tensor = self.now(inputs)
        return logits


class _Turning(nn.Module):
    """A layer whose randomization turns to the next network."""

    def __init__(self, turn: list[int]) -> None:
        super().__init__()
        self.turn = turn

    def reset_parameters(self) -> None:
        self.turn[0] += 1


def _exactly(explain: Explain) -> Explain:
    """In double precision, of the network that it is the turn of."""

    def exactly(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        return explain(model.now if isinstance(model, _Stages) else model, inputs, targets).double()

    return exactly


def _as_explained(case: Case) -> Explanation:
    """The explanation by the explainer's own maps."""

    def explained() -> Explanation:
        decisions, explain = case.decisions, _exactly(case.explanation.explain)
        return Explanation(decisions, explain(decisions.model, decisions.inputs, decisions.targets), explain)

    return case.explanation.shared("as explained", explained)


def _staged(case: Case, numbers: Sequence[int]) -> Case:
    """The case with so many layers randomized, top-down, in place of Quantus's."""
    explanation = _as_explained(case)
    networks = cascade(case.decisions)
    stages = [case.model, *(networks.network(networks.top_down(number)) for number in numbers)]
    return Case(explanation, case.library, _Stages(stages, case.decisions.inputs.device).eval(), case.seed)


def _mprt(case: Case) -> tuple[Ours, Theirs]:
    n_layers = len(cascade(case.decisions).layers)
    n_stages = min(2, n_layers)
    staged = _staged(case, [stage * n_layers // n_stages for stage in range(1, n_stages + 1)])

    def theirs() -> Tensor:
        answer = staged.ask("MPRT", staged.explanation.attributions, settings=ABSOLUTE)
        similarities = [values for stage, values in answer.items() if stage != "original"]
        return torch.from_numpy(np.nan_to_num(similarities)).mean(dim=0)

    return by_ours(MPRT(RankSimilarity(absolute=True), n_stages), staged.explanation), theirs


def _efficient_mprt(case: Case) -> tuple[Ours, Theirs]:
    staged = _staged(case, [len(cascade(case.decisions).layers)])
    return by_ours(EfficientMPRT(), staged.explanation), lambda: scores_of(
        staged.ask("EfficientMPRT", staged.explanation.attributions, softmax=True)  # it refuses logits below 0
    )


def _drawn_by_quantus(decisions: Decisions, n_classes: int) -> Tensor:
    """(N,) int64 classes other than the targets."""
    drawn = torch.from_numpy(np.random.RandomState(_SEED).randint(0, n_classes - 1, len(decisions.targets)))
    others = drawn.to(decisions.targets)
    return others + (others >= decisions.targets)


def _random_logit(case: Case) -> tuple[Ours, Theirs]:
    explanation, n_classes = _as_explained(case), case.decisions.original_logits.shape[1]
    if n_classes < 2:
        raise NotComparableError("the network has a single logit")
    case.decisions.shared("other classes", partial(_drawn_by_quantus, case.decisions, n_classes))
    settings = {
        "num_classes": n_classes,
        "seed": _SEED,
        "similarity_func": case.library.similarity_func.correlation_spearman,
    }
    exact = Case(explanation, case.library, case.model, case.seed)
    return by_ours(RandomLogit(RankSimilarity()), explanation), lambda: scores_of(
        exact.ask("RandomLogit", explanation.attributions, settings=settings)
    )


PAIRS: tuple[Pair, ...] = (
    Pair("mprt", "MPRT", "|a|, our networks with half and with all layers random; without its first, 1", _mprt),
    Pair("efficient_mprt", "EfficientMPRT", "our network of random layers, maps in double precision", _efficient_mprt),
    Pair(
        "random_logit",
        "RandomLogit",
        "the classes that Quantus draws; its rank correlation, as its SSIM sees a map as one line of pixels",
        _random_logit,
    ),
)
