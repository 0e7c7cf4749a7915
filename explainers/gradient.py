"""Gradients of the logit, and what is made of them. Maps are signed and summed over the colour channels.

Plain gradients and integrated gradients are captum's. DeepLIFT and the two that rectify gradients are not: captum's
hang on modules (functional ReLUs escape them, a ReLU module used twice stops them), see `derivatives`.
"""

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from captum.attr import InputXGradient as CaptumInputXGradient
from captum.attr import IntegratedGradients as CaptumIntegratedGradients
from captum.attr import Saliency
from torch import Tensor, nn

from .base import Explainer, InapplicableError
from .derivatives import Rectified
from .rescaling import Reference, Rescaled
from .seeding import generators

_NOT_RECTIFIERS = (
    *(nn.LeakyReLU, nn.PReLU, nn.ELU, nn.SELU, nn.CELU, nn.GELU, nn.SiLU, nn.Mish, nn.Softplus, nn.Hardswish),
    *(nn.Sigmoid, nn.Hardsigmoid, nn.Tanh),
)
_WITHOUT_MULTIPLIER = (
    *(nn.LayerNorm, nn.GroupNorm, nn.LocalResponseNorm, nn.InstanceNorm2d, nn.MultiheadAttention, nn.Bilinear),
    *(nn.Softmax, nn.LogSoftmax),
)


