"""Brain MRI phantoms: coronal, T1-weighted, contrast-enhanced slices with and without a tumour.

A slice is drawn in head coordinates (u to the right, v downwards, the skull's inside about the unit circle):
scalp, bone, face and orbits, brain with folds, ventricles and falx, vessels. On it lie distractors, drawn
alike for every class: a calcification as bright as a meningioma but inside the brain, a cyst as dark as a
glioma's core but without rim and oedema, a lump in the scalp, marrow below the sella, sinus and vessels. Then
the tumour:

- glioma: inside the brain; irregular; a bright rim about a dark core, soft dark oedema around;
- meningioma: broadly based on the skull's inside or the falx; round, sharp, evenly bright, with a dural tail;
- pituitary tumour: on the midline above the sella; small, round, evenly bright.

The mask is every pixel in which the tumour (rim, core, oedema, tail) has more than a tenth; the others are
left exactly as they were. Bias field, contrast and Rician noise come last, pixel by pixel, and do not know of
the tumour: with `evidence=False` the same slice is rendered without it, and is then drawn like `no_tumor`.
"""

import math
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from .base import Phantoms, Rendering
from .shapes import Plane, blend, coordinates, ellipse, generator, inside, rician, ridge, smooth_field

CLASSES = ("glioma_tumor", "meningioma_tumor", "pituitary_tumor", "no_tumor")

_BONE, _FLUID, _GREY, _WHITE, _FAT = 0.05, 0.11, 0.28, 0.42, 0.78
_LEAST_OPACITY = 0.1


@dataclass(frozen=True)
class BrainMRI(Phantoms):
    """Brain slices of four classes, in turn: glioma, meningioma, pituitary tumour, none.

    >>> sample = BrainMRI(n_samples=4, size=64)[0]
    >>> sample.id, tuple(sample.input.shape), bool(sample.mask.any())
    ('glioma_tumor-00000', (3, 64, 64), True)
    """

    class_names: ClassVar[tuple[str, ...]] = CLASSES

    def render(
        self,
        index: int,
        label: int,
        evidence: bool,
        shortcut: bool,  # noqa: ARG002  # has none
        surroundings: int,
    ) -> Rendering:
        head = _Head.draw(generator(self.seed, surroundings, "head"), self.size)
        _draw_distractors(head, generator(self.seed, surroundings, "distractors"))
        canvas, mask = head.canvas, np.zeros_like(head.canvas)
        if evidence and CLASSES[label] != "no_tumor":
            canvas, mask = _with_tumour(head, generator(self.seed, index, "tumour"), CLASSES[label])
        return Rendering(_scanned(canvas, generator(self.seed, surroundings, "scanner")), mask)


@dataclass
class _Head:
    """A head being drawn: its coordinates, the distances to its surfaces (negative inside), the canvas."""

    u: Plane
    v: Plane
    pixel: float
    """Width of a pixel in head coordinates."""
    base: float
    """v of the sella, where the brain ends on the midline."""
    skull: Plane = field(init=False)
    brain: Plane = field(init=False)
    canvas: Plane = field(init=False)

    @staticmethod
    def draw(random: np.random.Generator, size: int) -> "_Head":
        head = _posed(random, size)
        _draw_head(head, random)
        _draw_brain(head, random)
        return head

    def paint(self, colour: Plane | float, opacity: Plane) -> None:
        self.canvas = blend(self.canvas, colour, opacity)

    def blob(
        self, centre: tuple[float, float], radii: tuple[float, float], angle: float = 0.0, edge: float = 1.5
    ) -> Plane:
        """Opacity of an ellipse whose edge is `edge` pixels wide."""
        return inside(ellipse(self.u, self.v, centre, radii, angle), edge * self.pixel)


