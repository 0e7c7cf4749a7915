"""Multi-label tasks: each class is decided on its own, and only the target's decision counts."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from metrics.base import Decisions, Explanation
from metrics.faithfulness import deletion
from metrics.perturb import MeanImputer, morf
from metrics.robustness import blur

EMPTY = torch.zeros(6, 4, dtype=torch.int64)
TARGETS = torch.tensor([0, 1, 2, 3, 0, 1])


@pytest.fixture
def decisions(network: nn.Module, images: Tensor) -> Decisions:
    return Decisions(network, images, targets=TARGETS, labels=EMPTY)


def test_labels_of_two_dimensions_make_it_multi_label(network: nn.Module, images: Tensor, decisions: Decisions) -> None:
    assert decisions.multi_label
    assert not Decisions(network, images).multi_label
    assert not Decisions(network, images, labels=EMPTY[:, 0]).multi_label


def test_the_target_is_there_where_its_logit_is_positive(decisions: Decisions) -> None:
    logits = torch.full((12, 4), 9.0)
    logits[0, 0], logits[1, 1], logits[6, 0], logits[8, 2] = -1, 0, 0.1, -9
    assert decisions.decided(logits).tolist() == [0, 0, 1, 1, 1, 1, 1, 1, 0, 1, 1, 1]


def test_one_label_is_decided_by_the_highest_logit(network: nn.Module, images: Tensor) -> None:
    decisions = Decisions(network, images, targets=TARGETS, labels=TARGETS)
    assert torch.equal(decisions.decided(decisions.original_logits), decisions.predictions)


def test_probabilities_are_sigmoids_of_the_targets(decisions: Decisions, images: Tensor) -> None:
    logits = decisions.original_logits[torch.arange(6), TARGETS].double()
    expected = 1 / (1 + torch.exp(-logits))
    assert torch.allclose(decisions.target_probabilities(decisions.original_logits).double(), expected)
    twice = decisions.probabilities(torch.cat([images, images])).double()
    assert torch.allclose(twice, expected.repeat(2), atol=1e-6)


def test_a_curve_does_not_depend_on_the_other_classes(
    network: nn.Module, images: Tensor, maps: Tensor, explain: Callable[..., Tensor]
) -> None:
    class Raised(nn.Module):
        """The same network, but the other classes' logits are another number."""

        def forward(self, inputs: Tensor) -> Tensor:
            others = torch.full((len(inputs), 4), 7.0)
            others[:, 2] = network(inputs)[:, 2]
            return others

    curves = [
        morf(
            Explanation(Decisions(model, images, torch.full((6,), 2), EMPTY), maps, explain),
            MeanImputer(),
            4,
        )
        for model in (network, Raised())
    ]
    assert torch.allclose(curves[0], curves[1], atol=1e-6)


def test_scores_are_finite(decisions: Decisions, maps: Tensor, explain: Callable[..., Tensor]) -> None:
    assert deletion(Explanation(decisions, maps, explain)).isfinite().all()


@pytest.mark.parametrize("multi_label", [True, False])
def test_an_augmented_image_counts_if_the_targets_sign_stays(
    images: Tensor, explain: Callable[..., Tensor], multi_label: bool
) -> None:
    class Contrast(nn.Module):
        """Class 0: above 0 if the image is sharp. Class 1: always higher, and with a gradient of its own."""

        def forward(self, inputs: Tensor) -> Tensor:
            sharp = inputs.diff(dim=3).abs().mean((1, 2, 3))
            return torch.stack([sharp - self.threshold, 9 + inputs.square().sum((1, 2, 3))], 1)

    model = Contrast()
    sharpness = images.diff(dim=3).abs().mean((1, 2, 3))
    blurred = blur.transformation.images(Decisions(nn.Flatten(), images)).diff(dim=3).abs().mean((1, 2, 3))
    model.threshold = ((sharpness + blurred) / 2)[2].item()
    kept = (sharpness > model.threshold) == (blurred > model.threshold)
    assert not kept[2]
    targets, labels = torch.zeros(6, dtype=torch.int64), torch.ones(6, 2, dtype=torch.int64)
    decisions = Decisions(model.eval(), images, targets, labels if multi_label else labels[:, 0])
    scores = blur(Explanation(decisions, explain(model, images, targets), explain))
    assert torch.equal(scores.isfinite(), kept if multi_label else torch.ones(6, dtype=torch.bool))
