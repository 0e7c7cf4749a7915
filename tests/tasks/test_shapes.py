"""What phantoms are drawn with: exact distances, fields of unit deviation, lines."""

import numpy as np

from tasks.phantoms.shapes import coordinates, ellipse, generator, segments, smooth_field, strokes


def test_smooth_field_has_unit_deviation_at_every_size() -> None:
    for size in (32, 96):
        field = smooth_field(generator(0, 0, "field"), size, 30)
        assert abs(float(field.mean())) < 0.1
        assert 0.85 < float(field.std()) < 1.15


def test_ellipse_distance_is_exact_for_a_circle() -> None:
    x, y = coordinates(16)
    expected = ((x - 0.25) ** 2 + y**2) ** 0.5 - 0.5
    assert abs(ellipse(x, y, (0.25, 0), (0.5, 0.5), angle=1.0) - expected).max() < 1e-6


def test_segment_distance_is_that_to_the_nearest_of_its_points() -> None:
    x, y = coordinates(16)
    ends = [(-0.5, -0.25, 0.5, 0.75), (0.1, 0.2, 0.1, 0.2)]
    for (x0, y0, x1, y1), distance in zip(ends, segments(x, y, ends), strict=True):
        t = np.linspace(0, 1, 2001)[:, None, None]
        points = np.hypot(x - (x0 + t * (x1 - x0)), y - (y0 + t * (y1 - y0)))
        assert abs(distance - points.min(0)).max() < 1e-3
    opacity = strokes(x, y, ends, (0.1, 0.3))
    expected = np.exp(-((segments(x, y, ends) / np.array([0.1, 0.3])[:, None, None]) ** 2)).max(0)
    assert abs(opacity - expected).max() < 1e-5
