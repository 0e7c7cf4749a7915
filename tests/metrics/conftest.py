"""Small deterministic networks, images and explainers on which the metrics are tried."""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from metrics.base import Decisions, Explanation

SIDE = 24


class LinearPixels(nn.Module):
    """Logits (Σ weights · x, 0): the probability of class 0 is known in closed form."""

    def __init__(self, weights: Tensor) -> None:
        super().__init__()
        self.weights = nn.Parameter(weights, requires_grad=False)

    def forward(self, inputs: Tensor) -> Tensor:
        logit = (inputs * self.weights).flatten(1).sum(dim=1)
        return torch.stack([logit, torch.zeros_like(logit)], dim=1)


def gradient_times_input(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    with torch.enable_grad():
        images = inputs.detach().clone().requires_grad_()
        (gradient,) = torch.autograd.grad(model(images).gather(1, targets[:, None]).sum(), images)
    return (gradient * inputs).sum(dim=1, keepdim=True)


@pytest.fixture
def linear_pixels() -> type[LinearPixels]:
    return LinearPixels


@pytest.fixture
def network() -> nn.Module:
    """A convolutional network whose weights are large enough for its probabilities to move."""
    generator = torch.Generator().manual_seed(1)
    layers = nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(6, 8, 5, stride=2),
        nn.ReLU(),
        nn.Flatten(),
        nn.LazyLinear(4),
    )
    layers(torch.zeros(1, 3, SIDE, SIDE))
    for parameter in layers.parameters():
        spread = 2 / parameter[0].numel() ** 0.5 if parameter.ndim > 1 else 0.0
        parameter.data = torch.randn(parameter.shape, generator=generator) * spread
        parameter.requires_grad_(False)
    return layers.eval()


@pytest.fixture
def images() -> Tensor:
    """(6, 3, 24, 24) smooth structures with some noise, each image another."""
    generator = torch.Generator().manual_seed(2)
    coarse = torch.rand(6, 3, 5, 5, generator=generator)
    smooth = nn.functional.interpolate(coarse, size=(SIDE, SIDE), mode="bicubic")
    return (smooth + 0.1 * torch.randn(smooth.shape, generator=generator)).clamp(0, 1)


@pytest.fixture
def masks() -> Tensor:
    """(6, 1, 24, 24): boxes of growing size, and none for the last image."""
    masks = torch.zeros(6, 1, SIDE, SIDE, dtype=torch.bool)
    for index in range(5):
        masks[index, :, 3 : 6 + 2 * index, 4 : 10 + index] = True
    return masks


@pytest.fixture
def maps() -> Tensor:
    """(6, 1, 24, 24) random signed maps without ties."""
    return torch.randn(6, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(3))


@pytest.fixture
def explain() -> Callable[[nn.Module, Tensor, Tensor], Tensor]:
    return gradient_times_input


@pytest.fixture
def judge(network: nn.Module, images: Tensor, masks: Tensor) -> Callable[..., Explanation]:
    """Attributions -> an explanation of fresh decisions of the network on the images."""

    def make(attributions: Tensor, explain: Any = gradient_times_input) -> Explanation:
        return Explanation(Decisions(network, images, masks=masks), attributions, explain)

    return make


@pytest.fixture
def ask_quantus(images: Tensor) -> Callable[..., np.ndarray]:
    """Scores of one of Quantus's metrics, by its name and settings; its own warnings stay its own."""

    def ask(name: str, settings: dict[str, Any], maps: Tensor, masks: Tensor | None = None, **call: Any) -> np.ndarray:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            quantus = pytest.importorskip("quantus")
            metric = getattr(quantus, name)(normalise=False, disable_warnings=True, **settings)
            call = {"model": None, "y_batch": None, **call}
            segments = None if masks is None else masks.numpy().copy()
            scores = metric(x_batch=images.numpy().copy(), a_batch=maps.numpy().copy(), s_batch=segments, **call)
        return np.asarray(scores, dtype=float)

    return ask
