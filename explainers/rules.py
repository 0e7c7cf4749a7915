"""What a rule of LRP is chosen by, and which hook of zennit carries the rule out.

`layers` tells where each layer with weights stands in a canonized model; the functions below it make the rules.
With a layer z = W a + b and relevance R of its outputs, an input gets a share of each output's relevance in
proportion to its contribution w a; a⁺ = max(a, 0), a⁻ = min(a, 0):

- ε: contributions as they are, over z + ε sign z;
- z⁺: only the positive ones, a⁺ w⁺ + a⁻ w⁻; b⁺ keeps its share;
- αβ: α of the relevance to the positive ones, −β to the negative ones, α − β = 1;
- γ: positive weights weigh 1 + γ (for negative inputs and outputs the signs are exchanged);
- box: w a − w⁺ l − w⁻ h, with l and h the smallest and largest value that a pixel can have;
- flat: 1 for every input that the output sees.

A channelwise layer, a batch norm that could not be folded (DenseNet), has a single input to an output, weighed
against nothing but the bias. There αβ would double the relevance at every such layer; it gets z⁺ instead, which
hands on between none and all.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, fx, nn
from zennit.core import BasicHook, Hook, Stabilizer
from zennit.layer import Sum
from zennit.rules import ClampMod, Norm, Pass, ZPlus
from zennit.types import Activation, AvgPool

_SAME_SIGN: tuple[type[nn.Module], ...] = (
    *(nn.MaxPool2d, nn.AdaptiveMaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d),
    *(nn.Dropout, nn.Dropout2d, nn.Identity, nn.Flatten, Sum),
)


@dataclass(frozen=True, eq=False)
class Layer:
    """A layer with weights, convolution or linear, and where it stands."""

    name: str
    module: nn.Conv2d | nn.Linear
    depth: float
    """Layers on the longest way from the pixels up to this one, over those of the whole network: 0 < depth <= 1.
    Channelwise layers do not count."""
    first: bool
    """No other layer comes before it: it sees the preprocessed pixels."""
    nonnegative: bool
    """Its input cannot be negative, being the output of ReLUs."""
    rectified: bool
    """Its output goes through ReLUs only, so that what is negative there has no relevance."""
    bounds: Callable[[], tuple[Tensor, Tensor]]
    """Of a first layer: its smallest and largest input, each (1, ...), over all images in [0, 1]."""

    @property
    def channelwise(self) -> bool:
        """One input to an output: what is left of a batch norm."""
        return is_channelwise(self.module)


def is_channelwise(module: nn.Conv2d | nn.Linear) -> bool:
    """Whether a layer has one input to an output."""
    single = isinstance(module, nn.Conv2d) and module.kernel_size == (1, 1) and module.groups == module.in_channels
    return single and module.in_channels == module.out_channels


def depths(rebuilt: fx.GraphModule) -> dict[fx.Node, int]:
    """How many layers with weights lie on the longest way from the pixels up to each step, the step itself among them.

    Channelwise layers do not count, and so preprocessing does not.
    """
    found: dict[fx.Node, int] = {}
    for node in rebuilt.graph.nodes:
        module = rebuilt.get_submodule(node.target) if node.op == "call_module" else None
        counts = isinstance(module, nn.Conv2d | nn.Linear) and not is_channelwise(module)
        before = max((found[other] for other in node.all_input_nodes), default=0)
        found[node] = before + counts
    return found


def layers(rebuilt: fx.GraphModule, preprocessing: tuple[str, ...], inputs: Tensor) -> Iterator[Layer]:
    """The layers with weights of a canonized model, in the order in which they run; preprocessing left out.

    Args:
        rebuilt, preprocessing: As `canonized` gives them.
        inputs: (N, C, H, W) images of the size that is to be explained; their values do not matter.
    """
    depth = depths(rebuilt)
    deepest = max([1, *depth.values()])
    nonnegative: dict[fx.Node, bool] = {}
    for node in rebuilt.graph.nodes:
        module = rebuilt.get_submodule(node.target) if node.op == "call_module" else None
        taken = sources(node)
        above = bool(taken) and all(nonnegative[source] for source in taken)
        if isinstance(module, nn.Conv2d | nn.Linear) and node.target not in preprocessing:
            bounds = partial(_input_bounds, rebuilt, node.target, inputs)
            first = not any(depth[other] for other in node.all_input_nodes)
            rectified = _is_rectified(rebuilt, node)
            yield Layer(node.target, module, depth[node] / deepest, first, above, rectified, bounds)
        moves = node.op in ("call_function", "call_method") or isinstance(module, _SAME_SIGN)
        nonnegative[node] = isinstance(module, nn.ReLU | nn.ReLU6) or (moves and above)


def _is_rectified(rebuilt: fx.GraphModule, node: fx.Node) -> bool:
    users = [rebuilt.get_submodule(str(user.target)) for user in node.users if user.op == "call_module"]
    return len(users) == len(node.users) and all(isinstance(user, nn.ReLU | nn.ReLU6) for user in users)


def sources(node: fx.Node) -> list[fx.Node]:
    """The nodes that a node takes values from, not sizes."""
    given = node.args or tuple(node.kwargs.values())
    args = given if node.target is torch.broadcast_tensors else given[:1]
    nested = args[0] if len(args) == 1 and isinstance(args[0], list | tuple) else args
    return [other for other in nested if isinstance(other, fx.Node)]


class _Stop(Exception):  # noqa: N818  # no error: what was wanted has been seen
    def __init__(self, seen: Tensor) -> None:
        super().__init__()
        self.seen = seen


class _UpTo(fx.Interpreter):
    """Runs a graph until a module is called, and stops with what it is called with."""

    def __init__(self, rebuilt: fx.GraphModule, name: str) -> None:
        super().__init__(rebuilt)
        self.name = name

    def call_module(self, target: Any, args: Any, kwargs: Any) -> Any:
        if target == self.name:
            raise _Stop(args[0])
        return super().call_module(target, args, kwargs)


def _input_bounds(rebuilt: fx.GraphModule, name: str, inputs: Tensor) -> tuple[Tensor, Tensor]:
    """What comes before a first layer (normalization, pooling) is monotone in every pixel: black and white images
    have the extremes."""
    black = torch.zeros_like(inputs[:1])
    try:
        with torch.no_grad():
            _UpTo(rebuilt, name).run(torch.cat([black, black + 1]))
    except _Stop as stop:
        return stop.seen.amin(0, keepdim=True), stop.seen.amax(0, keepdim=True)
    raise ValueError(f"there is no layer {name}")


def without_weights(module: nn.Module, stabilizer: float) -> Hook | None:
    """The rule of a module without weights: relevance passes activations, and sums and means share it in
    proportion. None for what only moves values, max pooling among it: the gradient hands all to the winner."""
    if isinstance(module, Activation):
        return Pass()
    return Norm(stabilizer=stabilizer) if isinstance(module, (Sum, AvgPool)) else None


def z_plus(layer: Layer, stabilizer: float) -> Hook:
    """The z⁺ rule. Where no contribution is positive, they share the relevance as they are.

    zennit's rule, and the formula as printed, lose what reaches such a unit: a negative one in a sum that is positive,
    at the end of a residual branch. In front of a ReLU there is none.
    """
    return excitation(layer, stabilizer, bias=True) if layer.rectified else alpha_beta(layer, 1.0, 0.0, stabilizer)


def excitation(layer: Layer, stabilizer: float, bias: bool = False) -> Hook:
    """Positive contributions share the relevance, and the bias where it counts as one; else it is lost."""
    zero = None if bias else ["bias"]
    if not layer.nonnegative:
        return ZPlus(stabilizer=stabilizer, zero_params=zero)
    return BasicHook(
        input_modifiers=[_as_it_is],
        param_modifiers=[ClampMod(min=0.0, zero_params=zero)],
        output_modifiers=[_as_it_is],
        gradient_mapper=lambda relevance, z: [relevance / Stabilizer.ensure(stabilizer)(z[0])],
        reducer=_products,
    )


def alpha_beta(layer: Layer, alpha: float, beta: float, stabilizer: float) -> Hook:
    """The αβ rule. Where all contributions are of one sign they share the relevance as it is.

    zennit's rule, and the formula as printed, would there hand on α or −β times the relevance and let the sum over
    the image grow or shrink with every such unit.
    """
    stabilize = Stabilizer.ensure(stabilizer)

    def share(relevance: Tensor, positive: Tensor, negative: Tensor) -> tuple[Tensor, Tensor]:
        no_positive, no_negative = positive <= stabilizer, negative >= -stabilizer
        for_positive = torch.full_like(relevance, alpha).masked_fill(no_positive, 0).masked_fill(no_negative, 1)
        for_negative = torch.full_like(relevance, -beta).masked_fill(no_positive, 1).masked_fill(no_negative, 0)
        return relevance * for_positive / stabilize(positive), relevance * for_negative / stabilize(negative)

    return _by_sign(layer, share)


def gamma(layer: Layer, factor: float, stabilizer: float) -> Hook:
    """The γ rule: contributions of the output's own sign weigh 1 + γ."""
    stabilize = Stabilizer.ensure(stabilizer)

    def share(relevance: Tensor, positive: Tensor, negative: Tensor) -> tuple[Tensor, Tensor]:
        above = positive + negative > 0
        for_positive, for_negative = 1 + factor * above, 1 + factor * ~above
        ratio = relevance / stabilize(for_positive * positive + for_negative * negative)
        return for_positive * ratio, for_negative * ratio

    return _by_sign(layer, share)


