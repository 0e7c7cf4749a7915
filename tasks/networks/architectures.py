"""Architectures: torchvision's, with their preprocessing inside and without in-place operations.

Every network takes (N, 3, H, W) images in [0, 1] and answers (N, K) logits. It is a `Sequential` of
`preprocessing` (normalizes) and `network`. Activations are not computed in place, because explainers keep
what flows between the layers; what torchvision's own forward does in place (a ResNet's sums, a DenseNet's last ReLU)
it still does. Freshly initialised networks have torchvision's names of weights, so that its
checkpoints fit those of full width.
"""

from collections import OrderedDict
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torchvision import models
from torchvision.models import WeightsEnum
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet
from torchvision.models.vgg import VGG, make_layers
from torchvision.transforms import Normalize

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_DEVIATION = (0.229, 0.224, 0.225)

_VGG16 = (64, 64, "M", 128, 128, "M", 256, 256, 256, "M", 512, 512, 512, "M", 512, 512, 512, "M")


def with_preprocessing(
    network: nn.Module,
    mean: Sequence[float] = IMAGENET_MEAN,
    deviation: Sequence[float] = IMAGENET_DEVIATION,
) -> nn.Sequential:
    """The network behind its normalization, its activations no longer in place."""
    for module in network.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = False
    return nn.Sequential(OrderedDict(preprocessing=Normalize(mean, deviation), network=network))


def vgg16(
    n_classes: int,
    width: float = 1.0,
    pooled: int = 7,
    hidden: int = 4096,
    dropout: float = 0.5,
    batch_norm: bool = False,
    mean: Sequence[float] = IMAGENET_MEAN,
    deviation: Sequence[float] = IMAGENET_DEVIATION,
) -> nn.Sequential:
    """torchvision's VGG16 at a fraction of its width, freshly initialised [1].

    Args:
        n_classes: Number K of logits.
        width: Fraction of the published numbers of channels; 1 / 8 has 8, 16, 32, 64, 64.
        pooled: Side of the feature map before the classifier; 7 as published, 3 is the identity at 96 px.
        hidden: Units of the classifier's two hidden layers; 4096 as published.
        dropout: Of the classifier, when training.
        batch_norm: With batch norm after every convolution, for training; see `without_batch_norm`.
        mean, deviation: Of the normalization, one a channel.

    [1] Simonyan and Zisserman, Very deep convolutional networks for large-scale image recognition, ICLR 2015.

    >>> vgg16(4, width=1 / 8, pooled=3, hidden=16)(torch.zeros(2, 3, 96, 96)).shape
    torch.Size([2, 4])
    """
    channels: list[str | int] = [item if isinstance(item, str) else round(item * width) for item in _VGG16]
    with torch.device("meta"):  # torchvision's own classifier is large; it is replaced below
        network = VGG(nn.Sequential())
    network.features = make_layers(channels, batch_norm=batch_norm)
    network.avgpool = nn.AdaptiveAvgPool2d(pooled)
    network.classifier = nn.Sequential(
        nn.Linear(round(512 * width) * pooled**2, hidden),
        nn.ReLU(),
        nn.Dropout(dropout),
        nn.Linear(hidden, hidden),
        nn.ReLU(),
        nn.Dropout(dropout),
        nn.Linear(hidden, n_classes),
    )
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            nn.init.zeros_(module.bias)  # type: ignore[arg-type]  # all of VGG's layers have one
    return with_preprocessing(network, mean, deviation)


def without_batch_norm(model: nn.Sequential) -> nn.Sequential:
    """A VGG trained with batch norm, as the plain VGG that computes the same in eval mode.

    Every batch norm is folded into the convolution before it; the model is put into eval mode and changed.
    """
    model.eval()
    network = model.get_submodule("network")
    layers: list[nn.Module] = []
    for layer in network.get_submodule("features").children():
        if isinstance(layer, nn.BatchNorm2d) and isinstance(layers[-1], nn.Conv2d):
            layers[-1] = fuse_conv_bn_eval(layers[-1], layer)
        else:
            layers.append(layer)
    network.features = nn.Sequential(*layers)
    return model


def squeezenet1_0(
    n_classes: int,
    mean: Sequence[float] = IMAGENET_MEAN,
    deviation: Sequence[float] = IMAGENET_DEVIATION,
) -> nn.Sequential:
    """torchvision's SqueezeNet 1.0, freshly initialised [1].

    Its last layers are convolution, ReLU, average pooling: no logit is negative, and a class whose map is 0
    everywhere has no gradient. So the last convolution starts with weights 0, biases 0.5: no class is lost.

    [1] Iandola et al., SqueezeNet: AlexNet-level accuracy with 50x fewer parameters, 2016.
    """
    network = models.squeezenet1_0(weights=None, num_classes=n_classes)
    nn.init.zeros_(network.classifier[1].weight)
    nn.init.constant_(network.classifier[1].bias, 0.5)
    return with_preprocessing(network, mean, deviation)


