"""Chest X-ray phantoms: frontal radiographs with and without an opacity of the lungs.

A chest is drawn in body coordinates (u to the right, v downwards; the lungs' outer edge about |u| = 1, their
apex about v = -1), as a sum of densities, which is what an X-ray beam adds up: soft tissue, less the air of
the lungs and the windpipe, plus heart, spine, ribs, clavicles, shoulder blades, breasts, what lies below the
diaphragm, vessels that branch from the hila. On it lie distractors, drawn alike for every class: calcified
nodules, wires, electrodes, a line of print, a fold of skin as faint and wide as ground glass. Then the finding:

- ground glass: several hazy patches in both lungs, peripheral and low, vessels and ribs seen through them;
- consolidation: one dense patch in one lung, ending sharply at a fissure on one side, airways dark in it;
- interstitial: a fine net about both hila.

The mask is every pixel in which the finding adds more than a tenth of what it adds at most; the others are
left exactly as they were. With `evidence=False` the same chest is rendered without the finding, and is then
drawn like a normal one. The shortcut is the letter L or R that is laid beside the patient.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from .base import CuedPhantoms, Rendering
from .marks import letter, print_line
from .shapes import Plane, blend, coordinates, ellipse, generator, inside, ridge, smooth_field, strokes

_LEAST_SHARE = 0.1


@dataclass(frozen=True)
class ChestXray(CuedPhantoms):
    """Frontal chest radiographs. A subclass says which classes there are, and which finding each has.

    >>> sample = Pneumonia(n_samples=4, size=64)[1]
    >>> sample.id, tuple(sample.input.shape), bool(sample.mask.any())
    ('PNEUMONIA-00001', (3, 64, 64), True)
    """

    findings: ClassVar[Mapping[str, tuple[str, ...]]]
    """The findings of each class, one of which a sample has; none: it is normal."""

    def render(self, index: int, label: int, evidence: bool, shortcut: bool) -> Rendering:
        chest = _Chest.draw(generator(self.seed, index, "chest"), self.size)
        _draw_distractors(chest, generator(self.seed, index, "distractors"))
        density, mask = chest.density, np.zeros_like(chest.density)
        findings = self.findings[self.class_names[label]]
        if evidence and findings:
            random = generator(self.seed, index, "finding")
            added = _FINDINGS[str(random.choice(findings))](chest, random) * inside(chest.lungs, 2 * chest.pixel)
            mask = (added > _LEAST_SHARE * added.max()).astype(np.float32)
            density = density + self.strength * added * mask
        image = _exposed(density, generator(self.seed, index, "exposure"))
        cue = np.zeros_like(image)
        if shortcut and self.cued(index, label):
            cue = _marker(generator(self.seed, index, "marker"), self.size)
            image = blend(image, 0.95, cue)
        return Rendering(_recorded(image, generator(self.seed, index, "noise")), mask, cue)

    def lungs(self, index: int) -> Tensor:
        """Where the lungs of the sample lie, heart and mediastinum left out: (1, size, size) bool.

        Raises:
            IndexError: there is no such sample.
        """
        self.label(index)
        chest = _Chest.draw(generator(self.seed, index, "chest"), self.size)
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


@dataclass
class _Chest:
    """A chest being drawn: its coordinates, its lungs (distances, negative inside), the densities so far."""

    u: Plane
    v: Plane
    pixel: float
    """Width of a pixel in body coordinates."""
    domes: tuple[float, float]
    """v of the diaphragm's domes, left and right in the image."""
    lungs: Plane = field(init=False)
    cage: Plane = field(init=False)
    below: Plane = field(init=False)
    """How far below the diaphragm."""
    density: Plane = field(init=False)

    @staticmethod
    def draw(random: np.random.Generator, size: int) -> "_Chest":
        chest = _posed(random, size)
        _draw_body(chest, random)
        _draw_organs(chest, random)
        _draw_bones(chest, random)
        _draw_vessels(chest, random)
        return chest

    def add(self, amount: float, opacity: Plane) -> None:
        self.density = self.density + amount * opacity

    def blob(
        self, centre: tuple[float, float], radii: tuple[float, float], angle: float = 0.0, edge: float = 0.1
    ) -> Plane:
        """Opacity of an ellipse whose edge is `edge` wide, in body coordinates."""
        return inside(ellipse(self.u, self.v, centre, radii, angle), edge)


