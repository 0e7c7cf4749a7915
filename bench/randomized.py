"""What an explainer says of a network that has learnt nothing, held up as if it were of the one that has."""

import copy
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from explainers.base import Explainer

_NORMS = (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm)


@dataclass(frozen=True)
class OfRandomized(Explainer):
    """The same explainer's map of the same image and class, of the network with random weights.

    The decision and whoever judges the map are the trained network's. A copy of the model is changed, not the model.
    """

    explainer: Explainer
    code: str = ""
    """Fingerprint of the explainer's source: a record's settings tell of it."""
    seed: int = 0

    def attribute(self, model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        return self.explainer(self._randomized(model), inputs, targets)

    def inapplicable(self, model: nn.Module) -> str | None:
        return self.explainer.inapplicable(self._randomized(model))

    def describe(self, model: nn.Module, inputs: Tensor) -> dict[str, str]:
        return self.explainer.describe(self._randomized(model), inputs)

    def _randomized(self, model: nn.Module) -> nn.Module:
        """Made once a model: an explainer remembers what it made of a model, as long as that lives."""
        of_seeds = _MADE.setdefault(model, {})
        if self.seed not in of_seeds:
            of_seeds[self.seed] = randomized(model, self.seed)
        return of_seeds[self.seed]


_MADE: WeakKeyDictionary[nn.Module, dict[int, nn.Module]] = WeakKeyDictionary()


def randomized(model: nn.Module, seed: int) -> nn.Module:
    """A copy of the model with weights as before any training; what it computes with them stays.

    Weights of two and more dimensions are drawn from He's normal distribution, which keeps the size of activations from
    layer to layer; biases are 0; normalizations have mean 0, variance 1, factor 1. The draw depends on the seed and on
    the order of the modules, not on the device.

    References:
        He et al., Delving deep into rectifiers, ICCV 2015.
    """
    generator = torch.Generator().manual_seed(seed)
    changed = copy.deepcopy(model)
    for module in changed.modules():
        if isinstance(module, _NORMS):
            module.reset_parameters()
            continue
        for name, parameter in module.named_parameters(recurse=False):
            if parameter.ndim >= 2:
                drawn = torch.empty(parameter.shape)
                nn.init.kaiming_normal_(drawn, nonlinearity="relu", generator=generator)
                parameter.data.copy_(drawn)
            elif name == "bias":
                parameter.data.zero_()
    return changed
