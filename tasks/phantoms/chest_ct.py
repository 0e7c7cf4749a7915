"""Chest CT phantoms: axial slices in a lung window, with and without the opacities of COVID-19.

A slice is drawn in body coordinates (u to the right, v downwards, the chest wall's inside about |u| = 1), at a
level between the aortic arch and the liver: wall with ribs, spine, breastbone; mediastinum with windpipe or
bronchi, heart, below it the liver's dome; lungs with vessels along and across the slice, and fissures. On it
lie distractors, drawn alike for every class: nodules, bullae, an effusion along the back as bright as a
consolidation, a haze beside the heart from its motion, dependent haze at the back. Then the finding:

- COVID: several patches, most of them at the back and along the chest wall, of ground glass, some with a net of
  thickened septa or a denser core; vessels are seen through them.

The mask is every pixel in which the finding has more than a tenth; the others are left exactly as they were.
With `evidence=False` the same slice is rendered without it, and is then drawn like `non-COVID`. The shortcut is
the letter L or R at the image's side.
"""

import math
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from .base import CuedPhantoms, Rendering
from .marks import letter
from .shapes import Plane, blend, coordinates, ellipse, generator, inside, ridge, smooth_field, strokes

_AIR, _SOFT, _BONE = 0.10, 0.86, 1.0
_LEAST_OPACITY = 0.1


@dataclass(frozen=True)
class ChestCT(CuedPhantoms):
    """Slices with and without COVID-19, in turn.

    >>> sample = ChestCT(n_samples=4, size=64)[0]
    >>> sample.id, tuple(sample.input.shape), bool(sample.mask.any())
    ('COVID-00000', (3, 64, 64), True)
    """

    class_names: ClassVar[tuple[str, ...]] = ("COVID", "non-COVID")
    cued_class: ClassVar[str] = "COVID"

    def render(self, index: int, label: int, evidence: bool, shortcut: bool, surroundings: int) -> Rendering:
        chest = _Slice.draw(generator(self.seed, surroundings, "chest"), self.size)
        _draw_distractors(chest, generator(self.seed, surroundings, "distractors"))
        canvas, mask = chest.canvas, np.zeros_like(chest.canvas)
        if evidence and self.class_names[label] == "COVID":
            canvas, mask = _with_covid(chest, generator(self.seed, index, "finding"), self.strength)
        image = _windowed(canvas, generator(self.seed, surroundings, "window"))
        cue = np.zeros_like(image)
        if shortcut and self.cued(surroundings, label):
            cue = _marker(generator(self.seed, surroundings, "marker"), self.size)
            image = blend(image, 1.0, cue)
        noise = generator(self.seed, surroundings, "noise")
        image = image + noise.normal(0, noise.uniform(0.008, 0.025), image.shape).astype(np.float32)
        return Rendering(np.clip(image, 0, 1).astype(np.float32), mask, cue)

    def lungs(self, index: int) -> Tensor:
        """Where the lungs of the sample lie: (1, size, size) bool.

        Raises:
            IndexError: there is no such sample.
        """
        self.label(index)
        chest = _Slice.draw(generator(self.seed, index, "chest"), self.size)
        return torch.from_numpy(chest.lungs < 0)[None]


@dataclass
class _Slice:
    """A slice being drawn: its coordinates, surfaces (distances, negative inside), and the canvas."""

    u: Plane
    v: Plane
    pixel: float
    """Width of a pixel in body coordinates."""
    level: float
    """From 0, at the aortic arch, to 1, at the liver."""
    depth: float
    """v of the chest wall's inside at the back."""
    skin: Plane = field(init=False)
    cage: Plane = field(init=False)
    lungs: Plane = field(init=False)
    canvas: Plane = field(init=False)

    @staticmethod
    def draw(random: np.random.Generator, size: int) -> "_Slice":
        chest = _posed(random, size)
        _draw_wall(chest, random)
        _draw_mediastinum(chest, random)
        _draw_lungs(chest, random)
        return chest

    def paint(self, colour: Plane | float, opacity: Plane) -> None:
        self.canvas = blend(self.canvas, colour, opacity)

    def blob(
        self, centre: tuple[float, float], radii: tuple[float, float], angle: float = 0.0, edge: float = 2.0
    ) -> Plane:
        """Opacity of an ellipse whose edge is `edge` pixels wide."""
        return inside(ellipse(self.u, self.v, centre, radii, angle), edge * self.pixel)