def _by_sign(layer: Layer, share: Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]) -> Hook:
    """A rule that treats positive and negative contributions apart.

    `share` takes the relevance of the outputs and the sums of their positive and of their negative contributions, and
    tells by what to multiply a positive and a negative contribution. Half the work where no input is negative.
    """
    keep, drop = {"min": 0.0}, {"max": 0.0}
    no_bias = {"zero_params": ["bias"]}  # it is an input of 1: counted with the positive inputs

    def map_gradients(relevance: Tensor, outputs: list[Tensor]) -> list[Tensor]:
        n = len(outputs) // 2
        sums = (torch.stack(part).sum(0) if n > 1 else part[0] for part in (outputs[:n], outputs[n:]))
        to_positive, to_negative = share(relevance, *sums)
        return [to_positive] * n + [to_negative] * n

    if layer.nonnegative:
        inputs = [_copy] * 2
        weights = [ClampMod(**keep), ClampMod(**drop)]
    else:
        inputs = [_positive, _negative] * 2
        weights = [ClampMod(**keep), ClampMod(**drop, **no_bias), ClampMod(**drop), ClampMod(**keep, **no_bias)]
    return BasicHook(inputs, weights, [_as_it_is] * len(inputs), map_gradients, _products)


def _as_it_is(values: Tensor) -> Tensor:
    return values


def _copy(values: Tensor) -> Tensor:
    """Two inputs of a rule that were one tensor would have the sum of both gradients."""
    return values.clone()


def _positive(values: Tensor) -> Tensor:
    return values.clamp(min=0)


def _negative(values: Tensor) -> Tensor:
    return values.clamp(max=0)


def _products(inputs: list[Tensor], gradients: list[Tensor]) -> Tensor:
    return torch.stack([value * gradient for value, gradient in zip(inputs, gradients, strict=True)]).sum(0)
