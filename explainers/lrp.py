"""Layer-wise relevance propagation, by zennit on the canonized model. Maps are summed over the colour channels.

Relevance starts as the logit of the target and is handed back layer by layer; a composite says by which rule.
Through preprocessing it passes unchanged, max pooling hands it to the winner, average pooling in proportion.
Biases keep their share, so a map sums to less than the logit.

Bach et al., On pixel-wise explanations for non-linear classifier decisions by layer-wise relevance propagation,
PLOS ONE 2015. Montavon et al., Layer-wise relevance propagation: an overview, 2019. Anders et al., Software for
dataset-wide XAI (zennit), 2021.
"""

from abc import abstractmethod
from dataclasses import dataclass

from torch import Tensor, nn
from zennit.attribution import Gradient
from zennit.composites import EpsilonPlus, EpsilonPlusFlat, MixedComposite, NameMapComposite
from zennit.core import Composite
from zennit.rules import Pass

from .base import Explainer
from .canonizers import NotCanonizableError, canonized, target_output


@dataclass(frozen=True)
class LRP(Explainer):
    """LRP with the rules of one composite."""

    @abstractmethod
    def composite(self) -> Composite:
        """Which rule each layer gets."""

    def attribute(self, model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        rebuilt, preprocessing = canonized(model)
        composite = MixedComposite([NameMapComposite([(preprocessing, Pass())]), self.composite()])
        with Gradient(rebuilt, composite) as attributor:
            relevance: Tensor = attributor(inputs.detach().clone(), target_output(targets))[1]
        return relevance.sum(dim=1, keepdim=True)

    def inapplicable(self, model: nn.Module) -> str | None:
        try:
            canonized(model)
        except NotCanonizableError as error:
            return str(error)
        return None


@dataclass(frozen=True)
class LRPEpsilonPlus(LRP):
    """z⁺ rule in convolutions, ε rule in linear layers."""

    epsilon: float = 1e-6

    def composite(self) -> Composite:
        return EpsilonPlus(epsilon=self.epsilon)


@dataclass(frozen=True)
class LRPEpsilonPlusFlat(LRP):
    """As `LRPEpsilonPlus`, but the first convolution spreads relevance evenly over its receptive field."""

    epsilon: float = 1e-6

    def composite(self) -> Composite:
        return EpsilonPlusFlat(epsilon=self.epsilon)


lrp_epsilon_plus = LRPEpsilonPlus()
lrp_epsilon_plus_flat = LRPEpsilonPlusFlat()
