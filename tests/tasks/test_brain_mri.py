"""The public brain tumour data: its layout, boxes and parts; bad tables and files; the real set if there."""

import csv
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.models import SqueezeNet1_0_Weights

from tasks.base import data_folder
from tasks.brain_mri import BrainTumorMRI, brain_mri_squeezenet, read_slices
from tasks.phantoms.brain_mri import CLASSES

COLUMNS = ["path", "part", "label", "cheng_id", "cheng_label", "width", "height", "x0", "y0", "x1", "y1"]
TASK = BrainTumorMRI(size=32)


def _row(path: str, part: str, label: str, cheng_id: str = "", box: str = "") -> list[str]:
    return [
        path,
        part,
        label,
        cheng_id,
        "",
        *(["", "", *[""] * 4] if not box else ["64", "48", *box.split()]),
    ]


def _rows() -> list[list[str]]:
    rows = []
    for label in CLASSES:
        box = "" if label == "no_tumor" else "16 12 32 36"
        for index in range(20):
            part = ("train", "train", "train", "heldout", "test", "duplicate")[index % 6]
            number = "" if label == "no_tumor" else str(1000 - index)
            rows.append(_row(f"Training/{label}/image ({index}).jpg", part, label, number, box))
    rows.append(_row("Training/glioma_tumor/unboxed.jpg", "heldout", "glioma_tumor"))
    return rows


