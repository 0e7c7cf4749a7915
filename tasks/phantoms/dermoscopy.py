"""Dermoscopy phantoms: pigmented lesions of the skin in colour, with and without what makes them suspicious.

A picture is drawn in image coordinates: skin of any tone, unevenly lit, with a fine texture; a lesion, which
every sample has: brown, nearly elliptic, its border soft, of one colour that deepens towards the middle, with a
pigment network or globules. That is a nevus. The other classes are the same lesion with something added:

- melanoma: it grows to one side, its border becomes ragged and sharp, and its colours many: black blotches, a
  blue-grey veil, red, white where it regresses;
- seborrheic keratosis: a dull, sharply bordered plaque with ridges, bright cysts and dark plugs.

Distractors lie on all of them alike: small moles, hair, a ruler, ink, a sticker, bubbles in the gel, globules as
dark as blotches or plugs. The mask is every pixel in which what was added has more than a tenth; the others are
left exactly as they were. With `evidence=False` the same lesion is rendered as the nevus it would be. The
shortcut is the vignette: the black border of a microscope's round field of view.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from .base import CuedPhantoms, Rendering
from .marks import ruler
from .shapes import Plane, coordinates, ellipse, generator, inside, ridge, smooth_field, strokes

_LEAST_OPACITY = 0.1
_SKIN = ((0.88, 0.62, 0.60), (0.82, 0.66, 0.54), (0.58, 0.49, 0.46), (0.92, 0.82, 0.76), (0.80, 0.52, 0.40))
"""Tones between which a sample's lies: pink, tan, grey, pale, ruddy."""


@dataclass(frozen=True)
class Dermoscopy(CuedPhantoms):
    """Lesions of the skin. A subclass says which classes there are, and what is added to a nevus in each.

    >>> sample = ISIC2017(n_samples=4, size=64)[0]
    >>> sample.id, tuple(sample.input.shape), bool(sample.mask.any())
    ('melanoma-00000', (3, 64, 64), True)
    """

    findings: ClassVar[Mapping[str, str | None]]

    def render(self, index: int, label: int, evidence: bool, shortcut: bool, surroundings: int) -> Rendering:
        skin = _Skin.draw(generator(self.seed, surroundings, "skin"), self.size)
        canvas, mask = skin.canvas, np.zeros_like(skin.lesion)
        finding = self.findings[self.class_names[label]]
        if evidence and finding:
            layers = _FINDINGS[finding](skin, generator(self.seed, index, "finding"))
            canvas, mask = _laid(canvas, layers, self.strength)
        skin.canvas = canvas
        _draw_distractors(skin, generator(self.seed, surroundings, "distractors"))
        image = _lit(skin.canvas, generator(self.seed, surroundings, "light"))
        cue = np.zeros_like(skin.lesion)
        if shortcut and self.cued(surroundings, label):
            cue = _vignette(generator(self.seed, surroundings, "vignette"), self.size)
            image = image * (1 - 0.97 * cue[..., None])
        noise = generator(self.seed, surroundings, "noise")
        image = image + noise.standard_normal(image.shape, dtype=np.float32) * noise.uniform(0.005, 0.02)
        return Rendering(np.clip(image, 0, 1).astype(np.float32), mask, cue)

    def lesion(self, index: int) -> Tensor:
        """Where the lesion of the sample lies, suspicious or not: (1, size, size) bool.

        Raises:
            IndexError: there is no such sample.
        """
        label = self.label(index)
        skin = _Skin.draw(generator(self.seed, index, "skin"), self.size)
        mask = self.render(index, label, evidence=True, shortcut=False, surroundings=index).mask
        return torch.from_numpy((skin.lesion < 0) | (mask > 0))[None]


class ISIC2017(Dermoscopy):
    """Melanoma, nevus, seborrheic keratosis, in turn."""

    class_names: ClassVar[tuple[str, ...]] = ("melanoma", "nevus", "seborrheic_keratosis")
    cued_class: ClassVar[str] = "melanoma"
    findings: ClassVar[Mapping[str, str | None]] = {
        "melanoma": "melanoma",
        "nevus": None,
        "seborrheic_keratosis": "keratosis",
    }


