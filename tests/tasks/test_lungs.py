"""Lungs in radiographs: what the network finds, what is made of it, how it is scored, whose masks are taken."""

import os
from itertools import product
from pathlib import Path
from statistics import fmean

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from tasks.base import data_folder
from tasks.chest_xray_pneumonia import ChestXrayPneumonia, ChestXrayPneumoniaSegmented, PhantomPneumoniaSegmented
from tasks.lungs.distortion import distorted
from tasks.lungs.evaluation import (
    BOXES_FOLDER,
    MASKS_FOLDER,
    Box,
    box_overlap,
    boxes_of,
    overlap,
    score_boxes,
    score_masks,
    score_phantoms,
)
from tasks.lungs.lungs_only import LungsOnlyPneumonia, mask_path
from tasks.lungs.segmentation import CHECKPOINT, LungUNet, find_lungs, lungs_of, segmenter
from tasks.lungs.training import LungRecipe, lung_loss, lung_phantoms, train_lungs
from tasks.phantoms.chest_xray import Pneumonia

SIDE = 48


class _Answers(nn.Module):
    """Marks what it is told, whatever the image."""

    def __init__(self, marked: Tensor) -> None:
        super().__init__()
        self.marked = marked

    def forward(self, images: Tensor) -> Tensor:
        return (self.marked.float() * 2 - 1).expand(len(images), 1, -1, -1)


def _plane(*lines: str) -> Tensor:
    return torch.tensor([[character == "#" for character in line] for line in lines])


# The network


@pytest.mark.parametrize("shape", [(1, 3, 5, 300), (2, 3, 128, 128), (1, 3, 97, 61)])
def test_images_of_any_size_are_answered_at_their_size(shape: tuple[int, ...]) -> None:
    network, images = segmenter(), torch.rand(shape, generator=torch.Generator().manual_seed(0))
    state = torch.random.get_rng_state()
    logits = network(images)
    assert logits.shape == (shape[0], 1, *shape[2:])
    assert torch.equal(logits, segmenter()(images))
    assert torch.equal(torch.random.get_rng_state(), state)


def test_how_an_image_was_exposed_does_not_matter() -> None:
    network, images = segmenter(), lung_phantoms(2, 5, 64).images.expand(-1, 3, -1, -1)
    darker, brighter = (find_lungs(network, low + 0.4 * images).masks for low in (0.0, 0.5))
    assert min(overlap(darker, brighter)[0]) > 0.99


def test_a_constant_image_has_finite_logits() -> None:
    assert segmenter()(torch.zeros(1, 3, 40, 40)).isfinite().all()


def test_the_lungs_of_fresh_phantoms_are_found() -> None:
    scores = score_phantoms(segmenter(), n_phantoms=24)
    assert all(score.found for score in scores)
    assert fmean(score.dice for score in scores) > 0.93
    assert min(score.dice for score in scores) > 0.8


def test_the_shipped_file_is_small() -> None:
    assert CHECKPOINT.stat().st_size < 2_000_000
    assert sum(parameter.numel() for parameter in LungUNet().parameters()) < 500_000


def test_absent_weights_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"^[^\n]*none.safetensors: no such weights; run `bench lungs train`$"):
        segmenter(tmp_path / "none.safetensors")


# Training


def test_the_same_training_gives_the_same_weights_and_leaves_randomness_alone(tmp_path: Path) -> None:
    recipe, stages = LungRecipe(n_phantoms=4, epochs=2, batch_size=2), []
    state = torch.random.get_rng_state()
    first = train_lungs(recipe, tmp_path / "first.safetensors", stages.append)
    train_lungs(recipe, tmp_path / "second.safetensors")
    assert torch.equal(torch.random.get_rng_state(), state)
    weights, again = (segmenter(tmp_path / f"{name}.safetensors").state_dict() for name in ("first", "second"))
    for name, value in first.state_dict().items():
        assert torch.equal(value, weights[name])
        assert torch.equal(value, again[name])
    assert [stage.stage for stage in stages if stage.loss is not None] == ["epoch 1 of 2", "epoch 2 of 2"]
    assert stages[-1].done == stages[-1].total == 4


def test_training_follows_the_loss_down() -> None:
    masks = lung_phantoms(2, 5, 32).masks
    losses = [lung_loss(scale * (masks - 0.5), masks).item() for scale in (-20.0, 0.0, 20.0)]
    assert losses[0] > losses[1] > losses[2]
    assert losses[2] < 0.01


