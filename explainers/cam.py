"""Class activation maps: the channels of one feature map, weighted and summed, enlarged bilinearly to the image.

Where the feature map is, `layers` says. A are its (C, h, w) values, G the gradient of the target's logit with respect
to them, S the sum over the h · w pixels. Methods whose papers set negative values to 0 do so, and a map that is 0
everywhere is legal; the others keep their sign, which each says.
"""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .base import Explainer, InapplicableError
from .gradient import guided_backprop
from .layers import FeatureMap, beginning_at, feature_maps, stages
from .masking import Masked, at
from .remembering import Remembered

N_STAGES = 5
"""How many stages the variants sweep: the resolutions of the usual networks, from a half of the image's down."""


@dataclass(frozen=True)
class CAM(Explainer):
    """What all class activation maps share. Costs one forward pass and the backward pass down to the feature map."""

    on_request: ClassVar[bool] = True

    stage: int | None = None
    """Which resolution, 1 is the highest behind the first convolution; None: the last feature map."""

    @abstractmethod
    def combine(self, maps: Tensor, slopes: Tensor) -> Tensor:
        """(N, 1, h, w) of the (N, C, h, w) feature maps and the logit's gradients there."""

    def attribute(self, model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        coarse = self.coarse(model, inputs, targets)
        return F.interpolate(coarse, size=inputs.shape[2:], mode="bilinear", align_corners=False)

    def coarse(self, model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        """(N, 1, h, w), before it is enlarged."""
        logits, maps = self._run(model, inputs.detach())
        (slopes,) = torch.autograd.grad(logits.gather(1, targets[:, None]).sum(), maps)
        return self.combine(maps.detach(), slopes)

    def _run(self, model: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
        """Logits, and the chosen feature map within their graph."""
        known = _known(model)
        key = self.stage, images.shape[1:]
        if key in known:
            return beginning_at(model, images.clone(), known[key])
        leaf = images.requires_grad_()
        logits, found = feature_maps(model, leaf.clone())  # a leaf could not be overwritten by a step in place
        chosen = self._chosen(found)
        if chosen.module is not None:
            known[key] = replace(chosen, maps=chosen.maps.new_empty(0))
        return logits, chosen.maps

    def _chosen(self, found: list[FeatureMap]) -> FeatureMap:
        """
        Raises:
            InapplicableError: there is no such stage.
        """
        if self.stage is None:
            return found[-1]
        by_stage = stages(found)
        if not 1 <= self.stage <= len(by_stage):
            raise InapplicableError(
                f"the model has {len(by_stage)} stages for images of this size, so no stage {self.stage}"
            )
        return by_stage[self.stage - 1]

    def variants(self) -> Mapping[str, Explainer]:
        return {} if self.stage else {str(stage): replace(self, stage=stage) for stage in range(1, N_STAGES + 1)}

    def inapplicable(self, model: nn.Module) -> str | None:
        if any(isinstance(module, nn.Conv2d) for module in model.modules()):
            return None
        if any(isinstance(module, torch.jit.ScriptModule | torch.fx.GraphModule) for module in model.modules()):
            return "no convolution to look at: those of a TorchScript or exported model are no modules (nn.Conv2d)"
        return "the model has no convolution"

    def describe(self, model: nn.Module, inputs: Tensor) -> dict[str, str]:
        with torch.no_grad():
            return {"layer": self._chosen(feature_maps(model, inputs[:1].clone())[1]).name}


@dataclass(frozen=True)
class GradCAM(CAM):
    """ReLU(Σ_c mean(G_c) A_c): channels weighted with the spatial mean of the logit's gradient.

    Selvaraju et al., Grad-CAM: visual explanations from deep networks, ICCV 2017.
    """

    on_request: ClassVar[bool] = False

    def combine(self, maps: Tensor, slopes: Tensor) -> Tensor:
        return _weighted(maps, slopes.mean((2, 3), keepdim=True)).relu()


@dataclass(frozen=True)
class GradCAMPlusPlus(CAM):
    """ReLU(Σ_c w_c A_c), w_c = S(α_c ReLU(G_c)), α_c = G_c² / (2 G_c² + S(A_c) G_c³): each pixel's gradient weighted.

    Chattopadhay et al., Grad-CAM++: generalized gradient-based visual explanations, WACV 2018. Their score is
    exp(logit), whose factor exp(logit) only scales the map and is left out. The formula is for feature maps behind a
    ReLU; of others, a negative S(A_c) counts as 0, so that no denominator is 0.
    """

    def combine(self, maps: Tensor, slopes: Tensor) -> Tensor:
        positive = slopes.relu()
        total = maps.sum((2, 3), keepdim=True).clamp(min=0)
        return _weighted(maps, (positive / (2 + total * positive)).sum((2, 3), keepdim=True)).relu()


@dataclass(frozen=True)
class HiResCAM(CAM):
    """Σ_c G_c A_c: each pixel of a feature map with its own gradient. Signed.

    Draelos and Carin, Use HiResCAM instead of Grad-CAM for faithful explanations of convolutional neural networks,
    2020. Before a last linear layer it sums to the logit less the bias.
    """

    def combine(self, maps: Tensor, slopes: Tensor) -> Tensor:
        return _weighted(maps, slopes)


@dataclass(frozen=True)
class LayerCAM(CAM):
    """ReLU(Σ_c ReLU(G_c) A_c): each pixel of a feature map with its own gradient, where that is positive.

    Jiang et al., LayerCAM: exploring hierarchical class activation maps for localization, IEEE TIP 2021.
    """

    def combine(self, maps: Tensor, slopes: Tensor) -> Tensor:
        return _weighted(maps, slopes.relu()).relu()


@dataclass(frozen=True)
class XGradCAM(CAM):
    """Σ_c w_c A_c, w_c = S(G_c A_c) / S(A_c): gradients averaged with the share that each pixel has. Signed.

    Fu et al., Axiom-based Grad-CAM, BMVC 2020. It sums to what HiResCAM sums to: the axiom of conservation, which
    holds with the signs kept. Channels whose values sum to 0 have no part.
    """

    def combine(self, maps: Tensor, slopes: Tensor) -> Tensor:
        total = maps.sum((2, 3), keepdim=True)
        size = maps.abs().sum((2, 3), keepdim=True)
        weights = (maps * slopes).sum((2, 3), keepdim=True) / total
        return _weighted(maps, torch.where(total.abs() > 1e-6 * size, weights, 0))


@dataclass(frozen=True)
class EigenCAM(CAM):
    """The first principal component of the feature map's channels: pixels projected on it. The class has no part.

    Muhammad and Yeasin, Eigen-CAM: class activation map using principal components, IJCNN 2020: A = U Σ Vᵀ of the
    (h · w, C) values, not centred; the map is A v₁, whose sign is chosen so that it sums to more than 0. No backward
    pass.
    """

    class_sensitive: ClassVar[bool] = False

    def coarse(self, model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:  # noqa: ARG002
        with torch.no_grad():
            maps = self._chosen(feature_maps(model, inputs.detach().clone())[1]).maps
        return self.combine(maps, maps)

    def combine(self, maps: Tensor, slopes: Tensor) -> Tensor:  # noqa: ARG002
        finite = maps.isfinite().all(dim=1, keepdim=True).all(dim=2, keepdim=True).all(dim=3, keepdim=True)
        values = maps.nan_to_num(0).flatten(2).transpose(1, 2).double()  # (N, h·w, C)
        if values.shape[1] <= values.shape[2]:
            squares, components = torch.linalg.eigh(values @ values.mT)
            projected = components[..., -1] * squares[:, -1:].clamp(min=0).sqrt()
        else:
            projected = (values @ torch.linalg.eigh(values.mT @ values)[1][..., -1:])[..., 0]
        projected = projected * torch.where(projected.sum(1, keepdim=True) < 0, -1, 1)
        answer: Tensor = projected.view(len(maps), 1, *maps.shape[2:]).to(maps.dtype)
        return answer.where(finite, torch.nan)


@dataclass(frozen=True)
class ScoreCAM(CAM):
    """ReLU(Σ_c w_c A_c): w_c is the target's probability for the image seen through channel c alone.

    Wang et al., Score-CAM: score-weighted visual explanations for convolutional neural networks, CVPR Workshops 2020:
    a channel, enlarged and scaled to [0, 1], multiplies the image; the score is the softmax's, as theirs is, since
    logits of such dark images say little about one class against another. Only the `n_channels` channels that vary
    most over the pixels are asked (all of them where there are fewer); a uniform one has no part. Costs
    1 + n_channels forward passes.
    """

    n_channels: int = 64

    def coarse(self, model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        images = inputs.detach()
        with torch.no_grad():
            maps = self._chosen(feature_maps(model, images.clone())[1]).maps
        spread = maps.flatten(2).var(dim=2)
        most = spread.topk(min(self.n_channels, spread.shape[1]), dim=1).indices
        maps = maps.gather(1, most[..., None, None].expand(-1, -1, *maps.shape[2:]))
        low, high = maps.amin((2, 3), keepdim=True), maps.amax((2, 3), keepdim=True)
        scaled = (maps - low) / torch.where(high > low, high - low, 1)

        def masks(which: slice) -> Tensor:
            return F.interpolate(scaled[:, which], size=images.shape[2:], mode="bilinear", align_corners=False)

        logits = Masked(model, images, torch.zeros_like(images)).logits(masks, maps.shape[1])
        scores = at(logits.softmax(dim=2), targets)[..., None, None]
        return self.combine(maps, torch.where(high > low, scores, 0))

    def combine(self, maps: Tensor, slopes: Tensor) -> Tensor:
        return _weighted(maps, slopes).relu()


@dataclass(frozen=True)
class GuidedGradCAM(GradCAM):
    """Guided backpropagation, pixel by pixel times Grad-CAM. Signed as the former.

    Selvaraju et al., Grad-CAM: visual explanations from deep networks, ICCV 2017. Costs both.
    """

    on_request: ClassVar[bool] = True

    def attribute(self, model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        return super().attribute(model, inputs, targets) * guided_backprop.attribute(model, inputs, targets)

    def inapplicable(self, model: nn.Module) -> str | None:
        return super().inapplicable(model) or guided_backprop.inapplicable(model)


def _nothing_known(model: nn.Module) -> dict[tuple[int | None, torch.Size], FeatureMap]:  # noqa: ARG001
    return {}


_known = Remembered(_nothing_known)
"""Of a model: which feature map is chosen, by stage and the images' size. The maps themselves are let go."""


def _weighted(maps: Tensor, weights: Tensor) -> Tensor:
    return (maps * weights).sum(dim=1, keepdim=True)


grad_cam = GradCAM()
grad_cam_plus_plus = GradCAMPlusPlus()
hires_cam = HiResCAM()
layer_cam = LayerCAM()
xgrad_cam = XGradCAM()
eigen_cam = EigenCAM()
score_cam = ScoreCAM()
guided_grad_cam = GuidedGradCAM()
