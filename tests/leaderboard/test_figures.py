"""Figures: sheets are written, in the order of the samples, and wrong shapes are named."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib import colormaps
from matplotlib.image import imread

from leaderboard.pictures.figures import attribution_grids, grid, map_tile

N, SIDE = 3, 16
RNG = np.random.default_rng(0)
IMAGES = RNG.uniform(size=(N, 3, SIDE, SIDE))
MASKS = np.zeros((N, 1, SIDE, SIDE), dtype=bool)
MASKS[0, :, 4:9, 4:9] = True
MASKS[1] = True
MAPS = {
    "grad_cam": RNG.normal(size=(N, 1, SIDE, SIDE)),
    "all_zero": np.zeros((N, 1, SIDE, SIDE)),
    "one_pixel": np.zeros((N, 1, SIDE, SIDE)),
    "$odd_name": np.ones((N, 1, SIDE, SIDE), dtype=np.float32),
}
MAPS["one_pixel"][..., 0, 0] = 1
TITLES = ["tumour → no tumour", "a_$", ""]


@pytest.mark.parametrize("masks", [None, MASKS])
@pytest.mark.parametrize("suffix", [".png", ".pdf"])
def test_grid_is_written(suffix: str, masks: np.ndarray | None, tmp_path: Path) -> None:
    path = grid(IMAGES, MAPS, masks, TITLES, tmp_path / "new" / f"sheet{suffix}")
    assert path.read_bytes()[:4] == (b"\x89PNG" if suffix == ".png" else b"%PDF")


def test_grid_shows_the_sign_and_leaves_nothing_white(tmp_path: Path) -> None:
    white = np.ones((1, 3, SIDE, SIDE))
    red = imread(grid(white, {"e": white[:, :1]}, None, [""], tmp_path / "red.png"))[..., :3].reshape(-1, 3)
    blue = imread(grid(white, {"e": -white[:, :1]}, None, [""], tmp_path / "blue.png"))[..., :3].reshape(-1, 3)
    count = [
        (pixels[:, 0] > pixels[:, 2] + 0.2).sum() - (pixels[:, 2] > pixels[:, 0] + 0.2).sum() for pixels in (red, blue)
    ]
    assert count[0] > 5000
    assert count[1] < -5000


def test_maps_have_the_colours_that_are_asked_for() -> None:
    image, attribution = np.ones((3, 2, 2)), np.array([[1.0, -1.0], [1.0, -1.0]])
    for name in ("RdBu_r", "PuOr"):
        colours = colormaps[name]
        tile = map_tile(attribution, image, colours=colours).image
        assert tile[:, 0, 0] == pytest.approx(colours(1.0)[:3])
        assert tile[:, 0, 1] == pytest.approx(colours(0.0)[:3])


@pytest.mark.parametrize(
    ("maps", "titles", "message"),
    [
        ({"lrp": np.zeros((N, SIDE, SIDE))}, TITLES, "lrp: shape .*expected"),
        (MAPS, TITLES[:2], "one title an image"),
    ],
)
def test_grid_names_what_does_not_fit(
    maps: dict[str, np.ndarray], titles: list[str], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=message):
        grid(IMAGES, maps, None, titles, tmp_path / "sheet.png")


def _fill(folder: Path, n: int) -> Path:
    shard = folder / "shapes" / "0" / "attributions"
    shard.mkdir(parents=True)
    ids = np.array([f"sample-{index}" for index in range(n)])
    images = RNG.integers(0, 256, (n, 3, SIDE, SIDE), dtype=np.uint8)
    np.savez_compressed(shard / "inputs.npz", inputs=images, masks=images[:, :1] > 250, ids=ids, captions=ids)
    for name in ("grad_cam", "lrp"):
        attributions = RNG.normal(size=(n, 1, SIDE, SIDE)).astype(np.float32)
        np.savez_compressed(shard / f"{name}.npz", attributions=attributions, ids=ids[::-1])
    return shard


def test_attribution_grids_are_paged(tmp_path: Path) -> None:
    shard = _fill(tmp_path, 12)
    sheets = attribution_grids(tmp_path)
    assert sheets == [shard / "grid-00.png", shard / "grid-01.png"]
    assert all(path.stat().st_size > 1000 for path in sheets)
    assert attribution_grids(tmp_path, explainers=["lrp"], n_rows=3) == [shard / "grid-00.png"]
    assert not (shard / "grid-01.png").exists()


def test_attribution_grids_say_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no attributions in"):
        attribution_grids(tmp_path)
    shard = _fill(tmp_path, 2)
    with pytest.raises(ValueError, match="no attributions of crp in"):
        attribution_grids(tmp_path, explainers=["crp"])
    np.savez(shard / "lrp.npz", attributions=np.zeros((1, 1, SIDE, SIDE)), ids=np.array(["sample-0"]))
    with pytest.raises(ValueError, match=r"lrp\.npz lacks 1 samples of its shard, sample-1 first"):
        attribution_grids(tmp_path)
