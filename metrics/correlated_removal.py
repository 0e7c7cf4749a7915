"""Faithfulness by numbers: does the model's answer fall by as much as the explanation gives to what is removed?

Unlike removal in order, these metrics read the attributions themselves: a map is taken for contributions to the
target's logit, up to a positive factor, so that the sum over removed pixels foretells the fall. f is the target's
logit throughout; falls that differ by less than a hundred-thousandth are ties.
"""

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from .base import Category, Explanation, Metric
from .correlation import pearson, spearman
from .perturb import Imputer, MeanImputer, UniformImputer, one_after_another, pixels, target_logits
from .regions import sums
from .removals import fall, random_squares, random_subsets, single_cells


@dataclass(frozen=True)
class _Correlation(Metric):
    """In [−1, 1], higher is better; 0 on average for a random map; any positive factor leaves the score as it is.

    nan: the map is constant (also all-zero) or gives the same to everything that is compared, or the logit always
    falls by the same.
    """

    category: ClassVar[Category] = Category.FAITHFULNESS
    higher_is_better: ClassVar[bool] = True
    on_request: ClassVar[bool] = True

    def score(self, explanation: Explanation) -> Tensor:
        """(N,) correlation."""
        flat = explanation.attributions.flatten(1)
        return self.correlation(explanation).where((flat != flat[:, :1]).any(dim=1), torch.nan)

    @abstractmethod
    def correlation(self, explanation: Explanation) -> Tensor:
        """(N,) of any map that is not constant."""


@dataclass(frozen=True)
class FaithfulnessCorrelation(_Correlation):
    """Does the logit fall by what the map gives to random sets of pixels? Pearson's correlation; higher is better.

    Pearson's correlation of Σ_{i∈S} a_i and f(x) − f(x without S) over random subsets S of the pixels. All subsets have
    the same size and are the same for all explainers. In [−1, 1], higher is better; the sign counts; nan: see above
    all, a constant map. Costs n_subsets forward passes of the batch, once for all explainers.

    Quantus draws from the C·H·W values of an image, so that a pixel loses single channels.

    Args:
        imputer: What replaces a removed pixel.
        share: Size of a subset, as a share of the pixels.
        n_subsets: How many are drawn.

    Raises:
        ValueError: the share is not within (0, 1), or there are fewer than two subsets.

    Reference: Bhatt, Weller, Moura, "Evaluating and Aggregating Feature-based Model Explanations", IJCAI 2020.
    """

    imputer: Imputer
    share: float = 0.05
    n_subsets: int = 100

    def __post_init__(self) -> None:
        _check_subsets(self, (self.share,), self.n_subsets)

    def correlation(self, explanation: Explanation) -> Tensor:
        """(N,) Pearson's correlation."""
        return _over_subsets(explanation, self.imputer, self.share, self.n_subsets)


@dataclass(frozen=True)
class SensitivityN(_Correlation):
    """Faithfulness correlation, averaged over sizes of the random sets of pixels; higher is better.

    Mean over sizes n of Pearson's correlation of Σ_{i∈S} a_i and f(x) − f(x without S), S random of n pixels:
    `FaithfulnessCorrelation` at several sizes, of which it shares the subsets. In [−1, 1], higher is better; nan: as
    there, at any size. Costs n_subsets forward passes of the batch a size, once for all explainers. Quantus removes
    pixels in the order of the map instead, and correlates over the samples of the batch.

    Args:
        imputer: What replaces a removed pixel.
        shares: Sizes of the subsets, as shares of the pixels; Ancona et al. go from 1 % to 80 %.
        n_subsets: How many are drawn of each size.

    Raises:
        ValueError: there are no shares, one is not within (0, 1), or there are fewer than two subsets.

    Reference: Ancona, Ceolini, Öztireli, Gross, "Towards better understanding of gradient-based attribution methods
    for Deep Neural Networks", ICLR 2018.
    """

    imputer: Imputer
    shares: tuple[float, ...] = (0.01, 0.05, 0.2, 0.8)
    n_subsets: int = 100

    def __post_init__(self) -> None:
        _check_subsets(self, self.shares, self.n_subsets)

    def correlation(self, explanation: Explanation) -> Tensor:
        """(N,) mean of Pearson's correlations."""
        every = [_over_subsets(explanation, self.imputer, share, self.n_subsets) for share in self.shares]
        return torch.stack(every).mean(dim=0)


