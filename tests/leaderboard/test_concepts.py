"""Sheets of concepts: what is in them, and what they refuse."""

import html

import numpy as np
import pytest
from matplotlib import rc_context
from PIL import Image

from leaderboard.pictures import concepts
from leaderboard.pictures.concepts import ConceptRow, Patch, concept_sheet

BLUE, RED = (0.0, 0.0, 1.0), (1.0, 0.0, 0.0)


def plain(colour, side):
    return np.tile(np.array(colour)[:, None, None], (1, side, side))


def row(layer="deep", title="channel 1", n_patches=3, heat=None):
    heat = np.ones((16, 16)) if heat is None else heat
    patches = [Patch(plain(RED, 4 + number), f"patch {number}") for number in range(n_patches)]
    return ConceptRow(layer, title, plain(BLUE, 16), heat, (2, 3, 8, 9), patches)


def drawn(rows, tmp_path):
    with Image.open(concept_sheet(rows, "title", tmp_path / "new" / "sheet.png")) as picture:
        return np.asarray(picture.convert("RGB")).astype(int)


def n_pixels(picture, colour):
    return int((np.abs(picture - np.array(colour) * 255).max(-1) < 8).sum())


def test_every_patch_and_every_image_is_there(tmp_path):
    one, two = drawn([row(n_patches=1)], tmp_path), drawn([row(n_patches=1), row(n_patches=3)], tmp_path)
    assert n_pixels(two, RED) == pytest.approx(4 * n_pixels(one, RED), rel=0.05)
    assert n_pixels(two, BLUE) == pytest.approx(2 * n_pixels(one, BLUE), rel=0.05)


def test_the_first_patch_is_framed_in_its_image(tmp_path):
    picture = drawn([row()], tmp_path)
    frame = np.argwhere(np.abs(picture - np.array([255, 176, 0])).max(-1) < 40)
    image = np.argwhere(np.abs(picture - np.array(BLUE) * 255).max(-1) < 8)
    top, left = image.min(0)
    pixel = (image.max(0)[0] - top + 1) / 16
    assert frame.min(0) == pytest.approx((top + 2 * pixel, left + 3 * pixel), abs=2)
    assert frame.max(0) == pytest.approx((top + 8 * pixel, left + 9 * pixel), abs=2)


def test_a_heat_map_keeps_its_sign(tmp_path):
    shades = {}
    for sign in (1, -1):
        picture = drawn([row(heat=sign * np.ones((16, 16)))], tmp_path)
        shades[sign] = picture[..., 0].astype(float).sum() - picture[..., 2].sum()
    assert shades[1] > shades[-1]


def test_a_layer_is_one_group(tmp_path):
    heights = [
        drawn([row(layer=layer) for layer in layers], tmp_path).shape[0]
        for layers in (("a", "a"), ("a", "b"), ("a", "a", "a"))
    ]
    heading, further = heights[1] - heights[0], heights[2] - heights[0]
    assert heading == pytest.approx(100 * concepts._HEADING, abs=1)
    assert further == pytest.approx(100 * (concepts._SIDE + concepts._CAPTION), abs=1)


def test_text_is_taken_as_it_is(tmp_path):
    """No mathematics between dollar signs, no markup."""
    with rc_context({"svg.fonttype": "none"}):
        path = concept_sheet([row(layer="a $x$ [b]", title="$c$ <d>")], "100 $ & more", tmp_path / "sheet.svg")
    text = html.unescape(path.read_text())
    for written in ("a $x$ [b]", "$c$ <d>", "100 $ & more"):
        assert written in text


@pytest.mark.parametrize("rows", [[], [row(n_patches=0)]])
def test_nothing_to_draw_is_refused(rows, tmp_path):
    with pytest.raises(ValueError, match="a row, and each row a patch"):
        concept_sheet(rows, "title", tmp_path / "sheet.png")
    assert not list(tmp_path.iterdir())
