"""What every phantom is drawn with: seeded generators, coordinates, smooth fields, soft shapes, noise.

Lengths are fractions of half the image's side: an image spans [-1, 1] in x (to the right) and y (downwards),
so that a phantom is the same picture at every size. Arrays are (size, size) float32, and stay so where all
scalars are Python's own.
"""

import math
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Plane = NDArray[np.floating[Any]]
"""(size, size) float32: values, distances or opacities, one a pixel."""


def generator(seed: int, index: int, part: str) -> np.random.Generator:
    """The random numbers of one part of one sample: no other part's drawing changes them.

    >>> first, again = generator(1, 2, "head"), generator(1, 2, "head")
    >>> bool(first.random() == again.random())
    True
    """
    return np.random.default_rng([seed, index, *part.encode()])


@lru_cache(maxsize=8)
def coordinates(size: int) -> tuple[Plane, Plane]:
    """The x and y of every pixel's centre, read-only."""
    ticks = (2 * np.arange(size, dtype=np.float32) + 1) / size - 1
    x: Plane = np.broadcast_to(ticks, (size, size))
    return x, x.T


@lru_cache(maxsize=64)
def _spline_basis(size: int, cells: int) -> Plane:
    """(size, cells + 3): the uniform cubic B-splines over `cells` cells at every pixel's centre."""
    position = (np.arange(size) + 0.5) / size * cells
    cell = np.minimum(position.astype(int), cells - 1)
    t = position - cell
    pieces = ((1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3)
    basis = np.zeros((size, cells + 3), dtype=np.float32)
    for offset, piece in enumerate(pieces):
        basis[np.arange(size), cell + offset] = piece / 6
    return basis


def smooth_field(random: np.random.Generator, size: int, cells: int) -> Plane:
    """A smooth random field of mean 0 and deviation about 1, its hills about 1 / cells of the side wide.

    A cubic B-spline through random coefficients: the same hills at every size.
    """
    basis = _spline_basis(size, cells)
    coefficients = random.standard_normal((cells + 3, cells + 3), dtype=np.float32)
    field: Plane = 2.08 * (basis @ coefficients @ basis.T)  # the splines' own deviation is 0.48
    return field


def ellipse(x: Plane, y: Plane, centre: tuple[float, float], radii: tuple[float, float], angle: float = 0.0) -> Plane:
    """About the signed distance to an ellipse's edge, negative inside, exact for a circle; angle: radians."""
    cos, sin = math.cos(angle), math.sin(angle)
    right, down = x - float(centre[0]), y - float(centre[1])
    across = (cos * right + sin * down) / float(radii[0])
    along = (cos * down - sin * right) / float(radii[1])
    distance: Plane = (np.sqrt(across * across + along * along) - 1) * float(min(radii))
    return distance


def inside(distance: Plane, edge: float) -> Plane:
    """Opacity of what lies inside: 1 where the distance is below -edge / 2, 0 above edge / 2."""
    t = np.clip(0.5 - distance / edge, 0, 1)
    opacity: Plane = t * t * (3 - 2 * t)
    return opacity


def ridge(distance: Plane, width: float) -> Plane:
    """Opacity of a line along distance 0: 1 on it, falling to 1/e at `width`."""
    scaled = distance / width
    opacity: Plane = np.exp(-scaled * scaled)
    return opacity


def segments(x: Plane, y: Plane, ends: ArrayLike) -> Plane:
    """(n, size, size): the distance to each of n straight lines; ends: (n, 4), as x0, y0, x1, y1 each."""
    distance: Plane = np.sqrt(_squared(x, y, ends))
    return distance


def _squared(x: Plane, y: Plane, ends: ArrayLike) -> Plane:
    x0, y0, x1, y1 = np.asarray(ends, dtype=np.float32).T[:, :, None, None]
    across, along = x1 - x0, y1 - y0
    length = np.maximum(across**2 + along**2, 1e-12)
    right, down = x - x0, y - y0
    t = np.clip(right * (across / length) + down * (along / length), 0, 1)
    right -= t * across
    down -= t * along
    right *= right
    down *= down
    squared: Plane = right + down
    return squared


def strokes(x: Plane, y: Plane, ends: ArrayLike, widths: ArrayLike) -> Plane:
    """(size, size): the opacity of n straight lines, soft as `ridge`; widths: (n,) or one for all."""
    squared = _squared(x, y, ends)
    squared *= np.asarray(widths, dtype=np.float32).reshape(-1, 1, 1) ** -2
    opacity: Plane = np.exp(-squared.min(0))
    return opacity


def blend(canvas: Plane, colour: Plane | float, opacity: Plane) -> Plane:
    """The canvas with a colour laid over it."""
    blended: Plane = canvas + (np.asarray(colour, dtype=np.float32) - canvas) * opacity
    return blended


def rician(canvas: Plane, random: np.random.Generator, deviation: float) -> Plane:
    """The magnitude of a complex signal with Gaussian noise in both channels, as a scanner records it [1].

    [1] Gudbjartsson and Patz, The Rician distribution of noisy MRI data, MRM 1995.
    """
    noise = random.standard_normal((2, *canvas.shape), dtype=np.float32) * deviation
    magnitude: Plane = np.hypot(canvas + noise[0], noise[1])
    return magnitude
