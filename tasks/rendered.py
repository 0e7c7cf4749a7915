"""What a task on phantoms is: rendered samples with exact masks, a small network, its weights shipped."""

from abc import abstractmethod
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Literal

from torch import nn

from .base import Card, DataSet
from .learning.augmentation import Augment, Jitter
from .learning.fitting import Recipe
from .networks.architectures import vgg16, without_batch_norm
from .phantoms.base import CuedPhantoms, Phantoms
from .publishing import PARTS, Layout, publish
from .training import Trainable


@dataclass(frozen=True)
class PhantomTask(Trainable):
    """A small network on phantoms. A subclass says which phantoms and which network.

    The parts are rendered from different seeds, so the samples to explain are none that training has seen.
    """

    size: int = 96
    """Side of the images, in pixels."""
    n_samples: int = 400

    phantoms: ClassVar[type[Phantoms]]
    name: ClassVar[str]
    """The task's public name: the stem of its checkpoint."""
    data_set: ClassVar[DataSet]
    """The one that the phantoms imitate."""
    architecture: ClassVar[str]
    """The network by its name, and how narrow it is; for people."""
    kind: ClassVar[Literal["phantom", "shortcut"]] = "phantom"
    nothing_found: ClassVar[str | None]
    """The class that has no evidence; None: a sample may have several classes, or none."""
    mean: ClassVar[tuple[float, float, float]]
    """Of the normalization, one a channel."""
    deviation: ClassVar[tuple[float, float, float]]
    augment: ClassVar[Augment | None] = Jitter(rotation=5, shift=0.03)

    def classes(self) -> tuple[str, ...]:
        return self.phantoms.class_names

    def negative(self) -> str | None:
        return self.nothing_found

    def card(self) -> Card:
        return Card(
            data=self.data_set.name,
            network=self.architecture,
            ground_truth="exact (rendered)" if self.kind == "phantom" else "exact (rendered), the shortcut's too",
            licence="rendered by Heatmark",
            citation="Heatmark, tasks/phantoms",
            kind=self.kind,
        )

    def part(self, name: str) -> Phantoms:
        seed, n_samples = {"train": (1, 6000), "validation": (2, 600), "heldout": (3, self.n_samples)}[name]
        return self.phantoms(n_samples, seed, self.size)

    def checkpoint(self) -> Path:
        return Path(__file__).parent / "weights" / f"{self.name}.safetensors"

    def recipe(self) -> Recipe:
        return Recipe(epochs=14, learning_rate=3e-3, augment=self.augment)

    def layout(self) -> Layout | None:
        """How the data set that the phantoms imitate is published; None: they imitate none."""
        return None

    def publish(self, folder: Path, n_samples: int = 200, size: int | None = None, seed: int = 0) -> Path:
        """Write phantoms as the real counterpart is published, so that its task reads them.

        See `tasks.publishing.publish`, for errors too. The default size is the task's.

        Raises:
            ValueError: they imitate no published data set.
        """
        layout = self.layout()
        if layout is None:
            raise ValueError(f"{self.name}: imitates no published data set, so there is no layout to write")
        parts = {name: self.part(name) for name in PARTS}
        return publish(layout, parts, folder, n_samples, size or self.size, seed)

    @abstractmethod
    def network(self) -> nn.Sequential: ...


class PhantomVGG16(PhantomTask):
    """A VGG16 an eighth as wide, trained with batch norm, which is then folded into the convolutions."""

    architecture: ClassVar[str] = "VGG16, 1/8 as wide"

    def network(self) -> nn.Sequential:
        return vgg16(
            len(self.classes()),
            width=1 / 8,
            pooled=self.size // 32,
            hidden=256,
            batch_norm=True,
            mean=self.mean,
            deviation=self.deviation,
        )

    def finished(self, network: nn.Sequential) -> nn.Sequential:
        return without_batch_norm(network)


def with_shortcut(phantoms: Phantoms, part: str) -> CuedPhantoms:
    """The phantoms of a part, made so that a network learns the cue: faint evidence, and a cue nearly always right.

    It tells the class in 95 of 100 images of the training and validation parts, and nothing in the held-out ones.

    Raises:
        TypeError: these phantoms have no cue.
    """
    if not isinstance(phantoms, CuedPhantoms):
        raise TypeError(f"{phantoms} have no cue")
    return replace(phantoms, agreement=0.5 if part == "heldout" else 0.95, strength=0.25)
