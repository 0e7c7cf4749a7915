"""Maps that `bench run --save-attributions` kept, made small for the report: one image, all explainers beside it."""

import base64
import io
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import contourpy
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from ..pictures.figures import INPUTS, map_tile
from ..pictures.sheets import SIGNED

LARGEST = 128
"""Side of a picture, pixels: larger ones are made smaller."""
_QUALITY = 78

Array = NDArray[Any]
Place = tuple[Path, int, str]
"""Folder of maps, place of a sample in its files, name of the sample."""


@dataclass(frozen=True)
class Picture:
    """A small picture."""

    name: str
    """The explainer; empty: the image itself."""
    source: str
    """A data URI."""
    all_zero: bool = False


@dataclass(frozen=True)
class Exhibit:
    """One sample: its image and all maps of it."""

    sample: str
    facts: Mapping[str, str]
    """label, prediction, target, probability, outcome: what is known of them."""
    height: int
    width: int
    outline: str
    """The edge of the mask, an SVG path in pixels of the image; empty: no mask."""
    pictures: Sequence[Picture]

    @property
    def outcome(self) -> str:
        return self.facts.get("outcome", "")


def exhibits(results: Path, task: str, samples: pd.DataFrame, order: Sequence[str], n_images: int) -> list[Exhibit]:
    """Some samples of a task with the maps that were kept of them.

    As many of each outcome as there are, in turn, so that false positives are seen beside true ones.

    Args:
        results: The results folder.
        task: Whose.
        samples: What is known of the samples: see `leaderboard.record.Results.samples`.
        order: The explainers, in the order in which they are shown; those without a map are left out.
        n_images: At most so many samples.

    Returns:
        The exhibits; empty where no map was kept.

    Raises:
        ValueError: a file cannot be read; the message names it.
    """
    known = _known(samples, task)
    chosen = _in_turn(list(_kept(results, task).values()), known)[:n_images]
    return _shown(chosen, known, order)


def exhibits_of(
    results: Path, task: str, samples: pd.DataFrame, order: Sequence[str], wanted: Collection[str]
) -> dict[str, Exhibit]:
    """Sample -> its exhibit: as `exhibits`, of the wanted samples of a task of which maps were kept."""
    kept = _kept(results, task)
    chosen = [kept[name] for name in wanted if name in kept]
    return {one.sample: one for one in _shown(chosen, _known(samples, task), order)}


def _known(samples: pd.DataFrame, task: str) -> pd.DataFrame:
    """What is known of the task's samples, by name."""
    return samples[samples.task == task].drop_duplicates("sample").set_index("sample") if len(samples) else samples


def _kept(results: Path, task: str) -> dict[str, Place]:
    """Sample -> where its image is; of a sample in two shards the last."""
    folders = sorted((results / task).glob("*/attributions"))
    return {name: (folder, index, name) for folder in folders for index, name in enumerate(_ids(folder))}


def _shown(chosen: Sequence[Place], known: pd.DataFrame, order: Sequence[str]) -> list[Exhibit]:
    found: list[Exhibit] = []
    for folder in dict.fromkeys(folder for folder, *_ in chosen):
        found += _exhibits(folder, {index: name for of, index, name in chosen if of == folder}, known, order)
    places = {name: at for at, (_, _, name) in enumerate(chosen)}
    return sorted(found, key=lambda one: places[one.sample])


def legend() -> str:
    """The colours of maps from against the class to for it, a CSS gradient."""
    stops = ["#" + bytes(int(255 * part) for part in SIGNED(at)[:3]).hex() for at in np.linspace(0, 1, 11)]
    return f"linear-gradient(to right, {', '.join(stops)})"


def _in_turn(kept: Sequence[Place], known: pd.DataFrame) -> list[Place]:
    groups: dict[str, list[Place]] = {}
    for one in kept:
        outcome = str(known.outcome.get(one[2], "")) if "outcome" in known else ""
        groups.setdefault(outcome, []).append(one)
    rounds = zip_longest(*(groups[name] for name in sorted(groups, reverse=True)))
    return [one for turn in rounds for one in turn if one is not None]


def _exhibits(folder: Path, wanted: Mapping[int, str], known: pd.DataFrame, order: Sequence[str]) -> Iterator[Exhibit]:
    if not wanted:
        return
    content = _read(folder / f"{INPUTS}.npz", ("inputs", "masks"))
    maps = {name: _maps(folder, name, wanted.values()) for name in order}
    for index, sample in wanted.items():
        image = content["inputs"][index].astype(np.float64) / 255
        mask = content["masks"][index, 0] if "masks" in content else np.zeros(image.shape[1:], dtype=bool)
        pictures = [Picture("", _source(image))]
        for name, of_explainer in maps.items():
            if sample in of_explainer:
                attribution = of_explainer[sample]
                pictures.append(Picture(name, _source(map_tile(attribution, image).image), not attribution.any()))
        height, width = mask.shape
        yield Exhibit(sample, _facts(sample, known), height, width, outline_path(mask), pictures)


def outline_path(mask: Array) -> str:
    """The edge of (H, W) bool as an SVG path, in pixels.

    >>> outline_path(np.array([[False, False], [True, False]]))
    'M0 1.5L0.5 1L1 1.5L0.5 2Z'
    """
    padded = np.pad(mask.astype(float), 1)
    lines: Any = contourpy.contour_generator(z=padded, line_type=contourpy.LineType.Separate).lines(0.5)
    # A pixel's value stands at its middle, and the frame of zeros moved it by one.
    return "".join("M" + "L".join(f"{x - 0.5:g} {y - 0.5:g}" for x, y in line[:-1]) + "Z" for line in lines)


def _facts(sample: str, known: pd.DataFrame) -> dict[str, str]:
    if sample not in known.index:
        return {}
    row = known.loc[sample]
    facts = {name: str(row[name]) for name in ("label", "prediction", "target", "outcome") if name in row}
    if "probability" in row and np.isfinite(row.probability):
        facts["probability"] = f"{row.probability:.2f}"
    return facts


def _ids(folder: Path) -> list[str]:
    path = folder / f"{INPUTS}.npz"
    return [str(name) for name in _read(path, ("ids",))["ids"]] if path.exists() else []


def _maps(folder: Path, explainer: str, wanted: Collection[str]) -> dict[str, Array]:
    path = folder / f"{explainer}.npz"
    if not path.exists():
        return {}
    content = _read(path, ("ids", "attributions"))
    ids = content["ids"].tolist()
    return {name: content["attributions"][index, 0] for index, name in enumerate(ids) if name in wanted}


def _read(path: Path, names: Sequence[str]) -> dict[str, Array]:
    try:
        with np.load(path) as content:
            return {name: content[name] for name in names if name in content.files}
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(f"{path} cannot be read ({error}): delete it and run again") from error


def _source(image: Array) -> str:
    """(3, H, W) in [0, 1] as a data URI."""
    pixels = (np.clip(np.moveaxis(image, 0, -1), 0, 1) * 255).round().astype(np.uint8)
    picture = Image.fromarray(pixels)
    picture.thumbnail((LARGEST, LARGEST))
    content = io.BytesIO()
    picture.save(content, "webp", quality=_QUALITY, method=2)
    return f"data:image/webp;base64,{base64.b64encode(content.getvalue()).decode()}"
