"""Transformations of images, each written a second time with scipy, Pillow or numpy; and what brings maps back."""

import io

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance
from scipy import ndimage
from torch import Tensor, nn

from metrics import robustness
from metrics.base import Decisions
from metrics.movements import Flip, Rotation, Translation
from metrics.robustness import RankCorrelation
from metrics.transformations import Blur, Brightness, Contrast, Jpeg, Noise, Sharpen, Transformation

ENTRIES = {name: entry.transformation for name, entry in vars(robustness).items() if type(entry) is RankCorrelation}
MOVING = {name: entry for name, entry in ENTRIES.items() if isinstance(entry, Flip | Rotation | Translation)}
STILL = {name: entry for name, entry in ENTRIES.items() if name not in MOVING}

every_transformation = pytest.mark.parametrize("transformation", ENTRIES.values(), ids=ENTRIES)
every_movement = pytest.mark.parametrize("transformation", MOVING.values(), ids=MOVING)


class Mean(nn.Module):
    """One logit: the mean."""

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs.flatten(1).mean(dim=1, keepdim=True)


def changed(transformation: Transformation, images: Tensor, **settings: object) -> Tensor:
    return transformation.images(Decisions(Mean(), images, **settings))


def one_by_one(function: object, images: Tensor) -> Tensor:
    """A function of (C, H, W) numpy images, of each image."""
    return torch.from_numpy(np.stack([function(image) for image in images.numpy()]))


def test_there_are_three_strengths_of_each_and_one_flip() -> None:
    strengths = {"blur", "sharpen", "brightness", "contrast", "gaussian_noise", "jpeg", "rotation", "translation"}
    assert set(ENTRIES) == {"flip"} | {f"{name}{how}" for name in strengths for how in ("_mild", "", "_strong")}
    assert (ENTRIES["blur"], ENTRIES["sharpen"], ENTRIES["rotation"]) == (Blur(0.01), Sharpen(1.0), Rotation(10.0))


@every_transformation
def test_images_change_stay_images_and_know_no_batch_mates(transformation: Transformation, images: Tensor) -> None:
    large = nn.functional.interpolate(images, size=(40, 36), mode="bilinear")  # a mild blur sees no pixel of 24
    names = tuple("abcdef")
    whole = changed(transformation, large, ids=names)
    assert whole.shape == large.shape
    assert whole.dtype == large.dtype
    assert 0 <= float(whole.min()) < float(whole.max()) <= 1
    if transformation != Blur(0.005):
        assert bool((whole != large).flatten(1).any(dim=1).all())
    rows = [4, 0]
    some = changed(transformation, large[rows], ids=tuple(names[row] for row in rows))
    assert torch.allclose(some, whole[rows], atol=1e-6)
    assert torch.equal(changed(transformation, large, ids=names), whole)


@pytest.mark.parametrize("name", ["blur", "sharpen", "brightness", "contrast", "gaussian_noise", "jpeg"])
def test_a_stronger_transformation_changes_more(name: str) -> None:
    coarse = torch.rand(4, 3, 14, 14, generator=torch.Generator().manual_seed(3))
    images = nn.functional.interpolate(coarse, size=(112, 112), mode="bicubic").clamp(0, 1)
    mild, middle, strong = (
        (changed(ENTRIES[f"{name}{how}"], images) - images).abs().mean(dim=(1, 2, 3))
        for how in ("_mild", "", "_strong")
    )
    assert bool(((mild > 0) & (mild < middle) & (middle < strong)).all())


def test_blur_is_that_of_scipy(images: Tensor) -> None:
    sigma = 0.05 * 24
    wanted = one_by_one(
        lambda image: ndimage.gaussian_filter(image, (0, sigma, sigma), mode="mirror", truncate=3), images
    )
    inside = (..., slice(4, -4), slice(4, -4))
    assert torch.allclose(changed(Blur(0.05), images)[inside], wanted[inside], atol=1e-3)


