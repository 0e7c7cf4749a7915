"""Localization: does the relevance lie where the evidence lies? Nearly all of it needs masks.

Maps and masks are compared at the resolution of the image, as they are. How large the evidence is takes part in most
scores: what a constant map would get, the mask's share of the image, is the level of chance of all but `roc_auc` (0.5)
and `relevance_mass_ratio` (1), which can be compared between large and small evidence.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from .base import Category, Decisions, Explanation, Metric
from .ordering import ordering
from .perturb import BlurImputer, Imputer, MeanImputer


@dataclass(frozen=True)
class _Localization(Metric):
    """Compares the map with the mask of the evidence. In [0, 1], higher is better; nan: the mask is empty.

    A perfect map scores 1, and so does any map if the mask is the whole image, but where the docstring says otherwise.
    """

    category: ClassVar[Category] = Category.LOCALIZATION
    higher_is_better: ClassVar[bool] = True
    needs_masks: ClassVar[bool] = True


@dataclass(frozen=True)
class PointingGame(_Localization):
    """1 where the pixel of the highest attribution lies in the mask, else 0.

    If several pixels share the highest attribution: the expected value of picking one at random, the share of them
    that lies in the mask. So a constant or all-zero map scores the mask's share of the image. The sign counts: of
    an all-negative map the pixel nearest to zero is taken. Scaling by a positive number and shifting change nothing.
    nan: the mask is empty.

    The entry `pointing_game` has no tolerance around the mask; `hit_rate` has that of the paper, 15 pixels, which
    photographs of some 224 pixels were given there.

    Quantus 0.6 counts constant maps and empty masks as hits.

    Reference: Zhang, Bargal, Lin, Brandt, Shen, Sclaroff, "Top-Down Neural Attention by Excitation Backprop",
    International Journal of Computer Vision 126, 2018.

    Args:
        tolerance: How far from the mask's nearest pixel a hit may lie, as a fraction of the image's shorter side.

    Raises:
        ValueError: the tolerance is negative.
    """

    tolerance: float = 0.0

    def __post_init__(self) -> None:
        if self.tolerance < 0:
            raise ValueError(f"{self}: the tolerance is 0 or above")

    def score(self, explanation: Explanation) -> Tensor:
        """(N,) share of the maximal pixels inside the mask, or near enough."""
        decisions = explanation.decisions
        masks = _masks(decisions)
        widened = decisions.shared(("widened masks", self.tolerance), lambda: _widened(masks, self.tolerance))
        flat = explanation.attributions.flatten(1)
        maximal = flat == flat.amax(dim=1, keepdim=True)
        share = (maximal & widened.flatten(1)).sum(dim=1).double() / maximal.sum(dim=1)
        return share.where(masks.flatten(1).any(dim=1), torch.nan)


@dataclass(frozen=True)
class RelevanceMassAccuracy(_Localization):
    """Share of the positive relevance that lies in the mask: Σ_mask max(a, 0) / Σ max(a, 0).

    Negative attributions count as zero: evidence against the class is not asked for. A constant positive map scores
    the mask's share of the image. Scaling by a positive number changes nothing, shifting does. nan: the mask is
    empty, or no attribution is positive (all-zero and all-negative maps).

    Quantus 0.6 sums signed values, which may leave [0, 1].

    Reference: Arras, Osman, Samek, "CLEVR-XAI: A Benchmark Dataset for the Ground Truth Evaluation of Neural Network
    Explanations", Information Fusion 81, 2022.
    """

    def score(self, explanation: Explanation) -> Tensor:
        """(N,) share of the positive relevance inside the mask."""
        masks = _masks(explanation.decisions)
        return _mass(explanation, masks)


@dataclass(frozen=True)
class RelevanceMassRatio(_Localization):
    """How much denser the positive relevance is in the mask than it would be on average: mass accuracy · H·W / |mask|.

    In [0, H·W / |mask|]; a constant positive map scores 1, whatever the size of the mask, and a perfect one the upper
    bound. So samples with small and with large evidence can be compared with each other's chance, and the mean over
    samples is led by those whose evidence is small. Negative attributions count as zero. nan: as for
    `RelevanceMassAccuracy`.

    It is the weighted inside-total relevance ratio μ_w of the reference, with the mask in the place of its bounding
    box. Quantus 0.6 (AttributionLocalisation, weighted) multiplies by the mask's share where the paper divides,
    and takes the share of the whole batch.

    Reference: Kohlbrenner, Bauer, Nakajima, Binder, Samek, Lapuschkin, "Towards Best Practice in Explaining Neural
    Network Decisions with LRP", IJCNN 2020.
    """

    def score(self, explanation: Explanation) -> Tensor:
        """(N,) density of the positive relevance in the mask, in units of its mean density."""
        masks = _masks(explanation.decisions)
        return _mass(explanation, masks) / masks.flatten(1).double().mean(dim=1)


@dataclass(frozen=True)
class RelevanceRankAccuracy(_Localization):
    """Share of the K highest attributions that lies in the mask, K the number of the mask's pixels.

    If several pixels share the K-th highest attribution, the expected value of choosing among them at random; so a
    constant or all-zero map scores the mask's share of the image. The sign counts: negative ranks below zero. Any
    increasing function of the map scores the same. nan: the mask is empty.

    Quantus 0.6 breaks ties by the position of the pixel.

    Reference: Arras, Osman, Samek, "CLEVR-XAI: A Benchmark Dataset for the Ground Truth Evaluation of Neural Network
    Explanations", Information Fusion 81, 2022.
    """

    def score(self, explanation: Explanation) -> Tensor:
        """(N,) share of the K highest attributions inside the mask."""
        order = ordering(explanation)
        return order.expected_hits(order.mask_sizes.clamp(min=1)) / order.mask_sizes  # 0 / 0 where the mask is empty


@dataclass(frozen=True)
class TopKIntersection(_Localization):
    """How many of the K highest attributions lie in the mask, over the most that could: min(K, number of its pixels).

    K is a fixed share of the image's pixels, rounded, at least one. Ties, signs and constant maps: see
    `RelevanceRankAccuracy`, which has another K for each mask; a constant map scores the mask's share of the image
    where the mask has K pixels or more, and K / (H·W) where it has less. nan: the mask is empty.

    Quantus 0.6 takes K as a number of pixels, whatever the image's size, divides by K, so that a perfect map of small
    evidence scores badly, and breaks ties by the position of the pixel.

    Reference: Theiner, Müller-Budack, Ewerth, "Interpretable Semantic Photo Geolocation", WACV 2022, with 1000 of
    224 · 224 pixels.

    Args:
        share: K, as a share of the image's pixels.

    Raises:
        ValueError: the share is not in (0, 1].
    """

    share: float = 0.02

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise ValueError(f"{self}: share is above 0 and at most 1")

    def score(self, explanation: Explanation) -> Tensor:
        """(N,) share of the K highest attributions inside the mask, of what could be inside."""
        order = ordering(explanation)
        k = max(1, round(self.share * order.values.shape[1]))
        possible = order.mask_sizes.clamp(max=k)
        return order.expected_hits(torch.full_like(possible, k)) / possible  # 0 / 0 where the mask is empty


@dataclass(frozen=True)
class AveragePrecision(_Localization):
    """Average precision of the pixels, ranked by the map: Σ_t (recall_t − recall_t−1) · precision_t.

    t runs through the distinct attributions, from the highest down; pixels that are tied come in together, as in
    scikit-learn. Chance is the mask's share of the image, and so is the score of a constant or all-zero map. The sign
    counts: negative ranks below zero. Any increasing function of the map scores the same. nan: the mask is empty.

    Reference: the utility of maps in Arun et al., "Assessing the Trustworthiness of Saliency Maps for Localizing
    Abnormalities in Medical Imaging", Radiology: Artificial Intelligence 2021; the sum instead of their trapezoids,
    which are too optimistic (Davis and Goadrich, ICML 2006).
    """

    def score(self, explanation: Explanation) -> Tensor:
        """(N,) average precision."""
        order = ordering(explanation)
        precision = order.hits.gather(1, order.last).double() / (order.last + 1)
        return (precision * order.inside).sum(dim=1) / order.mask_sizes  # 0 / 0 where the mask is empty


@dataclass(frozen=True)
class RocAuc(_Localization):
    """Area under the ROC curve of the pixels, ranked by the map: P(a inside > a outside) + ½ P(equal).

    Chance is ½ for any size of the mask, and so is the score of a constant or all-zero map. Where the evidence is small
    nearly all pixels are outside, so that a map can score near 1 and still have most of its highest attributions
    elsewhere: see `AveragePrecision`. The sign counts: negative ranks below zero. Any increasing function of the map
    scores the same. nan: the mask is empty, or the whole image.

    Reference: Fawcett, "An introduction to ROC analysis", Pattern Recognition Letters 27, 2006; Quantus's AUC.
    """

    def score(self, explanation: Explanation) -> Tensor:
        """(N,) area under the ROC curve."""
        order = ordering(explanation)
        n_pixels, n_inside = order.values.shape[1], order.mask_sizes.double()
        ranks = n_pixels - (order.first + order.last).double() / 2  # 1 for the lowest; ties get their average
        wins = (ranks * order.inside).sum(dim=1) - n_inside * (n_inside + 1) / 2
        return wins / (n_inside * (n_pixels - n_inside))  # 0 / 0 where the mask is empty or everything


@dataclass(frozen=True)
class IntersectionOverUnion(_Localization):
    """Intersection over union of the mask and the map, the map cut in two by Otsu's threshold.

    The threshold is that of max(a, 0) over the whole image: of all cuts between two different values the one with the
    largest variance between the two classes; exact, without a histogram. What lies above is compared with the mask. A
    constant positive map cannot be cut: all of it is taken, and it scores the mask's share of the image. Negative
    attributions count as zero. Scaling by a positive number changes nothing, shifting and other increasing functions
    do. nan: the mask is empty, or no attribution is positive.

    Otsu's cut is the same rule for all explainers. It suits maps with one bright region; of a map whose largest values
    are few and far out, it takes these alone.

    Reference: Otsu, "A Threshold Selection Method from Gray-Level Histograms", IEEE Transactions on Systems, Man, and
    Cybernetics 9, 1979; the measure: Saporta et al., "Benchmarking saliency methods for chest X-ray interpretation",
    Nature Machine Intelligence 2022, where thresholds are tuned.
    """

    def score(self, explanation: Explanation) -> Tensor:
        """(N,) intersection over union at Otsu's threshold."""
        order = ordering(explanation)
        count = _otsu(order.values)
        hits = order.hits.gather(1, count[:, None] - 1)[:, 0]
        overlap = hits.double() / (count + order.mask_sizes - hits)
        return overlap.where((order.mask_sizes > 0) & (order.values[:, 0] > 0), torch.nan)