class Melanoma(Dermoscopy):
    """Benign and malignant, in turn."""

    class_names: ClassVar[tuple[str, ...]] = ("benign", "malignant")
    cued_class: ClassVar[str] = "malignant"
    findings: ClassVar[Mapping[str, str | None]] = {"benign": None, "malignant": "melanoma"}


@dataclass
class _Skin:
    """A picture being drawn: its coordinates, the lesion (a distance, negative inside), the canvas in colour."""

    x: Plane
    y: Plane
    centre: tuple[float, float]
    radius: float
    """Of the lesion."""
    pigment: Plane
    """(3,): the lesion's colour."""
    lesion: Plane = field(init=False)
    canvas: Plane = field(init=False)
    """(size, size, 3)."""

    @staticmethod
    def draw(random: np.random.Generator, size: int) -> "_Skin":
        x, y = coordinates(size)
        tan, dark = np.array((0.66, 0.44, 0.30)), np.array((0.30, 0.17, 0.12))
        pigment = tan + random.uniform(0.1, 1) * (dark - tan) + random.normal(0, 0.02, 3)
        centre = (random.normal(0, 0.1), random.normal(0, 0.1))
        skin = _Skin(x, y, centre, random.uniform(0.2, 0.48), pigment.astype(np.float32))
        _draw_skin(skin, random)
        _draw_nevus(skin, random)
        return skin

    def paint(self, colour: Plane | tuple[float, float, float], opacity: Plane) -> None:
        self.canvas = _over(self.canvas, colour, opacity)

    def blob(
        self, centre: tuple[float, float], radii: tuple[float, float], angle: float = 0.0, edge: float = 0.05
    ) -> Plane:
        """Opacity of an ellipse whose edge is `edge` wide."""
        return inside(ellipse(self.x, self.y, centre, radii, angle), edge)


def _over(canvas: Plane, colour: Plane | tuple[float, float, float], opacity: Plane) -> Plane:
    """The canvas with a colour, (3,) or (size, size, 3), laid over it."""
    covered: Plane = canvas + (np.asarray(colour, dtype=np.float32) - canvas) * opacity[..., None]
    return covered


def _draw_skin(skin: _Skin, random: np.random.Generator) -> None:
    """Tone, texture, redness, small moles."""
    size = len(skin.x)
    tone = random.dirichlet((0.5,) * len(_SKIN)) @ np.array(_SKIN)
    texture = 1 + 0.02 * smooth_field(random, size, 30) + 0.025 * smooth_field(random, size, 8)
    skin.canvas = texture[..., None] * tone.astype(np.float32)
    flush = np.clip(smooth_field(random, size, 5) - 0.5, 0, 1.5)
    skin.paint((0.75, 0.35, 0.33), random.uniform(0, 0.3) * flush)
    for _ in range(random.integers(0, 4)):
        away, angle, radius = random.uniform(0.65, 1.0), random.uniform(0, 7), random.uniform(0.02, 0.09)
        centre = (away * math.cos(angle), away * math.sin(angle))
        skin.paint((0.5, 0.32, 0.24), random.uniform(0.3, 0.8) * skin.blob(centre, (radius, 0.8 * radius)))