def _posed(random: np.random.Generator, size: int) -> _Slice:
    """A slice's coordinates and surfaces: moved, turned, stretched and bent, so that no two are alike."""
    x, y = coordinates(size)
    wide, high, turn = random.uniform(0.78, 1.0), random.uniform(0.9, 1.2), random.normal(0, 0.04)
    right, down = x - random.normal(0, 0.03), y - random.normal(0, 0.04)
    u: Plane = (math.cos(turn) * right + math.sin(turn) * down) / wide + 0.02 * smooth_field(random, size, 4)
    v: Plane = (math.cos(turn) * down - math.sin(turn) * right) / high + 0.02 * smooth_field(random, size, 4)
    chest = _Slice(u, v, 2 / size / wide, level=random.uniform(0, 1), depth=random.uniform(0.72, 0.84))
    chest.cage = ellipse(u, v, (0, 0), (1, chest.depth))
    low = chest.level
    middle = ellipse(u, v, (0.03, -0.05), (random.uniform(0.2, 0.3), random.uniform(0.42, 0.55)))
    heart = ellipse(u, v, (0.16 * low + 0.05, -0.12), (0.14 + 0.34 * low, 0.2 + 0.24 * low), random.uniform(0.2, 0.7))
    front = ellipse(u, v, (0, -chest.depth), (random.uniform(0.05, 0.2), 0.45))
    spine = ellipse(u, v, (0, chest.depth - 0.08), (random.uniform(0.2, 0.27), random.uniform(0.3, 0.4)))
    solid = np.minimum.reduce([middle, heart, front, spine])
    if low > 0.75:  # the liver's dome, on the left of the image
        radius = random.uniform(0.3, 0.75) * (low - 0.5) * 2
        solid = np.minimum(solid, ellipse(u, v, (-0.35, -0.1), (radius, 0.85 * radius), 0.3))
    chest.lungs = np.maximum(chest.cage, -(solid + 0.012 * smooth_field(random, size, 11)))
    return chest


def _draw_wall(chest: _Slice, random: np.random.Generator) -> None:
    """Fat, muscle, ribs, breastbone; the table's curve below."""
    size, wall = len(chest.u), random.uniform(0.14, 0.28)
    chest.canvas = np.full_like(chest.u, random.uniform(0.05, 0.2))
    chest.paint(0.55, 0.7 * ridge(chest.v - chest.depth - wall - 0.12 + 0.15 * chest.u**2, 0.02))
    chest.skin = ellipse(chest.u, chest.v, (0, 0), (1 + wall, chest.depth + wall))
    fat = random.uniform(0.68, 0.8) + 0.02 * smooth_field(random, size, 24)
    chest.paint(fat, inside(chest.skin, 2 * chest.pixel))
    muscle = inside(chest.cage - random.uniform(0.06, 0.12) + 0.03 * smooth_field(random, size, 9), 0.05)
    chest.paint(_SOFT, muscle)
    phase = np.arctan2(chest.v / chest.depth, chest.u) * random.uniform(3.5, 5) + random.uniform(0, 6)
    ribs = inside(0.35 - np.cos(phase), 0.5) * ridge(chest.cage - 0.07, 0.035)
    chest.paint(_BONE, ribs)
    chest.paint(_BONE, chest.blob((0, -chest.depth - 0.06), (random.uniform(0.14, 0.22), 0.05)))


