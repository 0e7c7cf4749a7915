"""Contact sheets: what the explainers say about the same images, side by side.

<results>/<task>/<shard>/attributions/inputs.npz        inputs (N, 3, H, W) uint8, masks (if any), ids, captions
<results>/<task>/<shard>/attributions/<explainer>.npz   attributions (N, 1, H, W) float32, ids
<results>/<task>/<shard>/attributions/grid-00.png       what `attribution_grids` draws of them
"""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray

from .sheets import EVIDENCE, bare, outline, wrapped

INPUTS = "inputs"
"""Name of the file, among a shard's attributions, that holds the images."""

ROWS_PER_PAGE = 10
QUANTILE = 0.995
"""Of |a|: what is as strong or stronger is drawn in the full colour, so that single pixels do not pale the rest."""

COLOURS = colormaps["RdBu_r"]
_CELL = 1.5
"""Side of a picture, inches."""
_FAINT = 0.25
"""How much of the gray image is left under a map."""

Array = NDArray[Any]


def grid(
    images: Array,
    attributions: Mapping[str, Array],
    masks: Array | None,
    titles: Sequence[str],
    path: Path,
    dpi: int = 110,
) -> Path:
    """Draw images and their attributions as one sheet: a row a sample, the image first, then a column an explainer.

    Red speaks for the explained class, blue against it, white says nothing. Every map has its own limits, symmetric
    about zero, at the 99.5th percentile of |a| (at the maximum where that is zero): colours tell where, not how much.
    A map that is zero everywhere is drawn white and says so. The evidence's mask is outlined in green.

    Args:
        images: (N, 3, H, W) in [0, 1].
        attributions: Explainer -> (N, 1, H, W), signed.
        masks: (N, 1, H, W) bool, or None; all False: no outline.
        titles: N captions of the rows, such as "tumour → no tumour".
        path: Where to write it; .png, .pdf or .svg by its suffix. Missing folders are made.
        dpi: Dots an inch, for .png.

    Returns:
        The path.

    Raises:
        ValueError: there is no image, or shapes do not agree.
    """
    _check(images, attributions, masks, titles)
    n_columns = 1 + len(attributions)
    figure = Figure(figsize=(_CELL * n_columns + 1.3, _CELL * len(images) + 0.8), layout="compressed")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(images), n_columns, squeeze=False)
    for row, image in enumerate(images):
        mask = None if masks is None else masks[row, 0]
        _draw_image(axes[row, 0], np.moveaxis(image, 0, -1), mask)
        axes[row, 0].set_ylabel(wrapped(titles[row]), rotation=0, ha="right", va="center", fontsize=7, parse_math=False)
        for column, maps in enumerate(attributions.values(), start=1):
            draw_map(axes[row, column], maps[row, 0], image.mean(axis=0), mask)
    for axis, name in zip(axes[0], ("image", *attributions), strict=True):
        axis.set_title(wrapped(name), fontsize=7, parse_math=False)
    _draw_legend(figure, axes)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=dpi)
    return path


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


def _draw_image(axis: Axes, image: Array, mask: Array | None) -> None:
    axis.imshow(np.clip(image, 0, 1), interpolation="nearest")
    _finish(axis, mask)


def draw_map(axis: Axes, attribution: Array, gray: Array, mask: Array | None) -> None:
    """Draw an attribution, (H, W), as `grid` does, over its image in gray, (H, W) in [0, 1]."""
    if not attribution.any():
        axis.imshow(np.ones((*attribution.shape, 3)))
        axis.text(0.5, 0.5, "all zero", transform=axis.transAxes, ha="center", va="center", fontsize=7, color="0.4")
        _finish(axis, mask)
        return
    size = np.abs(attribution)
    limit = np.quantile(size, QUANTILE) or size.max()
    colours = COLOURS(np.clip(attribution / limit, -1, 1) / 2 + 0.5)[..., :3]
    # Multiplied, not blended: white stays faint image, and a full colour keeps its hue.
    axis.imshow(colours * (1 - _FAINT * (1 - gray[..., None])), interpolation="nearest")
    _finish(axis, mask)


def _finish(axis: Axes, mask: Array | None) -> None:
    bare(axis)
    if mask is not None:
        outline(axis, mask, EVIDENCE)


def _draw_legend(figure: Figure, axes: Array) -> None:
    bar = figure.colorbar(
        ScalarMappable(Normalize(-1, 1), COLOURS), ax=axes, location="bottom", shrink=0.4, aspect=40, ticks=[-1, 0, 1]
    )
    bar.ax.set_xticklabels(["against", "0", "for the class"], fontsize=7)
    bar.ax.tick_params(length=2)
    bar.outline.set_linewidth(0.4)