@dataclass(frozen=True)
class BestIntersectionOverUnion(_Localization):
    """The largest intersection over union of the mask and the map that any threshold gives.

    max_t |{a ≥ t} ∩ mask| / |{a ≥ t} ∪ mask| over all attributions t of the sample. The mask chooses the threshold,
    so this is what the map could tell if one knew where to cut it: an upper bound on the IoU of any threshold, tuned
    or not. All explainers and controls are favoured alike, and chance is a little above the mask's share of the
    image, which is what a constant or all-zero map scores. The sign counts: negative ranks below zero. Any increasing
    function of the map scores the same. nan: the mask is empty.

    Reference: Choe, Oh, Lee, Chun, Akata, Shim, "Evaluating Weakly Supervised Object Localization Methods Right", CVPR
    2020, who choose one threshold for the whole data set; here each sample has its own, so that no score depends on
    other samples.
    """

    def score(self, explanation: Explanation) -> Tensor:
        """(N,) intersection over union at the best threshold."""
        order = ordering(explanation)
        hits = order.hits.gather(1, order.last)
        overlaps = hits.double() / (order.last + 1 + order.mask_sizes[:, None] - hits)
        return overlaps.amax(dim=1).where(order.mask_sizes > 0, torch.nan)


@dataclass(frozen=True)
class _ShortcutMass(Metric):
    """Share of the positive relevance that lies on the shortcut: Σ_shortcut max(a, 0) / Σ max(a, 0); in [0, 1].

    A map that points at a misleading cue is right where the network rests on the cue, and wrong where it does not. So
    the network is asked: the decision rests on the cue if it changes when the cue's pixels are replaced by the
    image's mean colour, or by the blurred image. (One alone is not enough: a blurred border is still a border, and a
    letter in the mean colour may still be one.) Negative attributions count as zero; a constant positive map scores
    the shortcut's share of the image. Costs two images a sample, forwarded once for all explainers and both entries.

    Reference: relevance mass accuracy (Arras, Osman, Samek, "CLEVR-XAI", Information Fusion 81, 2022) on the cue that
    makes a "Clever Hans" (Lapuschkin et al., Nature Communications 10, 2019); the condition is our own.
    """

    category: ClassVar[Category] = Category.LOCALIZATION
    needs_shortcuts: ClassVar[bool] = True

    def _masses(self, explanation: Explanation) -> tuple[Tensor, Tensor]:
        """(N,) share on the shortcut, nan where there is none; (N,) bool, whether the decision rests on it."""
        decisions = explanation.decisions
        shortcuts = decisions.shortcuts
        if shortcuts is None:
            raise ValueError("localization of shortcuts needs their masks, and the task has none")
        used = decisions.shared("decision rests on the shortcut", lambda: _rests_on(decisions, shortcuts))
        return _mass(explanation, shortcuts), used


