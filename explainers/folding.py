"""Batch norm in eval mode is a linear layer: folded into the one before it, or a channelwise convolution of its own."""

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, fx, nn

from .rewriting import NotCanonizableError


@dataclass(frozen=True, eq=False)
class Fold:
    """A layer that does what a batch norm does, behind `linear` or, where that is None, alone."""

    layer: nn.Conv2d | nn.Linear
    linear: nn.Conv2d | nn.Linear | None
    norm: nn.BatchNorm2d | nn.BatchNorm1d

    def refresh(self) -> None:
        """Weight and bias from those of today. The scaling is computed in float64, so that it is rounded once."""
        norm, mean, variance = self.norm, self.norm.running_mean, self.norm.running_var
        assert mean is not None, "checked where the fold was made"
        assert variance is not None, "there are both or none"
        wide = torch.float32 if mean.device.type == "mps" else torch.float64
        scale = (variance.to(wide) + norm.eps).rsqrt()
        scale = scale if norm.weight is None else scale * norm.weight.to(wide)
        shift = -mean.to(wide) * scale if norm.bias is None else norm.bias.to(wide) - mean.to(wide) * scale
        if self.linear is None:
            weight = scale[:, None, None, None].to(mean.dtype)
        else:
            old = self.linear.weight
            weight = old * scale.to(old.dtype).view(-1, *[1] * (old.ndim - 1))
            shift = shift if self.linear.bias is None else shift + self.linear.bias.to(wide) * scale
        # New objects, not new values: a graph of gradients may still hold the old ones.
        self.layer.weight = nn.Parameter(weight, False)
        self.layer.bias = nn.Parameter(shift.to(weight.dtype), False)


def fold_batch_norm(rebuilt: fx.GraphModule) -> dict[str, Fold]:
    """Put a layer in the place of every batch norm; the layers by name, with what their weights are made of."""
    folds: dict[str, Fold] = {}
    for node in list(rebuilt.graph.nodes):
        norm = rebuilt.get_submodule(node.target) if node.op == "call_module" else None
        if not isinstance(norm, nn.BatchNorm2d | nn.BatchNorm1d):
            continue
        if norm.running_mean is None:
            raise NotCanonizableError(f"batch norm {node.target} has no running statistics: it depends on the batch")
        before = node.args[0]
        linear = rebuilt.get_submodule(before.target) if before.op == "call_module" else None
        kind = nn.Conv2d if isinstance(norm, nn.BatchNorm2d) else nn.Linear
        if len(before.users) == 1 and isinstance(linear, kind) and before.target not in folds:
            layer = copy.copy(linear)
            layer._parameters = dict(linear._parameters)
            rebuilt.set_submodule(before.target, layer)
            folds[before.target] = Fold(layer, linear, norm)
            node.replace_all_uses_with(before)
            rebuilt.graph.erase_node(node)
        else:
            layer = _channelwise(norm)
            rebuilt.set_submodule(node.target, layer)
            folds[node.target] = Fold(layer, None, norm)
            if isinstance(norm, nn.BatchNorm1d):
                _as_maps(rebuilt, node)
    return folds


def _as_maps(rebuilt: fx.GraphModule, node: fx.Node) -> None:
    """Let a batch norm of (N, C) features work on (N, C, 1, 1) maps."""
    with rebuilt.graph.inserting_before(node):
        rows = rebuilt.graph.call_function(torch.unsqueeze, (node.args[0], -1))
        node.args = (rebuilt.graph.call_function(torch.unsqueeze, (rows, -1)),)
    with rebuilt.graph.inserting_after(node):
        features = rebuilt.graph.call_function(torch.flatten, (node, 1))
    node.replace_all_uses_with(features, lambda user: user is not features)


class Channelwise(nn.Conv2d):
    """The 1 x 1 convolution of each channel alone, computed as the product that it is: torch's own is slow at it."""

    def __init__(self, n_channels: int) -> None:
        # On the meta device nothing is initialised, which would draw from the global random state.
        super().__init__(n_channels, n_channels, 1, groups=n_channels, device="meta")

    def forward(self, input: Tensor) -> Tensor:
        weight = self.weight.view(-1, 1, 1)
        # In one step, which rounds once, as a convolution does: in bfloat16 that counts.
        return input * weight if self.bias is None else torch.addcmul(self.bias.view(-1, 1, 1), input, weight)


def _channelwise(norm: nn.BatchNorm2d | nn.BatchNorm1d) -> nn.Conv2d:
    return Channelwise(norm.num_features)
