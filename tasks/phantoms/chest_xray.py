"""Chest X-ray phantoms: frontal radiographs with and without an opacity of the lungs.

A chest is drawn (`chest_anatomy`), on it distractors, alike for every class. Then the findings (`chest_findings`):
one, or none, of those of the sample's class; in `CheXpertFindings` any number.

The mask is every pixel in which the finding adds more than a tenth of what it adds at most; the others are
left exactly as they were. With `evidence=False` the same chest is rendered without the finding, and is then
drawn like a normal one. The shortcut is the letter L or R that is laid beside the patient.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from .base import CuedPhantoms, Rendering
from .chest_anatomy import Chest, draw_distractors
from .chest_findings import finding
from .marks import letter
from .shapes import Plane, blend, generator


@dataclass(frozen=True)
class ChestXray(CuedPhantoms):
    """Frontal chest radiographs. A subclass says which classes there are, and which finding each has.

    >>> sample = Pneumonia(n_samples=4, size=64)[1]
    >>> sample.id, tuple(sample.input.shape), bool(sample.mask.any())
    ('PNEUMONIA-00001', (3, 64, 64), True)
    """

    findings: ClassVar[Mapping[str, tuple[str, ...]]]
    """The findings of each class, one of which a sample has; none: it is normal."""

    def render(self, index: int, label: int, evidence: bool, shortcut: bool, surroundings: int) -> Rendering:
        chest = self._chest(surroundings)
        density, mask = chest.density, np.zeros_like(chest.density)
        findings = self.findings[self.class_names[label]]
        if evidence and findings:
            random = generator(self.seed, index, "finding")
            added, mask = finding(str(random.choice(findings)), chest, random)
            density = density + self.strength * added
        return self._taken(density, mask, surroundings, shortcut and self.cued(surroundings, label))

    def _chest(self, index: int) -> Chest:
        """The patient of a sample, with all that says nothing about the class."""
        chest = Chest.draw(generator(self.seed, index, "chest"), self.size)
        draw_distractors(chest, generator(self.seed, index, "distractors"))
        return chest

    def _taken(self, density: Plane, mask: Plane, index: int, cued: bool) -> Rendering:
        """The radiograph of a density, exposed as that of the sample `index` is."""
        image = _exposed(density, generator(self.seed, index, "exposure"))
        cue = np.zeros_like(image)
        if cued:
            cue = _marker(generator(self.seed, index, "marker"), self.size)
            image = blend(image, 0.95, cue)
        return Rendering(_recorded(image, generator(self.seed, index, "noise")), mask, cue)

    def lungs(self, index: int) -> Tensor:
        """Where the lungs of the sample lie, heart and mediastinum left out: (1, size, size) bool.

        Raises:
            IndexError: there is no such sample.
        """
        self.label(index)
        chest = Chest.draw(generator(self.seed, index, "chest"), self.size)
        return torch.from_numpy(chest.lungs < 0)[None]


class Pneumonia(ChestXray):
    """Children with and without pneumonia, in turn."""

    class_names: ClassVar[tuple[str, ...]] = ("NORMAL", "PNEUMONIA")
    cued_class: ClassVar[str] = "PNEUMONIA"
    findings: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "NORMAL": (),
        "PNEUMONIA": ("consolidation", "interstitial"),
    }


class Radiography(ChestXray):
    """COVID-19, another opacity, none, viral pneumonia, in turn."""

    class_names: ClassVar[tuple[str, ...]] = ("COVID", "Lung_Opacity", "Normal", "Viral Pneumonia")
    cued_class: ClassVar[str] = "COVID"
    findings: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "COVID": ("ground_glass",),
        "Lung_Opacity": ("consolidation",),
        "Normal": (),
        "Viral Pneumonia": ("interstitial",),
    }


class CovidQuEx(ChestXray):
    """COVID-19, another infection, none, in turn."""

    class_names: ClassVar[tuple[str, ...]] = ("COVID-19", "Non-COVID", "Normal")
    cued_class: ClassVar[str] = "COVID-19"
    findings: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "COVID-19": ("ground_glass",),
        "Non-COVID": ("consolidation", "interstitial"),
        "Normal": (),
    }


class CheXpertFindings(ChestXray):
    """Adults with any of the five findings of the CheXpert competition, each of which one in three has.

    A sample is asked about one finding, its target: these take turns, and every second sample has its own. The mask
    is the target's, and `evidence=False` takes the target away; the other findings stay, as the patient does.

    >>> sample = CheXpertFindings(n_samples=4, size=64)[2]
    >>> sample.id, sample.target, sample.label[sample.target].item()
    ('Consolidation-00002', 2, 1)
    """

    class_names: ClassVar[tuple[str, ...]] = (
        "Atelectasis",
        "Cardiomegaly",
        "Consolidation",
        "Edema",
        "Pleural Effusion",
    )
    multi_label: ClassVar[bool] = True
    cued_class: ClassVar[str] = "Cardiomegaly"
    findings: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "Atelectasis": ("atelectasis",),
        "Cardiomegaly": ("cardiomegaly",),
        "Consolidation": ("consolidation",),
        "Edema": ("edema",),
        "Pleural Effusion": ("effusion",),
    }

    def truth(self, index: int, surroundings: int) -> Tensor:
        own, others = self._present(index), self._present(surroundings)
        return torch.tensor(
            [int(own[name] if at == self.label(index) else others[name]) for at, name in enumerate(own)]
        )

    def render(self, index: int, label: int, evidence: bool, shortcut: bool, surroundings: int) -> Rendering:
        chest = self._chest(surroundings)
        density, mask = chest.density, np.zeros_like(chest.density)
        for name in self.class_names:
            is_target = name == self.class_names[label]
            owner = index if is_target else surroundings
            if not self._present(owner)[name] or (is_target and not evidence):
                continue
            added, where = self._finding(name, chest, owner)
            density = density + self.strength * added
            mask = where if is_target else mask
        return self._taken(density, mask, surroundings, shortcut and self.cued(surroundings, label))

    def masks(self, index: int) -> dict[str, Tensor]:
        """Where each finding lies that the sample has: (1, size, size) bool.

        Raises:
            IndexError: there is no such sample.
        """
        self.label(index)
        chest = Chest.draw(generator(self.seed, index, "chest"), self.size)
        names = [name for name, present in self._present(index).items() if present]
        return {name: torch.from_numpy(self._finding(name, chest, index)[1] > 0)[None] for name in names}

    def cued(self, index: int, label: int) -> bool:  # noqa: ARG002  # the sample has more labels than one
        agrees = bool(generator(self.seed, index, "cue").random() < self.agreement)
        return agrees == self._present(index)[self.cued_class]

    def _present(self, index: int) -> dict[str, bool]:
        """Which findings the sample has: its target every second time, each other one time in three, independently."""
        drawn = generator(self.seed, index, "present").random(len(self.class_names)) < 1 / 3
        drawn[self.label(index)] = index % 2 == 0  # odd number of classes: each is target with and without, in turn
        return dict(zip(self.class_names, drawn.tolist(), strict=True))

    def _finding(self, name: str, chest: Chest, index: int) -> tuple[Plane, Plane]:
        return finding(self.findings[name][0], chest, generator(self.seed, index, name))


def _marker(random: np.random.Generator, size: int) -> Plane:
    """Opacity of the letter beside the patient's head."""
    name, side = (("R", -1), ("L", 1))[random.integers(2)]
    centre = (side * random.uniform(0.72, 0.86), random.uniform(-0.86, -0.66))
    return letter(name, size, centre, random.uniform(0.12, 0.19))


def _exposed(density: Plane, random: np.random.Generator) -> Plane:
    """Density as brightness: (size, size) in [0, 1]."""
    bright = random.uniform(1.1, 1.4) * (density + random.uniform(-0.02, 0.04))
    shown: Plane = np.clip(bright, 0, 1) ** random.uniform(0.8, 1.2)
    return shown


def _recorded(image: Plane, random: np.random.Generator) -> Plane:
    noise = random.standard_normal(image.shape, dtype=np.float32) * random.uniform(0.008, 0.025)
    recorded: Plane = np.clip(image + noise, 0, 1).astype(np.float32)
    return recorded
