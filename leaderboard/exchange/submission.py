"""Results in one file: a zip archive of the records, with a manifest that says what they are and where they come from.

    manifest.json                                  format, packer, provenance, counts; size and SHA-256 of each file
    results/<task>/<shard>/<explainer>.parquet     the records, as they are
    results/<task>/<shard>/samples.parquet

The same folder is the same archive, to the last byte: files are sorted, stored as they are, and have one date.
"""

import hashlib
import json
import stat
import zipfile
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from ..record import SAMPLES, Record, Status, path_of, read, read_samples, records, whole

FORMAT = "heatmark results 1"
MANIFEST = "manifest.json"
FOLDER = "results"

MAX_BYTES, MAX_FILES, MAX_MANIFEST = 1 << 30, 100_000, 64 << 20
"""An archive that unpacks to more is refused: records of a whole run are some megabytes."""

_DATE = (1980, 1, 1, 0, 0, 0)
_MODE = (stat.S_IFREG | 0o644) << 16


def pack(results: Path, archive: Path, packer: Mapping[str, str]) -> dict[str, Any]:
    """Write the archive of a results folder, whole or not at all; an older file is replaced.

    Args:
        results: The results folder; only records and what is known of their samples are packed.
        archive: The file to write.
        packer: What packs: version, commit, ….

    Returns:
        The manifest.

    Raises:
        ValueError: there is no record, or a file is no record.
        OSError: a file cannot be read or written.
    """
    paths = _paths(results)
    contents = {f"{FOLDER}/{path.relative_to(results).as_posix()}": path.read_bytes() for path in paths}
    files = {
        name: {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        for name, content in contents.items()
    }
    manifest = {"format": FORMAT, "packed_by": dict(packer), **describe(results), "files": files}
    text = json.dumps(manifest, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
    with whole(archive) as unfinished, zipfile.ZipFile(unfinished, "w", zipfile.ZIP_STORED) as file:
        for name, content in {MANIFEST: text.encode(), **contents}.items():
            entry = zipfile.ZipInfo(name, _DATE)
            entry.external_attr, entry.create_system = _MODE, 3
            file.writestr(entry, content)
    return manifest


def unpack(archive: Path, folder: Path) -> dict[str, Any]:
    """Check an archive and write its results into a folder: nothing is written that the manifest does not vouch for.

    Returns:
        The manifest.

    Raises:
        ValueError: the archive is damaged, changed, too large, names files outside of it, or its manifest tells
            otherwise than its records; one line.
        OSError: the archive cannot be opened, or the folder not be written.
    """
    try:
        with zipfile.ZipFile(archive) as file:
            return _unpacked(file, archive, folder)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise ValueError(
            f"{archive} cannot be read ({error}): it is no zip archive, or damaged; copy it again"
        ) from error


def describe(results: Path) -> dict[str, Any]:
    """What a results folder holds: tasks, explainers and metrics with their settings, provenance, counts.

    Raises:
        ValueError: there is no record, a file is no record, or one lies where another belongs.
    """
    found = [_placed(results, path) for path in records(results)]
    for path in results.glob(f"*/*/{SAMPLES}.parquet"):
        read_samples(path)
    cells = [(metric, cell) for record in found for metric, cell in record.cells.items()]
    return {
        "tasks": {
            task: {
                "settings": _values(of_task, "task"),
                "weights": _values(of_task, "weights"),
                "seeds": _values(of_task, "seed"),
                "samples": len({sample for record in of_task for sample in record.samples}),
            }
            for task, of_task in _grouped(found).items()
        },
        "explainers": _settings((one.explainer, one.provenance.get("explainer", "")) for one in found),
        "metrics": _settings((metric, cell.settings) for metric, cell in cells),
        "versions": _values(found, "versions"),
        "devices": _values(found, "device"),
        "commits": sorted({record.origin["commit"] for record in found if "commit" in record.origin}),
        "counts": {
            "records": len(found),
            "scores": sum(len(record.scores) for record in found),
            **{str(status): sum(cell.status is status for _, cell in cells) for status in Status},
        },
    }


def _paths(results: Path) -> list[Path]:
    found = list(records(results))
    if not found:
        raise ValueError(f"no records in {results}: fill it with `bench run`, or name another with --results")
    beside = {path.with_name(f"{SAMPLES}.parquet") for path in found}
    return sorted([*found, *(path for path in beside if path.exists())])


def _placed(results: Path, path: Path) -> Record:
    record = read(path)
    if path_of(results, record.task, record.shard, record.explainer) != path:
        said = f"{record.task}/{record.shard}/{record.explainer}"
        raise ValueError(f"{path} says that it is {said}: it was moved or renamed; move it back")
    return record


def _grouped(found: Sequence[Record]) -> dict[str, list[Record]]:
    return {task: [one for one in found if one.task == task] for task in sorted({one.task for one in found})}


def _values(found: Iterable[Record], key: str) -> list[str]:
    return sorted({value for record in found if (value := record.provenance.get(key))})


def _settings(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """Name -> its settings: one, where the results are of one piece."""
    known: dict[str, set[str]] = {}
    for name, value in pairs:
        known.setdefault(name, set()).add(value)
    return {name: sorted(values) for name, values in sorted(known.items())}


def _unpacked(file: zipfile.ZipFile, archive: Path, folder: Path) -> dict[str, Any]:
    entries = _checked_entries(file, archive)
    manifest = _manifest(file.read(entries.pop(MANIFEST)), archive)
    told: dict[str, dict[str, Any]] = manifest["files"]
    for name in sorted(entries.keys() ^ told.keys()):
        what = "holds {}, which its manifest does not name" if name in entries else "lacks {}, which its manifest names"
        raise ValueError(f"{archive} {what.format(name)}: it was changed after it was packed")
    for name, entry in sorted(entries.items()):
        content = file.read(entry)
        if len(content) != told[name]["bytes"] or hashlib.sha256(content).hexdigest() != told[name]["sha256"]:
            raise ValueError(
                f"{archive}: {name} is not what was packed (its SHA-256 differs): it was changed or damaged"
            )
        path = folder.joinpath(*PurePosixPath(name).parts[1:])
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    _check_told(manifest, archive, folder)
    return manifest


def _checked_entries(file: zipfile.ZipFile, archive: Path) -> dict[str, zipfile.ZipInfo]:
    """The entries by name, none of which is anything but a plain file of a results folder."""
    entries: dict[str, zipfile.ZipInfo] = {}
    for entry in file.infolist():
        name = entry.filename
        if name in entries:
            raise ValueError(f"{archive} holds {name} twice: it was changed after it was packed")
        kind = stat.S_IFMT(entry.external_attr >> 16)
        if not (name == MANIFEST or _belongs(name)) or kind not in (0, stat.S_IFREG):
            raise ValueError(f"{archive} holds {name!r}, which is no file of a results folder: nothing was unpacked")
        entries[name] = entry
    if MANIFEST not in entries:
        raise ValueError(f"{archive} has no {MANIFEST}: it was not made by `bench submit`")
    n_bytes = sum(entry.file_size for entry in entries.values())
    if n_bytes > MAX_BYTES or len(entries) > MAX_FILES or entries[MANIFEST].file_size > MAX_MANIFEST:
        limits = f"{MAX_BYTES >> 20} MiB or {MAX_FILES} files"
        raise ValueError(f"{archive} would unpack to {n_bytes >> 20} MiB in {len(entries)} files: more than {limits}")
    return entries


def _belongs(name: str) -> bool:
    parts = name.split("/")
    plain = all(part not in ("", ".", "..") and not {"\\", ":", "\0"} & set(part) for part in parts)
    return plain and len(parts) == 4 and parts[0] == FOLDER and name.endswith(".parquet")


def _manifest(content: bytes, archive: Path) -> dict[str, Any]:
    try:
        manifest = json.loads(content)
        if manifest["format"] != FORMAT:
            raise ValueError(f"its format is {manifest['format']!r}, not {FORMAT!r}")
        for told in manifest["files"].values():
            _ = told["bytes"], told["sha256"]
    except (KeyError, TypeError, AttributeError, ValueError, RecursionError) as error:
        raise ValueError(f"{archive}: its {MANIFEST} cannot be used ({error}): it was changed or damaged") from error
    return dict(manifest)


def _check_told(manifest: Mapping[str, Any], archive: Path, folder: Path) -> None:
    try:
        found = describe(folder)
    except ValueError as error:
        # The file's name within the archive, not where it was unpacked.
        raise ValueError(f"{archive}: {str(error).replace(str(folder), FOLDER)}") from error
    for key, value in found.items():
        if manifest.get(key) != value:
            raise ValueError(f"{archive}: its {MANIFEST} tells otherwise of {key} than its records: it was changed")