@dataclass(frozen=True)
class ShortcutMass(_ShortcutMass):
    """Share of the positive relevance on a shortcut that the decision rests on; in [0, 1], higher is better.

    Does the map show that the network looks at the wrong thing? What counts as resting on it, signs, constant maps,
    cost: see `_ShortcutMass`. nan: the image has no shortcut, or the decision does not rest on it (see
    `UnusedShortcutMass`), or no attribution is positive.
    """

    higher_is_better: ClassVar[bool] = True

    def score(self, explanation: Explanation) -> Tensor:
        """(N,) share of the positive relevance on the shortcut."""
        mass, used = self._masses(explanation)
        return mass.where(used, torch.nan)


@dataclass(frozen=True)
class UnusedShortcutMass(_ShortcutMass):
    """Share of the positive relevance on a shortcut that the decision does not rest on; in [0, 1], lower is better.

    Does the map raise a false alarm? That the decision stays without the cue does not mean that the cue moves nothing:
    small shares may be right. What counts as resting on it, signs, constant maps, cost: see `_ShortcutMass`. nan: the
    image has no shortcut, or the decision rests on it (see `ShortcutMass`), or no attribution is positive.
    """

    higher_is_better: ClassVar[bool] = False

    def score(self, explanation: Explanation) -> Tensor:
        """(N,) share of the positive relevance on the shortcut."""
        mass, used = self._masses(explanation)
        return mass.where(~used, torch.nan)


