"""Class activation maps, by captum."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from captum.attr import LayerGradCam
from torch import Tensor, nn

from .base import Explainer


@dataclass(frozen=True)
class GradCAM(Explainer):
    """Grad-CAM at the last convolution that still has a feature map, upsampled bilinearly to the image.

    Selvaraju et al., Grad-CAM: visual explanations from deep networks, ICCV 2017: feature maps weighted with the
    spatial mean of the logit's gradient, summed, negative values set to 0. A map that is 0 everywhere is legal.
    """

    def attribute(self, model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        _, layer = last_convolution(model, inputs)
        maps: Tensor = LayerGradCam(model, layer).attribute(
            inputs.detach().clone().requires_grad_(), target=targets, relu_attributions=True
        )
        return F.interpolate(maps, size=inputs.shape[2:], mode="bilinear", align_corners=False)

    def inapplicable(self, model: nn.Module) -> str | None:
        if any(isinstance(module, nn.Conv2d) for module in model.modules()):
            return None
        if any(isinstance(module, torch.jit.ScriptModule | torch.fx.GraphModule) for module in model.modules()):
            return "no convolution to look at: those of a TorchScript or exported model are no modules (nn.Conv2d)"
        return "the model has no convolution"

    def describe(self, model: nn.Module, inputs: Tensor) -> dict[str, str]:
        return {"layer": last_convolution(model, inputs)[0]}


def last_convolution(model: nn.Module, inputs: Tensor) -> tuple[str, nn.Module]:
    """Name and module of the convolution that runs last among those whose output has more than one pixel.

    Found by a forward pass, since modules need not be registered in the order in which they run; convolutions on
    pooled 1 x 1 maps (squeeze-and-excitation) are passed over.

    Raises:
        ValueError: there is none.
    """
    ran: list[str] = []

    def note(name: str, output: Tensor) -> None:
        if output.shape[2:].numel() > 1:
            ran.append(name)

    handles = [
        module.register_forward_hook(lambda _module, _inputs, output, name=name: note(name, output))
        for name, module in model.named_modules()
        if isinstance(module, nn.Conv2d)
    ]
    try:
        with torch.no_grad():
            model(inputs[:1])
    finally:
        for handle in handles:
            handle.remove()
    if not ran:
        raise ValueError("no convolution of the model has an output of more than one pixel")
    return ran[-1], model.get_submodule(ran[-1])


grad_cam = GradCAM()