def test_sharpening_is_that_of_pillow(images: Tensor) -> None:
    eight_bit = (255 * images).round() / 255

    def sharpened(image: np.ndarray) -> np.ndarray:
        picture = Image.fromarray((255 * image).round().astype(np.uint8).transpose(1, 2, 0))
        return np.asarray(ImageEnhance.Sharpness(picture).enhance(2.0)).transpose(2, 0, 1) / np.float32(255)

    assert torch.allclose(changed(Sharpen(1.0), eight_bit), one_by_one(sharpened, eight_bit), atol=2.5 / 255)


def test_brightness_and_contrast_are_those_of_their_formulas(images: Tensor) -> None:
    brighter = one_by_one(lambda image: np.minimum(1, 1.2 * image), images)
    assert torch.allclose(changed(Brightness(0.2), images), brighter, atol=1e-6)

    def contrasted(image: np.ndarray) -> np.ndarray:
        grey = 0.2989 * image[0] + 0.587 * image[1] + 0.114 * image[2]
        return np.clip(grey.mean() + 1.4 * (image - grey.mean()), 0, 1)

    assert torch.allclose(changed(Contrast(0.4), images), one_by_one(contrasted, images), atol=1e-5)
    flat = torch.full((1, 3, 12, 12), 0.4)
    assert torch.allclose(changed(Contrast(0.4), flat), flat, atol=1e-3)  # the weights of the channels sum to 0.9999


def test_noise_belongs_to_the_sample_and_is_grey() -> None:
    grey = torch.full((3, 3, 200, 200), 0.5)
    decisions = Decisions(Mean(), grey, ids=("a", "b", "a"), task="t", seed=1)
    before = torch.random.get_rng_state()
    mild, strong = (Noise(sigma).images(decisions) - grey for sigma in (0.02, 0.06))
    assert torch.equal(before, torch.random.get_rng_state())
    assert torch.equal(mild[:, :1].expand(-1, 3, -1, -1), mild)
    assert torch.equal(mild[0], mild[2])
    assert not torch.equal(mild[0], mild[1])
    assert torch.allclose(strong, 3 * mild, atol=1e-6)
    assert mild.std().item() == pytest.approx(0.02, rel=0.02)
    assert mild.mean().item() == pytest.approx(0, abs=2e-4)
    other_seed = Noise(0.02).images(Decisions(Mean(), grey, ids=("a", "b", "a"), task="t", seed=2)) - grey
    assert not torch.equal(other_seed, mild)


def test_jpeg_is_what_pillow_writes_and_reads(images: Tensor) -> None:
    def read_again(image: np.ndarray) -> np.ndarray:
        file = io.BytesIO()
        Image.fromarray((255 * image).round().astype(np.uint8).transpose(1, 2, 0)).save(file, "JPEG", quality=50)
        return np.asarray(Image.open(file)).transpose(2, 0, 1) / np.float32(255)

    assert torch.allclose(changed(Jpeg(50), images), one_by_one(read_again, images), atol=1e-6)


def test_jpeg_of_a_grey_image_stays_grey_with_one_channel_and_with_three(images: Tensor) -> None:
    one = images[:, :1]
    three = changed(Jpeg(30), one.expand(-1, 3, -1, -1))
    assert torch.equal(three[:, 0], three[:, 1])
    assert torch.equal(three[:, 0], three[:, 2])
    assert torch.allclose(changed(Jpeg(30), one), three[:, :1], atol=1.5 / 255)
    eight_bit = 255 * three
    assert torch.allclose(eight_bit, eight_bit.round(), atol=1e-3)


@pytest.mark.parametrize("quality", [0, 101, -5])
def test_jpeg_has_qualities_from_1_to_100(quality: int) -> None:
    with pytest.raises(ValueError, match="quality is from 1 to 100"):
        Jpeg(quality)


def test_flip_mirrors_left_and_right(images: Tensor) -> None:
    assert torch.equal(changed(Flip(), images), one_by_one(lambda image: image[:, :, ::-1], images))


