"""Whether a way of relevance propagation conserves relevance: where what it started with is found in the end.

    >>> from torchvision.transforms import Normalize
    >>> from explainers.lrp import lrp_epsilon_plus
    >>> layers = nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(288, 2)
    >>> model = nn.Sequential(Normalize((0.5,) * 3, (0.25,) * 3), *layers).eval()
    >>> share = conservation(lrp_epsilon_plus, model, torch.rand(4, 3, 8, 8), torch.tensor([0, 1, 0, 1]))
    >>> torch.allclose(share.pixels + share.biases, torch.ones(4), atol=0.01)
    True

Relevance that a bias contributed to stays with the bias: that is no loss. What is missing beyond it was swallowed by ε,
lost at a unit that none of its inputs speaks for, or never had a rule. docs/conservation.md has the figures.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from zennit.attribution import Gradient
from zennit.core import BasicHook, ParamMod

from .lrp import Propagation


class Conservation(NamedTuple):
    """Parts of the relevance at the start, summed over the classes; nan where that is 0."""

    pixels: Tensor
    """(N,), what the map sums to."""
    biases: Tensor
    """(N,), what the biases of all layers kept."""


def conservation(explainer: Propagation, model: nn.Module, inputs: Tensor, targets: Tensor) -> Conservation:
    """The parts of each decision's relevance that end in the pixels and in the biases.

    Args:
        explainer: One of `lrp`.
        model, inputs, targets: As the explainer takes them.
    """
    kept: list[Tensor] = []
    started: list[Tensor] = []

    def start(logits: Tensor) -> Tensor:
        started.append(explainer.start(logits, targets))
        return started[-1]

    network, composite = explainer.ruled(model, inputs)
    with torch.enable_grad(), Gradient(network, composite) as attributor:
        for hook in composite.hook_refs:
            if isinstance(hook, BasicHook):
                hook.backward = _counting(hook, kept)
        relevance = attributor(inputs.detach().clone(), start)[1]
    total = started[0].sum(1).detach()
    biases = torch.stack(kept).sum(0) if kept else torch.zeros_like(total)
    return Conservation(relevance.sum((1, 2, 3)) / total, biases / total)


def _counting(hook: BasicHook, kept: list[Tensor]) -> Callable[..., Any]:
    """The hook's step back, which also notes what the bias of its layer keeps, (N,)."""
    step_back = hook.backward

    def backward(module: nn.Module, grad_input: Any, grad_output: Any) -> Any:
        if getattr(module, "bias", None) is not None:
            kept.append(_kept_by_bias(hook, module, grad_output[0]))
        return step_back(module, grad_input, grad_output)

    return backward


def _kept_by_bias(hook: BasicHook, module: nn.Module, relevance: Tensor) -> Tensor:
    """The rule for one more input, of value 1, with the bias for its weight.

    A rule of zennit forwards variants of the input through variants of the layer, makes of the relevance a factor
    for each output of these, and adds up inputs times gradients, some with a minus. So does this.
    """
    values = hook.stored_tensors["input"][0].detach()
    outputs, biases = [], []
    with torch.no_grad():
        for of_input, of_layer in zip(hook.input_modifiers, hook.param_modifiers, strict=True):
            with ParamMod.ensure(of_layer)(module) as variant:
                outputs.append(variant.forward(of_input(values)))
                biases.append(variant.bias.detach())
        factors = hook.gradient_mapper(relevance, outputs)
        factors = [factors] if isinstance(factors, Tensor) else factors
        kept = torch.zeros(len(relevance)).to(relevance)
        for place, (bias, factor) in enumerate(zip(biases, factors, strict=True)):
            by_channel = factor.flatten(2).sum(2) if factor.ndim > 2 else factor
            kept += _sign(hook, place, len(factors)) * (by_channel * bias).sum(1)
    return kept


def _sign(hook: BasicHook, place: int, n: int) -> float:
    """With which sign, or weight, the rule adds up one of its n products."""
    one = [torch.tensor(float(index == place)) for index in range(n)]
    return float(hook.reducer([torch.tensor(1.0)] * n, one))