def _write_table(folder: Path, rows: list[list[str]], columns: list[str] = COLUMNS) -> Path:
    table = folder / "annotations/images.csv"
    table.parent.mkdir(parents=True, exist_ok=True)
    with table.open("w", newline="") as file:
        csv.writer(file).writerows([columns, *rows])
    return table


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tiny data set in the published layout."""
    random, folder = np.random.default_rng(0), tmp_path / "brain-tumor-classification-mri"
    for row in _rows():
        (folder / row[0]).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((random.random((48, 64)) * 255).astype(np.uint8)).save(folder / row[0])
    _write_table(folder, _rows())
    monkeypatch.setenv("BENCH_DATA", str(tmp_path))
    monkeypatch.setattr("tasks.published.checkpoint_folder", lambda: tmp_path / "cache")
    return folder


@pytest.mark.usefixtures("folder")
def test_samples_are_the_held_out_ones_in_balanced_order() -> None:
    samples = TASK.samples()
    labels = [int(samples[index].label) for index in range(len(samples))]
    assert labels == [0, 1, 2, 3] * 3
    assert samples[0].id == "Training/glioma_tumor/image (3).jpg"


@pytest.mark.usefixtures("folder")
def test_tumours_without_a_known_box_are_not_scored() -> None:
    samples = TASK.samples()
    ids = {samples[index].id for index in range(len(samples))}
    assert "Training/glioma_tumor/unboxed.jpg" not in ids


@pytest.mark.usefixtures("folder")
def test_box_becomes_the_mask_of_the_resized_image() -> None:
    batch = next(TASK.batches(4))
    expected = torch.zeros(1, 32, 32, dtype=torch.bool)
    expected[:, 8:24, 8:16] = True
    assert batch.masks is not None
    assert all(torch.equal(mask, expected) for mask in batch.masks[:3])
    assert not batch.masks[3].any()


def test_the_smallest_box_at_the_edge_still_has_a_pixel(folder: Path) -> None:
    _write_table(folder, [_row(_rows()[0][0], "heldout", "glioma_tumor", "1", "63.9 47.9 64 48")])
    mask = TASK.samples()[0].mask
    assert mask is not None
    assert mask.sum() == 1
    assert mask[0, 31, 31]


@pytest.mark.usefixtures("folder")
def test_parts_do_not_overlap_and_leave_duplicates_out() -> None:
    parts = {name: TASK.part(name) for name in ("train", "validation", "heldout")}
    ids = {name: {part[index].id for index in range(len(part))} for name, part in parts.items()}
    assert not ids["train"] & ids["validation"]
    assert not (ids["train"] | ids["validation"]) & ids["heldout"]
    expected = {row[0] for row in _rows() if row[1] == "train"}
    assert ids["train"] | ids["validation"] == expected
    assert len(ids["validation"]) == 4


@pytest.mark.usefixtures("folder")
def test_validation_part_is_the_end_of_the_numbered_slices() -> None:
    part = TASK.part("validation")
    assert part[0].id == "Training/glioma_tumor/image (0).jpg"  # the highest number


@pytest.mark.usefixtures("folder")
def test_batches_are_the_same_at_every_call() -> None:
    for batch, again in zip(TASK.batches(5), TASK.batches(5), strict=True):
        assert batch.ids == again.ids
        assert torch.equal(batch.inputs, again.inputs)


def test_unavailable_names_the_path_looked_for(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "run `bench train brain_mri_squeezenet`" in str(TASK.unavailable())
    (folder / "annotations/images.csv").unlink()
    reason = str(TASK.unavailable())
    assert str(folder / "annotations/images.csv") in reason
    assert "--data DIR" in reason
    monkeypatch.delenv("BENCH_DATA")
    assert "BENCH_DATA" in str(TASK.unavailable())
    with pytest.raises(FileNotFoundError, match=r"BENCH_DATA"):
        TASK.train()


def test_missing_columns_are_named(folder: Path) -> None:
    table = _write_table(folder, [], columns=["path", "label", "x0"])
    message = f"^{table}: has no column part, cheng_id, width, height, y0, x1, y1; restore [^\n]*$"
    with pytest.raises(ValueError, match=message):
        TASK.samples()


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (_row("a.jpg", "train", "unicorn"), "line 2: .*unicorn|line 2"),
        (_row("a.jpg", "train", "glioma_tumor", "x1"), "line 2: .*x1"),
        (_row("a.jpg", "train", "glioma_tumor", "1", "5 5 5 9"), "line 2: the box does not lie within"),
        (_row("a.jpg", "train", "glioma_tumor", "1", "5 5 65 9"), "line 2: the box does not lie within"),
        (_row("a.jpg", "train", "glioma_tumor", "1", "a b c d"), "line 2: .*'a'"),
        (["a.jpg", "train"], "line 2"),
    ],
)
def test_bad_rows_are_named(row: list[str], message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        read_slices(_write_table(tmp_path, [row]))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00", b"\x00" * 20])
def test_a_table_that_is_none_is_named(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "images.csv").write_bytes(content)
    with pytest.raises(ValueError, match=r"images.csv: "):
        read_slices(tmp_path / "images.csv")


@pytest.mark.parametrize("content", [b"", b"no picture"])
def test_corrupt_image_is_named(content: bytes, folder: Path) -> None:
    (folder / "Training/glioma_tumor/image (3).jpg").write_bytes(content)
    with pytest.raises(ValueError, match=r"image \(3\).jpg: not a readable image"):
        next(TASK.batches(4))


def test_listed_image_that_is_absent_is_named(folder: Path) -> None:
    (folder / "Training/no_tumor/image (3).jpg").unlink()
    with pytest.raises(FileNotFoundError, match=r"image \(3\).jpg: no such image; the data"):
        next(TASK.batches(4))


@pytest.mark.usefixtures("folder")
def test_download_that_fails_hints_at_init(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: object, **__: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(SqueezeNet1_0_Weights, "get_state_dict", unreachable)
    with pytest.raises(ConnectionError, match=r"no route to host.*--init FILE"):
        TASK.train()


def test_real_data_have_the_published_parts() -> None:
    _need_data()
    sizes = {name: len(brain_mri_squeezenet.part(name)) for name in ("train", "validation", "heldout")}
    assert sizes["train"] + sizes["validation"] == 2268
    assert sizes["heldout"] == 496
    batch = next(brain_mri_squeezenet.batches(8))
    assert batch.inputs.shape == (8, 3, 224, 224)
    assert batch.labels.tolist() == [0, 1, 2, 3] * 2
    assert batch.masks is not None
    assert (batch.masks.flatten(1).any(1) == (batch.labels != 3)).all()


def test_real_network_is_right_on_held_out_slices() -> None:
    _need_data()
    if reason := brain_mri_squeezenet.unavailable():
        pytest.skip(reason)
    model = brain_mri_squeezenet.model()
    batches = list(brain_mri_squeezenet.batches(32, stop=96))
    with torch.inference_mode():
        right = torch.cat([model(batch.inputs).argmax(1) == batch.labels for batch in batches])
    assert right.float().mean() >= 0.8


def _need_data() -> None:
    if data_folder() is None or brain_mri_squeezenet.missing_data():
        pytest.skip(f"real data absent: BENCH_DATA is {os.environ.get('BENCH_DATA')!r}")