def _draw_mediastinum(chest: _Slice, random: np.random.Generator) -> None:
    """What lies between the lungs: vessels, heart, spine."""
    size = len(chest.u)
    chest.paint(_SOFT + 0.015 * smooth_field(random, size, 14), inside(chest.cage, 2 * chest.pixel))
    bright, low = random.uniform(0.88, 0.97), chest.level
    chest.paint(bright, chest.blob((0.16, 0.32), (0.1, 0.1)))  # the descending aorta
    chest.paint(bright, chest.blob((0.12 * low, -0.12), (0.12 + 0.26 * low, 0.14 + 0.16 * low), 0.5, edge=5))
    back = chest.depth - 0.1
    chest.paint(_BONE, chest.blob((0, back), (random.uniform(0.14, 0.19), random.uniform(0.13, 0.18))))
    arches = [(0, back, -0.28, back + 0.2), (0, back, 0.28, back + 0.2), (0, back, 0, back + 0.3)]
    chest.paint(_BONE, strokes(chest.u, chest.v, arches, 0.05) * inside(chest.skin + 0.06, 0.05))
    chest.paint(0.85, chest.blob((0, back + 0.2), (0.06, 0.05)))


def _draw_lungs(chest: _Slice, random: np.random.Generator) -> None:
    """Air, darker in front; fissures; vessels along the slice and, as dots, across it; the airways."""
    size, lungs = len(chest.u), inside(chest.lungs, 2.5 * chest.pixel)
    air = random.uniform(0.14, 0.24) + 0.035 * chest.v + 0.012 * smooth_field(random, size, 30)
    chest.paint(air, lungs)
    ends, widths = _vessels(random)
    chest.paint(random.uniform(0.75, 0.95), strokes(chest.u, chest.v, ends, widths) * lungs)
    for side in (-1, 1):
        slope = side * random.uniform(0.1, 0.9)
        fissure = chest.v - random.uniform(-0.1, 0.3) + slope * chest.u + 0.15 * chest.u**2
        chest.paint(0.4, random.uniform(0, 0.6) * ridge(fissure, 0.012) * inside(-side * chest.u, 0.01) * lungs)
    if chest.level < 0.4:
        tubes, largest = [(random.normal(0, 0.02), 0.08)], 0.1
    else:
        tubes, largest = [(side * random.uniform(0.2, 0.3), random.uniform(0.12, 0.24)) for side in (-1, 1)], 0.06
    for centre in tubes:
        radius = largest * random.uniform(0.6, 1)
        chest.paint(_SOFT, chest.blob(centre, (radius + 0.04, radius + 0.04)))
        chest.paint(_AIR, chest.blob(centre, (radius, radius * random.uniform(0.9, 1.3))))


def _vessels(random: np.random.Generator) -> tuple[list[list[float]], list[float]]:
    """Ends and widths of lines that branch from the hila, and of dots."""
    ends, widths = [], []
    for side in (-1, 1):
        hilum = np.array([side * random.uniform(0.24, 0.34), random.uniform(-0.05, 0.15)])
        for angle in np.linspace(-1.2, 1.3, 4) + random.normal(0, 0.25, 4):
            middle = hilum + random.uniform(0.12, 0.3) * np.array([side * math.cos(angle), math.sin(angle)])
            ends.append([*hilum, *middle])
            widths.append(random.uniform(0.02, 0.04))
            turned = angle + random.normal(0, 0.4)
            tip = middle + random.uniform(0.1, 0.35) * np.array([side * math.cos(turned), math.sin(turned)])
            ends.append([*middle, *tip])
            widths.append(random.uniform(0.01, 0.022))
        for _ in range(9):
            dot = np.array([side * random.uniform(0.25, 0.9), random.uniform(-0.55, 0.6)])
            ends.append([*dot, *(dot + random.normal(0, 0.025, 2))])
            widths.append(random.uniform(0.012, 0.028))
    return ends, widths


