"""Contact sheets: what the explainers say about the same images, side by side.

<results>/<task>/<shard>/attributions/inputs.npz        inputs (N, 3, H, W) uint8, masks (if any), ids, captions
<results>/<task>/<shard>/attributions/<explainer>.npz   attributions (N, 1, H, W) float32, ids
<results>/<task>/<shard>/attributions/grid-00.png       what `attribution_grids` draws of them
"""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.colors import Colormap
from numpy.typing import NDArray

from ..style import Style
from .sheets import EVIDENCE, SIGNED, Row, Tile, sheet

INPUTS = "inputs"
"""Name of the file, among a shard's attributions, that holds the images."""

ROWS_PER_PAGE = 10
QUANTILE = 0.995
"""Of |a|: what is as strong or stronger is drawn in the full colour, so that single pixels do not pale the rest."""

_CELL = 1.5
"""From picture to picture, inches."""
_FAINT = 0.25
"""How much of the gray image is left under a map."""

Array = NDArray[Any]


def map_tile(
    attribution: Array,
    image: Array,
    outlines: Mapping[str, Array] | None = None,
    caption: str = "",
    colours: Colormap = SIGNED,
) -> Tile:
    """A map as a picture, over its image in faint gray.

    Red speaks for the explained class, blue against it, white says nothing. Every map has its own limits, symmetric
    about zero, at the 99.5th percentile of |a| (at the maximum where that is zero): colours tell where, not how much.
    A map that is zero everywhere is drawn white and says so.

    Args:
        attribution: (H, W), signed.
        image: (3, H, W) in [0, 1].
        outlines: Colour -> (H, W) bool.
        caption: What stands beneath it.
        colours: From against the class over nothing to for it; red, white and blue are the usual ones.
    """
    outlines = outlines or {}
    if not attribution.any():
        return Tile(np.ones(image.shape), ", ".join(filter(None, ("all zero", caption))), outlines)
    size = np.abs(attribution)
    limit = np.quantile(size, QUANTILE) or size.max()
    coloured = np.moveaxis(colours(np.clip(attribution / limit, -1, 1) / 2 + 0.5)[..., :3], -1, 0)
    # Multiplied, not blended: white stays faint image, and a full colour keeps its hue.
    return Tile(coloured * (1 - _FAINT * (1 - image.mean(axis=0))), caption, outlines)


def grid(
    images: Array,
    attributions: Mapping[str, Array],
    masks: Array | None,
    titles: Sequence[str],
    path: Path,
    style: Style | None = None,
) -> Path:
    """Draw images and their attributions as one sheet: a row a sample, the image first, then a column an explainer.

    Maps are drawn as `map_tile` says. The evidence's mask is outlined in green.

    Args:
        images: (N, 3, H, W) in [0, 1].
        attributions: Explainer -> (N, 1, H, W), signed.
        masks: (N, 1, H, W) bool, or None; all False: no outline.
        titles: N captions of the rows, such as "tumour → no tumour".
        path: Where to write it; .png, .pdf or .svg by its suffix. Missing folders are made.
        style: The look; its usual one with 110 dots an inch.

    Returns:
        The path.

    Raises:
        ValueError: there is no image, or shapes do not agree.
    """
    _check(images, attributions, masks, titles)
    style = style or Style(dpi=110)
    rows = []
    for at, (title, image) in enumerate(zip(titles, images, strict=True)):
        outlines = {} if masks is None else {EVIDENCE: masks[at, 0]}
        maps = [map_tile(of_all[at, 0], image, outlines, "", style.signed) for of_all in attributions.values()]
        rows.append(Row(title, [Tile(image, "", outlines), *maps]))
    return sheet(rows, path, headings=("image", *attributions), signed=True, cell=_CELL, style=style)


def attribution_grids(folder: Path, explainers: Collection[str] | None = None, n_rows: int = 20) -> list[Path]:
    """Draw the attributions kept in a results folder: sheets of ten samples, up to n_rows samples a shard.

    Args:
        folder: The results folder.
        explainers: Only these; an explainer that a shard does not have is left out there.
        n_rows: At most so many samples a shard, the first ones.

    Returns:
        The sheets written, `<folder>/<task>/<shard>/attributions/grid-00.png` and on; sheets of an earlier call
        that are not written again are deleted.

    Raises:
        ValueError: there are no attributions, or not those asked for, or a file does not fit its inputs.
    """
    sheets = []
    for inputs in sorted(folder.glob(f"*/*/attributions/{INPUTS}.npz")):
        sheets += _shard_grids(inputs, explainers, n_rows)
    if not sheets:
        of = f" of {', '.join(sorted(explainers))}" if explainers else ""
        raise ValueError(f"no attributions{of} in {folder}: keep them while the bench runs")
    return sheets


def _shard_grids(inputs: Path, explainers: Collection[str] | None, n_rows: int) -> list[Path]:
    with np.load(inputs) as file:
        images, ids, captions = file["inputs"][:n_rows] / 255, file["ids"][:n_rows], file["captions"][:n_rows]
        masks = file["masks"][:n_rows] if "masks" in file else None
    paths = [path for path in sorted(inputs.parent.glob("*.npz")) if path != inputs]
    maps = {path.stem: _maps(path, ids) for path in paths if explainers is None or path.stem in explainers}
    for old in inputs.parent.glob("grid-*.png"):
        old.unlink()
    sheets = []
    for page, start in enumerate(range(0, len(images), ROWS_PER_PAGE) if maps else ()):
        rows = slice(start, start + ROWS_PER_PAGE)
        of_page = {name: attributions[rows] for name, attributions in maps.items()}
        outlines = None if masks is None else masks[rows]
        path = inputs.with_name(f"grid-{page:02d}.png")
        sheets.append(grid(images[rows], of_page, outlines, [str(caption) for caption in captions[rows]], path))
    return sheets


def _maps(path: Path, ids: Array) -> Array:
    """The attributions of the samples, in their order."""
    with np.load(path) as file:
        rows = {name: row for row, name in enumerate(file["ids"])}
        missing = [str(name) for name in ids if name not in rows]
        if missing:
            raise ValueError(f"{path} lacks {len(missing)} samples of its shard, {missing[0]} first: make it again")
        return np.asarray(file["attributions"][[rows[name] for name in ids]])


def _check(images: Array, attributions: Mapping[str, Array], masks: Array | None, titles: Sequence[str]) -> None:
    n, _, height, width = images.shape
    if n == 0 or len(titles) != n:
        raise ValueError(f"one title an image and at least one image, not {len(titles)} titles and {n} images")
    for name, maps in [*attributions.items(), *([("masks", masks)] if masks is not None else [])]:
        if maps.shape != (n, 1, height, width):
            raise ValueError(f"{name}: shape {maps.shape}, expected {(n, 1, height, width)}")