def _posed(random: np.random.Generator, size: int) -> _Head:
    """A head's coordinates: moved, turned, stretched and bent, so that no two heads are alike."""
    x, y = coordinates(size)
    scale, turn = random.uniform(0.56, 0.70), random.normal(0, 0.10)
    x0, y0 = random.normal(0, 0.05), random.uniform(-0.28, -0.12)
    cos, sin = math.cos(turn) / scale, math.sin(turn) / scale
    right, down = x - x0, y - y0
    u: Plane = (cos * right + sin * down) / random.uniform(0.92, 1.08)
    v: Plane = (cos * down - sin * right) / random.uniform(0.92, 1.08)
    u += 0.035 * smooth_field(random, size, 4)
    v += 0.035 * smooth_field(random, size, 4)
    head = _Head(u, v, pixel=2 / size / scale, base=random.uniform(0.42, 0.54))
    head.skull = ellipse(u, v, (0, 0), (1, 1))
    lobes = 0.13 * (1 - np.cos(5.5 * np.minimum(abs(u), 0.9)))
    head.brain = np.maximum(head.skull + 0.03, v - head.base - lobes)
    return head


def _draw_head(head: _Head, random: np.random.Generator) -> None:
    """Scalp, bone, the face below with its orbits and sinuses."""
    size = len(head.u)
    scalp, bone = random.uniform(0.08, 0.17), random.uniform(0.05, 0.10)
    jaw = ellipse(head.u, head.v, (0, 1.0), (random.uniform(0.75, 0.95), 1.1))
    outside = np.minimum(head.skull - (scalp + bone), jaw)
    head.canvas = np.zeros_like(head.u)
    fat = random.uniform(0.6, 0.85) + 0.10 * smooth_field(random, size, 9)
    head.paint(np.clip(fat, 0.3, 0.95), inside(outside, 2 * head.pixel))
    muscle = ridge(outside + 0.75 * scalp, 0.2 * scalp)
    head.paint(0.35, 0.7 * muscle)
    face = 0.34 + 0.13 * smooth_field(random, size, 16) + 0.09 * smooth_field(random, size, 34)
    head.paint(np.clip(face, 0.04, 0.8), inside(np.maximum(outside + scalp, 0.2 - head.v), 0.1))
    head.paint(_BONE, inside(np.maximum(head.skull - bone, head.v - 0.6), 2 * head.pixel))
    for side in (-1, 0, 1):  # the airways
        centre = (side * random.uniform(0.14, 0.24), random.uniform(0.85, 1.15))
        head.paint(0.03, head.blob(centre, (random.uniform(0.07, 0.12), random.uniform(0.12, 0.25)), edge=2.5))
    head.paint(_BONE, ridge(head.brain - 0.05, 0.04) * inside(0.2 - head.v, 0.2))


def _draw_brain(head: _Head, random: np.random.Generator) -> None:
    """Fluid, folded grey matter about white matter, ventricles, falx."""
    size, depth = len(head.u), -head.brain
    head.paint(_FLUID, inside(np.maximum(head.brain - 0.03, head.skull), 1.5 * head.pixel))
    folds = smooth_field(random, size, 19)
    shallow = inside(depth - 0.26, 0.35)
    grey = np.maximum(ridge(depth, 0.07), ridge(folds, 0.45) * shallow)
    tissue = blend(np.full_like(depth, random.uniform(0.9, 1.1) * _WHITE), random.uniform(0.9, 1.1) * _GREY, grey)
    tissue += 0.015 * smooth_field(random, size, 36) + 0.02 * smooth_field(random, size, 6)
    head.paint(tissue, inside(head.brain, 2 * head.pixel))
    head.paint(_FLUID, 0.8 * ridge(folds, 0.16) * shallow * inside(head.brain, head.pixel))
    head.paint(_FLUID, 0.7 * ridge(head.u, 0.025) * inside(head.v + 0.2, 0.1) * inside(head.brain, 0.02))
    falx = ridge(head.u, 0.012) * inside(head.v + 0.28, 0.1) * inside(head.skull, head.pixel)
    head.paint(random.uniform(0.4, 0.65), falx)
    width, height, tilt = random.uniform(0.05, 0.13), random.uniform(0.10, 0.2), random.uniform(0.3, 0.8)
    for side in (-1, 1):
        spread = width * random.uniform(1.0, 1.3) + 0.02
        head.paint(_FLUID, head.blob((side * spread, -0.12), (width, height), angle=side * tilt))
    head.paint(_FLUID, head.blob((0, 0.12), (random.uniform(0.015, 0.04), 0.12)))


