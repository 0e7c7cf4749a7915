"""Results in one file: the same folder is the same file, and what was changed or damaged is found."""

import hashlib
import json
import zipfile
from collections.abc import Callable
from contextlib import nullcontext as _nothing
from pathlib import Path

import pytest

from leaderboard.exchange import submission
from leaderboard.exchange.submission import MANIFEST, describe, pack, unpack
from leaderboard.record import load, path_of

NAME = "results/toy/00000/grad_cam.parquet"
PACKER = {"heatmark": "1.0"}


@pytest.fixture
def results(make, tmp_path) -> Path:
    folder = tmp_path / "r"
    make(folder, metrics={"srg": [0.1, float("nan"), 0.3]}, failed={"iou": "no"})
    make(folder, "noise", inapplicable={"iou": "no masks"}, device="H200", family="controls")
    make(folder, task="other", shard="00001", weights="bbbb", patients=["Miller", None, "Maier"])
    (folder / "leaderboard.csv").write_text("not packed")
    return folder


@pytest.fixture
def archive(results, tmp_path) -> Path:
    pack(results, tmp_path / "r.zip", PACKER)
    return tmp_path / "r.zip"


Change = Callable[[dict[str, bytes]], None]


def changed(archive: Path, change: Change) -> Path:
    """The archive written again, its files by name changed."""
    with zipfile.ZipFile(archive) as file:
        files = {name: file.read(name) for name in file.namelist()}
    change(files)
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in files.items():
            file.writestr(name, content)
    return archive


def edit_manifest(files: dict[str, bytes], edit: Callable[[dict], None]) -> None:
    manifest = json.loads(files[MANIFEST])
    edit(manifest)
    files[MANIFEST] = json.dumps(manifest).encode()


def test_what_is_packed_comes_back(results, archive, tmp_path):
    manifest = unpack(archive, tmp_path / "back")
    packed = {path.relative_to(results): path.read_bytes() for path in results.rglob("*.parquet")}
    back = {path.relative_to(tmp_path / "back"): path.read_bytes() for path in (tmp_path / "back").rglob("*.*")}
    assert back == packed
    assert load(tmp_path / "back").samples.patient.dropna().tolist() == ["Miller", "Maier"]
    assert manifest["packed_by"] == PACKER
    assert manifest["files"][NAME] == {
        "bytes": path_of(results, "toy", "00000", "grad_cam").stat().st_size,
        "sha256": hashlib.sha256(path_of(results, "toy", "00000", "grad_cam").read_bytes()).hexdigest(),
    }
    assert len(load(tmp_path / "back").scores) == 9


def test_a_manifest_tells_what_there_is(results):
    assert describe(results) == {
        "tasks": {
            "other": {"settings": ["Toy(n=3)"], "weights": ["bbbb"], "seeds": ["0"], "samples": 3},
            "toy": {"settings": ["Toy(n=3)"], "weights": ["aaaa"], "seeds": ["0"], "samples": 3},
        },
        "explainers": {"grad_cam": ["grad_cam() c0de"], "noise": ["noise() c0de"]},
        "metrics": {"iou": ["iou() c0de"], "srg": ["srg() c0de"]},
        "versions": ["torch=2.6 numpy=2.0"],
        "devices": ["H200", "cpu x86_64"],
        "commits": ["abc"],
        "counts": {"records": 3, "scores": 9, "scored": 3, "failed": 1, "inapplicable": 1},
    }


def test_the_same_folder_is_the_same_file(results, archive, tmp_path):
    for path in results.rglob("*.parquet"):
        path.touch()
    pack(results, tmp_path / "again.zip", PACKER)
    assert (tmp_path / "again.zip").read_bytes() == archive.read_bytes()


def test_an_archive_that_another_program_compressed_again_is_as_good(archive, tmp_path):
    unpack(changed(archive, lambda _: None), tmp_path / "back")