@dataclass(frozen=True)
class FaithfulnessEstimate(_Correlation):
    """Does the logit fall by what the map gives to pixels of like relevance? Pearson's correlation; higher is better.

    Pearson's correlation of Σ_{i∈S} a_i and f(x) − f(x without S) over sets S of pixels of similar attribution. The
    pixels in descending order are divided into n_steps sets, each of which is removed alone; ties are broken at random,
    the same for all explainers. In [−1, 1], higher is better; the sign counts; nan: a constant map. Costs n_steps
    forward passes of the batch an explainer, or two less where the curves of `metrics.faithfulness` are there for this
    imputer and as many steps. Alvarez-Melis and Jaakkola remove single features.

    Args:
        imputer: What replaces a removed pixel.
        n_steps: Into how many sets the pixels are divided.

    Raises:
        ValueError: there are fewer than two sets.

    Reference: Alvarez-Melis and Jaakkola, "Towards Robust Interpretability with Self-Explaining Neural Networks",
    NeurIPS 2018.
    """

    imputer: Imputer
    n_steps: int = 32

    def __post_init__(self) -> None:
        if self.n_steps < 2:
            raise ValueError(f"{self}: n_steps is at least 2")

    def correlation(self, explanation: Explanation) -> Tensor:
        """(N,) Pearson's correlation."""
        order = pixels(explanation)
        spans = one_after_another(order, self.n_steps)
        ends = torch.tensor([last for _, last in spans], device=order.places.device)
        step = torch.bucketize(order.places, ends, right=True)
        given = sums(explanation.attributions.flatten(1), step, len(spans))
        logits = target_logits(explanation, order, self.imputer, spans)
        return pearson(given, fall(explanation.decisions, logits))


@dataclass(frozen=True)
class SingleDeletionCorrelation(_Correlation):
    """Does the logit fall most where the map gives most, cell by cell? Spearman's rank correlation; higher is better.

    Spearman's rank correlation of Σ_{i∈S} a_i and f(x) − f(x without S) over the cells S of a grid. Each cell is
    removed alone; all explainers meet the same cells. In [−1, 1], higher is better; the sign counts; ties get their
    average rank; nan: a constant map. Costs grid² forward passes of the batch, once for all explainers.

    Args:
        imputer: What replaces a removed pixel.
        grid: The image is divided into grid × grid cells, equal up to rounding.

    Raises:
        ValueError: the grid has fewer than two cells a side, or more than the image has pixels.

    Reference: single deletion, Hesse, Schaub-Meyer, Roth, "FunnyBirds: A Synthetic Vision Dataset for a Part-Based
    Analysis of Explainable AI Methods", ICCV 2023, with cells for parts; Gevaert, Rousseau, Becker, Valkenborg,
    De Bie, Saeys, "Evaluating Feature Attribution Methods in the Image Domain", arXiv:2202.12270, 2022.
    """

    imputer: Imputer
    grid: int = 8

    def __post_init__(self) -> None:
        _check_grid(self, self.grid)

    def correlation(self, explanation: Explanation) -> Tensor:
        """(N,) rank correlation."""
        cells = single_cells(explanation.decisions, self.grid)
        return spearman(cells.sums(explanation.attributions), cells.falls(self.imputer))


@dataclass(frozen=True)
class MonotonicityCorrelation(_Correlation):
    """Is the logit least sure where the map is strongest, cell by cell? Spearman's rank correlation; higher is better.

    Spearman's rank correlation of Σ_{i∈S} |a_i| and E[(f(x) − f(x, S random))²] over the cells S of a grid. How much
    the answer is in doubt when a cell is not known, against how much the map makes of it, for or against the class: the
    sign does not count. The cell takes uniform noise, n_draws times. In [−1, 1], higher is better; ties get their
    average rank; nan: a constant map. Costs n_draws·grid² forward passes of the batch, once for all explainers.

    Quantus takes sets of similar attribution instead of cells, which cost every explainer its own passes; it divides
    by f(x)², which changes no rank.

    Args:
        grid: The image is divided into grid × grid cells, equal up to rounding.
        n_draws: How many times a cell is replaced by noise.

    Raises:
        ValueError: the grid has fewer than two cells a side, or more than the image has pixels; n_draws is not
            positive.

    Reference: Nguyen and Martínez, "On quantitative aspects of model interpretability", arXiv:2007.07584, 2020.
    """

    grid: int = 8
    n_draws: int = 5

    def __post_init__(self) -> None:
        _check_grid(self, self.grid)
        if self.n_draws < 1:
            raise ValueError(f"{self}: n_draws is at least 1")

    def correlation(self, explanation: Explanation) -> Tensor:
        """(N,) rank correlation."""
        cells = single_cells(explanation.decisions, self.grid)
        falls = torch.stack([cells.falls(UniformImputer(draw)) for draw in range(self.n_draws)])
        return spearman(cells.sums(explanation.attributions.abs()), falls.square().mean(dim=0))