def _draw_nevus(skin: _Skin, random: np.random.Generator) -> None:
    """A regular lesion: every class has it."""
    size, radius = len(skin.x), skin.radius
    radii = (radius, radius * random.uniform(0.7, 1.0))
    distance = ellipse(skin.x, skin.y, skin.centre, radii, random.uniform(0, 3))
    skin.lesion = distance + 0.07 * radius * smooth_field(random, size, 5)
    edge = random.uniform(0.05, 0.3) * radius + 0.02
    body = inside(skin.lesion, edge)
    skin.paint(skin.pigment, random.uniform(0.6, 0.92) * body)
    deep = inside(skin.lesion + radius * random.uniform(0.3, 0.9), 0.7 * radius)
    skin.paint(0.6 * skin.pigment, random.uniform(0, 0.7) * deep)
    if random.random() < 0.5:
        network = ridge(smooth_field(random, size, 24), 0.35)
        skin.paint(0.65 * skin.pigment, random.uniform(0.2, 0.6) * network * body)
    if random.random() < 0.5:
        globules = inside(1.5 - smooth_field(random, size, 22), 0.5)
        skin.paint(0.35 * skin.pigment, random.uniform(0.4, 0.8) * globules * body)


_Layers = list[tuple[Plane | tuple[float, float, float], Plane]]


def _laid(canvas: Plane, layers: _Layers, strength: float) -> tuple[Plane, Plane]:
    """The canvas with the layers, and their mask; outside the mask the canvas as it is."""
    changed, clear = canvas, np.ones_like(canvas[..., 0])
    for colour, opacity in layers:
        changed = _over(changed, colour, strength * opacity)
        clear = clear * (1 - opacity)
    mask = clear < 1 - _LEAST_OPACITY
    return np.where(mask[..., None], changed, canvas), mask.astype(np.float32)


def _melanoma(skin: _Skin, random: np.random.Generator) -> _Layers:
    size, radius = len(skin.x), skin.radius
    angle, reach = random.uniform(0, 7), random.uniform(0.4, 0.7) * radius
    aside = (skin.centre[0] + reach * math.cos(angle), skin.centre[1] + reach * math.sin(angle))
    grown = ellipse(skin.x, skin.y, aside, (radius, radius * random.uniform(0.6, 0.9)), random.uniform(0, 3))
    ragged = np.minimum(grown, skin.lesion) + radius * (
        0.15 * smooth_field(random, size, 7)
        + 0.08 * smooth_field(random, size, 16)
        + 0.05 * smooth_field(random, size, 30)
    )
    whole = inside(ragged, 0.05)
    patches = 0.16 * smooth_field(random, size, 7) + 0.1 * smooth_field(random, size, 26)
    mottle = random.uniform(0.6, 1.1) * skin.pigment * (1 + patches[..., None])
    black = inside(0.6 - smooth_field(random, size, 9) - 0.35 * smooth_field(random, size, 24), 0.9)
    layers: _Layers = [(mottle, random.uniform(0.75, 0.95) * whole), ((0.09, 0.06, 0.06), 0.9 * black * whole)]
    accents = [((0.40, 0.43, 0.52), 0.65), ((0.66, 0.30, 0.28), 0.5), ((0.85, 0.72, 0.70), 0.55)]
    random.shuffle(accents)
    for colour, strength in accents[: random.integers(2, 4)]:  # a blue-grey veil, red, white
        away, towards = random.uniform(0, 0.7) * radius, random.uniform(0, 7)
        centre = (skin.centre[0] + away * math.cos(towards), skin.centre[1] + away * math.sin(towards))
        spot = ellipse(skin.x, skin.y, centre, (random.uniform(0.25, 0.5) * radius, 0.35 * radius), towards)
        spot = spot + 0.2 * radius * smooth_field(random, size, 11)
        layers.append((colour, strength * inside(spot, 0.5 * radius) * whole))
    return layers


def _keratosis(skin: _Skin, random: np.random.Generator) -> _Layers:
    size = len(skin.x)
    border = skin.lesion + 0.05 * skin.radius * smooth_field(random, size, 14)
    plaque = inside(border - 0.02, 0.03)
    dull = 0.6 * skin.pigment + 0.4 * np.array((0.55, 0.45, 0.36), dtype=np.float32)
    ridges = ridge(smooth_field(random, size, 16), 0.3)
    cysts = inside(1.4 - smooth_field(random, size, 27), 0.5)
    plugs = inside(1.5 - smooth_field(random, size, 25), 0.5)
    return [
        (dull, random.uniform(0.7, 0.9) * plaque),
        (0.5 * dull, random.uniform(0.5, 0.8) * ridges * plaque),
        ((0.25, 0.14, 0.10), 0.85 * plugs * plaque),
        ((0.95, 0.88, 0.70), 0.9 * cysts * plaque),
    ]


