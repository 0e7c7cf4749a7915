"""Small networks of every style that explainers meet, images for them, and the traces that a call could leave."""

import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision import models
from torchvision.transforms import Normalize

from tasks.networks import vgg16, with_preprocessing

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
            maps = F.avg_pool2d(maps, 2) if maps.shape[1] == 7 else maps
        maps = F.relu(self.last_norm(maps), inplace=True)
        return self.linear(torch.flatten(F.adaptive_avg_pool2d(maps, (1, 1)), 1))


class DenseBlocks(Dense):
    """As `Dense`, without the branch on a shape, which cannot be traced."""

    def forward(self, inputs: Tensor) -> Tensor:
        maps = self.stem(self.preprocessing(inputs))
        for norm, convolution in zip(self.norms, self.convolutions, strict=True):
            maps = torch.cat([maps, convolution(F.relu(norm(maps)))], dim=1)
        maps = F.relu(self.last_norm(F.avg_pool2d(maps, 2)), inplace=True)
        return self.linear(torch.flatten(F.adaptive_avg_pool2d(maps, (1, 1)), 1))
