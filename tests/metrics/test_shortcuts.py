"""Relevance on shortcuts: the network is asked whether it rests on them, and that decides which way a map is judged."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from metrics.base import Decisions, Explanation, Metric
from metrics.localization import shortcut_mass, unused_shortcut_mass
from metrics.perturb import BlurImputer, MeanImputer

CUE = (slice(None), slice(None), slice(0, 4), slice(0, 6))
BOTH = [shortcut_mass, unused_shortcut_mass]


@pytest.fixture
def clever_hans(linear_pixels: Callable[[Tensor], nn.Module]) -> Callable[..., Explanation]:
    """Three images with a bright cue and one without; the decision rests on the cue, or on the place opposite."""

    def make(attributions: Tensor, rests: bool, evidence: float = 0.0) -> Explanation:
        weights = torch.zeros(3, 24, 24)
        weights[CUE[1:]] = 1.0 if rests else 0.0
        weights[:, 20:, 20:] = -1.0 if rests else 1.0
        images = torch.full((4, 3, 24, 24), 0.5)
        images[CUE] = 1.0
        images[:, :, 20:, 20:] = 0.9 if rests else evidence
        images[3] = 0.2
        cues = torch.zeros(4, 1, 24, 24, dtype=torch.bool)
        cues[CUE] = True
        cues[3] = False
        return Explanation(
            Decisions(linear_pixels(weights), images, shortcuts=cues), attributions, lambda *_: attributions
        )

    return make


@pytest.fixture
def four() -> Tensor:
    return torch.randn(4, 1, 24, 24, generator=torch.Generator().manual_seed(8))


def _slowly(attributions: Tensor) -> list[float]:
    scores = []
    for values in attributions[:, 0].tolist():
        cells = [(row, column, max(values[row][column], 0)) for row in range(24) for column in range(24)]
        on_cue = sum(value for row, column, value in cells if row < 4 and column < 6)
        scores.append(on_cue / sum(value for *_, value in cells))
    return scores


@pytest.mark.parametrize("rests", [True, False])
def test_the_share_on_the_cue_counts_where_the_decision_rests_on_it_or_where_not(
    clever_hans: Callable[..., Explanation], four: Tensor, rests: bool
) -> None:
    explanation = clever_hans(four, rests, evidence=0.9)
    defined, undefined = BOTH if rests else BOTH[::-1]
    assert defined(explanation)[:3].tolist() == pytest.approx(_slowly(four)[:3], abs=1e-6)
    assert bool(defined(explanation)[3].isnan())  # no cue in this image
    assert bool(undefined(explanation).isnan().all())


def test_directions_are_opposite() -> None:
    assert shortcut_mass.higher_is_better
    assert not unused_shortcut_mass.higher_is_better


@pytest.mark.parametrize("rests", [True, False])
def test_perfect_constant_single_and_empty_maps(clever_hans: Callable[..., Explanation], rests: bool) -> None:
    metric = BOTH[0] if rests else BOTH[1]
    cue = torch.zeros(4, 1, 24, 24)
    cue[CUE] = 1.0
    one = torch.zeros_like(cue)
    one[:, :, 2, 3] = 5.0
    for attributions, wanted in (
        *((cue, 1.0), (1 - cue, 0.0), (cue - 2 * (1 - cue), 1.0), (one, 1.0)),
        *((torch.ones_like(cue), 24 / 576), (torch.zeros_like(cue), torch.nan), (-cue, torch.nan)),
    ):
        scores = metric(clever_hans(attributions, rests, evidence=0.9))
        assert scores[:3].tolist() == pytest.approx([wanted] * 3, nan_ok=True)


@pytest.mark.parametrize(
    ("ring", "ground", "threshold", "taken_by"), [(0.0, 1.0, 0.9, "blur"), (0.0, 0.0, 0.5, "mean")]
)
def test_either_replacement_is_enough(
    linear_pixels: Callable[[Tensor], nn.Module], ring: float, ground: float, threshold: float, taken_by: str
) -> None:
    """In a dark ring on bright ground the mean colour is as bright as the cue; a blur leaves enough of a large one."""
    weights = torch.zeros(3, 24, 24)
    weights[CUE[1:]] = 1 / 72
    images = torch.full((2, 3, 24, 24), ground)
    images[..., :7, :9] = ring
    images[CUE] = 1.0
    cues = torch.zeros(2, 1, 24, 24, dtype=torch.bool)
    cues[CUE] = True
    decisions = Decisions(nn.Sequential(linear_pixels(weights), _Less(threshold)), images, shortcuts=cues)
    assert decisions.predictions.tolist() == [0, 0]
    for name, imputer in (("mean", MeanImputer()), ("blur", BlurImputer())):
        assert decisions.logits(imputer.without(decisions, cues)).argmax(dim=1).tolist() == [int(name == taken_by)] * 2
    maps = torch.ones(2, 1, 24, 24)
    assert shortcut_mass(Explanation(decisions, maps, lambda *_: maps)).tolist() == pytest.approx([24 / 576] * 2)


class _Less(nn.Module):
    """Takes a threshold from the first logit."""

    def __init__(self, threshold: float) -> None:
        super().__init__()
        self.threshold = threshold

    def forward(self, logits: Tensor) -> Tensor:
        return logits - torch.tensor([self.threshold, 0.0])


def test_the_network_is_asked_once_for_all_explainers_and_both_entries(
    clever_hans: Callable[..., Explanation], four: Tensor
) -> None:
    first = clever_hans(four, rests=True)
    for explanation in (first, Explanation(first.decisions, -four, first.explain)):
        for metric in BOTH:
            metric(explanation)
    assert first.decisions.n_forwarded == 4 + 2 * 4


@pytest.mark.parametrize("metric", BOTH)
def test_a_task_without_shortcuts_is_refused(network: nn.Module, images: Tensor, maps: Tensor, metric: Metric) -> None:
    assert metric.needs_shortcuts
    with pytest.raises(ValueError, match="needs masks of shortcuts"):
        metric(Explanation(Decisions(network, images), maps, lambda *_: maps))
