"""Reading pictures and masks: every mode right, every bad file one clear error."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tasks.files.images import check_same_shape, look, read_image, read_mask

RAMP = np.linspace(0, 1, 16 * 16).reshape(16, 16)


def _modes() -> dict[str, Image.Image]:
    grey = Image.fromarray((RAMP * 255).round().astype(np.uint8))
    return {
        "L": grey,
        "RGB": grey.convert("RGB"),
        "RGBA": grey.convert("RGBA"),
        "LA": grey.convert("LA"),
        "P": grey.convert("P"),
        "I;16": Image.fromarray((RAMP * 65535).round().astype(np.uint16)),
    }


@pytest.mark.parametrize("mode", list(_modes()))
def test_every_mode_reads_as_the_same_picture(mode: str, tmp_path: Path) -> None:
    _modes()[mode].save(tmp_path / "picture.png")
    image = read_image(tmp_path / "picture.png", 16)
    assert image.shape == (3, 16, 16)
    assert image.dtype == torch.float32
    assert torch.allclose(image, torch.from_numpy(RAMP).float().expand(3, -1, -1), atol=0.003)


def test_colours_keep_their_channels(tmp_path: Path) -> None:
    Image.new("RGB", (4, 6), (255, 0, 51)).save(tmp_path / "red.png")
    assert torch.allclose(read_image(tmp_path / "red.png", 3)[:, 1, 1], torch.tensor([1.0, 0.0, 0.2]), atol=1e-6)


def test_what_is_transparent_is_black(tmp_path: Path) -> None:
    Image.new("RGBA", (4, 4), (255, 255, 255, 0)).save(tmp_path / "clear.png")
    assert read_image(tmp_path / "clear.png", 4).max() == 0


def test_bad_files_are_named_in_one_line(tmp_path: Path) -> None:
    whole = tmp_path / "whole.jpg"
    Image.fromarray((np.random.default_rng(0).random((64, 64)) * 255).astype(np.uint8)).save(whole)
    bad = {
        "empty": b"",
        "text": b"hello",
        "truncated": whole.read_bytes()[:900],
        "header": b"\x89PNG\r\n\x1a\n" * 4,
    }
    for name, content in bad.items():
        path = tmp_path / f"{name}.jpg"
        path.write_bytes(content)
        with pytest.raises(ValueError, match=rf"^.*{name}.jpg: not a readable image \([^\n]+\); [^\n]*$"):
            read_image(path, 16)


def test_an_absent_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"gone.jpg: no such image"):
        read_image(tmp_path / "gone.jpg", 16)


def _save_mask(path: Path, width: int, height: int, *marked: tuple[int, int]) -> None:
    pixels = np.zeros((height, width), dtype=np.uint8)
    for row, column in marked:
        pixels[row, column] = 255
    Image.fromarray(pixels).save(path)


def test_mask_is_resized_to_what_is_mostly_marked(tmp_path: Path) -> None:
    _save_mask(tmp_path / "mask.png", 8, 8, (0, 0), (0, 1), (1, 0), (1, 1), (6, 2))
    expected = torch.zeros(1, 4, 4, dtype=torch.bool)
    expected[0, 0, 0] = True
    assert torch.equal(read_mask(tmp_path / "mask.png", 4), expected)


def test_the_smallest_mask_still_has_a_pixel_and_an_empty_one_has_none(tmp_path: Path) -> None:
    _save_mask(tmp_path / "small.png", 64, 48, (20, 30))
    _save_mask(tmp_path / "empty.png", 64, 48)
    assert read_mask(tmp_path / "small.png", 8).sum() == 1
    assert not read_mask(tmp_path / "empty.png", 8).any()


def test_a_mask_of_another_shape_is_named(tmp_path: Path) -> None:
    for name, width, height in (("image.png", 64, 48), ("half.png", 32, 24), ("odd.png", 48, 48)):
        _save_mask(tmp_path / name, width, height)
    check_same_shape(tmp_path / "image.png", tmp_path / "half.png")
    with pytest.raises(ValueError, match=r"odd.png: is 48 x 48, and its image 64 x 48; "):
        check_same_shape(tmp_path / "image.png", tmp_path / "odd.png")


def test_a_grey_mask_is_no_empty_mask(tmp_path: Path) -> None:
    Image.new("L", (8, 8), 1).save(tmp_path / "ones.png")
    with pytest.raises(ValueError, match=r"ones.png: not a mask of black and white \(its brightest pixel is at 0.4%\)"):
        read_mask(tmp_path / "ones.png", 4)


def test_a_look_tells_size_and_mode(tmp_path: Path) -> None:
    Image.new("RGBA", (5, 7)).save(tmp_path / "picture.png")
    assert look(tmp_path / "picture.png") == (5, 7, "RGBA")


def test_odd_metadata_do_not_matter(tmp_path: Path) -> None:
    exif = b"Exif\0\0II*\0\x08\0\0\0\xff\xff"
    Image.new("RGB", (8, 8), (255, 255, 255)).save(tmp_path / "picture.jpg", exif=exif)
    assert read_image(tmp_path / "picture.jpg", 8).min() == 1
