"""Randomization: does the explanation change when what it explains does?

The network's weights are replaced by random ones, or another class is asked about: a map that stays as it was has not
looked at the network, or not at the class. Passing is necessary and not sufficient: maps of fresh noise at every call
would pass best. Failing is not always the explainer's fault either: the image is still the same, and a network of
random convolutions sees its edges.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from .base import Category, Decisions, Explanation, Metric
from .cascade import Cascade, cascade
from .likeness import RankSimilarity, Similarity, StructuralSimilarity


@dataclass(frozen=True)
class MPRT(Metric):
    """Model parameter randomization test: how like itself the map stays as layers lose their weights; lower is better.

    The layers lose their weights one after another, from the output to the input, and stay random; of these networks
    n_stages evenly spaced ones, the last all random, explain the image again, for the target of the original decision.
    score = the mean over the stages of the similarity of the original map and that map, lower is better: 1 for maps
    that do not look at the network. With ranks it is in [−1, 1], about 0 for unrelated maps. How layers are randomized:
    see `cascade.Cascade`.

    The maps are compared as the explainer made them: nothing is normalized, neither over the map nor over the batch,
    and with ranks no normalization that keeps 0 would change anything. The entries compare absolute values: which
    pixels the map points out. With signed ones, `RankSimilarity()`, whatever carries the sign of the logit to the
    pixels, as LRP does, is turned round where a random network's logit happens to be negative, and scores below 0 for
    that. Ties: see the similarity. A stage's map that is constant, also all-zero, has similarity 0 by rank: nothing is
    left of the order. nan: the original map is constant, also all-zero.

    How to read it. Noisy maps change most: of two explainers that look at the network the noisier one scores better,
    and fresh noise at every call would score 0, best of all. (The control `noise` is a function of the image alone and
    scores 1, as `edges` and `center` do.) What multiplies by the image (input × gradient, Integrated Gradients, LRP)
    keeps its dark pixels dark, whatever the network. Top-down, the lower layers stay as they are for most of the
    stages, and explainers that pass on the image's structure keep it. All samples meet the same random networks:
    intervals over samples do not hold what other networks would change; that is another seed.

    Costs n_stages explanations. The networks are made once a task, in one forward pass of an image and memory for one
    more set of weights; the maps of the all-random network are shared by all metrics that ask for them.

    Quantus 0.6, which compares absolute values too where it is not told otherwise, seeds every layer alike, so that
    layers of one shape get the same weights; takes layers in the order of their definition; and counts the original
    network, with correlation 1, as a stage of its mean.

    References: Adebayo, Gilmer, Muelly, Goodfellow, Hardt, Kim, "Sanity Checks for Saliency Maps", NeurIPS 2018, who
    take both, absolute and signed values. Binder, Weber, Lapuschkin, Montavon, Müller, Samek, "Shortcomings of Top-Down
    Randomization-Based Sanity Checks for Evaluations of Deep Neural Network Explanations", CVPR 2023.

    Args:
        similarity: How alike two maps are.
        n_stages: How many networks; None, or more than there are layers: one after each layer.

    Raises:
        ValueError: n_stages is not positive; the model has no parameters.
    """

    category: ClassVar[Category] = Category.RANDOMIZATION
    higher_is_better: ClassVar[bool] = False
    similarity: Similarity
    n_stages: int | None = 4

    def __post_init__(self) -> None:
        if self.n_stages is not None and self.n_stages < 1:
            raise ValueError(f"{self}: n_stages is at least 1")

    def score(self, explanation: Explanation) -> Tensor:
        """(N,) mean similarity over the stages."""
        before = self.before(explanation)
        similarities = [
            self.similarity(before, self.after(explanation, randomized)) for randomized in self.stages(explanation)
        ]
        return torch.stack(similarities).mean(dim=0)

    def stages(self, explanation: Explanation) -> list[frozenset[str]]:
        """Which layers are random at each stage."""
        networks = cascade(explanation.decisions)
        n_layers = len(networks.layers)
        n_stages = min(self.n_stages or n_layers, n_layers)
        return [self.randomized(networks, stage * n_layers // n_stages) for stage in range(1, n_stages + 1)]

    def randomized(self, networks: Cascade, n: int) -> frozenset[str]:
        """The first n layers that are randomized."""
        return networks.top_down(n)

    def before(self, explanation: Explanation) -> Tensor:
        """(N, 1, H, W) maps of the original network."""
        return explanation.attributions

    def after(self, explanation: Explanation, randomized: frozenset[str]) -> Tensor:
        """(N, 1, H, W) maps of the network with these layers randomized."""
        return _map_of(explanation, randomized)


@dataclass(frozen=True)
class BottomUpMPRT(MPRT):
    """`MPRT` that randomizes the layers from the input to the output.

    Whatever structure the image has passes through random layers from the first stage on, so that explainers cannot
    keep it by the lower layers alone; Hedström et al. advise this order. Score, range, undefined cases and how to read
    it: see `MPRT`. Costs n_stages explanations, of which the last is shared with it: therefore on request.

    Reference: Hedström, Weber, Lapuschkin, Höhne, "A Fresh Look at Sanity Checks for Saliency Maps", xAI 2024,
    arXiv:2405.02383.
    """

    on_request: ClassVar[bool] = True

    def randomized(self, networks: Cascade, n: int) -> frozenset[str]:
        """The n layers nearest to the input."""
        return networks.bottom_up(n)


@dataclass(frozen=True)
class SmoothMPRT(MPRT):
    """`MPRT` of maps that are averaged over noisy copies of the image, which takes out what is noise in a gradient.

    Every map, the original one too, is the mean of the image's own and of those of n_samples − 1 copies with Gaussian
    noise, whose standard deviation is `noise_level` times the image's range from its darkest to its brightest value.
    The copies are clamped to [0, 1]; they are the sample's, the same for all networks and explainers. Range, direction,
    ties and how to read it: see `MPRT`; nan: the averaged original map is constant, also all-zero.

    An explainer that draws fresh noise is still scored best: averaging makes noise smaller, not alike. Costs
    n_samples · (n_stages + 1) − 1 explanations: therefore on request.

    Quantus 0.6 draws the noise from the global random state and anew for every network, and does not clamp.

    Reference: Hedström, Weber, Lapuschkin, Höhne, "A Fresh Look at Sanity Checks for Saliency Maps", xAI 2024,
    arXiv:2405.02383, who average over 50 copies on ImageNet.

    Args:
        n_samples: How many maps are averaged.
        noise_level: Of the noise, as a share of the image's range.

    Raises:
        ValueError: n_samples or n_stages is not positive, or noise_level is negative; the model has no parameters.
    """

    on_request: ClassVar[bool] = True
    n_samples: int = 4
    noise_level: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.n_samples < 1 or self.noise_level < 0:
            raise ValueError(f"{self}: n_samples is at least 1, and noise_level not negative")

    def before(self, explanation: Explanation) -> Tensor:
        """(N, 1, H, W) averaged maps of the original network."""
        return self.after(explanation, frozenset())

    def after(self, explanation: Explanation, randomized: frozenset[str]) -> Tensor:
        """(N, 1, H, W) averaged maps of the network with these layers randomized."""
        return explanation.shared(
            ("smooth", self.n_samples, self.noise_level, randomized), lambda: self._average(explanation, randomized)
        )

    def _average(self, explanation: Explanation, randomized: frozenset[str]) -> Tensor:
        decisions = explanation.decisions
        network = cascade(decisions).network(randomized) if randomized else decisions.model
        total = (_map_of(explanation, randomized) if randomized else explanation.attributions).double()
        for images in decisions.shared((self.n_samples, self.noise_level), lambda: self._noisy(decisions)):
            total = total + explanation.explain(network, images, decisions.targets)
        return total / self.n_samples

    def _noisy(self, decisions: Decisions) -> list[Tensor]:
        """n_samples − 1 batches of (N, C, H, W) images."""
        inputs = decisions.inputs
        shape = (self.n_samples - 1, *inputs.shape[1:])
        drawn = [torch.randn(shape, generator=generator) for generator in decisions.generators("smooth_mprt")]
        spread = inputs.amax((1, 2, 3), True) - inputs.amin((1, 2, 3), True)
        noise = self.noise_level * spread * torch.stack(drawn, dim=1).to(inputs)
        return list((inputs + noise).clamp(0, 1))


@dataclass(frozen=True)
class EfficientMPRT(Metric):
    """How much more complex, relatively, the map becomes when all weights are random; higher is better.

    (ξ' − ξ) / ξ, where ξ is the entropy −Σ p log p of the histogram of the signed map a, n_bins equal bins from its
    lowest to its highest value; ξ' that of the map of the all-random network for the same target. In [−1, ∞): 0 for a
    map that does not look at the network; above 0 where a random network is explained with less structure than the
    trained one, which is what it asks for; −1 if that map is constant. Shifting a map or scaling it by a positive
    number changes nothing, nor does the order of its pixels. Values at a bin's border belong to the upper one. nan: the
    original map is constant, also all-zero.

    How to read it. It is no distance: a map may change all over and score 0. It is relative: an original map that is
    sparse, of little entropy, has the most to gain, and a few such samples lead the mean. Noise is the most complex map
    there is: an explainer that is noisy on random networks only scores best.

    Costs one explanation, shared with `MPRT`.

    Quantus 0.6 does the same with 100 bins; its rules for another number (Freedman and Diaconis, …) take the number of
    a map's axes for that of its pixels, and look at the whole batch.

    Reference: Hedström, Weber, Lapuschkin, Höhne, "A Fresh Look at Sanity Checks for Saliency Maps", xAI 2024,
    arXiv:2405.02383.

    Args:
        n_bins: Of the histograms.

    Raises:
        ValueError: n_bins is below 2; the model has no parameters.
    """

    category: ClassVar[Category] = Category.RANDOMIZATION
    higher_is_better: ClassVar[bool] = True
    n_bins: int = 100

    def __post_init__(self) -> None:
        if self.n_bins < 2:
            raise ValueError(f"{self}: n_bins is at least 2")

    def score(self, explanation: Explanation) -> Tensor:
        """(N,) relative rise of the entropy."""
        networks = cascade(explanation.decisions)
        random = _map_of(explanation, networks.top_down(len(networks.layers)))
        before, after = _entropy(explanation.attributions, self.n_bins), _entropy(random, self.n_bins)
        return ((after - before) / before).where(before > 0, torch.nan)


@dataclass(frozen=True)
class RandomLogit(Metric):
    """How alike the map is to that of another class; lower is better.

    The other class is drawn from all but the target, with the sample's own generator: the same for all explainers (of
    two classes it is the other one; of a multi-label task, another finding, whether it is there or not). score = the
    similarity of the two maps: 1 for maps that do not look at the class. Where the logits of two classes are nearly
    each other's negative, so are gradients for them, and the score is negative: the map is the same, its signs are not.
    Range and ties: see the similarity. nan: the map is constant, also all-zero; the model has a single logit.

    How to read it. Classes share evidence, such as where the organ is: 0 is not what a perfect explanation scores.
    SSIM, the reference's, counts windows where both maps are flat as alike, so sparse maps score higher than full ones.

    Costs one explanation.

    The authors' published code counts a map that is turned round as alike, so that with two classes nearly every map
    fails. Quantus 0.6 takes SSIM of the map laid out as one line of pixels, divides by the largest of the batch, draws
    from the global random state, the same numbers for each batch, and has to be told the number of classes.

    Reference: Sixt, Granz, Landgraf, "When Explanations Lie: Why Many Modified BP Attributions Fail", ICML 2020.

    Args:
        similarity: How alike two maps are.
    """

    category: ClassVar[Category] = Category.RANDOMIZATION
    higher_is_better: ClassVar[bool] = False
    similarity: Similarity

    def score(self, explanation: Explanation) -> Tensor:
        """(N,) similarity of the map and that of another class."""
        decisions = explanation.decisions
        if decisions.original_logits.shape[1] == 1:
            return torch.full(decisions.targets.shape, torch.nan)
        others = decisions.shared("other classes", lambda: _other_classes(decisions))
        of_others = explanation.shared(
            "map of another class", lambda: explanation.explain(decisions.model, decisions.inputs, others)
        )
        return self.similarity(explanation.attributions, of_others)


def _map_of(explanation: Explanation, randomized: frozenset[str]) -> Tensor:
    """(N, 1, H, W) maps of the network with these layers randomized, for the original targets: made once."""

    def explain() -> Tensor:
        decisions = explanation.decisions
        return explanation.explain(cascade(decisions).network(randomized), decisions.inputs, decisions.targets)

    return explanation.shared(("randomized", randomized), explain)


def _other_classes(decisions: Decisions) -> Tensor:
    """(N,) int64, a class other than the target, each as likely."""
    n_others = decisions.original_logits.shape[1] - 1
    drawn = [torch.randint(n_others, (), generator=generator) for generator in decisions.generators("random_logit")]
    others = torch.stack(drawn).to(decisions.targets)
    return others + (others >= decisions.targets)


def _entropy(maps: Tensor, n_bins: int) -> Tensor:
    """(N,) float64 entropy of the histogram of (N, 1, H, W) maps over their own range; 0: constant."""
    values = maps.flatten(1).double()
    lowest, highest = values.aminmax(dim=1, keepdim=True)
    span = (highest - lowest).where(highest > lowest, 1.0)
    bins = ((values - lowest) / span * n_bins).long().clamp(max=n_bins - 1)
    counts = torch.zeros(len(values), n_bins, dtype=values.dtype, device=values.device)
    shares = counts.scatter_add_(1, bins, torch.ones_like(values)) / values.shape[1]
    return -torch.xlogy(shares, shares).sum(dim=1)


mprt = MPRT(RankSimilarity(absolute=True), n_stages=2)
mprt_bottom_up = BottomUpMPRT(RankSimilarity(absolute=True))
smooth_mprt = SmoothMPRT(RankSimilarity(absolute=True))
efficient_mprt = EfficientMPRT()
random_logit = RandomLogit(StructuralSimilarity())