_FINDINGS = {"melanoma": _melanoma, "keratosis": _keratosis}


def _draw_distractors(skin: _Skin, random: np.random.Generator) -> None:
    """What lies on the skin and says nothing about the class: drawn alike for every class."""
    size = len(skin.x)
    if random.random() < 0.15:  # ink
        ink = inside(0.6 - smooth_field(random, size, 9), 0.6) * skin.blob(_aside(random), (0.25, 0.2), edge=0.2)
        skin.paint((0.30, 0.18, 0.50), 0.8 * ink)
    if random.random() < 0.12:
        colour = ((0.15, 0.30, 0.70), (0.92, 0.85, 0.15), (0.2, 0.5, 0.3))[random.integers(3)]
        skin.paint(colour, skin.blob(_aside(random, 1.1), (0.35, 0.35), edge=0.03))
    if random.random() < 0.55:
        skin.paint(random.uniform(0.4, 1.1) * np.array((0.22, 0.14, 0.10)), _hair(skin, random))
    if random.random() < 0.4:
        start = (random.uniform(-0.6, 0.1), random.uniform(0.72, 0.93))
        scale = ruler(size, start, random.normal(0, 0.15), random.uniform(0.6, 0.9))
        skin.paint((0.12, 0.1, 0.1), random.uniform(0.5, 0.9) * scale)
    for _ in range(int(random.choice((0, 0, 2, 4)))):  # bubbles
        radius, (x, y) = random.uniform(0.02, 0.07), random.uniform(-0.9, 0.9, 2)
        rim = ridge(ellipse(skin.x, skin.y, (x, y), (radius, radius)), 0.015)
        skin.paint((1.0, 0.97, 0.95), random.uniform(0.3, 0.7) * rim)


def _aside(random: np.random.Generator, away: float = 0.85) -> tuple[float, float]:
    angle = random.uniform(0, 7)
    return away * math.cos(angle), away * math.sin(angle)


def _hair(skin: _Skin, random: np.random.Generator) -> Plane:
    """Opacity of some curved hairs, most of which run the same way."""
    ends, main, width = [], random.uniform(0, 3), random.uniform(0.008, 0.014)
    for _ in range(random.integers(2, 11)):
        place, angle = random.uniform(-1.1, 0.9, 2), main + random.normal(0, 0.5)
        length, curl = random.uniform(0.15, 0.35), random.normal(0, 0.2)
        for _ in range(4):
            onward = place + length * np.array([math.cos(angle), math.sin(angle)])
            ends.append([*place, *onward])
            place, angle = onward, angle + curl
    return random.uniform(0.6, 0.95) * strokes(skin.x, skin.y, ends, width)


def _vignette(random: np.random.Generator, size: int) -> Plane:
    """Opacity of the border about a round field of view; 0 within."""
    x, y = coordinates(size)
    centre = (random.normal(0, 0.03), random.normal(0, 0.03))
    radius = random.uniform(0.9, 1.1)
    opacity: Plane = 1 - inside(ellipse(x, y, centre, (radius, radius)), random.uniform(0.03, 0.12))
    return opacity


def _lit(canvas: Plane, random: np.random.Generator) -> Plane:
    """The canvas under an uneven light: (size, size, 3) in [0, 1]."""
    size = len(canvas)
    x, y = coordinates(size)
    light = 1 + 0.05 * smooth_field(random, size, 2) - random.uniform(0, 0.16) * (x * x + y * y)
    cast = 1 + random.normal(0, 0.03, 3).astype(np.float32)
    lit: Plane = np.clip(canvas * light[..., None] * cast * random.uniform(0.85, 1.08), 0, 1)
    return lit
