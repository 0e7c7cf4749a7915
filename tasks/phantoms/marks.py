"""What people put on medical images: letters at the side, lines of print, rulers."""

import numpy as np

from .shapes import Plane, coordinates, inside, segments

_LETTERS = {
    "L": ((-0.5, -1, -0.5, 1), (-0.5, 1, 0.6, 1)),
    "R": ((-0.5, -1, -0.5, 1), (-0.5, -1, 0.3, -1), (0.3, -1, 0.6, -0.5), (0.6, -0.5, 0.3, 0), (0.3, 0, -0.5, 0),
          (0, 0, 0.6, 1)),
}  # fmt: skip
"""The strokes of a letter in a box of height 2: x0, y0, x1, y1 each."""


def letter(name: str, size: int, centre: tuple[float, float], height: float) -> Plane:
    """(size, size): the opacity of an upright L or R; centre and height in halves of the image's side."""
    x, y = coordinates(size)
    half = height / 2
    ends = np.asarray(_LETTERS[name]) * half + np.tile(centre, 2)
    return inside(segments(x, y, ends).min(0) - 0.2 * half, 3 / size)


def print_line(random: np.random.Generator, size: int, start: tuple[float, float], length: float) -> Plane:
    """(size, size): the opacity of a line of print too small to read; start: its left end."""
    x, y = coordinates(size)
    cells = np.arange(start[0], start[0] + length, 0.045)
    ends = [(left, start[1] - random.uniform(0, 0.025), left + 0.015, start[1] + 0.02) for left in cells]
    return 0.8 * inside(segments(x, y, ends).min(0) - 0.008, 2 / size)


def ruler(size: int, start: tuple[float, float], angle: float, length: float) -> Plane:
    """(size, size): the opacity of a scale with ticks, every fifth of them longer; angle: radians."""
    x, y = coordinates(size)
    along, across = np.array([np.cos(angle), np.sin(angle)]), np.array([np.sin(angle), -np.cos(angle)])
    origin, n_ticks = np.asarray(start), 11
    ends = [np.r_[origin, origin + length * along]]
    for tick in range(n_ticks):
        foot = origin + tick / (n_ticks - 1) * length * along
        ends.append(np.r_[foot, foot + (0.09 if tick % 5 == 0 else 0.05) * across])
    return inside(segments(x, y, np.asarray(ends)).min(0) - 0.006, 2.5 / size)
