"""The networks and images on which the metrics are timed."""

import copy

import pytest
import torch
from torch import Tensor, nn
from torchvision.models import resnet18


@pytest.fixture(params=["small", "resnet18"])
def model(request: pytest.FixtureRequest) -> nn.Module:
    torch.manual_seed(0)
    small = nn.Sequential(
        nn.Conv2d(3, 16, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 32, 3), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 4),
    )  # fmt: skip
    network = small if request.param == "small" else resnet18(num_classes=4)
    return network.eval().requires_grad_(False)


@pytest.fixture
def laid_out(model: nn.Module) -> nn.Module:
    """The network as a run lays it out; Quantus takes it as torchvision made it."""
    return copy.deepcopy(model).to(memory_format=torch.channels_last)


@pytest.fixture
def images() -> Tensor:
    """(8, 3, 64, 64) smooth structures with some noise."""
    generator = torch.Generator().manual_seed(0)
    smooth = nn.functional.interpolate(torch.rand(8, 3, 8, 8, generator=generator), size=(64, 64), mode="bicubic")
    return (smooth + 0.05 * torch.randn(smooth.shape, generator=generator)).clamp(0, 1)