def test_distortions_keep_lungs_and_masks_together() -> None:
    images, masks = lung_phantoms(24, 5, 64)
    moved, where = distorted(images, masks, torch.Generator().manual_seed(0))
    again, _ = distorted(images, masks, torch.Generator().manual_seed(0))
    assert torch.equal(moved, again)
    assert not torch.equal(moved, images)
    assert 0 <= moved.min() <= moved.max() <= 1
    assert set(where.unique().tolist()) == {0.0, 1.0}
    around = torch.nn.functional.max_pool2d(where, 9, 1, 4) - where
    within, beside = ((moved * plane).sum((1, 2, 3)) / plane.sum((1, 2, 3)) for plane in (where, around))
    assert (within < beside).float().mean() > 0.8
    assert (where != masks).any(3).any(2).all()


# What is made of the logits


def test_the_two_largest_pieces_are_kept_and_filled() -> None:
    marked = _plane(
        "####...###..",
        "#..#...###.#",
        "####...###..",
        "............",
        "##..........",
        "##..........",
    )
    larger, smaller = lungs_of(marked)
    assert torch.equal(larger, _plane("####........", "####........", "####........", *["." * 12] * 3))
    assert torch.equal(smaller, _plane(*[".......###.."] * 3, *["." * 12] * 3))


def test_a_speck_is_no_second_lung_and_corners_do_not_touch() -> None:
    marked = torch.zeros(12, 12, dtype=torch.bool)
    marked[:5, :5], marked[5, 5:7] = True, True
    (only,) = lungs_of(marked)
    assert only.sum() == 25
    marked[5, 7] = True
    assert [int(piece.sum()) for piece in lungs_of(marked)] == [25, 3]
    assert lungs_of(torch.zeros(4, 4, dtype=torch.bool)) == []


def test_where_nothing_is_found_the_image_stays_whole() -> None:
    marked = torch.zeros(2, 1, 6, 6, dtype=torch.bool)
    marked[1, 0, 1:4, 1:3] = True
    masks, found = find_lungs(_Answers(marked), torch.rand(2, 3, 6, 6))
    assert found.tolist() == [False, True]
    assert masks[0].all()
    assert torch.equal(masks[1], marked[1])


# Scores


def _slow_overlap(one: Box, other: Box, side: int) -> float:
    """Counts the cells of a grid whose middles lie in the boxes."""
    cells = set(product(range(side), repeat=2))
    first, second = (
        {
            (x, y) for x, y in cells
            if box.left <= (x + 0.5) / side < box.right and box.top <= (y + 0.5) / side < box.bottom
        }
        for box in (one, other)
    )  # fmt: skip
    return len(first & second) / len(first | second)


def test_boxes_overlap_as_counted_cell_by_cell() -> None:
    random, side = np.random.default_rng(0), 24
    for _ in range(20):
        edges = np.sort(random.permutation(side)[:8].reshape(4, 2), axis=1) / side
        boxes = [Box(*(float(edge) for edge in (x[0], y[0], x[1], y[1]))) for x, y in (edges[:2], edges[2:])]
        assert box_overlap(*boxes) == pytest.approx(_slow_overlap(boxes[0], boxes[1], side))
    assert box_overlap(boxes[0], boxes[0]) == 1
    assert box_overlap(Box(0, 0, 0.1, 0.1), Box(0.5, 0.5, 1, 1)) == 0


def test_masks_overlap_as_counted_pixel_by_pixel() -> None:
    masks, truth = (torch.rand(4, 1, 5, 6, generator=torch.Generator().manual_seed(seed)) > 0.5 for seed in (0, 1))
    masks[3], truth[3] = False, False
    dice, iou = overlap(masks, truth)
    for index in range(3):
        ours, theirs = (
            {tuple(place) for place in plane[index, 0].nonzero().tolist()} for plane in (masks, truth)
        )  # fmt: skip
        assert dice[index] == pytest.approx(2 * len(ours & theirs) / (len(ours) + len(theirs)))
        assert iou[index] == pytest.approx(len(ours & theirs) / len(ours | theirs))
    assert (dice[3], iou[3]) == (1, 1)


def test_the_right_lung_is_on_the_left_of_the_image() -> None:
    marked = torch.zeros(10, 10, dtype=torch.bool)
    assert boxes_of(marked) == (None, None)
    marked[2:8, 6:9] = True
    assert boxes_of(marked) == (None, Box(0.6, 0.2, 0.9, 0.8))
    marked[1:5, 1:4] = True
    assert boxes_of(marked) == (Box(0.1, 0.1, 0.4, 0.5), Box(0.6, 0.2, 0.9, 0.8))


# Radiographs of which only the lungs are left


