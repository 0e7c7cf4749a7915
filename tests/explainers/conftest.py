"""Small networks of every style that explainers meet, images for them, and the traces that a call could leave."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision import models
from torchvision.transforms import Normalize

from bench.contract.networks import as_if_trained, structures
from bench.contract.traces import changed, of_arguments, of_model, of_process
from bench.contract.trial import Case
from tasks.networks.architectures import vgg16, with_preprocessing

N_CLASSES = 4
SIDES = {"squeezenet": 64, "vgg": 64}
"""Of the images of these networks, in pixels; 16 for the others."""


def plain() -> nn.Module:
    return nn.Sequential(
        Normalize((0.5, 0.4, 0.3), (0.25, 0.3, 0.2)),
        nn.Conv2d(3, 6, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 8, 3),
        nn.ReLU(),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(72, N_CLASSES),
    )


class InPlace(nn.Module):
    """One ReLU in place for all, and functions where modules could stand."""

    def __init__(self) -> None:
        super().__init__()
        self.preprocessing = Normalize((0.5, 0.4, 0.3), (0.25, 0.3, 0.2))
        self.first, self.second = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 8, 3, padding=1)
        self.third, self.linear = nn.Conv2d(8, 8, 3), nn.Linear(8 * 4, N_CLASSES)
        self.hidden = nn.Linear(8 * 4, 8 * 4)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, inputs: Tensor) -> Tensor:
        maps = self.relu(self.first(self.preprocessing(inputs)))
        maps = F.max_pool2d(maps, 2)
        maps = F.avg_pool2d(self.relu(self.second(maps)), kernel_size=2)
        maps = F.relu(self.third(maps), inplace=True)
        maps = F.adaptive_avg_pool2d(maps, (2, 2))
        features = maps.view(maps.size(0), -1)
        return self.linear(self.hidden(features).relu_())


class Block(nn.Module):
    def __init__(self, n_inputs: int, n_outputs: int) -> None:
        super().__init__()
        self.convolution1, self.norm1 = nn.Conv2d(n_inputs, n_outputs, 3, padding=1), nn.BatchNorm2d(n_outputs)
        self.convolution2 = nn.Conv2d(n_outputs, n_outputs, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(n_outputs)
        self.relu = nn.ReLU(inplace=True)
        self.shortcut: nn.Module = nn.Identity()
        if n_inputs != n_outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(n_inputs, n_outputs, 1, bias=False), nn.BatchNorm2d(n_outputs))

    def forward(self, inputs: Tensor) -> Tensor:
        maps = self.relu(self.norm1(self.convolution1(inputs)))
        maps = self.norm2(self.convolution2(maps))
        maps += self.shortcut(inputs)
        return self.relu(maps)


def residual() -> nn.Module:
    stem = (nn.Conv2d(3, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6), nn.ReLU(inplace=True), nn.MaxPool2d(2))
    head = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, N_CLASSES))
    return nn.Sequential(Normalize((0.5,) * 3, (0.3,) * 3), *stem, Block(6, 6), Block(6, 8), *head)


class Dense(nn.Module):
    """Batch norm, ReLU, convolution; every layer sees the maps of all before it."""

    def __init__(self) -> None:
        super().__init__()
        self.preprocessing = Normalize((0.5,) * 3, (0.3,) * 3)
        self.stem = nn.Conv2d(3, 4, 3, padding=1, bias=False)
        widths = (4, 7, 10)
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for width in widths)
        self.convolutions = nn.ModuleList(nn.Conv2d(width, 3, 3, padding=1, bias=False) for width in widths)
        self.last_norm, self.linear = nn.BatchNorm2d(13), nn.Linear(13, N_CLASSES)

    def forward(self, inputs: Tensor) -> Tensor:
        maps = self.stem(self.preprocessing(inputs))
        for norm, convolution in zip(self.norms, self.convolutions, strict=True):
            maps = torch.cat([maps, convolution(F.relu(norm(maps)))], dim=1)
        maps = F.relu(self.last_norm(F.avg_pool2d(maps, 2)), inplace=True)
        return self.linear(torch.flatten(F.adaptive_avg_pool2d(maps, (1, 1)), 1))


def squeezenet() -> nn.Module:
    return with_preprocessing(models.squeezenet1_0(weights=None, num_classes=N_CLASSES))


def vgg() -> nn.Module:
    return vgg16(N_CLASSES, width=1 / 8, pooled=2, hidden=16)


BUILD: dict[str, Callable[[], nn.Module]] = {
    "plain": plain,
    "in_place": InPlace,
    "residual": residual,
    "dense": Dense,
    "squeezenet": squeezenet,
    "vgg": vgg,
}


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Networks this small only wait for their threads, the more so where other work runs."""
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(n_threads)


@pytest.fixture
def trained() -> Callable[..., nn.Module]:
    """As if a network had been trained: its biases and batch norms are random; in eval mode, frozen."""
    return as_if_trained


def built(name: str, seed: int = 1) -> nn.Module:
    """One of the small networks by its name, with the same weights for the same seed."""
    with torch.random.fork_rng():
        return as_if_trained(BUILD[name](), seed)


@pytest.fixture
def build() -> Callable[[str], nn.Module]:
    return built


DEVICES = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]


@pytest.fixture(params=[(name, device) for device in DEVICES for name in BUILD], ids="-".join, scope="session")
def case(request: pytest.FixtureRequest) -> Case:
    """One of the small networks, as the checks of the contract want it."""
    name, device = request.param
    images = structures(2, SIDES.get(name, 16))
    return Case(name, lambda seed: built(name, seed), images, torch.device(device))


@pytest.fixture(params=list(BUILD))
def architecture(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def network(architecture: str, build: Callable[[str], nn.Module]) -> nn.Module:
    return build(architecture)


@pytest.fixture
def draw() -> Callable[..., Tensor]:
    """Smooth structures with some noise: (n, 3, side, side), each image another."""

    def make(n: int = 4, side: int = 16, seed: int = 2) -> Tensor:
        return structures(n, side, seed)

    return make


@pytest.fixture
def images(architecture: str, draw: Callable[..., Tensor]) -> Tensor:
    """(4, 3, side, side), of the size that the network wants."""
    return draw(4, SIDES.get(architecture, 16))


@pytest.fixture
def targets() -> Tensor:
    return torch.tensor([0, 1, 2, 1])


@pytest.fixture
def traces() -> Callable[..., dict[str, Any]]:
    """All that a call may not change: weights, modes, flags, hooks, gradients, tensors, random states."""

    def look(model: nn.Module, *tensors: Tensor) -> dict[str, Any]:
        arguments = of_arguments(**{f"argument {place}": tensor for place, tensor in enumerate(tensors)})
        return of_model(model) | arguments | of_process()

    return look


@pytest.fixture
def same() -> Callable[[dict[str, Any], dict[str, Any]], bool]:
    """Whether two looks at traces are equal bit for bit."""
    return lambda one, other: not changed(one, other)