@pytest.mark.parametrize("angle", [10.0, -25.0])
def test_rotation_is_that_of_scipy(images: Tensor, angle: float) -> None:
    def turned(values: np.ndarray, by: float) -> np.ndarray:
        return ndimage.rotate(values, by, axes=(2, 1), reshape=False, order=1, mode="grid-constant", cval=0.0)

    assert torch.allclose(
        changed(Rotation(angle), images), one_by_one(lambda image: turned(image, angle), images), atol=1e-4
    )
    inside = (turned(np.ones((1, 24, 24)), angle) > 0.999).astype(float)
    wanted = turned(inside, -angle)[0] > 0.999
    assert 0.5 < wanted.mean() < 1
    assert np.array_equal(Rotation(angle).compared(images).numpy(), wanted)


@pytest.mark.parametrize("shift", [0.05, 0.1, 1 / 24, -0.07])
def test_translation_is_that_of_scipy(images: Tensor, shift: float) -> None:
    wide = torch.cat([images, images], dim=3)

    def shifted(values: np.ndarray, by: float) -> np.ndarray:
        return ndimage.shift(values, (0, by * 24, by * 48), order=1, mode="grid-constant", cval=0.0)

    assert torch.allclose(
        changed(Translation(shift), wide), one_by_one(lambda image: shifted(image, shift), wide), atol=1e-5
    )
    inside = (shifted(np.ones((1, 24, 48)), shift) > 0.999).astype(float)
    wanted = shifted(inside, -shift)[0] > 0.999
    assert 0.5 < wanted.mean() < 1
    assert np.array_equal(Translation(shift).compared(wide).numpy(), wanted)


def test_translation_by_whole_pixels_is_exact(maps: Tensor) -> None:
    whole = Translation(3 / 24)
    moved = whole.move(maps)
    assert torch.equal(moved[..., 3:, 3:], maps[..., :-3, :-3])
    assert not moved[..., :3, :].any()
    assert not moved[..., :, :3].any()
    compared = whole.compared(maps)
    assert torch.equal(whole.restore(moved)[..., compared], maps[..., compared])
    assert int(compared.sum()) == 21 * 21


@every_movement
@pytest.mark.parametrize("size", [(24, 24), (25, 40)])
def test_what_is_moved_comes_back(transformation: Transformation, size: tuple[int, int]) -> None:
    # Bilinear interpolation is exact for a plane: only a wrong way back can change it.
    rows, columns = (torch.linspace(-1, 1, side) for side in size)
    plane = (0.4 * rows[:, None] - 0.7 * columns + 0.1).expand(2, 1, -1, -1)
    compared = transformation.compared(plane)
    assert 0.3 < compared.float().mean() <= 1
    back = transformation.restore(transformation.move(plane))
    assert torch.allclose(back[..., compared], plane[..., compared], atol=1e-4)
    elsewhere = transformation.restore(plane) if not isinstance(transformation, Flip) else plane
    assert not torch.allclose(elsewhere[..., compared], plane[..., compared], atol=1e-2) or elsewhere is plane


@every_movement
def test_pixels_that_left_the_image_are_not_compared(transformation: Transformation) -> None:
    # A frame of nan spreads into whatever touches beyond the border, there and back.
    ones = torch.ones(1, 1, 30, 30)
    marked = torch.where(transformation.move(ones) > 0.999, 1.0, torch.nan)
    back = transformation.restore(marked)[0, 0]
    compared = transformation.compared(ones)
    assert bool(back[compared].isfinite().all())
    assert torch.allclose(back[compared], torch.ones(()), atol=1e-3)


@pytest.mark.parametrize("transformation", STILL.values(), ids=STILL)
def test_where_nothing_moves_nothing_is_brought_back(transformation: Transformation, maps: Tensor) -> None:
    assert transformation.move(maps) is maps
    assert transformation.restore(maps) is maps
    assert bool(transformation.compared(maps).all())