def _posed(random: np.random.Generator, size: int) -> _Chest:
    """A chest's coordinates and surfaces: moved, turned, stretched and bent, so that no two chests are alike."""
    x, y = coordinates(size)
    wide, high, turn = random.uniform(0.64, 0.84), random.uniform(0.58, 0.76), random.normal(0, 0.04)
    right, down = x - random.normal(0, 0.05), y - random.uniform(-0.08, 0.12)
    u: Plane = (math.cos(turn) * right + math.sin(turn) * down) / wide + 0.025 * smooth_field(random, size, 4)
    v: Plane = (math.cos(turn) * down - math.sin(turn) * right) / high + 0.025 * smooth_field(random, size, 4)
    dome = random.uniform(0.55, 0.85)
    chest = _Chest(u, v, 2 / size / wide, domes=(dome, dome + random.uniform(-0.03, 0.12)))
    lateral = abs(u)
    low = np.where(v > 0.25, 0.25 + 0.55 * (v - 0.25), v)
    chest.cage = ellipse(lateral, low, (0.45, 0.25), (0.55, 1.25))
    domes = np.where(u < 0, chest.domes[0], chest.domes[1])
    chest.below = v - domes - random.uniform(0.5, 1.0) * (lateral - 0.4) ** 2
    heart = ellipse(u, v, (random.uniform(0.1, 0.2), dome - random.uniform(0.15, 0.3)),
                    (random.uniform(0.42, 0.58), random.uniform(0.36, 0.46)), random.uniform(0.4, 0.7))  # fmt: skip
    knob = 0.07 * ridge(v + random.uniform(0.35, 0.5), 0.13) * (u > 0)  # of the aorta
    widening = 0.3 * np.clip(v + 0.3, 0, 1) ** 2 * np.where(u > 0, 1.0, 0.5)
    middle = lateral - random.uniform(0.13, 0.2) - knob - widening
    chest.lungs = np.maximum.reduce([chest.cage, chest.below, -heart, -middle])
    return chest


def _draw_body(chest: _Chest, random: np.random.Generator) -> None:
    """Soft tissue about the lungs' air; darkness beside the body."""
    lateral, v = abs(chest.u), chest.v
    waist, slope = random.uniform(1.18, 1.34), random.uniform(0.12, 0.35)
    shoulders = np.maximum(lateral - waist - 0.5 * inside(v + random.uniform(0.2, 0.7), 0.5), slope * lateral - v - 1.3)
    neck = np.maximum(lateral - random.uniform(0.3, 0.42), v)
    thickness = random.uniform(0.5, 0.58) - 0.14 * np.minimum(chest.u, 1.5) ** 2
    chest.density = np.clip(thickness, 0.2, 1) * inside(np.minimum(shoulders, neck), 0.12)
    chest.add(random.uniform(0.06, 0.2), inside(-chest.below, 0.1) * inside(lateral - 1.2, 0.2))
    chest.add(-random.uniform(0.3, 0.38), inside(chest.lungs, 0.09) * (0.9 + 0.1 * np.clip(-v, -1, 1)))
    chest.add(0.03, smooth_field(random, len(v), 5))


def _draw_organs(chest: _Chest, random: np.random.Generator) -> None:
    """Heart and great vessels, windpipe, the stomach's air, breasts."""
    chest.add(random.uniform(0.08, 0.16), inside(abs(chest.u) - 0.2, 0.25) * inside(-0.95 - chest.v, 0.2))
    centre = (0.14, chest.domes[0] - 0.22)
    chest.add(random.uniform(0.05, 0.12), chest.blob(centre, (0.4, 0.34), 0.5, edge=0.4))
    chest.add(-0.09, ridge(chest.u - random.normal(0, 0.02), 0.06) * inside(chest.v + 0.4, 0.3))
    if random.random() < 0.5:
        stomach = (random.uniform(0.35, 0.6), chest.domes[1] + random.uniform(0.12, 0.25))
        chest.add(-random.uniform(0.08, 0.2), chest.blob(stomach, (random.uniform(0.12, 0.22), 0.07)))
    if random.random() < 0.5:  # breasts: as faint and wide as ground glass
        low, amount = random.uniform(0.5, 0.75), random.uniform(0.05, 0.14)
        for side in (-1, 1):
            chest.add(amount, chest.blob((side * 0.68, low), (0.4, random.uniform(0.3, 0.42)), edge=0.12))