def _flip(files: dict[str, bytes]) -> None:
    content = bytearray(files[NAME])
    content[len(content) // 2] ^= 1
    files[NAME] = bytes(content)


def _rename(files: dict[str, bytes]) -> None:
    other = NAME.replace("grad_cam", "lrp")
    files[other] = files.pop(NAME)
    edit_manifest(files, lambda manifest: manifest["files"].update({other: manifest["files"].pop(NAME)}))


def _replace_with_junk(files: dict[str, bytes]) -> None:
    files[NAME] = b"junk"
    told = {"bytes": 4, "sha256": hashlib.sha256(b"junk").hexdigest()}
    edit_manifest(files, lambda manifest: manifest["files"].update({NAME: told}))


def _add(name: str) -> Change:
    return lambda files: files.update({name: b"x"})


def _manifest(content: bytes) -> Change:
    return lambda files: files.update({MANIFEST: content})


def _tell(key: str, value: object) -> Change:
    return lambda files: edit_manifest(files, lambda manifest: manifest.update({key: value}))


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (_flip, r"grad_cam\.parquet is not what was packed"),
        (lambda files: files.pop(NAME), "lacks .*grad_cam.*, which its manifest names"),
        (_add("results/toy/00000/lrp.parquet"), "holds .*lrp.*, which its manifest does not name"),
        (lambda files: files.pop(MANIFEST), "has no manifest.json"),
        (_manifest(b"{"), "manifest.json cannot be used"),
        (_manifest(b"[]"), "manifest.json cannot be used"),
        (_manifest(b"[" * 100_000), "manifest.json cannot be used"),
        (_manifest(b"\xff"), "manifest.json cannot be used"),
        (_tell("format", "heatmark results 9"), "its format is 'heatmark results 9'"),
        (_tell("files", [1]), "manifest.json cannot be used"),
        (_tell("files", {NAME: 3}), "manifest.json cannot be used"),
        (_tell("counts", {}), "tells otherwise of counts than its records"),
        (_tell("devices", ["a better one"]), "tells otherwise of devices"),
        (_rename, r"results/toy/00000/lrp\.parquet says that it is toy/00000/grad_cam"),
        (_replace_with_junk, r"results/toy/00000/grad_cam\.parquet cannot be read"),
        *(
            (_add(name), "which is no file of a results folder: nothing was unpacked")
            for name in (
                "../evil.parquet",
                "/etc/evil.parquet",
                "results/../../evil.parquet",
                "results/toy/../evil.parquet",
                "results/toy/00000/..\\evil.parquet",
                "results/C:/00000/evil.parquet",
                "results//00000/evil.parquet",
                "results/toy/00000/evil.sh",
                "evil.parquet",
            )
        ),
    ],
)
def test_what_was_changed_is_one_line(change, complaint, archive, tmp_path):
    with pytest.raises(ValueError, match=complaint) as error:
        unpack(changed(archive, change), tmp_path / "back")
    assert str(error.value).startswith(str(archive))
    assert "\n" not in str(error.value)
    assert not list(tmp_path.rglob("evil*"))


@pytest.mark.parametrize("keep", [0, 10, 0.5, 0.99])
def test_what_is_cut_short_is_one_line(keep, archive, tmp_path):
    content = archive.read_bytes()
    archive.write_bytes(content[: int(keep * len(content)) if keep < 1 else keep])
    with pytest.raises(ValueError, match=r"cannot be read .*: it is no zip archive, or damaged"):
        unpack(archive, tmp_path / "back")


def test_a_byte_that_was_damaged_in_place_is_found(archive, tmp_path):
    content = bytearray(archive.read_bytes())
    content[content.index(b"PAR1") + 8] ^= 255
    archive.write_bytes(bytes(content))
    with pytest.raises(ValueError, match="Bad CRC-32"):
        unpack(archive, tmp_path / "back")


def test_links_and_doubled_names_are_refused(archive, tmp_path):
    with zipfile.ZipFile(archive, "a") as file:
        link = zipfile.ZipInfo("results/toy/00000/link.parquet")
        link.external_attr = 0o120777 << 16
        file.writestr(link, "/etc/passwd")
    with pytest.raises(ValueError, match="which is no file of a results folder"):
        unpack(archive, tmp_path / "back")
    with zipfile.ZipFile(tmp_path / "twice.zip", "w") as file:
        for _ in range(2):
            with pytest.warns(UserWarning, match="Duplicate") if file.namelist() else _nothing():
                file.writestr(NAME, b"x")
    with pytest.raises(ValueError, match="twice"):
        unpack(tmp_path / "twice.zip", tmp_path / "back")


@pytest.mark.parametrize("limit", ["MAX_BYTES", "MAX_FILES", "MAX_MANIFEST"])
def test_an_archive_that_would_unpack_to_too_much_is_refused_before(limit, archive, tmp_path, monkeypatch):
    monkeypatch.setattr(submission, limit, 3)
    with pytest.raises(ValueError, match="would unpack to"):
        unpack(archive, tmp_path / "back")
    assert not (tmp_path / "back").exists()


def test_a_failing_pack_leaves_the_older_archive(results, archive, monkeypatch):
    before = archive.read_bytes()

    def full(*_: object, **__: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(zipfile.ZipFile, "writestr", full)
    with pytest.raises(OSError, match="disk full"):
        pack(results, archive, PACKER)
    assert archive.read_bytes() == before
    assert [path for path in archive.parent.iterdir() if path.name.startswith(".")] == []