def _draw_distractors(head: _Head, random: np.random.Generator) -> None:
    """What looks a little like a tumour and says nothing about the class: drawn alike for every class."""
    head.paint(random.uniform(0.55, 0.85), head.blob((0, -0.97), (random.uniform(0.05, 0.09), 0.07)))  # sinus
    head.paint(random.uniform(0.4, 0.55), head.blob((0, head.base + 0.02), (0.07, 0.04)))  # normal pituitary
    for _ in range(random.integers(3, 9)):  # vessels
        centre = (_side(random) * random.uniform(0.15, 0.75), random.uniform(0.0, 0.45))
        vessel = head.blob(centre, (random.uniform(0.02, 0.05), 0.025), angle=random.uniform(0, 3))
        head.paint(random.uniform(0.6, 0.9), vessel)
    for distractor, probability in _DISTRACTORS:
        if random.random() < probability:
            distractor(head, random)


def _orbits(head: _Head, random: np.random.Generator) -> None:
    """Fat about dark globes."""
    radius, height = random.uniform(0.14, 0.22), random.uniform(0.80, 0.95)
    for side in (-0.5, 0.5):
        head.paint(_FAT, head.blob((side, height), (1.2 * radius, radius), edge=4))
        head.paint(0.2, head.blob((side, height), (0.75 * radius, 0.75 * radius), edge=4))


def _marrow(head: _Head, random: np.random.Generator) -> None:
    """Below the sella, as bright as a pituitary tumour."""
    centre = (random.normal(0, 0.03), head.base + random.uniform(0.32, 0.45))
    colour, radii = random.uniform(0.6, 0.85), (random.uniform(0.1, 0.2), random.uniform(0.1, 0.16))
    head.paint(colour, head.blob(centre, radii))


def _lump(head: _Head, random: np.random.Generator) -> None:
    """In the scalp, as bright as a meningioma."""
    angle, radius = random.uniform(-2.8, -0.3), random.uniform(0.12, 0.25)
    centre = (1.13 * math.cos(angle), 1.13 * math.sin(angle))
    lump = head.blob(centre, (0.6 * radius, radius), angle, edge=3)
    head.paint(random.uniform(0.7, 0.9), lump * inside(0.09 - head.skull, head.pixel))


def _calcification(head: _Head, random: np.random.Generator) -> None:
    """Inside the brain, as bright as a meningioma."""
    radius = random.uniform(0.07, 0.15)
    radii, colour = (radius, radius * random.uniform(0.6, 1.0)), random.uniform(0.7, 0.9)
    head.paint(colour, head.blob(_inside_brain(random, 2 * radius), radii, random.uniform(0, 3)))


def _cyst(head: _Head, random: np.random.Generator) -> None:
    """Inside the brain, as dark as the core of a glioma."""
    radius = random.uniform(0.07, 0.16)
    radii = (radius, radius * random.uniform(0.7, 1.0))
    head.paint(_FLUID, head.blob(_inside_brain(random, 1.5 * radius), radii, random.uniform(0, 3)))


_DISTRACTORS = ((_orbits, 0.6), (_marrow, 0.5), (_lump, 0.4), (_calcification, 0.5), (_cyst, 0.5))
"""With the probability of each."""


def _side(random: np.random.Generator) -> float:
    """Left or right."""
    return float(random.choice((-1, 1)))


def _inside_brain(random: np.random.Generator, radius: float) -> tuple[float, float]:
    """A place off the midline from which a circle of this radius stays within the brain."""
    reach = 0.95 - radius
    angle = random.uniform(-1.25, 0.15)
    away = random.uniform(0.35, max(reach, 0.4))
    return _side(random) * away * math.cos(angle), away * math.sin(angle)