@dataclass(frozen=True)
class Gradient(Explainer):
    """Gradient of the logit with respect to the pixel; its sign is kept.

    Simonyan et al., Deep inside convolutional networks, 2014, who take the maximum of the absolute values over
    the channels; here it is the sum, so that positive and negative evidence stay apart.
    """

    def attribute(self, model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        gradients: Tensor = Saliency(model).attribute(_leaf(inputs), target=targets, abs=False)
        return gradients.sum(dim=1, keepdim=True)


@dataclass(frozen=True)
class InputXGradient(Explainer):
    """Pixel value times the gradient of the logit with respect to it.

    Shrikumar et al., Not just a black box, 2016. Black pixels get nothing.
    """

    def attribute(self, model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        products: Tensor = CaptumInputXGradient(model).attribute(_leaf(inputs), target=targets)
        return products.sum(dim=1, keepdim=True)


@dataclass(frozen=True)
class IntegratedGradients(Explainer):
    """Gradients averaged on the straight line from a uniform image to the input, times the difference.

    Sundararajan et al., Axiomatic attribution for deep networks, ICML 2017. The map sums to the logit minus the
    logit of the baseline, up to the error of a Gauss-Legendre quadrature of `n_steps` points.
    """

    n_steps: int = 32
    baseline: float = 0.0
    """Value of every pixel of the image at which the line starts; 0 is black."""

    def attribute(self, model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        gradients: Tensor = CaptumIntegratedGradients(model).attribute(
            inputs.detach(),
            baselines=self.baseline,
            target=targets,
            n_steps=self.n_steps,
            # One step at a time: memory does not grow with the number of steps.
            internal_batch_size=len(inputs),
        )
        return gradients.sum(dim=1, keepdim=True).to(inputs.dtype)


@dataclass(frozen=True)
class SmoothGrad(Explainer):
    """Mean of the gradients at copies of the image with Gaussian noise; signs are kept.

    Smilkov et al., SmoothGrad: removing noise by adding noise, 2017. The noise is a function of the seed and the
    image's content. Costs `n_samples` forward and backward passes.
    """

    on_request: ClassVar[bool] = True

    n_samples: int = 16
    noise_level: float = 0.15
    """Standard deviation of the noise, as a share of the image's own range from its darkest to its brightest value."""
    seed: int = 0

    def attribute(self, model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        images = inputs.detach()
        deviation = self.noise_level * (images.amax((1, 2, 3), True) - images.amin((1, 2, 3), True))
        draws = generators(images, self.seed)
        total = torch.zeros_like(images)
        for _ in range(self.n_samples):
            noise = torch.stack([torch.randn(images.shape[1:], generator=draw) for draw in draws])
            total += _slopes(model, images + deviation * noise.to(images), targets)
        return total.sum(dim=1, keepdim=True) / self.n_samples


@dataclass(frozen=True)
class ExpectedGradients(Explainer):
    """Integrated gradients averaged over many baselines, each met at one random point of its line.

    Erion et al., Improving performance of deep learning models with axiomatic attribution priors and expected
    gradients, 2021. They draw baselines from the training set, which an explainer does not see here; the reference
    distribution is that of uniform grey images from black to white, so no grey value counts as absence. Levels and
    points on the line are each drawn one from every n-th part of [0, 1] (a Latin square), by a generator that belongs
    to seed and image. The map sums to the logit minus the mean logit of the grey images, up to the sampling error.
    Costs `n_samples` forward and backward passes.
    """

    on_request: ClassVar[bool] = True

    n_samples: int = 16
    seed: int = 0

    def attribute(self, model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        images = inputs.detach()
        draws = [self._draw(generator) for generator in generators(images, self.seed)]
        levels, places = torch.stack(draws).to(images).permute(1, 2, 0)[..., None, None, None]
        total = torch.zeros_like(images)
        for level, place in zip(levels, places, strict=True):
            difference = images - level
            total += difference * _slopes(model, level + place * difference, targets)
        return total.sum(dim=1, keepdim=True) / self.n_samples

    def _draw(self, generator: torch.Generator) -> Tensor:
        """(2, n_samples) levels of grey and places on the line."""
        strata = torch.stack([torch.randperm(self.n_samples, generator=generator) for _ in range(2)])
        return (strata + torch.rand(strata.shape, generator=generator)) / self.n_samples


@dataclass(frozen=True)
class _Rectifying(Explainer):
    """A gradient for which every ReLU (or ReLU6) hands back only the positive part of what comes to it."""

    on_request: ClassVar[bool] = True

    @abstractmethod
    def rectified(self) -> Rectified:
        """Within it, ReLUs are differentiated by the method's rule."""

    def attribute(self, model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        return self.gradients(model, inputs, targets).sum(dim=1, keepdim=True)

    def gradients(self, model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        """(N, C, H, W), before the channels are summed.

        Raises:
            InapplicableError: the model calls no ReLU.
        """
        images = inputs.detach().requires_grad_()
        with self.rectified() as rule:
            logits = model(images.clone())  # a leaf could not be overwritten by a step in place
        if not rule.n_steps:
            raise InapplicableError("the model has no ReLU")
        return torch.autograd.grad(_at(logits, targets).sum(), images)[0]

    def inapplicable(self, model: nn.Module) -> str | None:
        return _first_module(model, _NOT_RECTIFIERS, "defined for ReLUs, not for")


@dataclass(frozen=True)
class GuidedBackprop(_Rectifying):
    """Gradient that passes a ReLU only where both the value and the gradient are positive.

    Springenberg et al., Striving for simplicity: the all convolutional net, 2015. Known to redraw the image's edges
    whatever the weights are (Adebayo et al., Sanity checks for saliency maps, 2018).
    """

    def rectified(self) -> Rectified:
        return Rectified(guided=True)


@dataclass(frozen=True)
class Deconvnet(_Rectifying):
    """Gradient that passes a ReLU wherever the gradient is positive, whatever the value was.

    Zeiler and Fergus, Visualizing and understanding convolutional networks, ECCV 2014. Max pooling hands back to
    the pixel that was the maximum, as there.
    """

    def rectified(self) -> Rectified:
        return Rectified(guided=False)


@dataclass(frozen=True)
class _Rescaling(Explainer):
    """DeepLIFT with the rescale rule, averaged over baselines that are uniform images."""

    on_request: ClassVar[bool] = True

    @abstractmethod
    def levels(self) -> tuple[float, ...]:
        """The baselines: the value of every pixel of each."""

    def attribute(self, model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        images, levels = inputs.detach(), torch.tensor(self.levels()).to(inputs)
        baselines = levels.view(-1, 1, 1, 1).expand(-1, *images.shape[1:])
        with torch.no_grad(), Reference(len(levels)) as reference:
            before = model(baselines.contiguous())
        total = torch.zeros_like(images)
        for row, baseline in enumerate(baselines):
            leaf = images.detach().requires_grad_()
            with Rescaled(reference, row):
                logits = model(leaf.clone())
            contributions = (images - baseline) * torch.autograd.grad(_at(logits, targets).sum(), leaf)[0]
            _check_sum(contributions, _at(logits.detach(), targets) - before[row][targets])
            total += contributions
        return total.sum(dim=1, keepdim=True) / len(levels)

    def inapplicable(self, model: nn.Module) -> str | None:
        return _first_module(model, _WITHOUT_MULTIPLIER, "no multiplier for")


@dataclass(frozen=True)
class DeepLift(_Rescaling):
    """Differences to a uniform image times multipliers: ratios of differences where steps are not linear.

    Shrikumar et al., Learning important features through propagating activation differences, ICML 2017, with the
    rescale rule; max pooling as in `rescaling`. The map sums to the logit minus the logit of the baseline.
    Costs one forward and backward pass, and the forward pass of one image.
    """

    baseline: float = 0.0
    """Value of every pixel of the baseline; 0 is black."""

    def levels(self) -> tuple[float, ...]:
        return (self.baseline,)


@dataclass(frozen=True)
class DeepLiftShap(_Rescaling):
    """Mean of DeepLIFT over a reference distribution: uniform grey images from black to white.

    Lundberg and Lee, A unified approach to interpreting model predictions, NeurIPS 2017 (Deep SHAP). The
    distribution is that of `ExpectedGradients`, at the middles of `n_baselines` parts of [0, 1]. The map sums to
    the logit minus the mean logit of the baselines. Costs `n_baselines` forward and backward passes.
    """

    n_baselines: int = 8

    def levels(self) -> tuple[float, ...]:
        return tuple((index + 0.5) / self.n_baselines for index in range(self.n_baselines))


def _leaf(inputs: Tensor) -> Tensor:
    """A copy that can be differentiated: captum sets and resets flags on the tensor that it is given."""
    return inputs.detach().clone().requires_grad_()


def _at(logits: Tensor, targets: Tensor) -> Tensor:
    """(N,) logits of the targets."""
    return logits.gather(1, targets[:, None])[:, 0]


def _slopes(model: nn.Module, images: Tensor, targets: Tensor) -> Tensor:
    """(N, C, H, W) gradients of the targets' logits."""
    gradients: Tensor = Saliency(model).attribute(_leaf(images), target=targets, abs=False)
    return gradients


def _first_module(model: nn.Module, kinds: tuple[type[nn.Module], ...], complaint: str) -> str | None:
    for name, module in model.named_modules():
        if isinstance(module, kinds):
            return f"{complaint} {type(module).__name__} {name}".rstrip()
    return None


def _check_sum(contributions: Tensor, difference: Tensor) -> None:
    """The multipliers' promise, kept by every step that has a rule; rounding aside.

    Raises:
        InapplicableError: it is not kept.
    """
    gap = (contributions.sum((1, 2, 3)) - difference).abs()
    size = contributions.abs().sum((1, 2, 3)) + difference.abs()
    if bool((gap > 0.01 * size).any()):
        raise InapplicableError("a step of the model has no multiplier: contributions do not sum to the difference")


gradient = Gradient()
input_x_gradient = InputXGradient()
integrated_gradients = IntegratedGradients()
smoothgrad = SmoothGrad()
expected_gradients = ExpectedGradients()
deep_lift = DeepLift()
deep_lift_shap = DeepLiftShap()
guided_backprop = GuidedBackprop()
deconvnet = Deconvnet()
