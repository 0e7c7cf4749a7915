"""Remove and debias: a second definition in loops, Quantus, exact numbers of pixels, and what it costs."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from metrics.base import Decisions, Explanation
from metrics.linear_imputation import ExactLinearImputer, IterativeLinearImputer
from metrics.perturb import Imputer, MeanImputer, ranks
from metrics.road import road, road_exact

Judge = Callable[..., Explanation]


def test_score_is_that_of_the_definition_in_loops(judge: Judge, maps: Tensor) -> None:
    explanation = judge(maps)
    decisions, order = explanation.decisions, ranks(explanation).view(6, 1, 24, 24)
    imputer = ExactLinearImputer()
    stands = np.zeros((6, 50))
    for percentage in range(1, 51):
        images = imputer.without(decisions, order < int(5.76 * percentage))
        for index in range(6):
            with torch.no_grad():
                answer = decisions.model(images[index : index + 1])[0]
            stands[index, percentage - 1] = int(answer.argmax()) == int(decisions.targets[index])
    assert road_exact(explanation).tolist() == pytest.approx(stands.mean(axis=1).tolist())
    assert np.ptp(stands.mean(axis=1)) > 0.1


def test_iterative_and_exact_imputation_score_alike(judge: Judge, maps: Tensor) -> None:
    assert (road(judge(maps)) - road_exact(judge(maps))).abs().max() <= 0.04


def test_mean_over_samples_is_that_of_quantus(judge: Judge, maps: Tensor, images: Tensor) -> None:
    # Quantus's ROAD fails on images of three channels, so the network sees one, three times.
    class OneChannel(nn.Module):
        def __init__(self, network: nn.Module) -> None:
            super().__init__()
            self.network = network

        def forward(self, inputs: Tensor) -> Tensor:
            return self.network(inputs.expand(-1, 3, -1, -1))

    quantus = pytest.importorskip("quantus")
    model = OneChannel(judge(maps).decisions.model).eval()
    decisions = Decisions(model, images[:, :1])
    percentages = range(5, 100, 5)
    metric = quantus.ROAD(percentages=list(percentages), noise=0.0, normalise=False, disable_warnings=True)
    batch = {"x_batch": images[:, :1].numpy().copy(), "a_batch": maps.numpy().copy()}
    theirs = metric(model=model, y_batch=decisions.targets.numpy(), **batch)
    explanation = Explanation(decisions, maps, lambda *_: maps)
    for percentage in percentages:
        one = replace(road_exact, imputer=ExactLinearImputer(noise=0), percentages=range(percentage, percentage + 1))
        assert one(explanation).mean().item() == pytest.approx(theirs[percentage])
    assert len(set(theirs.values())) > 2


@dataclass(frozen=True)
class Counting(Imputer):
    """The mean colour; remembers how many pixels of each image were removed."""

    counts: list[list[int]] = field(default_factory=list, hash=False)

    def without(self, decisions: Decisions, removed: Tensor) -> Tensor:
        self.counts.append(removed.flatten(1).sum(dim=1).tolist())
        return MeanImputer().without(decisions, removed)


@pytest.mark.parametrize("kind", ["tied", "sparse", "constant"])
def test_exactly_k_pixels_are_removed_whatever_the_ties(judge: Judge, maps: Tensor, kind: str) -> None:
    attributions = {"tied": maps.round(), "sparse": maps.where(maps > 2, 0), "constant": torch.ones_like(maps)}[kind]
    imputer = Counting()
    replace(road, imputer=imputer)(judge(attributions))
    assert imputer.counts == [[int(5.76 * percentage)] * 6 for percentage in range(1, 51)]


def test_decisions_that_hang_on_one_pixel_fall_with_it(linear_pixels: type) -> None:
    weights = torch.zeros(3, 24, 24)
    weights[:, 7, 9] = 1
    images = torch.zeros(2, 3, 24, 24)
    images[..., 7, 9] = 1
    first, last = torch.zeros(2, 1, 24, 24), torch.zeros(2, 1, 24, 24)
    first[..., 7, 9], last[..., 7, 9] = 1, -1
    decisions = Decisions(_Ahead(linear_pixels(weights)), images, targets=torch.zeros(2, dtype=torch.int64))
    for imputer in (IterativeLinearImputer(noise=0), ExactLinearImputer(noise=0)):
        silent = replace(road, imputer=imputer)
        assert silent(Explanation(decisions, first, lambda *_: first)).tolist() == [0, 0]
        assert silent(Explanation(decisions, last, lambda *_: last)).tolist() == [1, 1]


class _Ahead(nn.Module):
    """A model whose class 1 is 0.1 ahead."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, inputs: Tensor) -> Tensor:
        return self.model(inputs) + torch.tensor([0.0, 0.1])


def test_a_target_that_is_not_the_decision_stands_never(network: nn.Module, images: Tensor, maps: Tensor) -> None:
    lowest = Decisions(network, images).original_logits.argmin(dim=1)
    few = replace(road, percentages=range(2))
    assert few(Explanation(Decisions(network, images, lowest), maps, lambda *_: maps)).tolist() == [0] * 6


@pytest.mark.parametrize("target", range(4))
def test_for_several_labels_the_sign_of_the_targets_logit_stands(
    network: nn.Module, images: Tensor, maps: Tensor, target: int
) -> None:
    labels, targets = torch.zeros(6, 4, dtype=torch.int64), torch.full((6,), target)
    decisions = Decisions(network, images, targets, labels)
    explanation = Explanation(decisions, maps, lambda *_: maps)
    imputer = ExactLinearImputer()
    order, there = ranks(explanation).view(6, 1, 24, 24), decisions.original_logits[:, target] > 0
    stands = [
        (network(imputer.without(decisions, order < int(5.76 * percentage)))[:, target] > 0) == there
        for percentage in range(1, 51)
    ]
    assert torch.allclose(road_exact(explanation), torch.stack(stands).double().mean(dim=0))


def test_constant_maps_score_as_one_random_order(judge: Judge, maps: Tensor) -> None:
    score = road(judge(torch.zeros_like(maps)))
    assert torch.equal(road(judge(torch.full_like(maps, -3.0))), score)
    assert bool(((score >= 0) & (score <= 1)).all())


def test_each_percentage_is_one_forward_pass(judge: Judge, maps: Tensor) -> None:
    explanation = judge(maps)
    road(explanation)
    assert explanation.decisions.n_forwarded == 6 * (1 + 50)
    replace(road, percentages=range(10, 51, 10))(explanation)
    assert explanation.decisions.n_forwarded == 6 * (1 + 50)


@pytest.mark.parametrize("percentages", [range(0), range(-1, 5), range(90, 102)])
def test_percentages_beyond_the_image_are_refused(percentages: range) -> None:
    with pytest.raises(ValueError, match=r"percentages are some of 0 … 100"):
        replace(road, percentages=percentages)