def resnet18(
    n_classes: int,
    width: float = 1.0,
    mean: Sequence[float] = IMAGENET_MEAN,
    deviation: Sequence[float] = IMAGENET_DEVIATION,
) -> nn.Sequential:
    """torchvision's ResNet-18 at a fraction of its width, freshly initialised [1].

    Args:
        n_classes: Number K of logits.
        width: Fraction of the published numbers of channels; 1 / 8 has 8, 16, 32, 64.
        mean, deviation: Of the normalization, one a channel.

    [1] He et al., Deep residual learning for image recognition, CVPR 2016.

    >>> resnet18(4, width=1 / 8).eval()(torch.zeros(2, 3, 96, 96)).shape
    torch.Size([2, 4])
    """
    return with_preprocessing(_resnet(BasicBlock, (2, 2, 2, 2), n_classes, width), mean, deviation)


def resnet50(
    n_classes: int,
    width: float = 1.0,
    mean: Sequence[float] = IMAGENET_MEAN,
    deviation: Sequence[float] = IMAGENET_DEVIATION,
) -> nn.Sequential:
    """torchvision's ResNet-50 at a fraction of its width, freshly initialised; see `resnet18`."""
    return with_preprocessing(_resnet(Bottleneck, (3, 4, 6, 3), n_classes, width), mean, deviation)


def _resnet(block: type[BasicBlock | Bottleneck], n_blocks: Sequence[int], n_classes: int, width: float) -> ResNet:
    """torchvision's has no setting for its width, so its layers are made again by its own method."""
    network = ResNet(block, list(n_blocks), n_classes)
    if width == 1:
        return network
    channels = [round(64 * 2**stage * width) for stage in range(4)]
    network.inplanes = channels[0]
    network.conv1 = nn.Conv2d(3, channels[0], 7, stride=2, padding=3, bias=False)
    network.bn1 = nn.BatchNorm2d(channels[0])
    for stage, stride in enumerate((1, 2, 2, 2)):
        layer = network._make_layer(block, channels[stage], n_blocks[stage], stride)
        setattr(network, f"layer{stage + 1}", layer)
    network.fc = nn.Linear(channels[3] * block.expansion, n_classes)
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return network


def densenet121(
    n_classes: int,
    width: float = 1.0,
    mean: Sequence[float] = IMAGENET_MEAN,
    deviation: Sequence[float] = IMAGENET_DEVIATION,
) -> nn.Sequential:
    """torchvision's DenseNet-121 at a fraction of its width, freshly initialised [1].

    Args:
        n_classes: Number K of logits.
        width: Fraction of the published numbers of channels; 1 / 4 grows by 8 from 16.
        mean, deviation: Of the normalization, one a channel.

    [1] Huang et al., Densely connected convolutional networks, CVPR 2017.
    """
    network = models.DenseNet(growth_rate=round(32 * width), num_init_features=round(64 * width), num_classes=n_classes)
    return with_preprocessing(network, mean, deviation)


def cnn(
    n_classes: int,
    width: float = 1.0,
    mean: Sequence[float] = IMAGENET_MEAN,
    deviation: Sequence[float] = IMAGENET_DEVIATION,
) -> nn.Sequential:
    """A small network of plain convolutions, as one writes it first: five times convolution, ReLU, max pooling.

    Args:
        n_classes: Number K of logits.
        width: 1 has 32, 64, 128, 128, 256 channels.
        mean, deviation: Of the normalization, one a channel.

    >>> cnn(2)(torch.zeros(1, 3, 96, 96)).shape
    torch.Size([1, 2])
    """
    layers: list[nn.Module] = []
    channels = [round(count * width) for count in (32, 64, 128, 128, 256)]
    for before, after in pairwise((3, *channels)):
        layers += [nn.Conv2d(before, after, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
    layers += [nn.AdaptiveAvgPool2d(3), nn.Flatten(), nn.Linear(channels[-1] * 9, 128), nn.ReLU(), nn.Dropout(0.5)]
    return with_preprocessing(nn.Sequential(*layers, nn.Linear(128, n_classes)), mean, deviation)


def imagenet_weights(weights: WeightsEnum) -> dict[str, Tensor]:
    """torchvision's pretrained weights, downloaded into torch's cache unless they are there.

    Args:
        weights: A member of torchvision's enumerations, `models.ResNet18_Weights.IMAGENET1K_V1`, say.

    Raises:
        ConnectionError: they could not be downloaded; one line.
    """
    try:
        return dict(weights.get_state_dict(progress=False, check_hash=True))
    except (OSError, RuntimeError) as error:
        raise ConnectionError(
            f"torchvision's weights {weights} could not be downloaded ({error}); give them with `--init FILE`"
        ) from error