def _draw_distractors(chest: _Slice, random: np.random.Generator) -> None:
    """What says nothing about the class: drawn alike for every class."""
    lungs = inside(chest.lungs, 2 * chest.pixel)
    if random.random() < 0.4:  # haze beside the heart, which moves
        side = _side(random)
        haze = chest.blob((side * random.uniform(0.3, 0.45), random.uniform(-0.3, 0.1)), (0.2, 0.3), edge=12)
        chest.paint(0.5, random.uniform(0.3, 0.6) * haze * lungs)
    if random.random() < 0.4:  # dependent haze, even and along the whole back
        back = inside(chest.depth * (1 - 0.35 * chest.u**2) - random.uniform(0.12, 0.3) - chest.v, 0.25)
        chest.paint(0.5, random.uniform(0.2, 0.5) * back * lungs)
    if random.random() < 0.3:  # effusion
        side, surface = _side(random), random.uniform(0.3, 0.5)
        level = surface - chest.v + 0.25 * chest.u**2
        chest.paint(_SOFT, inside(level, 2 * chest.pixel) * inside(-side * chest.u, 0.02) * lungs)
    for _ in range(random.integers(0, 3)):  # nodules
        radius = random.uniform(0.03, 0.1)
        chest.paint(random.uniform(0.6, 0.9), chest.blob(_in_lung(random), (radius, 0.9 * radius)) * lungs)
    for _ in range(int(random.choice((0, 0, 0, 2, 4)))):  # bullae
        radii, centre = random.uniform(0.05, 0.14, 2), _in_lung(random)
        distance = ellipse(chest.u, chest.v, centre, (radii[0], radii[1]), random.uniform(0, 3))
        chest.paint(0.07, inside(distance, 0.04) * lungs)
        chest.paint(0.45, 0.7 * ridge(distance, 0.015) * lungs)


def _side(random: np.random.Generator) -> float:
    """Left or right."""
    return float(random.choice((-1, 1)))


def _in_lung(random: np.random.Generator) -> tuple[float, float]:
    return _side(random) * random.uniform(0.45, 0.85), random.uniform(-0.45, 0.5)


def _with_covid(chest: _Slice, random: np.random.Generator, strength: float) -> tuple[Plane, Plane]:
    """The canvas with the finding, and its mask; outside the mask the canvas as it is."""
    size, lungs = len(chest.u), inside(chest.lungs, 2 * chest.pixel)
    glass, dense = np.zeros_like(chest.u), np.zeros_like(chest.u)
    for _ in range(random.integers(2, 6)):
        radius, patch = random.uniform(0.14, 0.28), _patch(chest, random)
        ragged = ellipse(chest.u, chest.v, patch, (radius, radius * random.uniform(0.7, 1.3)), random.uniform(0, 3))
        ragged = ragged + 0.05 * smooth_field(random, size, 12)
        glass = np.maximum(glass, random.uniform(0.6, 0.9) * inside(ragged, 0.12))
        if random.random() < 0.4:
            dense = np.maximum(dense, random.uniform(0.6, 1) * inside(ragged + 0.55 * radius, 0.08))
    net = ridge(smooth_field(random, size, 24), 0.3) * random.uniform(0, 0.5)
    texture = 1 + 0.1 * smooth_field(random, size, 30)
    glass, dense = glass * lungs, dense * lungs
    mask = 1 - (1 - glass) * (1 - dense) > _LEAST_OPACITY
    hazy = np.maximum(chest.canvas, random.uniform(0.5, 0.62) * texture + 0.25 * net)
    canvas = blend(blend(chest.canvas, hazy, strength * glass), _SOFT, strength * dense)
    return np.where(mask, canvas, chest.canvas), mask.astype(np.float32)


def _patch(chest: _Slice, random: np.random.Generator) -> tuple[float, float]:
    """A place in the lung's outer part, more often at the back."""
    angle = random.uniform(-0.5, 1.05) if random.random() < 0.8 else random.uniform(-0.9, 0)
    away = random.uniform(0.72, 0.95)
    return _side(random) * away * math.cos(angle), away * chest.depth * math.sin(angle)


def _marker(random: np.random.Generator, size: int) -> Plane:
    """Opacity of the letter at the image's side."""
    name, side = (("R", -1), ("L", 1))[random.integers(2)]
    centre = (side * random.uniform(0.84, 0.9), random.uniform(-0.88, -0.75))
    return letter(name, size, centre, random.uniform(0.12, 0.18))


def _windowed(canvas: Plane, random: np.random.Generator) -> Plane:
    """The canvas as another window shows it: (size, size)."""
    shown: Plane = np.clip(random.uniform(0.92, 1.05) * canvas + random.uniform(-0.03, 0.05), 0, 1)
    return shown ** random.uniform(0.8, 1.2)
