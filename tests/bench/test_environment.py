"""What a record's fingerprint of the model tells apart."""

import torch
from torch import nn
from torchvision.transforms import Normalize

from bench.environment import weights_fingerprint


def network(mean: float = 0.5, deviation: float = 0.2, slope: float = 0.0) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(Normalize([mean] * 3, [deviation] * 3), nn.Conv2d(3, 2, 3), nn.LeakyReLU(slope), nn.Flatten())


def test_preprocessing_and_settings_without_weights_are_part_of_the_model() -> None:
    """A normalization has no tensors in the state: the same weights behind another one are another network."""
    same = weights_fingerprint(network())
    assert weights_fingerprint(network()) == same
    others = [network(mean=0.48), network(deviation=0.25), network(slope=0.1)]
    assert len({same, *map(weights_fingerprint, others)}) == 4
