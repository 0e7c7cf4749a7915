"""What a set of phantoms is: samples rendered when they are asked for, with or without evidence or shortcut."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from ..base import Sample
from .shapes import Plane, generator


class Rendering(NamedTuple):
    """A picture and what is known about it."""

    image: Plane
    """(size, size), or (size, size, 3) where it is in colour; float32 in [0, 1]."""
    mask: Plane
    """(size, size): above 0 where the evidence lies."""
    shortcut: Plane | None = None
    """(size, size): above 0 where the shortcut lies; None: these images have none."""


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
    multi_label: ClassVar[bool] = False
    """Whether a sample may have several of the classes, or none; it is then asked about one, its target."""

    def __len__(self) -> int:
        return self.n_samples

    def __getitem__(self, index: int) -> Sample:
        return self.sample(index)

    def sample(
        self, index: int, evidence: bool = True, shortcut: bool = True, surroundings: int | None = None
    ) -> Sample:
        """The sample, or the same one with something taken away or replaced.

        With `evidence=False`, all that speaks for its class is taken away; outside the mask of the first, the
        pixels of both are the same. With `shortcut=False`, the same is true of the misleading cue. With the index of
        another sample as `surroundings`, all but the evidence is replaced by that sample's: patient, distractors,
        cue, exposure and noise. The label stays; a mask is all False where there is nothing.

        Raises:
            IndexError: there is no such sample.
        """
        label = self.label(index)
        if surroundings is not None:
            self.label(surroundings)
        rendering = self.render(index, label, evidence, shortcut, index if surroundings is None else surroundings)
        image = torch.from_numpy(rendering.image)
        return Sample(
            input=(image if image.ndim == 3 else image[..., None].expand(-1, -1, 3)).permute(2, 0, 1).contiguous(),
            label=self.truth(index, index if surroundings is None else surroundings),
            id=f"{self.class_names[label]}-{index:05d}",
            mask=_where(rendering.mask),
            shortcut=None if rendering.shortcut is None else _where(rendering.shortcut),
            target=label if self.multi_label else None,
        )

    def label(self, index: int) -> int:
        """The sample's class, or, where it may have several, the one it is asked about: an index into `class_names`.

        Raises:
            IndexError: there is no such sample.
        """
        if not 0 <= index < self.n_samples:
            raise IndexError(f"sample {index} of {self.n_samples}")
        return index % len(self.class_names)

    def truth(self, index: int, surroundings: int) -> Tensor:  # noqa: ARG002  # matters where there are several labels
        """The label of the sample with its surroundings replaced: (), or (K,) where it may have several classes."""
        return torch.tensor(self.label(index))

    @abstractmethod
    def render(self, index: int, label: int, evidence: bool, shortcut: bool, surroundings: int) -> Rendering:
        """Draw the sample; without evidence or shortcut, all else stays as it is.

        Only the evidence may depend on `index`; all else depends on `surroundings`.
        """


@dataclass(frozen=True)
class CuedPhantoms(Phantoms):
    """A set of images some of which have a shortcut: a cue that has nothing to do with the class."""

    agreement: float = 0.5
    """Fraction of the images in which the cue tells whether they belong to the cued class; 0.5: it tells nothing."""
    strength: float = 1.0
    """How strongly the evidence is drawn, from 0 to 1: a faint one makes the cue the easier thing to learn."""

    cued_class: ClassVar[str]
    """The class that the cue goes with where `agreement` is above 0.5."""

    def cued(self, index: int, label: int) -> bool:
        """Whether the sample has the cue: one in two, if the cue tells nothing."""
        agrees = bool(generator(self.seed, index, "cue").random() < self.agreement)
        return agrees == (self.class_names[label] == self.cued_class)


def _where(opacity: Plane) -> Tensor:
    return torch.from_numpy(opacity > 0)[None]
