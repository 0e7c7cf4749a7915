"""Gradients of the logit, by captum. Maps are signed and summed over the colour channels."""

from dataclasses import dataclass

from captum.attr import InputXGradient as CaptumInputXGradient
from captum.attr import IntegratedGradients as CaptumIntegratedGradients
from captum.attr import Saliency
from torch import Tensor, nn

from .base import Explainer


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


def _leaf(inputs: Tensor) -> Tensor:
    """A copy that can be differentiated: captum sets and resets flags on the tensor that it is given."""
    return inputs.detach().clone().requires_grad_()


gradient = Gradient()
input_x_gradient = InputXGradient()
integrated_gradients = IntegratedGradients()
