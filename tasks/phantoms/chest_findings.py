"""Findings of the chest: what each adds to the density of a radiograph.

- Atelectasis: one or two dense plates across the lower part of one lung, whose diaphragm is raised;
- cardiomegaly: the heart is wider than half the chest, and denser;
- consolidation: one dense patch in one lung, ending sharply at a fissure on one side, airways dark in it;
- edema: haze about both hila like a bat's wings, in it vessels wide and blurred, short lines at the lungs' lower edges;
- effusion: fluid fills the angle between diaphragm and ribs, on one side or both, and climbs along the ribs;
- ground glass: several hazy patches in both lungs, peripheral and low, vessels and ribs seen through them;
- interstitial: a fine net about both hila.

All lie in the lungs, but for the heart, which also grows over what is not lung.
"""

import math

import numpy as np

from .chest_anatomy import Chest, either_side
from .shapes import Plane, ellipse, inside, ridge, smooth_field, strokes

_LEAST_SHARE = 0.1


def finding(name: str, chest: Chest, random: np.random.Generator) -> tuple[Plane, Plane]:
    """What a finding adds to the density, and its mask: where it adds more than a tenth of what it adds at most.

    Elsewhere it adds nothing at all.
    """
    where = np.maximum(chest.cage, chest.below) if name == "cardiomegaly" else chest.lungs
    added = _FINDINGS[name](chest, random) * inside(where, 2 * chest.pixel)
    mask = (added > _LEAST_SHARE * added.max()).astype(np.float32)
    return added * mask, mask


def _ground_glass(chest: Chest, random: np.random.Generator) -> Plane:
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


def _consolidation(chest: Chest, random: np.random.Generator) -> Plane:
    size, side = len(chest.u), int(either_side(random))
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


def _interstitial(chest: Chest, random: np.random.Generator) -> Plane:
    size = len(chest.u)
    net = np.maximum(ridge(smooth_field(random, size, 27), 0.4), ridge(smooth_field(random, size, 33), 0.35))
    about = np.zeros_like(chest.u)
    for side in (-1, 1):
        centre = (side * random.uniform(0.38, 0.5), random.uniform(-0.1, 0.2))
        radii = (random.uniform(0.32, 0.45), random.uniform(0.45, 0.65))
        about = np.maximum(about, chest.blob(centre, radii, edge=0.3))
    return random.uniform(0.13, 0.21) * about * (0.15 + 0.85 * net)


def _atelectasis(chest: Chest, random: np.random.Generator) -> Plane:
    side = int(either_side(random))
    rise = random.uniform(0.1, 0.2)
    raised = inside(-chest.below - rise, 0.05) * inside(-side * chest.u, 0.05)
    dome = chest.domes[(side + 1) // 2] - rise
    ends = []
    for _ in range(random.integers(1, 3)):
        height = dome - random.uniform(0.12, 0.4)
        slope = random.uniform(-0.2, 0.3)
        ends.append([side * random.uniform(0.25, 0.35), height, side * random.uniform(0.75, 0.95), height + slope])
    plates = strokes(chest.u, chest.v, ends, random.uniform(0.035, 0.05))
    return 0.65 * chest.air * raised + random.uniform(0.18, 0.28) * plates * (1 - raised)


def _cardiomegaly(chest: Chest, random: np.random.Generator) -> Plane:
    (x, y), _, angle = chest.heart
    centre = (x + random.uniform(0.03, 0.09), y - random.uniform(0, 0.06))
    large = ellipse(chest.u, chest.v, centre, (random.uniform(0.7, 0.82), random.uniform(0.46, 0.56)), 0.9 * angle)
    thickness = random.uniform(0.14, 0.2) * float(chest.air.max())  # where the heart was already
    return (0.8 * chest.air + thickness) * inside(large, 0.07)


def _edema(chest: Chest, random: np.random.Generator) -> Plane:
    size, haze = len(chest.u), np.zeros_like(chest.u)
    cuffs, lines = [], []
    height = random.uniform(-0.15, 0.05)
    for side in (-1, 1):
        centre, radii = (
            (side * random.uniform(0.36, 0.44), height),
            (random.uniform(0.3, 0.4), random.uniform(0.4, 0.55)),
        )
        haze = np.maximum(haze, random.uniform(0.8, 1) * chest.blob(centre, radii, side * 0.3, edge=0.3))
        for angle in np.linspace(-1.1, 1.1, 5) + random.normal(0, 0.15, 5):  # vessels, wide and blurred
            reach = random.uniform(0.35, 0.5)
            tip = (side * (0.22 + reach * math.cos(angle)), height + reach * math.sin(angle))
            cuffs.append([side * 0.22, height, *tip])
        foot = chest.domes[(side + 1) // 2]
        for step in range(random.integers(4, 7)):  # Kerley's lines
            row = foot - 0.02 - 0.09 * step + random.normal(0, 0.01)
            lines.append([side * random.uniform(0.74, 0.8), row, side * 0.97, row + random.normal(0, 0.01)])
    mottled: Plane = np.clip(1 + 0.2 * smooth_field(random, size, 22), 0.5, 1.5)
    vessels = strokes(chest.u, chest.v, cuffs, 0.05)
    drawn = haze * mottled * (0.75 + 0.5 * vessels)
    return random.uniform(0.15, 0.22) * drawn + random.uniform(0.09, 0.13) * strokes(chest.u, chest.v, lines, 0.017)


def _effusion(chest: Chest, random: np.random.Generator) -> Plane:
    sides = (-1, 1) if random.random() < 0.3 else (int(either_side(random)),)
    fluid = np.zeros_like(chest.u)
    for side in sides:
        level = chest.domes[(side + 1) // 2] - random.uniform(0, 0.3)
        climb = random.uniform(0.2, 0.4) * np.exp(chest.cage / random.uniform(0.1, 0.16))
        fluid = np.maximum(fluid, inside(level - climb - chest.v, 0.07) * inside(-side * chest.u, 0.05))
    return (0.85 * chest.air + random.uniform(0.02, 0.05)) * fluid


_FINDINGS = {
    "atelectasis": _atelectasis,
    "cardiomegaly": _cardiomegaly,
    "consolidation": _consolidation,
    "edema": _edema,
    "effusion": _effusion,
    "ground_glass": _ground_glass,
    "interstitial": _interstitial,
}