@dataclass(frozen=True)
class BorderMass(Metric):
    """Share of the positive relevance that lies in a frame along the image's border; needs no masks.

    In [0, 1]; a constant positive map scores the frame's share of the image (0.36 for a width of 0.1). Neither is
    better in itself: a network may look at the frame, at burnt-in letters or a vignette. Lower counts as better,
    since medical images are taken so that what matters is in the middle, and since padding makes maps bright along
    the border. A bump in the centre is hard to beat: compare with that control. Therefore on request. Negative
    attributions count as zero. nan: no attribution is positive.

    Reference: our own; padding as a cause: Alsallakh, Kokhlikyan, Miglani, Yuan, Reblitz-Richardson, "Mind the Pad:
    CNNs Can Develop Blind Spots", ICLR 2021.

    Args:
        width: Of the frame, as a fraction of the image's height and width; rounded to pixels, at least one.

    Raises:
        ValueError: the width is not in (0, 0.5).
    """

    category: ClassVar[Category] = Category.LOCALIZATION
    higher_is_better: ClassVar[bool] = False
    on_request: ClassVar[bool] = True
    width: float = 0.1

    def __post_init__(self) -> None:
        if not 0 < self.width < 0.5:
            raise ValueError(f"{self}: width is above 0 and below 0.5")

    def score(self, explanation: Explanation) -> Tensor:
        """(N,) share of the positive relevance in the frame."""
        frame = torch.ones_like(explanation.attributions, dtype=torch.bool)
        rows, columns = (max(1, round(self.width * side)) for side in frame.shape[2:])
        frame[..., rows : frame.shape[2] - rows, columns : frame.shape[3] - columns] = False
        return _mass(explanation, frame)