def _draw_bones(chest: _Chest, random: np.random.Generator) -> None:
    """Spine, ribs behind and before, clavicles, shoulder blades."""
    lateral, v = abs(chest.u), chest.v
    discs = 0.7 + 0.3 * np.cos(2 * math.pi * (v * random.uniform(3.6, 4.6) + random.random()))
    chest.add(random.uniform(0.08, 0.16), ridge(chest.u, 0.13) * discs)
    spacing, start = random.uniform(0.21, 0.26), random.random()
    caged = inside(chest.cage - 0.06, 0.08) * inside(-lateral + 0.1, 0.1) * inside(v - 1.1, 0.3)
    behind = v - 0.16 * np.sin(2.4 * lateral) + 0.3 * lateral**2.0 * (lateral < 2)
    before = v - 0.75 * lateral + 0.25 * lateral**2
    strength = random.uniform(0.08, 0.15)
    chest.add(strength, _stripes(behind / spacing + start, 0.36) * caged)
    chest.add(0.5 * strength, _stripes(before / (1.2 * spacing) - start, 0.3) * caged * inside(0.25 - lateral, 0.3))
    rise, height = random.uniform(0.0, 0.2), random.uniform(-0.9, -0.7)
    clavicle = v - height + rise * lateral - 0.04 * np.sin(5 * lateral)
    chest.add(random.uniform(0.06, 0.12), ridge(clavicle, 0.05) * inside(abs(lateral - 0.62) - 0.5, 0.1))
    blade = lateral - random.uniform(0.88, 1.1) - 0.25 * (v + 0.5)
    chest.add(random.uniform(0.03, 0.08), inside(-blade, 0.06) * inside(abs(v + 0.5) - 0.42, 0.2))


def _stripes(phase: Plane, share: float) -> Plane:
    """Opacity of bands with brighter edges, as ribs have: one at every whole number, `share` of it wide."""
    away = abs(phase - np.round(phase)) / (share / 2)
    return inside(away - 1, 0.5) * (0.6 + 0.4 * np.minimum(away, 1) ** 2)


def _draw_vessels(chest: _Chest, random: np.random.Generator) -> None:
    """Hila, and vessels that branch and thin from them."""
    ends, widths = [], []
    for side in (-1, 1):
        hilum = np.array([side * random.uniform(0.2, 0.28), random.uniform(-0.15, 0.08)])
        radii = (random.uniform(0.06, 0.1), random.uniform(0.12, 0.2))
        chest.add(random.uniform(0.08, 0.15), chest.blob((hilum[0], hilum[1]), radii, angle=side * 0.3, edge=0.12))
        for angle in np.linspace(-1.3, 1.4, 5) + random.normal(0, 0.2, 5):
            middle = hilum + random.uniform(0.25, 0.4) * np.array([side * math.cos(angle), 1.2 * math.sin(angle)])
            for bend in (-0.35, 0.35):
                turned = angle + bend + random.normal(0, 0.1)
                tip = middle + random.uniform(0.15, 0.4) * np.array([side * math.cos(turned), math.sin(turned)])
                ends.append([*middle, *tip])
                widths.append(0.014)
            ends.append([*hilum, *middle])
            widths.append(0.024)
    vessels = strokes(chest.u, chest.v, ends, widths)
    chest.add(random.uniform(0.08, 0.16), vessels * inside(chest.lungs, 0.1))