@dataclass(frozen=True)
class Infidelity(Metric):
    """Error of the map, scaled to the logit, as a forecast of how far it falls without random squares; lower is better.

    infidelity = E_S[(β Σ_{i∈S} a_i − (f(x) − f(x without S)))²], where β ≥ 0 makes it least:
    β = max(0, E[given · fall] / E[given²]). From 0, lower is better, in squared units of the logit. An explainer's
    unit is its own, so the map is brought to the logit's scale as Yeh et al. do in their experiments; a map that
    points the wrong way is no better than an all-zero map, whose infidelity is E[fall²], the highest. Always defined.
    Costs n_squares forward passes of the batch, once for all explainers.

    The perturbation I of the paper is 1 for a removed pixel: a map is taken for contributions, not for derivatives.
    captum's `infidelity(normalize=True)` with the same I lets β be negative too. Quantus does not scale, multiplies
    contributions by the change of the input once more, and draws nothing: its samples are all the same.

    Args:
        imputer: What replaces a removed pixel.
        side: Side of the squares, as a fraction of the image's shorter side.
        n_squares: How many are drawn, anywhere within the image; the same for all explainers.

    Raises:
        ValueError: the side is not within (0, 1], or there are no squares.

    Reference: Yeh, Hsieh, Suggala, Inouye, Ravikumar, "On the (In)fidelity and Sensitivity of Explanations",
    NeurIPS 2019.
    """

    category: ClassVar[Category] = Category.FAITHFULNESS
    higher_is_better: ClassVar[bool] = False
    on_request: ClassVar[bool] = True
    imputer: Imputer
    side: float = 0.2
    n_squares: int = 64

    def __post_init__(self) -> None:
        if not 0 < self.side <= 1 or self.n_squares < 1:
            raise ValueError(f"{self}: side is within (0, 1], n_squares at least 1")

    def score(self, explanation: Explanation) -> Tensor:
        """(N,) mean squared error."""
        squares = random_squares(explanation.decisions, self.side, self.n_squares)
        given, falls = squares.sums(explanation.attributions), squares.falls(self.imputer)
        # Scaled to 1 first: squares of tiny or huge attributions stay within floating point.
        given = given / given.abs().amax(dim=1, keepdim=True).where(given.any(dim=1, keepdim=True), 1)
        power = given.square().sum(dim=1)
        scale = ((given * falls).sum(dim=1) / power.where(power > 0, 1)).clamp_min(0)
        return (scale[:, None] * given - falls).square().mean(dim=1)


def _over_subsets(explanation: Explanation, imputer: Imputer, share: float, n_subsets: int) -> Tensor:
    """(N,) correlation over random subsets of one size; computed once for this explanation."""

    def compute() -> Tensor:
        subsets = random_subsets(explanation.decisions, share, n_subsets)
        return pearson(subsets.sums(explanation.attributions), subsets.falls(imputer))

    return explanation.shared(("correlation over subsets", imputer, share, n_subsets), compute)


def _check_subsets(metric: Metric, shares: tuple[float, ...], n_subsets: int) -> None:
    if not shares or not all(0 < share < 1 for share in shares):
        raise ValueError(f"{metric}: shares of the pixels are within (0, 1)")
    if n_subsets < 2:
        raise ValueError(f"{metric}: n_subsets is at least 2")


def _check_grid(metric: Metric, grid: int) -> None:
    if grid < 2:
        raise ValueError(f"{metric}: grid is at least 2")


faithfulness_correlation = FaithfulnessCorrelation(MeanImputer())
faithfulness_estimate = FaithfulnessEstimate(MeanImputer())
sensitivity_n = SensitivityN(MeanImputer())
single_deletion_correlation = SingleDeletionCorrelation(MeanImputer())
monotonicity_correlation = MonotonicityCorrelation()
infidelity = Infidelity(MeanImputer())