def test_phantoms_are_black_outside_their_lungs() -> None:
    phantoms = LungsOnlyPneumonia(4, seed=3, size=SIDE)
    for index in range(4):
        whole, lungs = Pneumonia(4, seed=3, size=SIDE)[index], phantoms.lungs(index)
        for evidence in (True, False):
            sample = phantoms.sample(index, evidence=evidence)
            assert not (sample.input * ~lungs).any()
        assert torch.equal(phantoms[index].input, whole.input * lungs)
        sample = phantoms[index]
        assert sample.mask is not None
        assert whole.mask is not None
        assert torch.equal(sample.mask, whole.mask & lungs)
        assert sample.mask.sum() >= 0.8 * whole.mask.sum()


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Radiographs with masks beside them; the folder of the data set."""
    monkeypatch.setenv("BENCH_DATA", str(tmp_path))
    return PhantomPneumoniaSegmented(size=SIDE).publish(tmp_path, n_samples=20)


def test_the_users_masks_are_taken(written: Path) -> None:
    only, whole = ChestXrayPneumoniaSegmented(size=SIDE), ChestXrayPneumonia(size=SIDE)
    assert len(list((written / "lung masks").rglob("*.png"))) == 20
    for part in ("train", "validation", "heldout"):
        samples, others = only.part(part), whole.part(part)
        assert len(samples) == len(others) > 0
        for index in range(len(samples)):
            sample, other = samples[index], others[index]
            with Image.open(written / mask_path(sample.id)) as picture:
                lungs = torch.from_numpy(np.asarray(picture) > 127)
            assert torch.equal(sample.input, other.input * lungs)
            assert sample[1:] == other[1:]


def test_lungs_that_the_user_has_not_drawn_are_found(written: Path) -> None:
    samples = ChestXrayPneumoniaSegmented(size=SIDE).part("heldout")
    drawn = samples[0].input
    (written / mask_path(samples[0].id)).unlink()
    whole = ChestXrayPneumonia(size=SIDE).part("heldout")[0].input
    found = samples[0].input
    assert torch.equal(found, whole * find_lungs(segmenter(), whole[None]).masks[0])
    assert overlap((found > 0)[None, :1], (drawn > 0)[None, :1])[0][0] > 0.8
    assert torch.equal(samples[0].input, found)


def test_an_image_without_lungs_is_kept_whole_and_named(written: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nothing = _Answers(torch.zeros(1, 1, SIDE, SIDE))
    monkeypatch.setattr("tasks.chest_xray_pneumonia.segmenter", lambda: nothing)
    samples = ChestXrayPneumoniaSegmented(size=SIDE).part("heldout")
    (written / mask_path(samples[0].id)).unlink()
    with pytest.warns(UserWarning, match=r"^chest_xray/test/NORMAL/[^\n]*: no lung was found, so the whole image is"):
        sample = samples[0]
    assert torch.equal(sample.input, ChestXrayPneumonia(size=SIDE).part("heldout")[0].input)


def test_masks_that_do_not_fit_are_named(written: Path) -> None:
    samples = ChestXrayPneumoniaSegmented(size=SIDE).part("heldout")
    mask = written / mask_path(samples[0].id)
    Image.new("L", (SIDE, SIDE // 2), 255).save(mask)
    with pytest.raises(ValueError, match=rf"^{mask}: is 48 x 24, and its image 48 x 48; [^\n]*$"):
        samples[0]
    Image.new("L", (SIDE, SIDE)).save(mask)
    with pytest.raises(ValueError, match=rf"^{mask}: marks no lung; remove it, and [^\n]*$"):
        samples[0]
    mask.write_bytes(b"no picture")
    with pytest.raises(ValueError, match=rf"^{mask}: [^\n]*$"):
        samples[0]


# Files with known lungs


def test_what_is_no_table_of_boxes_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"annotations.json: no such file$"):
        score_boxes(segmenter(), tmp_path)
    path = tmp_path / BOXES_FOLDER / "annotations" / "annotations.json"
    path.parent.mkdir(parents=True)
    for text in ("{", "{}", "[]", '{"categories": [], "annotations": [{"image_id": 1}], "images": []}'):
        path.write_text(text)
        with pytest.raises(ValueError, match=r"^[^\n]*annotations.json: not COCO boxes [^\n]*; replace it by [^\n]*$"):
            score_boxes(segmenter(), tmp_path)
    path.write_text('{"categories": [], "annotations": [], "images": []}')
    with pytest.raises(FileNotFoundError, match=r"images: holds no image that has boxes$"):
        score_boxes(segmenter(), tmp_path)
    with pytest.raises(FileNotFoundError, match=r"holds no lung mask"):
        score_masks(segmenter(), tmp_path)


def _real(folder: str) -> Path:
    data = data_folder()
    if data is None or not (data / folder).is_dir():
        pytest.skip(f"real data absent: BENCH_DATA is {os.environ.get('BENCH_DATA')!r}")
    return data


def test_real_lungs_are_found() -> None:
    scores = score_masks(segmenter(), _real(MASKS_FOLDER))
    assert len(scores) >= 12
    assert fmean(score.dice for score in scores) > 0.86


def test_real_boxes_are_met() -> None:
    scores = score_boxes(segmenter(), _real(BOXES_FOLDER))
    assert len(scores) >= 89
    assert fmean(score.right for score in scores) > 0.72
    assert fmean(score.left for score in scores) > 0.69