def _masks(decisions: Decisions) -> Tensor:
    """(N, 1, H, W) bool."""
    if decisions.masks is None:
        raise ValueError("localization needs masks, and the task has none")
    return decisions.masks


def _mass(explanation: Explanation, where: Tensor) -> Tensor:
    """(N,) share of the positive relevance in (N, 1, H, W) bool places; nan: there are none, or nothing is positive."""
    positive = explanation.shared(
        "positive relevance", lambda: explanation.attributions.flatten(1).double().clamp(min=0)
    )
    total = explanation.shared("sum of the positive relevance", lambda: positive.sum(dim=1))
    inside = where.flatten(1)
    return ((positive * inside).sum(dim=1) / total).where(inside.any(dim=1), torch.nan)


def _rests_on(decisions: Decisions, places: Tensor) -> Tensor:
    """(N,) bool, whether the decision changes without what (N, 1, H, W) bool places show."""
    before = decisions.decided(decisions.original_logits)
    changed = torch.zeros_like(before, dtype=torch.bool)
    imputers: tuple[Imputer, ...] = (MeanImputer(), BlurImputer())
    for imputer in imputers:
        changed |= decisions.decided(decisions.logits(imputer.without(decisions, places))) != before
    return changed


def _widened(masks: Tensor, tolerance: float) -> Tensor:
    """(N, 1, H, W) bool, the pixels that lie within the tolerance of the mask, by Euclidean distance."""
    radius = tolerance * min(masks.shape[2:])
    reach = int(radius)
    if reach == 0:
        return masks
    steps = torch.arange(-reach, reach + 1, device=masks.device)
    disc = (steps[:, None].square() + steps.square() <= radius**2).float()
    return F.conv2d(masks.float(), disc[None, None], padding=reach) > 0.5


def _otsu(descending: Tensor) -> Tensor:
    """(N,) int64, how many of (N, M) descending values, negative ones taken as zero, lie above Otsu's threshold.

    All of them where they are equal.
    """
    values = descending.double().clamp(min=0)
    n_pixels = values.shape[1]
    above = torch.arange(1, n_pixels, device=values.device)
    sums = values.cumsum(dim=1)
    mean_above = sums[:, :-1] / above
    mean_below = (sums[:, -1:] - sums[:, :-1]) / (n_pixels - above)
    between = above * (n_pixels - above) * (mean_above - mean_below).square()
    cuts = between.where(values[:, 1:] < values[:, :-1], -1)
    return torch.cat([cuts, torch.zeros_like(cuts[:, :1])], dim=1).argmax(dim=1) + 1


pointing_game = PointingGame()
hit_rate = PointingGame(tolerance=15 / 224)
relevance_mass_accuracy = RelevanceMassAccuracy()
relevance_mass_ratio = RelevanceMassRatio()
relevance_rank_accuracy = RelevanceRankAccuracy()
top_k_intersection = TopKIntersection()
average_precision = AveragePrecision()
roc_auc = RocAuc()
iou = IntersectionOverUnion()
iou_best = BestIntersectionOverUnion()
shortcut_mass = ShortcutMass()
unused_shortcut_mass = UnusedShortcutMass()
border_mass = BorderMass()
