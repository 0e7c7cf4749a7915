"""Axiomatic: does the explanation keep what its theory promises?

An axiom is necessary and not sufficient: a map that knows nothing of the model may keep one. Read it beside the
controls.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torchvision.transforms import Normalize

from .base import Category, Decisions, Explanation, Metric
from .perturb import Imputer, MeanImputer


@dataclass(frozen=True)
class _Sum(Metric, ABC):
    """Relative error of the map's sum S against what it should be, D: |S − D| / max(|S|, |D|); lower is better.

    In [0, 2]: 0 if they are equal, 1 if one of the two is zero (an all-zero map), near 1 if S is many times D, above 1
    if their signs differ. Signs count; scale counts; where the relevance lies does not. So it says nothing about maps
    that are not made to sum to something, such as Grad-CAM's. nan: S and D are both 0.
    """

    category: ClassVar[Category] = Category.AXIOMATIC
    higher_is_better: ClassVar[bool] = False

    @abstractmethod
    def wanted(self, decisions: Decisions) -> Tensor:
        """(N,) what the map should sum to."""

    def score(self, explanation: Explanation) -> Tensor:
        """(N,) relative error of the sum."""
        total = explanation.shared("sum", lambda: explanation.attributions.flatten(1).double().sum(dim=1))
        wanted = self.wanted(explanation.decisions).double()
        return (total - wanted).abs() / torch.maximum(total.abs(), wanted.abs())  # 0 / 0 where both are 0


@dataclass(frozen=True)
class Completeness(_Sum):
    """Relative error of the map's sum against the target's logit, less that of a black image; lower is better.

    Range, signs, nan: |S − D| / max(|S|, |D|) in [0, 2] with S = Σ a and D = f(x) − f(0); 0 is complete, an all-zero
    map scores 1, nan if S = D = 0. Methods with another reference (LRP has none: see `conservation`) are held to
    theirs by another baseline. Costs one image a batch, forwarded once for all explainers.

    Quantus 0.6 compares S and D for equality of floats: hardly any map of a real network passes.

    Reference: Sundararajan, Taly, Yan, "Axiomatic Attribution for Deep Networks", ICML 2017.

    Args:
        baseline: Value of every pixel of the image that D starts from; 0 is black.
    """

    baseline: float = 0.0

    def wanted(self, decisions: Decisions) -> Tensor:
        """(N,) the target's logit less that of the baseline."""
        return _logits(decisions) - decisions.shared(self, lambda: self._of_baseline(decisions))

    def _of_baseline(self, decisions: Decisions) -> Tensor:
        logits = decisions.logits(torch.full_like(decisions.inputs[:1], self.baseline))
        return logits[0, decisions.targets]


@dataclass(frozen=True)
class Conservation(_Sum):
    """Relative error of the map's sum against the target's logit; lower is better.

    Range, signs, nan: |S − D| / max(|S|, |D|) in [0, 2] with S = Σ a and D = f(x); 0 is conserved, an all-zero map
    scores 1, nan if S = D = 0. That is LRP's promise where no bias takes a share; what biases take is missing from
    the map. Where the logit is near 0 a small share of it is much: means are led by unsure decisions. Costs nothing.

    Reference: Bach, Binder, Montavon, Klauschen, Müller, Samek, "On Pixel-Wise Explanations for Non-Linear Classifier
    Decisions by Layer-Wise Relevance Propagation", PLOS ONE 10, 2015.
    """

    def wanted(self, decisions: Decisions) -> Tensor:
        """(N,) the target's logit."""
        return _logits(decisions)


