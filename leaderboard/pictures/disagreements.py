"""Pictures of the samples on which explainers are furthest apart: the image, and the map of each."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from matplotlib.colors import Colormap

from ..comparison import Disagreement
from ..style import Style
from .figures import INPUTS, map_tile
from .sheets import EVIDENCE, Row, Tile, sheet


def disagreement_sheet(
    folder: Path,
    found: Sequence[Disagreement],
    explainers: Sequence[str],
    path: Path,
    style: Style | None = None,
) -> Path:
    """Draw the samples with their maps, a row each, as `figures.grid` does: maps that were kept beside the records.

    Args:
        folder: The results folder.
        found: The samples.
        explainers: Whose maps are drawn, in this order.
        path: Where to write it; .png, .pdf or .svg by its suffix. Missing folders are made.
        style: The look; its usual one with 110 dots an inch.

    Returns:
        The path.

    Raises:
        ValueError: no sample is to be drawn, or the attributions of one were not kept.
    """
    if not found:
        raise ValueError("the explainers do not disagree on any sample: there is nothing to draw")
    style = style or Style(dpi=110)
    rows = [_row(folder, one, explainers, style.signed) for one in found]
    return sheet(rows, path, headings=("image", *explainers), signed=True, cell=1.5, style=style)


def _row(folder: Path, one: Disagreement, explainers: Sequence[str], colours: Colormap) -> Row:
    for inputs in _inputs(folder, one.task):
        with np.load(inputs) as file:
            ids = file["ids"].tolist()
            if one.sample not in ids:
                continue
            at = ids.index(one.sample)
            image, caption = file["inputs"][at] / 255, str(file["captions"][at])
            outlines = {EVIDENCE: file["masks"][at, 0]} if "masks" in file else {}
        maps = [_map(inputs, name, one.sample) for name in explainers]
        drawn = [map_tile(attribution, image, outlines, "", colours) for attribution in maps]
        tiles = [Tile(image, one.sample, outlines), *drawn]
        return Row(f"{one.winner} ahead\n{caption}\n{one.task}", tiles)
    raise ValueError(_advice(f"the maps of {one.sample} ({one.task}) were not kept"))


def _inputs(folder: Path, task: str) -> Iterator[Path]:
    return iter(sorted((folder / task).glob(f"*/attributions/{INPUTS}.npz")))


def _map(inputs: Path, explainer: str, sample: str) -> np.ndarray:
    path = inputs.with_name(f"{explainer}.npz")
    if not path.exists():
        raise ValueError(_advice(f"{path.parent} has no maps of {explainer}"))
    with np.load(path) as file:
        ids = file["ids"].tolist()
        if sample not in ids:
            raise ValueError(_advice(f"{path} has no map of {sample}"))
        found: np.ndarray = file["attributions"][ids.index(sample), 0]
        return found


def _advice(what: str) -> str:
    return f"{what}: run the same again with --save-attributions"
