"""Reading pictures: every mode right, every bad file one clear error."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tasks.images import read_image

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
        with pytest.raises(ValueError, match=f"^.*{name}.jpg: not a readable image; [^\n]*$"):
            read_image(path, 16)


def test_an_absent_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"gone.jpg: no such image"):
        read_image(tmp_path / "gone.jpg", 16)