def _with_tumour(head: _Head, random: np.random.Generator, name: str) -> tuple[Plane, Plane]:
    """The canvas with the tumour, and its mask; outside the mask the canvas as it is."""
    layers = {
        "glioma_tumor": _glioma,
        "meningioma_tumor": _meningioma,
        "pituitary_tumor": _pituitary,
    }[name](head, random)
    canvas, clear = head.canvas, np.ones_like(head.canvas)
    for colour, opacity in layers:
        canvas = blend(canvas, colour, opacity)
        clear = clear * (1 - opacity)
    mask = clear < 1 - _LEAST_OPACITY
    return np.where(mask, canvas, head.canvas), mask.astype(np.float32)


_Layers = list[tuple[Plane | float, Plane]]


def _glioma(head: _Head, random: np.random.Generator) -> _Layers:
    size, radius = len(head.u), random.uniform(0.15, 0.27)
    centre = _inside_brain(random, 1.1 * radius)
    radii = (radius, radius * random.uniform(0.7, 1.0))
    distance = ellipse(head.u, head.v, centre, radii, random.uniform(0, 3))
    ragged = distance + 0.22 * radius * smooth_field(random, size, 12)
    soft = distance + 0.3 * radius * smooth_field(random, size, 8)
    brain = inside(head.brain, head.pixel)
    thickness = radius * random.uniform(0.16, 0.26)
    oedema = 0.85 * inside(soft - radius * random.uniform(0.35, 0.75), 0.5 * radius) * brain
    core = inside(ragged + thickness, 2 * head.pixel) * brain
    rim = ridge(ragged + thickness, thickness) * brain
    bright = random.uniform(0.65, 0.85) + 0.06 * smooth_field(random, size, 20)
    return [(random.uniform(0.17, 0.24), oedema), (random.uniform(0.08, 0.2), core), (bright, rim)]


def _meningioma(head: _Head, random: np.random.Generator) -> _Layers:
    size, radius = len(head.u), random.uniform(0.15, 0.27)
    bright = random.uniform(0.65, 0.85) + 0.015 * smooth_field(random, size, 20)
    if random.random() < 0.3:  # on the falx
        side = _side(random)
        centre = (side * 0.55 * radius, random.uniform(-0.75, -0.4))
        base, half = head.u, inside(-side * head.u, 2 * head.pixel)
    else:
        angle = random.uniform(-3.1, -0.05)
        away = 1 - random.uniform(0.35, 0.6) * radius
        centre = (away * math.cos(angle), away * math.sin(angle))
        base, half = head.skull + 0.015, np.ones_like(head.u)
    within = half * inside(head.skull, head.pixel)
    radii = (radius, radius * random.uniform(0.85, 1.0))
    distance = ellipse(head.u, head.v, centre, radii, random.uniform(0, 3))
    distance = distance + 0.05 * radius * smooth_field(random, size, 8)
    tail = ridge(base, 0.025) * inside(distance - random.uniform(0.4, 0.9) * radius, 0.5 * radius)
    cleft = 0.6 * ridge(distance - 0.03, 0.03) * within
    return [(_FLUID, cleft), (bright, tail * inside(head.skull, head.pixel)),
            (bright, inside(distance, 1.5 * head.pixel) * within)]  # fmt: skip


def _pituitary(head: _Head, random: np.random.Generator) -> _Layers:
    size, radius = len(head.u), random.uniform(0.12, 0.22)
    radii = (radius, radius * random.uniform(0.85, 1.25))
    centre = (random.normal(0, 0.025), head.base - random.uniform(0.2, 0.8) * radius)
    distance = ellipse(head.u, head.v, centre, radii, random.normal(0, 0.2))
    distance = distance + 0.06 * radius * smooth_field(random, size, 8)
    bright = random.uniform(0.6, 0.82) + 0.02 * smooth_field(random, size, 20)
    return [(bright, inside(distance, 1.5 * head.pixel))]


def _scanned(canvas: Plane, random: np.random.Generator) -> Plane:
    """What the scanner makes of it: bias field, contrast, noise; (size, size) in [0, 1]."""
    bias: Plane = np.exp(0.10 * smooth_field(random, len(canvas), 2))
    signal: Plane = np.clip(canvas, 0, None) ** random.uniform(0.85, 1.25) * bias
    noisy = rician(signal * random.uniform(0.8, 1.05), random, random.uniform(0.01, 0.035))
    return np.clip(noisy, 0, 1).astype(np.float32)
