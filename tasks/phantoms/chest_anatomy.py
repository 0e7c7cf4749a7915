"""The chest of a radiograph: its surfaces, organs, bones and vessels, and what lies on it that says nothing.

A chest is drawn in body coordinates (u to the right, v downwards; the lungs' outer edge about |u| = 1, their apex
about v = -1), as a sum of densities, which is what an X-ray beam adds up: soft tissue, less the air of the lungs and
the windpipe, plus heart, spine, ribs, clavicles, shoulder blades, breasts, what lies below the diaphragm, vessels
that branch from the hila. Distractors lie on it: calcified nodules, wires, electrodes, a line of print, a fold of
skin as faint and wide as ground glass.
"""

import math
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from .marks import print_line
from .shapes import Plane, coordinates, ellipse, inside, ridge, smooth_field, strokes


class Heart(NamedTuple):
    """The ellipse of a heart, in body coordinates; angle: radians."""

    centre: tuple[float, float]
    radii: tuple[float, float]
    angle: float


@dataclass
class Chest:
    """A chest being drawn: its coordinates, its lungs (distances, negative inside), the densities so far."""

    u: Plane
    v: Plane
    pixel: float
    """Width of a pixel in body coordinates."""
    domes: tuple[float, float]
    """v of the diaphragm's domes, left and right in the image."""
    heart: Heart
    lungs: Plane = field(init=False)
    cage: Plane = field(init=False)
    below: Plane = field(init=False)
    """How far below the diaphragm."""
    air: Plane = field(init=False)
    """By how much the lungs' air lowers the density."""
    density: Plane = field(init=False)

    @staticmethod
    def draw(random: np.random.Generator, size: int) -> "Chest":
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


def _posed(random: np.random.Generator, size: int) -> Chest:
    """A chest's coordinates and surfaces: moved, turned, stretched and bent, so that no two chests are alike."""
    x, y = coordinates(size)
    wide, high, turn = random.uniform(0.64, 0.84), random.uniform(0.58, 0.76), random.normal(0, 0.04)
    right, down = x - random.normal(0, 0.05), y - random.uniform(-0.08, 0.12)
    u: Plane = (math.cos(turn) * right + math.sin(turn) * down) / wide + 0.025 * smooth_field(random, size, 4)
    v: Plane = (math.cos(turn) * down - math.sin(turn) * right) / high + 0.025 * smooth_field(random, size, 4)
    dome = random.uniform(0.55, 0.85)
    domes, slope = (dome, dome + random.uniform(-0.03, 0.12)), random.uniform(0.5, 1.0)
    heart = Heart((random.uniform(0.1, 0.2), dome - random.uniform(0.15, 0.3)),
                  (random.uniform(0.42, 0.58), random.uniform(0.36, 0.46)), random.uniform(0.4, 0.7))  # fmt: skip
    chest = Chest(u, v, 2 / size / wide, domes, heart)
    lateral = abs(u)
    low = np.where(v > 0.25, 0.25 + 0.55 * (v - 0.25), v)
    chest.cage = ellipse(lateral, low, (0.45, 0.25), (0.55, 1.25))
    chest.below = v - np.where(u < 0, *domes) - slope * (lateral - 0.4) ** 2
    knob = 0.07 * ridge(v + random.uniform(0.35, 0.5), 0.13) * (u > 0)  # of the aorta
    widening = 0.3 * np.clip(v + 0.3, 0, 1) ** 2 * np.where(u > 0, 1.0, 0.5)
    middle = lateral - random.uniform(0.13, 0.2) - knob - widening
    chest.lungs = np.maximum.reduce([chest.cage, chest.below, -ellipse(u, v, *heart), -middle])
    return chest


def _draw_body(chest: Chest, random: np.random.Generator) -> None:
    """Soft tissue about the lungs' air; darkness beside the body."""
    lateral, v = abs(chest.u), chest.v
    waist, slope = random.uniform(1.18, 1.34), random.uniform(0.12, 0.35)
    shoulders = np.maximum(lateral - waist - 0.5 * inside(v + random.uniform(0.2, 0.7), 0.5), slope * lateral - v - 1.3)
    neck = np.maximum(lateral - random.uniform(0.3, 0.42), v)
    thickness = random.uniform(0.5, 0.58) - 0.14 * np.minimum(chest.u, 1.5) ** 2
    chest.density = np.clip(thickness, 0.2, 1) * inside(np.minimum(shoulders, neck), 0.12)
    chest.add(random.uniform(0.06, 0.2), inside(-chest.below, 0.1) * inside(lateral - 1.2, 0.2))
    chest.air = random.uniform(0.3, 0.38) * (inside(chest.lungs, 0.09) * (0.9 + 0.1 * np.clip(-v, -1, 1)))
    chest.add(-1, chest.air)
    chest.add(0.03, smooth_field(random, len(v), 5))


def _draw_organs(chest: Chest, random: np.random.Generator) -> None:
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


def _draw_bones(chest: Chest, random: np.random.Generator) -> None:
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


def _draw_vessels(chest: Chest, random: np.random.Generator) -> None:
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


def draw_distractors(chest: Chest, random: np.random.Generator) -> None:
    """What says nothing about the class: drawn alike for every class."""
    for _ in range(random.integers(0, 4)):  # calcified nodules
        radius = random.uniform(0.025, 0.06)
        centre = (either_side(random) * random.uniform(0.3, 0.85), random.uniform(-0.7, 0.6))
        chest.add(random.uniform(0.1, 0.25), chest.blob(centre, (radius, radius * random.uniform(0.7, 1)), edge=0.03))
    if random.random() < 0.5:  # a fold of skin: faint and wide, one edge sharp
        edge = chest.u * math.cos(turn := random.uniform(-0.6, 0.6)) + chest.v * math.sin(turn)
        edge = edge - either_side(random) * random.uniform(0.4, 0.8)
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
        chest.add(0.5, print_line(random, size, (left, either_side(random) * random.uniform(0.82, 0.93)), 0.4))


def either_side(random: np.random.Generator) -> float:
    """Left or right."""
    return float(random.choice((-1, 1)))
