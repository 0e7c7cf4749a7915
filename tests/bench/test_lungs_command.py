"""`bench lungs`: what it prints, with real radiographs and without."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from bench.cli import app
from bench.errors import UserError
from tasks.phantoms.chest_xray import CovidQuEx
from tasks.publishing import write_picture


def _evaluate(*arguments: object) -> str:
    result = CliRunner().invoke(
        app, ["lungs", "evaluate", "--phantoms", "2", *map(str, arguments)], catch_exceptions=False
    )
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """COVID-QU-Ex with one phantom."""
    phantoms, below = CovidQuEx(3, size=64), tmp_path / "covid-qu-ex" / "Test" / "Normal"
    write_picture(below / "images" / "Normal (1).png", phantoms[2].input, "L")
    write_picture(below / "lung masks" / "Normal (1).png", phantoms.lungs(2).float(), "L")
    return tmp_path


def test_without_real_radiographs_phantoms_are_scored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BENCH_DATA", raising=False)
    output = _evaluate()
    assert "phantoms" in output
    assert "no real radiographs: name the folder that holds covid-qu-ex" in " ".join(output.split())


def test_real_radiographs_are_scored_one_by_one(folder: Path) -> None:
    output = _evaluate("--data", folder, "--each")
    assert "no real radiographs" not in output
    for line in ("phantom 1: Dice 0.9", "Test/Normal/lung masks/Normal (1).png: Dice 0.9"):
        assert line in output


def test_a_mask_without_image_is_named(folder: Path) -> None:
    for image in folder.rglob("images/*.png"):
        image.unlink()
    with pytest.raises(UserError, match=r"^[^\n]*Normal \(1\).png: [^\n]*$"):
        _evaluate("--data", folder)
