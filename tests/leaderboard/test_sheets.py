"""Contact sheets of images: every picture is drawn where it belongs, outlined, and wrong shapes are named."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from leaderboard.pictures.sheets import EVIDENCE, SHORTCUT, Row, Tile, sheet, wrapped
from leaderboard.style import Style

SIDE = 96
RED, BLUE = np.zeros((3, SIDE, SIDE)), np.zeros((3, SIDE, SIDE))
RED[0], BLUE[2] = 1, 1
MASK = np.zeros((SIDE, SIDE), dtype=bool)
MASK[30:60, 30:60] = True
NOWHERE = np.zeros((SIDE, SIDE), dtype=bool)


def pixels(path: Path) -> np.ndarray:
    return np.asarray(imread(path))[..., :3]


def count(image: np.ndarray, colour: tuple[float, float, float]) -> int:
    return int((abs(image - colour).max(axis=-1) < 0.02).sum())


@pytest.mark.parametrize("suffix", [".png", ".pdf"])
def test_a_sheet_is_written_in_a_new_folder(suffix: str, tmp_path: Path) -> None:
    rows = [Row("a_$ title", [Tile(RED, "cap_$tion"), Tile(BLUE[:, :20, :20])]), Row("shorter", [Tile(BLUE)])]
    path = sheet(rows, tmp_path / "new" / f"sheet{suffix}", {EVIDENCE: "evidence"})
    assert path.read_bytes()[:4] == (b"\x89PNG" if suffix == ".png" else b"%PDF")


def test_rows_go_down_and_columns_to_the_right_pixel_for_pixel(tmp_path: Path) -> None:
    image = pixels(sheet([Row("", [Tile(RED), Tile(BLUE)]), Row("", [Tile(BLUE)])], tmp_path / "sheet.png"))
    centre = {
        colour: np.argwhere(abs(image - colour).max(axis=-1) < 0.02).mean(axis=0) for colour in [(1, 0, 0), (0, 0, 1)]
    }
    assert (centre[1, 0, 0] < centre[0, 0, 1]).tolist() == [True, True]
    assert count(image, (1, 0, 0)) > 0.95 * SIDE * SIDE
    assert count(image, (0, 0, 1)) > 2 * 0.95 * SIDE * SIDE


def test_headings_scale_and_captions_take_room_and_cover_no_picture(tmp_path: Path) -> None:
    rows = [Row("", [Tile(RED), Tile(RED, "a caption that needs more lines than one")]), Row("a line of text", [])]
    plain = pixels(sheet([Row("", [Tile(RED), Tile(RED)])], tmp_path / "plain.png"))
    full = pixels(sheet(rows, tmp_path / "full.png", {SHORTCUT: "x"}, headings=("one", "two words"), signed=True))
    assert full.shape[0] > plain.shape[0] + 50
    assert full.shape[1] == plain.shape[1]
    assert abs(count(full, (1, 0, 0)) - count(plain, (1, 0, 0))) < 0.02 * count(plain, (1, 0, 0))
    tall = pixels(sheet(rows, tmp_path / "tall.png", cell=2.0))
    assert count(tall, (1, 0, 0)) > 3.9 * count(plain, (1, 0, 0))


def test_outlines_have_their_colours_where_the_mask_ends(tmp_path: Path) -> None:
    def drawn(outlines: dict[str, np.ndarray]) -> np.ndarray:
        black = np.zeros((3, SIDE, SIDE))
        return pixels(sheet([Row("", [Tile(black, "", outlines)])], tmp_path / "sheet.png"))[:SIDE, -100:]

    green = drawn({EVIDENCE: MASK})
    green = (green[..., 1] > green[..., 0] + 0.1) & (green[..., 1] > green[..., 2] + 0.1)
    assert 4 * 28 <= green.sum() <= 2 * 4 * 34
    magenta = drawn({SHORTCUT: MASK})
    magenta = (magenta[..., 0] > magenta[..., 1] + 0.1) & (magenta[..., 2] > magenta[..., 1] + 0.1)
    assert np.array_equal(magenta, green)
    assert not np.array_equal(drawn({EVIDENCE: ~NOWHERE}), drawn({}))
    assert np.array_equal(drawn({EVIDENCE: NOWHERE}), drawn({}))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "at least one picture"),
        ([Row("", [])], "at least one picture"),
        ([Row("", [Tile(RED[0], "gray")])], r"gray: an image is \(3, H, W\)"),
        ([Row("", [Tile(RED, "small", {EVIDENCE: MASK[1:]})])], r"small: an outline of \(95, 96\)"),
    ],
)
def test_what_does_not_fit_is_named(rows: list[Row], message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        sheet(rows, tmp_path / "sheet.png")


def test_titles_are_broken_where_they_may_be() -> None:
    assert wrapped("chest_xray_pneumonia_cnn", 12) == "chest_xray_\npneumonia_\ncnn"
    assert wrapped("phantoms: a\nreal", 20) == "phantoms: a\nreal"


@pytest.mark.parametrize("width", [60.0, 180.0])
def test_a_sheet_is_as_wide_as_asked_for(tmp_path, width):
    rows = [Row("title", [Tile(RED, "caption")] * 4), Row("a line", [])]
    style = Style(width=width, dpi=100)
    image = pixels(sheet(rows, tmp_path / "sheet.png", {EVIDENCE: "evidence"}, signed=True, style=style))
    assert image.shape[1] == pytest.approx(width / 25.4 * 100, abs=1)


def test_a_sheet_too_narrow_for_its_pictures_is_one_line(tmp_path):
    with pytest.raises(ValueError, match="60 mm are too narrow for 20 pictures in a row"):
        sheet([Row("", [Tile(RED)] * 20)], tmp_path / "sheet.png", style=Style(width=60))


def test_scale_and_legend_stand_in_two_lines_where_it_is_narrow(tmp_path):
    rows = [Row("", [Tile(RED)] * 3)]
    heights = []
    for n_legend in (0, 1):
        legend = dict([(EVIDENCE, "evidence"), (SHORTCUT, "shortcut")][: 2 * n_legend])
        path = sheet(rows, tmp_path / "sheet.png", legend, signed=True, style=Style(width=90, dpi=100))
        heights.append(pixels(path).shape[0])
    wide = [pixels(sheet([Row("", [Tile(RED)] * 8)], tmp_path / "x.png", one, signed=True)) for one in (None, legend)]
    assert heights[1] == pytest.approx(heights[0] + 30, abs=1)
    assert wide[0].shape == wide[1].shape
