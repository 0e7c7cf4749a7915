"""Architectures: torchvision's own, plain after folding, not in place, with their preprocessing."""

import pytest
import torch
from torch import nn
from torchvision import models

from tasks.networks.architectures import densenet121, resnet18, resnet50, squeezenet1_0, vgg16, without_batch_norm


def _small_vgg(batch_norm: bool) -> nn.Sequential:
    return vgg16(3, width=1 / 8, pooled=1, hidden=16, batch_norm=batch_norm)


def _kinds(network: nn.Module) -> list[str]:
    return [type(module).__name__ for module in network.modules()]


@pytest.mark.parametrize("batch_norm", [False, True])
def test_vgg16_has_the_layers_of_torchvision(batch_norm: bool) -> None:
    with torch.device("meta"):
        published = models.vgg16_bn() if batch_norm else models.vgg16()
    ours = _small_vgg(batch_norm).network
    assert _kinds(ours.features) == _kinds(published.features)
    assert [type(layer) for layer in ours.classifier] == [type(layer) for layer in published.classifier]


def test_folding_batch_norm_keeps_the_logits_and_leaves_a_plain_vgg16() -> None:
    torch.manual_seed(0)
    model, images = _small_vgg(batch_norm=True), torch.rand(4, 3, 32, 32)
    for _ in range(3):
        model.train()(images)
    with torch.inference_mode():
        before = model.eval()(images)
        after = without_batch_norm(model)(images)
    assert torch.allclose(before, after, atol=1e-4)
    assert list(model.state_dict()) == list(_small_vgg(batch_norm=False).state_dict())


RESIDUAL = {"resnet18": (resnet18, models.resnet18), "resnet50": (resnet50, models.resnet50),
            "densenet121": (densenet121, models.densenet121)}  # fmt: skip


@pytest.mark.parametrize("name", list(RESIDUAL))
def test_residual_networks_of_any_width_have_the_layers_of_torchvision(name: str) -> None:
    ours, published = RESIDUAL[name]
    with torch.device("meta"):
        whole, theirs = ours(1000).network, published()
        small = ours(3, width=1 / 4).network
    assert {key: value.shape for key, value in whole.state_dict().items()} == {
        key: value.shape for key, value in theirs.state_dict().items()
    }
    assert list(small.state_dict()) == list(theirs.state_dict())
    assert _kinds(small) == _kinds(theirs)
    for layer, their in zip(small.modules(), theirs.modules(), strict=True):
        if isinstance(layer, nn.Conv2d):
            assert (layer.stride, layer.kernel_size, layer.padding) == (their.stride, their.kernel_size, their.padding)


@pytest.mark.parametrize(
    "model",
    [
        _small_vgg(batch_norm=False),
        squeezenet1_0(3),
        *(ours(3, width=1 / 8) for ours, _ in RESIDUAL.values()),
    ],
    ids=["vgg16", "squeezenet", *RESIDUAL],
)
def test_networks_normalize_first_and_work_not_in_place(model: nn.Sequential) -> None:
    assert [name for name, _ in model.named_children()] == ["preprocessing", "network"]
    assert not any(module.inplace for module in model.modules() if isinstance(module, nn.ReLU))
    images = torch.rand(2, 3, 64, 64)
    normalized = (images - torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)) / torch.tensor(
        [0.229, 0.224, 0.225]
    ).view(3, 1, 1)
    assert torch.allclose(model.preprocessing(images), normalized)
    assert model.eval()(images).shape == (2, 3)


def test_squeezenet_has_the_keys_of_torchvision() -> None:
    assert list(squeezenet1_0(1000).network.state_dict()) == list(models.squeezenet1_0().state_dict())


def test_every_class_of_a_fresh_squeezenet_has_a_gradient() -> None:
    torch.manual_seed(0)
    model = squeezenet1_0(4).eval()
    model(torch.rand(2, 3, 64, 64)).sum().backward()
    gradient = model.network.classifier[1].weight.grad
    assert (gradient.abs().sum((1, 2, 3)) > 0).all()
