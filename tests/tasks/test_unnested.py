"""Folders that lie in one of their own name are found, but only below the data set's own folder."""

from pathlib import Path

import pytest

from tasks.published import unnested


def test_folders_in_one_of_their_own_name_are_entered(tmp_path: Path) -> None:
    (tmp_path / "set" / "set" / "Train" / "Train" / "images").mkdir(parents=True)
    assert unnested(tmp_path / "set", "Train/images") == tmp_path / "set" / "set" / "Train" / "Train" / "images"


def test_what_lies_above_the_data_set_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data" / "data" / "set").mkdir(parents=True)
    (tmp_path / "data" / "set" / "images").mkdir(parents=True)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert unnested(Path("../data/set"), "images") == Path("../data/set/images")