@dataclass(frozen=True)
class NonSensitivity(Metric):
    """Share of the image's patches where the map is zero and the model is not indifferent, or the other way round.

    The image is tiled into n × n patches; each is replaced by the imputer's, and the target's logit moves by d. A
    patch does not matter if |d| ≤ ε · max |d|; the map says so if Σ |a| over it is ≤ ε · its maximum over the
    patches. The score is the share of the patches in just one of the two sets, in [0, 1], lower is better. A map that
    is nowhere zero scores the share of patches that do not matter; an all-zero one the share of those that do.
    Scaling of the map, also by a negative number, changes nothing. Always defined; where nothing moves the logit, no
    patch matters.

    Costs n² images a sample, 196 with n = 14, forwarded once for all explainers: therefore on request.

    The reference takes single features and the expected change over random values. Quantus 0.6 counts the features
    (each channel of each pixel: 150,528 forward passes a sample of 224 pixels) and compares both sides with an
    absolute 1e-5, so that the score depends on the unit of the map and of the logit.

    Reference: Nguyen, Martínez, "On quantitative aspects of model interpretability", arXiv:2007.07584, 2020.

    Args:
        imputer: What replaces a patch.
        n_patches: n; at most one a pixel of the shorter side.
        tolerance: ε, what counts as zero, as a share of the largest.

    Raises:
        ValueError: n_patches is not positive, or the tolerance not in [0, 1).
    """

    category: ClassVar[Category] = Category.AXIOMATIC
    higher_is_better: ClassVar[bool] = False
    on_request: ClassVar[bool] = True
    imputer: Imputer
    n_patches: int = 14
    tolerance: float = 0.01

    def __post_init__(self) -> None:
        if self.n_patches < 1 or not 0 <= self.tolerance < 1:
            raise ValueError(f"{self}: n_patches is at least 1, and tolerance from 0 to below 1")

    def score(self, explanation: Explanation) -> Tensor:
        """(N,) share of the patches where map and model disagree."""
        decisions = explanation.decisions
        patches, indifferent = decisions.shared(self, lambda: self._ask(decisions))
        sizes = explanation.attributions.flatten(1).abs().double()
        sums = torch.zeros(indifferent.shape, dtype=sizes.dtype, device=sizes.device)
        sums.index_add_(1, patches.flatten(), sizes)
        return (self._negligible(sums) ^ indifferent).double().mean(dim=1)

    def _ask(self, decisions: Decisions) -> tuple[Tensor, Tensor]:
        """(H, W) number of each pixel's patch; (N, n²) bool, whether the model is indifferent to it."""
        inputs = decisions.inputs
        height, width = inputs.shape[2:]
        n = min(self.n_patches, height, width)
        rows, columns = (torch.arange(side, device=inputs.device) * n // side for side in (height, width))
        patches = rows[:, None] * n + columns
        before = _logits(decisions)
        removed = [(patches == patch).expand(len(inputs), 1, -1, -1) for patch in range(n * n)]
        moved = [
            _of_targets(decisions, decisions.logits(self.imputer.without(decisions, pixels))) - before
            for pixels in removed
        ]
        return patches, self._negligible(torch.stack(moved, dim=1).double().abs())

    def _negligible(self, sizes: Tensor) -> Tensor:
        return sizes <= self.tolerance * sizes.amax(dim=1, keepdim=True)


@dataclass(frozen=True)
class InputInvariance(Metric):
    """How much the map changes when all pixel values are shifted and the model shifts them back; lower is better.

    The image is encoded with another zero: a constant is added to all pixels, and a first module takes it off again
    before the model sees them. The logits are the same by construction, so the map a' should be the map a. score = ‖a'
    − a‖₂ / (‖a‖₂ + ‖a'‖₂), in [0, 1], lower is better: 0 for equal maps, 1 if one of them is all-zero, √½ for unrelated
    maps of one size. Scaling both maps changes nothing. Constant maps that stay are invariant, and so is any map that
    does not look at model or image. nan: both maps are all-zero.

    Explainers fail that take a pixel value for absence (black in integrated gradients and occlusion; input ×
    gradient), or that take [0, 1] for granted (LRP's box rule). Explainers that draw random numbers by the image's
    content (SmoothGrad, the noise) draw others, and are charged for that too. Costs one explanation more, no forward
    pass of its own: therefore on request.

    Quantus 0.6 says whether all pixels agree to 1e-4, in the unit of the map.

    Reference: Kindermans, Hooker, Adebayo, Alber, Schütt, Dähne, Erhan, Kim, "The (Un)reliability of Saliency Methods",
    arXiv:1711.00867, 2017; the shift is theirs.

    Args:
        shift: What is added to all pixels of the images in [0, 1].
        tolerance: Up to here a distance counts as 0. The shifted pixels are rounded, which moves float32 maps by 1e-7
            to 1e-4: who is best at that is no question of the explainer.

    Raises:
        ValueError: the tolerance is not in [0, 1).
    """

    category: ClassVar[Category] = Category.AXIOMATIC
    higher_is_better: ClassVar[bool] = False
    on_request: ClassVar[bool] = True
    shift: float = -1.0
    tolerance: float = 1e-3

    def __post_init__(self) -> None:
        if not 0 <= self.tolerance < 1:
            raise ValueError(f"{self}: tolerance is from 0 to below 1")

    def score(self, explanation: Explanation) -> Tensor:
        """(N,) relative distance of the two maps."""
        decisions = explanation.decisions
        model, shifted = decisions.shared(self, lambda: self._shift(decisions))
        before = explanation.attributions.flatten(1).double()
        after = explanation.explain(model, shifted, decisions.targets).flatten(1).double()
        distance = _length(after - before) / (_length(before) + _length(after))  # 0 / 0 where both maps are all-zero
        return distance.masked_fill(distance <= self.tolerance, 0.0)

    def _shift(self, decisions: Decisions) -> tuple[nn.Module, Tensor]:
        # A normalization, as models begin with: explainers that have a rule for each module know it as one.
        n_channels = decisions.inputs.shape[1]
        back = Normalize([self.shift] * n_channels, [1.0] * n_channels)
        model = nn.Sequential(back).eval()
        model.append(decisions.model)  # in the mode that it is in
        return model, decisions.inputs + self.shift


def _logits(decisions: Decisions) -> Tensor:
    """(N,) logits of the targets."""
    return _of_targets(decisions, decisions.original_logits)


def _of_targets(decisions: Decisions, logits: Tensor) -> Tensor:
    return logits.gather(1, decisions.targets[:, None])[:, 0]


def _length(maps: Tensor) -> Tensor:
    return maps.square().sum(dim=1).sqrt()


completeness = Completeness()
conservation = Conservation()
non_sensitivity = NonSensitivity(MeanImputer())
input_invariance = InputInvariance()