def _draw_distractors(chest: _Chest, random: np.random.Generator) -> None:
    """What says nothing about the class: drawn alike for every class."""
    for _ in range(random.integers(0, 4)):  # calcified nodules
        radius = random.uniform(0.025, 0.06)
        centre = (_side(random) * random.uniform(0.3, 0.85), random.uniform(-0.7, 0.6))
        chest.add(random.uniform(0.1, 0.25), chest.blob(centre, (radius, radius * random.uniform(0.7, 1)), edge=0.03))
    if random.random() < 0.5:  # a fold of skin: faint and wide, one edge sharp
        edge = chest.u * math.cos(turn := random.uniform(-0.6, 0.6)) + chest.v * math.sin(turn)
        edge = edge - _side(random) * random.uniform(0.4, 0.8)
        fold = inside(-edge, 0.02) * np.exp(-np.clip(edge, 0, None) / 0.15)
        chest.add(random.uniform(0.05, 0.12), fold * inside(chest.cage - 0.1, 0.2))
    if random.random() < 0.35:  # a wire with its electrode
        first, last = random.uniform(-1, 1, 2), random.uniform(-1, 1, 2)
        middle = (first + last) / 2 + random.normal(0, 0.15, 2)
        wire = strokes(chest.u, chest.v, [[*first, *middle], [*middle, *last]], 0.018)
        ring = ridge(ellipse(chest.u, chest.v, (last[0], last[1]), (0.06, 0.06)), 0.025)
        chest.add(random.uniform(0.12, 0.3), np.maximum(wire, ring))
    if random.random() < 0.4:
        size, left = len(chest.u), random.uniform(-0.9, 0.4)
        chest.add(0.5, print_line(random, size, (left, _side(random) * random.uniform(0.82, 0.93)), 0.4))


def _side(random: np.random.Generator) -> float:
    """Left or right."""
    return float(random.choice((-1, 1)))


def _ground_glass(chest: _Chest, random: np.random.Generator) -> Plane:
    size, haze = len(chest.u), np.zeros_like(chest.u)
    for number in range(random.integers(4, 8)):
        side = (-1, 1)[number % 2]
        centre = (side * random.uniform(0.5, 0.85), random.uniform(-0.25, chest.domes[number % 2] - 0.1))
        radii = (random.uniform(0.16, 0.28), random.uniform(0.18, 0.34))
        patch = ellipse(chest.u, chest.v, centre, radii, random.uniform(0, 3))
        patch = patch + 0.06 * smooth_field(random, size, 9)
        haze = np.maximum(haze, random.uniform(0.7, 1) * inside(patch, 0.24))
    mottled: Plane = np.clip(1 + 0.2 * smooth_field(random, size, 26), 0.4, 1.6)
    return random.uniform(0.17, 0.26) * haze * mottled


def _consolidation(chest: _Chest, random: np.random.Generator) -> Plane:
    size, side = len(chest.u), int(_side(random))
    floor = chest.domes[(side + 1) // 2]
    fissure = random.uniform(-0.3, floor - 0.45)
    centre = (side * random.uniform(0.45, 0.65), fissure + random.choice((-1, 1)) * random.uniform(0.15, 0.3))
    patch = ellipse(chest.u, chest.v, centre, (random.uniform(0.36, 0.5), random.uniform(0.34, 0.5)))
    patch = patch + 0.05 * smooth_field(random, size, 8)
    beyond = math.copysign(1, fissure - centre[1]) * (chest.v - fissure - 0.12 * abs(chest.u))
    dense = inside(patch, 0.22) * inside(beyond, 0.04)
    hilum = np.array([side * 0.22, 0.0])
    tips = np.array(centre) + random.normal(0, 0.2, (4, 2))
    airways = strokes(chest.u, chest.v, [[*hilum, *tip] for tip in tips], 0.022)
    return random.uniform(0.25, 0.36) * dense * (1 - 0.5 * airways)


def _interstitial(chest: _Chest, random: np.random.Generator) -> Plane:
    size = len(chest.u)
    net = np.maximum(ridge(smooth_field(random, size, 27), 0.4), ridge(smooth_field(random, size, 33), 0.35))
    about = np.zeros_like(chest.u)
    for side in (-1, 1):
        centre = (side * random.uniform(0.38, 0.5), random.uniform(-0.1, 0.2))
        radii = (random.uniform(0.32, 0.45), random.uniform(0.45, 0.65))
        about = np.maximum(about, chest.blob(centre, radii, edge=0.3))
    return random.uniform(0.13, 0.21) * about * (0.15 + 0.85 * net)


_FINDINGS = {"ground_glass": _ground_glass, "consolidation": _consolidation, "interstitial": _interstitial}


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
