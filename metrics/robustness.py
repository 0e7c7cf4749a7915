"""Robustness: does the explanation keep up when the image changes and the decision does not?

A transformation changes the image; the map of the changed image is brought back and compared with that of the
original, for the same target. A sample counts only where the model decides as before: where the prediction changed,
another map may be right. Transformations come in three strengths (`blur_mild`, `blur`, `blur_strong`) and similarities
in four kinds: rank correlation bears the transformation's name alone, the others add `_ssim`, `_top_k` and
`_sign_flip`. All similarities of one transformation share one forward pass of the batch, made once for all explainers,
and one explanation of the samples that count.

What every similarity leaves undefined (nan): the prediction changed (the class of the highest logit; for a multi-label
task, whether the target is there); or one of the two maps is constant, also all-zero, or constant over the pixels that
are compared.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import ClassVar, TypeVar

import torch
from torch import Tensor

from .base import Category, Explanation, Metric
from .correlation import spearman
from .map_pairs import Pair, explained_again, round_trip
from .movements import Flip, Rotation, Translation
from .similarity import sign_flips, structural_similarity, top_overlap
from .transformations import Blur, Brightness, Contrast, Jpeg, Noise, Sharpen, Transformation


@dataclass(frozen=True)
class Similarity(Metric, ABC):
    """Compares the map with that of the transformed image, brought back. nan, cost: see the module.

    Args:
        transformation: What happens to the image.
        on_request: Whether it runs only where a name or pattern asks for it; no setting of the score.
    """

    category: ClassVar[Category] = Category.ROBUSTNESS
    transformation: Transformation
    on_request: bool = field(default=True, kw_only=True, repr=False, compare=False)

    def score(self, explanation: Explanation) -> Tensor:
        """(N,) similarity, nan where the prediction changed or a map is constant."""
        pair = self.pair(explanation)
        scores = torch.full(pair.counted.shape, torch.nan, dtype=torch.float64, device=pair.counted.device)
        if len(pair.before):
            scores[pair.counted] = self.similarity(pair)
        return scores

    def pair(self, explanation: Explanation) -> Pair:
        """What is compared: made once for all similarities."""
        return explained_again(explanation, self.transformation)

    @abstractmethod
    def similarity(self, pair: Pair) -> Tensor:
        """(M,) float64, M above 0."""


@dataclass(frozen=True)
class RankCorrelation(Similarity):
    """Rank correlation (Spearman) of the map with that of the changed image, moved back in place; higher is better.

    ρ(a(x), T⁻¹ a(T x)) over the pixels that stay in the image through T and T⁻¹, for the same target; T⁻¹ is the
    identity where T moves no pixel. In [−1, 1], higher is better; ties get their average rank. Only the order of
    the attributions takes part: any increasing function of the map scores the same (where T interpolates maps, any
    increasing linear function). Every pixel weighs the same, those of hardly any relevance too. nan, cost: see the
    module.

    Reference: the equivariance of explanations, Crabbé and van der Schaar, "Evaluating the Robustness of
    Interpretability Methods through Explanation Invariance and Equivariance", NeurIPS 2023, with rank correlation
    for similarity; and the robustness to augmentations that studies of medical images measure. Quantus's
    Consistency and Continuity do not bring the map of a moved image back.
    """

    higher_is_better: ClassVar[bool] = True

    def similarity(self, pair: Pair) -> Tensor:
        """(M,) rank correlation."""
        return spearman(*pair.values())


@dataclass(frozen=True)
class StructuralSimilarity(Similarity):
    """Structural similarity (SSIM) of the map with that of the changed image, moved back in place; higher is better.

    Mean over all windows of 11 × 11 pixels that lie wholly among the compared pixels; each map is divided by its
    largest absolute value first and then put into [0, 1], zero at ½, and the data range is 1: see
    `similarity.structural_similarity`, which is scikit-image's with Gaussian weights. In [−1, 1], near 0 for busy maps
    that have nothing in common, below 0 for opposite ones; higher is better. A positive factor of either map changes
    nothing; the sign counts. Two maps are alike where both are near zero, so that maps of few bright pixels score high
    whether or not these stay: compare with the controls. nan, cost: see the module; also nan where no window fits, as
    in images of less than 11 pixels a side. Quantus's ssim takes signed values as they are, so that opposite maps may
    be alike, and uniform windows.

    Reference: Wang, Bovik, Sheikh, Simoncelli, "Image Quality Assessment: From Error Visibility to Structural
    Similarity", IEEE Transactions on Image Processing 13, 2004; for maps: Adebayo, Gilmer, Muelly, Goodfellow, Hardt,
    Kim, "Sanity Checks for Saliency Maps", NeurIPS 2018.
    """

    higher_is_better: ClassVar[bool] = True

    def similarity(self, pair: Pair) -> Tensor:
        """(M,) mean structural similarity."""
        return structural_similarity(pair.before, pair.after, pair.compared)


@dataclass(frozen=True)
class TopKOverlap(Similarity):
    """Share of the strongest pixels that are still the strongest when the image changes; higher is better.

    Share of the k highest attributions that are among the k highest of the transformed image's map, brought back; k is
    a fixed share of the compared pixels, rounded, at least one. In [0, 1], higher is better; maps that have nothing in
    common score `share`. The sign counts: negative ranks below zero. Any increasing function of either map scores the
    same (where T interpolates maps, any increasing linear function). Where several pixels share the k-th highest
    attribution: the expected value of choosing among them at random, for each map on its own, so that a map with fewer
    than k pixels above the rest cannot score 1: it does not say which are the k highest. nan, cost: see the module.

    Reference: Ghorbani, Abid, Zou, "Interpretation of Neural Networks Is Fragile", AAAI 2019, with 1000 of
    224 · 224 pixels.

    Args:
        share: k, as a share of the compared pixels.

    Raises:
        ValueError: the share is not in (0, 1].
    """

    higher_is_better: ClassVar[bool] = True
    share: float = 0.02

    def __post_init__(self) -> None:
        _check_share(self, self.share)

    def similarity(self, pair: Pair) -> Tensor:
        """(M,) overlap."""
        return top_overlap(*pair.values(), _count(self.share, pair.compared))


@dataclass(frozen=True)
class SignFlip(Similarity):
    """Share of the strongest evidence that turns from for to against, or back, when the image changes; lower is better.

    Of the k pixels of the highest |attribution|, k a fixed share of the compared pixels, rounded, at least one: how
    many spoke for the target and now speak against it, or the other way round, however weakly. In [0, 1], lower is
    better; ½ for signs that are tossed anew. Pixels of attribution zero are no evidence: a map with fewer than k others
    is judged by those, and evidence that vanishes has not flipped. Ties: the expected value of choosing at random.
    A positive factor of either map changes nothing.

    nan: see the module; and where neither map has two signs over the compared pixels (Grad-CAM, the size of a
    gradient). Such maps cannot flip, so that 0 would be the best score for saying less.

    Reference: our own.

    Args:
        share: k, as a share of the compared pixels.

    Raises:
        ValueError: the share is not in (0, 1].
    """

    higher_is_better: ClassVar[bool] = False
    share: float = 0.1

    def __post_init__(self) -> None:
        _check_share(self, self.share)

    def similarity(self, pair: Pair) -> Tensor:
        """(M,) share of flipped signs."""
        return sign_flips(*pair.values(), _count(self.share, pair.compared))


class _RoundTrip(Similarity, ABC):
    """The map itself is moved and brought back: what a perfectly equivariant explainer would get.

    Below the best score by what interpolation loses: no explainer with such maps can be asked for more. All
    samples count, also those whose prediction changes with the image, for the model is not asked: no forward pass and
    no explanation.
    """

    def pair(self, explanation: Explanation) -> Pair:
        """The map, and the map there and back."""
        return round_trip(explanation, self.transformation)


@dataclass(frozen=True)
class RankCorrelationFloor(_RoundTrip, RankCorrelation):
    """Rank correlation of the map with itself, moved and moved back: the most that interpolation leaves an explainer.

    ρ(a, T⁻¹ T a): the map is moved and brought back, without the model. Read the rank correlation of a transformation
    that interpolates beside it: what is lost up to here is no fault of the explainer. In [−1, 1]; 1 where nothing is
    interpolated; smooth maps are near it, pixel-fine ones are not. No forward pass, no explanation, and all samples
    count. nan: the map is constant, also over the compared pixels.
    """


@dataclass(frozen=True)
class SignFlipFloor(_RoundTrip, SignFlip):
    """Sign flips of the map against itself, moved and moved back: the least that interpolation leaves an explainer.

    `SignFlip` of the map and the map there and back, without the model: no forward pass, no explanation, and all
    samples count. In [0, 1]; 0 where nothing is interpolated. nan: the map is constant or has one sign.
    """


def _count(share: float, compared: Tensor) -> int:
    return max(1, round(share * int(compared.sum())))


def _check_share(metric: Metric, share: float) -> None:
    if not 0 < share <= 1:
        raise ValueError(f"{metric}: share is above 0 and at most 1")


_Kind = TypeVar("_Kind", bound=Similarity)
_Strengths = tuple[Transformation, Transformation, Transformation]


def _each(kind: type[_Kind], strengths: _Strengths, standard: bool = False) -> tuple[_Kind, _Kind, _Kind]:
    """Mild, middle, strong; the middle one runs unasked if it is standard."""
    mild, middle, strong = strengths
    return kind(mild), kind(middle, on_request=not standard), kind(strong)


_blurs = Blur(sigma=0.005), Blur(sigma=0.01), Blur(sigma=0.02)
blur_mild, blur, blur_strong = _each(RankCorrelation, _blurs, standard=True)
blur_mild_ssim, blur_ssim, blur_strong_ssim = _each(StructuralSimilarity, _blurs)
blur_mild_top_k, blur_top_k, blur_strong_top_k = _each(TopKOverlap, _blurs)
blur_mild_sign_flip, blur_sign_flip, blur_strong_sign_flip = _each(SignFlip, _blurs, standard=True)

_sharpens = Sharpen(amount=0.5), Sharpen(amount=1.0), Sharpen(amount=2.0)
sharpen_mild, sharpen, sharpen_strong = _each(RankCorrelation, _sharpens, standard=True)
sharpen_mild_ssim, sharpen_ssim, sharpen_strong_ssim = _each(StructuralSimilarity, _sharpens)
sharpen_mild_top_k, sharpen_top_k, sharpen_strong_top_k = _each(TopKOverlap, _sharpens)
sharpen_mild_sign_flip, sharpen_sign_flip, sharpen_strong_sign_flip = _each(SignFlip, _sharpens, standard=True)

_brightnesses = Brightness(amount=0.1), Brightness(amount=0.2), Brightness(amount=0.4)
brightness_mild, brightness, brightness_strong = _each(RankCorrelation, _brightnesses)
brightness_mild_ssim, brightness_ssim, brightness_strong_ssim = _each(StructuralSimilarity, _brightnesses)
brightness_mild_top_k, brightness_top_k, brightness_strong_top_k = _each(TopKOverlap, _brightnesses)
brightness_mild_sign_flip, brightness_sign_flip, brightness_strong_sign_flip = _each(SignFlip, _brightnesses)

_contrasts = Contrast(amount=0.1), Contrast(amount=0.2), Contrast(amount=0.4)
contrast_mild, contrast, contrast_strong = _each(RankCorrelation, _contrasts)
contrast_mild_ssim, contrast_ssim, contrast_strong_ssim = _each(StructuralSimilarity, _contrasts)
contrast_mild_top_k, contrast_top_k, contrast_strong_top_k = _each(TopKOverlap, _contrasts)
contrast_mild_sign_flip, contrast_sign_flip, contrast_strong_sign_flip = _each(SignFlip, _contrasts)

_noises = Noise(sigma=0.01), Noise(sigma=0.03), Noise(sigma=0.1)
gaussian_noise_mild, gaussian_noise, gaussian_noise_strong = _each(RankCorrelation, _noises)
gaussian_noise_mild_ssim, gaussian_noise_ssim, gaussian_noise_strong_ssim = _each(StructuralSimilarity, _noises)
gaussian_noise_mild_top_k, gaussian_noise_top_k, gaussian_noise_strong_top_k = _each(TopKOverlap, _noises)
gaussian_noise_mild_sign_flip, gaussian_noise_sign_flip, gaussian_noise_strong_sign_flip = _each(SignFlip, _noises)

_jpegs = Jpeg(quality=80), Jpeg(quality=50), Jpeg(quality=20)
jpeg_mild, jpeg, jpeg_strong = _each(RankCorrelation, _jpegs)
jpeg_mild_ssim, jpeg_ssim, jpeg_strong_ssim = _each(StructuralSimilarity, _jpegs)
jpeg_mild_top_k, jpeg_top_k, jpeg_strong_top_k = _each(TopKOverlap, _jpegs)
jpeg_mild_sign_flip, jpeg_sign_flip, jpeg_strong_sign_flip = _each(SignFlip, _jpegs)

_rotations = Rotation(angle=5.0), Rotation(angle=10.0), Rotation(angle=20.0)
rotation_mild, rotation, rotation_strong = _each(RankCorrelation, _rotations, standard=True)
rotation_mild_ssim, rotation_ssim, rotation_strong_ssim = _each(StructuralSimilarity, _rotations)
rotation_mild_top_k, rotation_top_k, rotation_strong_top_k = _each(TopKOverlap, _rotations)
rotation_mild_sign_flip, rotation_sign_flip, rotation_strong_sign_flip = _each(SignFlip, _rotations, standard=True)
rotation_mild_floor, rotation_floor, rotation_strong_floor = _each(RankCorrelationFloor, _rotations, standard=True)
rotation_mild_sign_flip_floor, rotation_sign_flip_floor, rotation_strong_sign_flip_floor = _each(
    SignFlipFloor, _rotations
)

_translations = Translation(shift=0.02), Translation(shift=0.05), Translation(shift=0.1)
translation_mild, translation, translation_strong = _each(RankCorrelation, _translations)
translation_mild_ssim, translation_ssim, translation_strong_ssim = _each(StructuralSimilarity, _translations)
translation_mild_top_k, translation_top_k, translation_strong_top_k = _each(TopKOverlap, _translations)
translation_mild_sign_flip, translation_sign_flip, translation_strong_sign_flip = _each(SignFlip, _translations)
translation_mild_floor, translation_floor, translation_strong_floor = _each(RankCorrelationFloor, _translations)
translation_mild_sign_flip_floor, translation_sign_flip_floor, translation_strong_sign_flip_floor = _each(
    SignFlipFloor, _translations
)

flip = RankCorrelation(Flip())
flip_ssim = StructuralSimilarity(Flip())
flip_top_k = TopKOverlap(Flip())
flip_sign_flip = SignFlip(Flip())
