"""DeepLIFT's rescale rule: steps that are not linear are differentiated by ratios of differences to a baseline."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function

from .derivatives import RECTIFIERS, RELUS, OtherDerivative, Step

_ELEMENTWISE: set[Any] = RECTIFIERS | {
    *(F.leaky_relu, F.prelu, F.elu, F.selu, F.celu, F.gelu, F.silu, F.mish, F.softplus, F.hardswish, F.hardsigmoid),
    *(torch.sigmoid, Tensor.sigmoid, F.sigmoid, torch.tanh, Tensor.tanh, F.tanh, torch.prelu),
}
_PRODUCTS: set[Any] = {torch.mul, Tensor.mul, Tensor.__mul__, Tensor.__rmul__}
_MAX_POOLS: set[Any] = {F.max_pool2d, torch.max_pool2d}


class Reference(OtherDerivative):
    """Within it, what the steps that are not linear are given is kept: how the model sees the baseline.

    The steps are elementwise activations, products of two tensors and max pooling, in the order in which they run.

    Args:
        n_baselines: How many images the model is given.
    """

    def __init__(self, n_baselines: int) -> None:
        super().__init__()
        self.n_baselines = n_baselines
        self.steps: list[tuple[Step, tuple[Any, ...]]] = []

    def replaces(self, step: Step, args: Sequence[Any]) -> bool:
        product = step in _PRODUCTS and len(args) == 2 and isinstance(args[1], Tensor)
        return product or step in _ELEMENTWISE or step in _MAX_POOLS

    def compute(self, step: Step, args: Sequence[Any], settings: dict[str, Any]) -> Tensor:
        kept = tuple(arg.detach().clone() if isinstance(arg, Tensor) else arg for arg in args)
        self.steps.append((step, kept))
        return step(*args, **settings)


class Rescaled(Reference):
    """Within it, steps that are not linear are differentiated by the ratio of differences to a baseline's values.

    The rescale rule of DeepLIFT: an activation has the multiplier (f(x) − f(b)) / (x − b), or its derivative where
    the two meet. A product has the mean of the other factor and its baseline. Max pooling charges the pixel that is
    the maximum, as long as it moved at least half as far as the maximum did and in the same direction; else (another
    pixel was the maximum, and fell) the one that was it. So the multipliers times the differences always sum to the
    difference of what comes out.

    Args:
        reference: What the model did with the baseline.
        row: Which of the reference's images is the baseline: one for the whole batch.

    Raises:
        ValueError: when the model does other steps than it did for the baseline.
    """

    def __init__(self, reference: Reference, row: int) -> None:
        super().__init__(reference.n_baselines)
        self._remaining: Iterator[tuple[Step, tuple[Any, ...]]] = iter(reference.steps)
        self._row = row

    def compute(self, step: Step, args: Sequence[Any], settings: dict[str, Any]) -> Tensor:
        expected, kept = next(self._remaining, (None, ()))
        if expected is not step:
            raise ValueError("the model does other steps for the image than for the baseline")
        n_dimensions = max(arg.ndim for arg in kept if isinstance(arg, Tensor))
        baselines = [self._of_row(arg, n_dimensions) for arg in kept]
        if step in _MAX_POOLS:
            return _max_pool(args, baselines, settings)
        if step in _PRODUCTS:
            return _product(args[0], args[1], baselines[0], baselines[1])
        return _elementwise(step, args, baselines[0], settings)

    def _of_row(self, kept: Any, n_dimensions: int) -> Any:
        """The baseline's part of what was kept; a weight or a setting is the same for all."""
        if isinstance(kept, Tensor) and kept.ndim == n_dimensions and len(kept) == self.n_baselines:
            return kept[self._row : self._row + 1]
        return kept


def _elementwise(step: Step, args: Sequence[Any], baseline: Tensor, settings: dict[str, Any]) -> Tensor:
    inputs = args[0].detach()
    answer, difference = step(inputs, *args[1:], **settings), inputs - baseline
    multiplier = (answer - step(baseline, *args[1:], **settings)).div_(difference)
    if step in RELUS:  # a ratio of these has no rounding error to be afraid of
        multiplier = torch.where(difference == 0, inputs > 0, multiplier)
    else:
        apart = difference.abs() > 1e-6 * (inputs.abs() + baseline.abs())
        multiplier = torch.where(apart, multiplier, _slopes(step, inputs, args[1:], settings))
    scaled: Tensor = _Scaled.apply(args[0], answer, multiplier)
    return scaled


def _slopes(step: Step, inputs: Tensor, further: Sequence[Any], settings: dict[str, Any]) -> Tensor:
    with torch.enable_grad():
        leaf = inputs.detach().requires_grad_()
        return torch.autograd.grad(step(leaf, *further, **settings).sum(), leaf)[0]


def _product(one: Tensor, other: Tensor, one_baseline: Tensor, other_baseline: Tensor) -> Tensor:
    """Linear in both, with the multipliers of the rule; then moved to where the product is."""
    linear = one * ((other + other_baseline) / 2).detach() + other * ((one + one_baseline) / 2).detach()
    return linear + (one * other - linear).detach()


def _max_pool(args: Sequence[Any], baselines: Sequence[Any], settings: dict[str, Any]) -> Tensor:
    inputs, baseline = args[0].detach(), baselines[0]

    def pool(values: Tensor) -> tuple[Tensor, Tensor]:
        maximum, indices = F.max_pool2d(values, *args[1:], **{**settings, "return_indices": True})
        return maximum, indices.expand(len(inputs), -1, -1, -1)

    maximum, winners = pool(inputs)
    before, former = pool(baseline)
    difference = maximum - before

    moved = (inputs - baseline).flatten(2)

    def multiplier(indices: Tensor) -> Tensor:
        ratio = difference / moved.gather(2, indices.flatten(2)).view_as(difference)
        return torch.where(difference == 0, 0.0, ratio)

    charged, multipliers = former, multiplier(former)
    for candidates in (pool(_rounded(baseline))[1], winners):
        other = multiplier(candidates)
        usable = (other >= 0) & (other <= 2)
        charged, multipliers = torch.where(usable, candidates, charged), torch.where(usable, other, multipliers)
    pooled: Tensor = _Charged.apply(args[0], maximum, charged, multipliers)
    return pooled


def _rounded(baseline: Tensor) -> Tensor:
    """To a thousandth of the channel's highest: of pixels that are equal but for rounding, the first is the maximum."""
    unit = baseline.abs().amax((2, 3), keepdim=True) / 1000
    return (baseline / unit.clamp(min=torch.finfo(baseline.dtype).tiny)).round()


class _Scaled(Function):
    @staticmethod
    def forward(ctx: Any, inputs: Tensor, answer: Tensor, multiplier: Tensor) -> Tensor:  # noqa: ARG004
        ctx.save_for_backward(multiplier)
        return answer

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (multiplier,) = ctx.saved_tensors
        return gradients[0] * multiplier, None, None


class _Charged(Function):
    @staticmethod
    def forward(ctx: Any, inputs: Tensor, answer: Tensor, charged: Tensor, multipliers: Tensor) -> Tensor:
        ctx.save_for_backward(charged, multipliers)
        ctx.shape = inputs.shape
        return answer

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        charged, multipliers = ctx.saved_tensors
        handed = torch.zeros(ctx.shape, dtype=gradients[0].dtype, device=gradients[0].device).flatten(2)
        handed.scatter_add_(2, charged.flatten(2), (gradients[0] * multipliers).flatten(2))
        return handed.view(ctx.shape), None, None, None
