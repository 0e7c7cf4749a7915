"""Layer-wise relevance propagation: rules of zennit on the canonized model. Maps are summed over the colour channels.

Relevance starts at the logits and is handed back layer by layer; an entry says by which rule. In all of them it passes
preprocessing and activations unchanged, max pooling hands it to the winner, sums and average pooling share it in
proportion, and a batch norm that could not be folded has the z⁺ rule (in `lrp_epsilon` the ε rule). Biases keep their
share: docs/conservation.md has the figures. `rules` has the formulas.

Bach et al., On pixel-wise explanations for non-linear classifier decisions by layer-wise relevance propagation,
PLOS ONE 2015. Montavon et al., Layer-wise relevance propagation: an overview, 2019. Anders et al., Software for
dataset-wide XAI (zennit), 2021.
"""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torchvision.transforms import Normalize, v2
from zennit.composites import EpsilonPlus
from zennit.core import Composite, Hook, RemovableHandleList, Stabilizer
from zennit.rules import Epsilon, Flat, Pass, ZBox

from .base import Explainer
from .canonizers import NotCanonizableError, canonized
from .rules import Layer, alpha_beta, excitation, gamma, layers, without_weights, z_plus


@dataclass(frozen=True)
class Propagation(Explainer):
    """Relevance handed back through a network by hooks of zennit."""

    on_request: ClassVar[bool] = True

    epsilon: float = 1e-6
    """Added to every denominator, with its sign."""

    @abstractmethod
    def ruled(self, model: nn.Module, inputs: Tensor) -> tuple[nn.Module, Composite]:
        """The network to go back through, for inputs of this size, and which hook each of its modules gets."""

    def start(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Relevance to start from: the logit at the target, 0 elsewhere. (N, K) logits, (N,) targets -> (N, K)."""
        return logits * _one_hot(logits, targets)

    def attribute(self, model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        return together([self], model, inputs, targets)[0]


def together(explainers: Sequence[Propagation], model: nn.Module, inputs: Tensor, targets: Tensor) -> list[Tensor]:
    """The maps of several entries, from one forward pass of each network that they go back through.

    Args:
        explainers: Entries of this module.
        model, inputs, targets: As explainers take them.

    Returns:
        For each explainer the (N, 1, H, W) that it answers alone, bit for bit.
    """
    ruled = [explainer.ruled(model, inputs) for explainer in explainers]
    maps: dict[int, Tensor] = {}
    for network in {id(network): network for network, _ in ruled}.values():
        members = [at for at, (other, _) in enumerate(ruled) if other is network]
        with torch.enable_grad(), _Switch(network, [ruled[at][1] for at in members]) as switch:
            pixels = inputs.detach().clone().requires_grad_()
            logits = network(pixels)
            for number, at in enumerate(members):
                switch.to(number)
                start = explainers[at].start(logits, targets).detach()
                (relevance,) = torch.autograd.grad(logits, pixels, start, retain_graph=at != members[-1])
                maps[at] = relevance.sum(dim=1, keepdim=True)
    return [maps[at] for at in range(len(explainers))]


class _Switch:
    """Within it, a network hands relevance back by one of several composites at a time."""

    def __init__(self, network: nn.Module, composites: Sequence[Composite]) -> None:
        self._hooks: dict[nn.Module, _OneOf] = {}
        contexts: list[dict[str, Any]] = [{} for _ in composites]
        for name, module in network.named_modules():
            found = [of.module_map(context, name, module) for of, context in zip(composites, contexts, strict=True)]
            if any(found):
                self._hooks[module] = _OneOf([rule and rule.copy() for rule in found])

    def to(self, number: int) -> None:
        for hook in self._hooks.values():
            hook.number = number

    def __enter__(self) -> "_Switch":
        self._handles = RemovableHandleList(hook.register(module) for module, hook in self._hooks.items())
        return self

    def __exit__(self, *_: object) -> None:
        self._handles.remove()


class _OneOf(Hook):  # type: ignore[misc]  # zennit is not typed
    """A module's rules, one a composite, all of which have seen what the module was called with."""

    def __init__(self, rules: Sequence[Hook | None]) -> None:
        super().__init__()
        self.number = 0
        self._rules = rules

    def forward(self, module: nn.Module, input: Any, output: Any) -> None:  # zennit's name
        for rule in filter(None, self._rules):
            rule.forward(module, input, output)

    def backward(self, module: nn.Module, grad_input: Any, grad_output: Any) -> Any:
        rule = self._rules[self.number]
        return rule and rule.backward(module, grad_input, grad_output)


@dataclass(frozen=True)
class LRP(Propagation):
    """LRP on the canonized model, with a rule for each layer, chosen by where it stands."""

    @abstractmethod
    def rule(self, layer: Layer) -> Hook:
        """The rule of a layer with weights."""

    def ruled(self, model: nn.Module, inputs: Tensor) -> tuple[nn.Module, Composite]:
        rebuilt, preprocessing = canonized(model)
        modules = rebuilt.named_modules()
        hooks: dict[str, Hook | None] = {name: without_weights(module, self.epsilon) for name, module in modules}
        hooks |= dict.fromkeys(preprocessing, Pass())
        hooks |= {layer.name: self.rule(layer) for layer in layers(rebuilt, preprocessing, inputs)}
        return rebuilt, Composite(module_map=lambda _context, name, _module: hooks[name])

    def inapplicable(self, model: nn.Module) -> str | None:
        try:
            canonized(model)
        except NotCanonizableError as error:
            return str(error)
        return None


@dataclass(frozen=True)
class LRPEpsilon(LRP):
    """ε rule in every layer (Bach et al. 2015, eq. 58).

    On a network of ReLUs, with a small ε, it is the preprocessed pixel times the gradient of the logit (Ancona et
    al., Towards better understanding of gradient-based attribution methods, ICLR 2018).
    """

    def rule(self, layer: Layer) -> Hook:  # noqa: ARG002
        return Epsilon(epsilon=self.epsilon)


@dataclass(frozen=True)
class LRPEpsilonPlus(LRP):
    """z⁺ rule in convolutions, ε rule in linear layers."""

    on_request: ClassVar[bool] = False

    def rule(self, layer: Layer) -> Hook:
        linear = isinstance(layer.module, nn.Linear)
        return Epsilon(epsilon=self.epsilon) if linear else z_plus(layer, self.epsilon)


@dataclass(frozen=True)
class LRPEpsilonPlusFlat(LRPEpsilonPlus):
    """As `LRPEpsilonPlus`, but the first layer spreads relevance evenly over what it sees (Lapuschkin et al.,
    Unmasking Clever Hans predictors, Nature Communications 2019)."""

    def rule(self, layer: Layer) -> Hook:
        return Flat(stabilizer=self.epsilon) if layer.first else super().rule(layer)


@dataclass(frozen=True)
class LRPEpsilonGammaBox(LRP):
    """Box rule in a first convolution, γ rule in the other ones, ε rule in linear layers (Montavon et al. 2019)."""

    gamma: float = 0.25

    def rule(self, layer: Layer) -> Hook:
        if isinstance(layer.module, nn.Linear):
            return Epsilon(epsilon=self.epsilon)
        if layer.first:
            return ZBox(*layer.bounds(), stabilizer=self.epsilon)
        return z_plus(layer, self.epsilon) if layer.channelwise else gamma(layer, self.gamma, self.epsilon)


@dataclass(frozen=True)
class LRPEpsilonAlphaBeta(LRP):
    """αβ rule in convolutions, ε rule in linear layers (Bach et al. 2015, eq. 60)."""

    alpha: float = 2.0
    beta: float = 1.0

    def rule(self, layer: Layer) -> Hook:
        if isinstance(layer.module, nn.Linear):
            return Epsilon(epsilon=self.epsilon)
        if layer.channelwise:
            return z_plus(layer, self.epsilon)
        return alpha_beta(layer, self.alpha, self.beta, self.epsilon)


@dataclass(frozen=True)
class LRPEpsilonAlphaBetaFlat(LRPEpsilonAlphaBeta):
    """As `LRPEpsilonAlphaBeta`, but the first layer spreads relevance evenly over what it sees."""

    def rule(self, layer: Layer) -> Hook:
        return Flat(stabilizer=self.epsilon) if layer.first else super().rule(layer)


@dataclass(frozen=True)
class ExcitationBackprop(LRP):
    """Probability of being the winner, handed back along positive contributions: z⁺ everywhere, biases left out.

    It starts as 1 at the target whatever the logit, and the map sums to 1 but for what reaches a neuron without any
    positive contribution. A batch norm that could not be folded passes it unchanged, as zennit's does.

    Zhang et al., Top-down neural attention by excitation backprop, ECCV 2016. They take neurons to be
    nonnegative; where inputs are negative (the pixels), a negative weight makes their contribution positive.
    """

    def rule(self, layer: Layer) -> Hook:
        return Pass() if layer.channelwise else excitation(layer, self.epsilon)

    def start(self, logits: Tensor, targets: Tensor) -> Tensor:
        return _one_hot(logits, targets)


@dataclass(frozen=True)
class LRPMontavon(LRP):
    """A rule by depth, as in the tutorial to the overview of Montavon et al. 2019: from the top LRP-0, ε, γ and box.

    Linear layers have LRP-0. Convolutions up to 7/16 of the depth have the γ rule, those above it the ε rule with
    ε a quarter of the layer's root mean square output; the first one has the box rule. Depth counts layers with
    weights on the longest way from the pixels. On VGG16 these are the tutorial's own choices: γ in its blocks 1 to 3
    (7 of 16 layers), ε in 4 and 5, LRP-0 in the three linear layers. Max pooling hands relevance to the winner,
    where the tutorial has an average. An ε this large swallows relevance on purpose: the map does not sum to the logit.
    """

    gamma: float = 0.25
    share: float = 0.25
    """ε of the middle layers, over the root mean square of an image's outputs of the layer."""
    lower: float = 7 / 16
    """Depth up to which convolutions have the γ rule."""

    def rule(self, layer: Layer) -> Hook:
        if isinstance(layer.module, nn.Linear):
            return Epsilon(epsilon=self.epsilon)
        if layer.first:
            return ZBox(*layer.bounds(), stabilizer=self.epsilon)
        if layer.channelwise:
            return z_plus(layer, self.epsilon)
        if layer.depth <= self.lower:
            return gamma(layer, self.gamma, self.epsilon)
        return Epsilon(epsilon=Stabilizer(self.share, norm_scale=True))


@dataclass(frozen=True)
class LRPContrastive(LRPEpsilonPlus):
    """What speaks for the target rather than for the other classes: `LRPEpsilonPlus` of the log odds.

    Relevance starts as z_t at the target and as −p_n z_n at every other class n, with p the softmax over the other
    classes' logits. That is each logit times its share in the gradient of log(P_t / (1 − P_t)), so that classes that
    rival the target take the most away, and it sums to the margin z_t − Σ p_n z_n. Evidence for all classes alike
    cancels. It is the softmax-gradient LRP of Iwana et al. divided by P_t (1 − P_t), which is 0 in float32 where a
    network is sure, at the logits' own scale (Montavon et al. 2019 explain the log odds likewise).

    Gu et al., Understanding individual decisions of CNNs via contrastive backpropagation, ACCV 2018. Iwana et al.,
    Explaining convolutional neural networks using softmax gradient layer-wise relevance propagation, ICCVW 2019.
    """

    on_request: ClassVar[bool] = True

    def start(self, logits: Tensor, targets: Tensor) -> Tensor:
        target = _one_hot(logits, targets)
        if logits.shape[1] == 1:
            return logits
        rivals = logits.masked_fill(target.bool(), -torch.inf).softmax(dim=1)
        return logits * (target - rivals)


@dataclass(frozen=True)
class LRPEpsilonPlusUncanonized(Propagation):
    """A caution, wrong on purpose: zennit's EpsilonPlus on the model as it is, which is how LRP is often run.

    Every branch of a sum is handed all of its relevance (a ResNet-50 ends with 2¹⁶ times the logit), batch norms
    pass it as if they added nothing, and what is called as a function hands on a gradient. Only networks of nothing
    but convolutions, linear layers, ReLUs and pooling, all of them modules, have the map of `lrp_epsilon_plus`.
    """

    def ruled(self, model: nn.Module, inputs: Tensor) -> tuple[nn.Module, Composite]:  # noqa: ARG002
        preprocessing: list[tuple[tuple[type, ...], Hook]] = [((Normalize, v2.Normalize), Pass())]
        return model, EpsilonPlus(epsilon=self.epsilon, stabilizer=self.epsilon, layer_map=preprocessing)


def _one_hot(logits: Tensor, targets: Tensor) -> Tensor:
    return nn.functional.one_hot(targets, logits.shape[1]).to(logits)


lrp_epsilon = LRPEpsilon()
lrp_epsilon_plus = LRPEpsilonPlus()
lrp_epsilon_plus_flat = LRPEpsilonPlusFlat()
lrp_epsilon_gamma_box = LRPEpsilonGammaBox()
lrp_epsilon_alpha2_beta1 = LRPEpsilonAlphaBeta()
lrp_epsilon_alpha2_beta1_flat = LRPEpsilonAlphaBetaFlat()
excitation_backprop = ExcitationBackprop()
lrp_montavon = LRPMontavon()
lrp_contrastive = LRPContrastive()
lrp_epsilon_plus_uncanonized = LRPEpsilonPlusUncanonized()
