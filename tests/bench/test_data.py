"""`bench data`: phantom sets on disk, read by the tasks on real data."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from bench.cli import app
from bench.errors import UserError
from tasks.sars_cov_2_ct import SARSCoV2CT


def _data(*arguments: object) -> str:
    result = CliRunner().invoke(app, ["data", *map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_a_phantom_set_is_written_and_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = _data("phantom_sars_cov_2_ct_vgg16", "--out", tmp_path, "--samples", 20, "--size", 40)
    assert f"phantom_sars_cov_2_ct_vgg16: {tmp_path / 'sars-cov-2-ct-scan'}" in output
    assert f"read by sars_cov_2_ct_vgg16 with --data {tmp_path}" in output
    monkeypatch.setenv("BENCH_DATA", str(tmp_path))
    assert [len(SARSCoV2CT().part(part)) for part in ("train", "validation", "heldout")] == [14, 2, 4]


def test_a_pattern_writes_each_data_set_once(tmp_path: Path) -> None:
    output = _data("phantom_melanoma*,phantom_sars*", "--out", tmp_path, "--samples", 20, "--size", 32)
    folders = ["melanoma-skin-cancer-dataset-of-10000-images", "sars-cov-2-ct-scan"]
    assert sorted(path.name for path in tmp_path.iterdir()) == folders
    (line,) = (line for line in output.splitlines() if "not written, as the folder is taken" in line)
    assert "phantom_melanoma_vgg16_vignette" in line


def test_what_is_not_rendered_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^melanoma_vgg16: not rendered, so .* phantom tasks are .*phantom_mel[^\n]*$"):
        _data("melanoma_vgg16", "--out", tmp_path)


def test_a_folder_with_something_in_it_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "sars-cov-2-ct-scan").mkdir()
    (tmp_path / "sars-cov-2-ct-scan/mine").write_text("mine")
    with pytest.raises(UserError, match=r"sars-cov-2-ct-scan: is there already; remove it, or choose another folder$"):
        _data("phantom_sars_cov_2_ct_vgg16", "--out", tmp_path)
    assert [path.name for path in tmp_path.rglob("*")] == ["sars-cov-2-ct-scan", "mine"]
