"""The networks that explainers are checked on: the usual architectures, narrow, with weights as if they were trained.

A freshly initialised network hides mistakes: its biases are 0, its batch norms do nothing. Here both are random, and
batch norms have the statistics of what they are given, roughly, as training leaves them.
"""

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision import models
from torchvision.models.convnext import CNBlockConfig
from torchvision.models.efficientnet import MBConvConfig

from tasks.networks.architectures import cnn, densenet121, resnet18, resnet50, vgg16, with_preprocessing

N_CLASSES = 5
SIDE = 64
"""Of the images, in pixels."""

_EFFICIENTNET_B0 = (
    *((1, 3, 1, 32, 16, 1), (6, 3, 2, 16, 24, 2), (6, 5, 2, 24, 40, 2), (6, 3, 2, 40, 80, 3)),
    *((6, 5, 1, 80, 112, 3), (6, 5, 2, 112, 192, 4), (6, 3, 1, 192, 320, 1)),
)


def _efficientnet_b0() -> nn.Module:
    """At a quarter of its width."""
    setting = [MBConvConfig(*block, width_mult=0.25) for block in _EFFICIENTNET_B0]
    return with_preprocessing(models.EfficientNet(setting, dropout=0.2, num_classes=N_CLASSES, last_channel=320))


def _convnext_tiny() -> nn.Module:
    """At an eighth of its width; blocks count from the start, as they do after training."""
    setting = [CNBlockConfig(12, 24, 3), CNBlockConfig(24, 48, 3), CNBlockConfig(48, 96, 9), CNBlockConfig(96, None, 3)]
    return with_preprocessing(models.ConvNeXt(setting, layer_scale=0.5, num_classes=N_CLASSES))


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "vgg16": partial(vgg16, N_CLASSES, width=1 / 8, pooled=2, hidden=16),
    "vgg16_bn": partial(vgg16, N_CLASSES, width=1 / 8, pooled=2, hidden=16, batch_norm=True),
    "resnet18": partial(resnet18, N_CLASSES, width=1 / 8),
    "resnet50": partial(resnet50, N_CLASSES, width=1 / 8),
    "densenet121": partial(densenet121, N_CLASSES, width=1 / 4),
    "squeezenet1_0": lambda: with_preprocessing(models.squeezenet1_0(weights=None, num_classes=N_CLASSES)),
    "mobilenet_v2": lambda: with_preprocessing(models.mobilenet_v2(num_classes=N_CLASSES, width_mult=0.25)),
    "efficientnet_b0": _efficientnet_b0,
    "convnext_tiny": _convnext_tiny,
    "cnn": partial(cnn, N_CLASSES, width=1 / 4),
}
"""Name -> a freshly initialised network: (N, 3, 64, 64) images in [0, 1] -> (N, 5) logits."""


def named(name: str, seed: int) -> nn.Module:
    """One of `NETWORKS` as if trained: the same weights for the same seed; in eval mode, frozen."""
    with torch.random.fork_rng():
        return settled(as_if_trained(NETWORKS[name](), seed), structures(8, SIDE, seed))


def as_if_trained(network: nn.Module, seed: int = 1) -> nn.Module:
    """Gives it random weights, biases and batch norms, of the sizes that training leaves; eval mode, frozen."""
    generator = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d | nn.BatchNorm1d):
            assert module.running_mean is not None, "networks here keep running statistics"
            assert module.running_var is not None, "there are both or none"
            module.running_mean.normal_(0, 0.3, generator=generator)
            module.running_var.uniform_(0.3, 2.0, generator=generator)
        if isinstance(module, nn.BatchNorm2d | nn.BatchNorm1d | nn.LayerNorm):
            module.weight.data.uniform_(0.5, 1.5, generator=generator)
            module.bias.data.normal_(0, 0.2, generator=generator)
        elif isinstance(module, nn.Conv2d | nn.Linear):
            spread = (2 / module.weight[0].numel()) ** 0.5
            module.weight.data.normal_(0, spread, generator=generator)
            if module.bias is not None:
                module.bias.data.normal_(0.05, 0.1, generator=generator)
    return network.eval().requires_grad_(False)


def settled(network: nn.Module, images: Tensor) -> nn.Module:
    """Moves each batch norm's statistics to those of these images, times and plus what they were as random ones.

    Random statistics alone let the values of a deep network grow or vanish by orders of magnitude.
    """

    def settle(norm: nn.Module, args: tuple[Tensor]) -> None:
        variance, mean = torch.var_mean(args[0], dim=(0, 2, 3))
        norm.running_mean.mul_(variance.sqrt()).add_(mean)  # type: ignore[operator]
        norm.running_var.mul_(variance)  # type: ignore[operator]

    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    handles = [norm.register_forward_pre_hook(settle) for norm in norms]
    with torch.no_grad():
        network(images)
    for handle in handles:
        handle.remove()
    return network


def structures(n: int, side: int, seed: int = 2) -> Tensor:
    """Smooth structures with some noise: (n, 3, side, side) images in [0, 1], each another."""
    generator = torch.Generator().manual_seed(seed)
    smooth = F.interpolate(torch.rand(n, 3, 5, 5, generator=generator), size=(side, side), mode="bicubic")
    return (smooth + 0.1 * torch.randn(smooth.shape, generator=generator)).clamp(0, 1)
