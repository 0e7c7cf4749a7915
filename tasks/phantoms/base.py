"""What a set of phantoms is: samples rendered when they are asked for, with or without their evidence."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch

from ..base import Sample
from .shapes import Plane


@dataclass(frozen=True)
class Phantoms(ABC):
    """A set of rendered images: sample `index` is a function of the settings and the index alone.

    The classes take turns, so that every prefix is balanced. Two sets of different seeds share no image.
    A modality is a subclass that writes `render`.
    """

    n_samples: int
    seed: int = 0
    size: int = 96
    """Side of the square image, in pixels."""

    class_names: ClassVar[tuple[str, ...]]

    def __len__(self) -> int:
        return self.n_samples

    def __getitem__(self, index: int) -> Sample:
        return self.sample(index)

    def sample(self, index: int, evidence: bool = True) -> Sample:
        """The sample, or, with `evidence=False`, the same one with all that speaks for its class taken away.

        Outside the mask of the first, the pixels of both are the same. The label stays; the mask is all False
        where there is no evidence.

        Raises:
            IndexError: there is no such sample.
        """
        if not 0 <= index < self.n_samples:
            raise IndexError(f"sample {index} of {self.n_samples}")
        label = index % len(self.class_names)
        image, mask = self.render(index, label, evidence)
        return Sample(
            input=torch.from_numpy(image).expand(3, -1, -1).contiguous(),
            label=torch.tensor(label),
            id=f"{self.class_names[label]}-{index:05d}",
            mask=torch.from_numpy(mask > 0)[None],
        )

    @abstractmethod
    def render(self, index: int, label: int, evidence: bool) -> tuple[Plane, Plane]:
        """The image in [0, 1] and the evidence's mask in {0, 1}, each (size, size) float32."""
