"""Perturbation a second time: loops over masks, closed forms, brute force; captum's and scikit-learn's beside it."""

from collections.abc import Callable
from dataclasses import replace
from itertools import permutations

import captum.attr
import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge
from torch import Tensor, nn

from explainers.masking import Masked
from explainers.perturbation import (
    RISE,
    FeatureAblation,
    KernelShap,
    Lime,
    Occlusion,
    feature_ablation,
    kernel_shap,
    lime,
    occlusion,
    rise,
)
from explainers.superpixels import ridge, shapley, superpixels

SIDE = 20
TARGETS = torch.tensor([0, 1, 3])
Draw = Callable[..., Tensor]
Case = tuple[nn.Module, Tensor]


@pytest.fixture
def case(build: Callable[[str], nn.Module], draw: Draw) -> Case:
    """A network in float64, and three images."""
    return build("residual").double(), draw(3, SIDE).double()


@pytest.fixture
def linear(draw: Draw) -> Case:
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * SIDE**2, 4)).double().requires_grad_(False)
    model[1].weight.normal_(0, 0.1, generator=torch.Generator().manual_seed(4))
    return model, draw(3, SIDE).double()


def at_target(model: nn.Module, images: Tensor) -> Tensor:
    return model(images).gather(1, TARGETS[:, None])[:, 0]


def mean_colour(images: Tensor) -> Tensor:
    return images.mean((2, 3), keepdim=True).expand_as(images)


def products(linear: Case) -> Tensor:
    """(N, H, W) weight times difference to the mean colour: what each pixel is worth to a linear model."""
    model, images = linear
    return (model[1].weight[TARGETS].view_as(images) * (images - mean_colour(images))).sum(1)


def summed(values: Tensor, segments: Tensor) -> Tensor:
    """Each pixel gets the sum over its superpixel."""
    totals = torch.zeros(len(values), int(segments.max()) + 1).double()
    totals.scatter_add_(1, segments.flatten(1), values.flatten(1))
    return totals.gather(1, segments.flatten(1)).view_as(segments)[:, None]


def test_occlusion_is_captums(case: Case) -> None:
    model, images = case
    side = 5
    for step in (5, 3):  # (20 − 5) / 3 is whole, too
        explainer = Occlusion(window=side / SIDE, stride=step / SIDE)
        wanted = captum.attr.Occlusion(model).attribute(
            images, (3, side, side), (3, step, step), mean_colour(images), target=TARGETS, perturbations_per_eval=4
        )
        torch.testing.assert_close(explainer(model, images, TARGETS).float(), wanted[:, :1].float())


@pytest.mark.parametrize("size", [(20, 20), (7, 33), (96, 96), (224, 224)])
def test_windows_reach_every_pixel_and_stay_inside(size: tuple[int, int]) -> None:
    windows = occlusion.windows(*size)
    assert len(windows) == 81
    assert bool(windows.any(0).all())
    areas = windows.sum((1, 2))
    assert torch.all(areas == areas[0])
    assert torch.equal(windows.any(0), windows.flip(1).any(0))


def test_feature_ablation_is_captums(case: Case) -> None:
    model, images = case
    segments = superpixels(images, 9)
    assert len({int(segment.max()) for segment in segments}) > 1, "images of several numbers of superpixels"
    wanted = captum.attr.FeatureAblation(model).attribute(
        images, mean_colour(images), target=TARGETS, feature_mask=segments[:, None].expand(-1, 3, -1, -1)
    )
    torch.testing.assert_close(FeatureAblation(n_segments=9)(model, images, TARGETS), wanted[:, :1])


def test_linear_model_has_one_answer(linear: Case) -> None:
    model, images = linear
    worth = products(linear)
    torch.testing.assert_close(feature_ablation(model, images, TARGETS), summed(worth, superpixels(images, 36)))
    wanted = summed(worth, superpixels(images, 36))
    torch.testing.assert_close(kernel_shap(model, images, TARGETS), wanted, atol=1e-6, rtol=1e-5)
    maps = occlusion(model, images, TARGETS)
    windows = occlusion.windows(SIDE, SIDE)
    for place in ((0, 0), (7, 12), (19, 19)):
        over = [worth[:, window].sum(1) for window in windows if window[place]]
        torch.testing.assert_close(maps[:, 0, place[0], place[1]], torch.stack(over).mean(0))


def test_lime_is_scikit_learns_ridge(case: Case) -> None:
    model, images = case
    explainer = Lime(n_segments=12, n_samples=60)
    segments = superpixels(images, 12)
    sizes = [int(segment.max()) + 1 for segment in segments]
    kept = explainer.draw(images, sizes, max(sizes))
    maps = explainer(model, images, TARGETS)
    for index, size in enumerate(sizes):
        z = kept[index, :, :size]
        assert bool(z[0].all())
        assert not bool(kept[index, :, size:].any())
        shown = [torch.where(row[segments[index]], images[index], mean_colour(images)[index]) for row in z]
        logits = model(torch.stack(shown))[:, TARGETS[index]].numpy()
        share = z.double().mean(1).numpy()
        distance = 1 - share / np.sqrt(np.maximum(share, 1e-12))  # cosine of a 0-1 vector and the vector of ones
        weights = np.sqrt(np.exp(-(distance**2) / 0.25**2))
        slopes = Ridge(alpha=1).fit(z.double().numpy(), logits, weights).coef_
        np.testing.assert_allclose(maps[index, 0].numpy(), slopes[segments[index].numpy()], atol=1e-9)


def test_kernel_shap_is_brute_force_over_all_orders(case: Case) -> None:
    model, images = case
    segments = superpixels(images, 9)
    maps = KernelShap(n_segments=9, n_samples=1000)(model, images, TARGETS)
    base, most = mean_colour(images), 0
    for index in range(len(images)):
        n_features = int(segments[index].max()) + 1
        values, orders = np.zeros(n_features), list(permutations(range(n_features)))
        most = max(most, n_features)
        subsets = [[(code >> feature) & 1 for feature in range(n_features)] for code in range(2**n_features)]
        shown = [torch.where(torch.tensor(z).bool()[segments[index]], images[index], base[index]) for z in subsets]
        logits = model(torch.stack(shown))[:, TARGETS[index]].numpy()
        for order in orders:
            code = 0
            for feature in order:
                values[feature] += (logits[code | 1 << feature] - logits[code]) / len(orders)
                code |= 1 << feature
        np.testing.assert_allclose(
            maps[index, 0].numpy(), values[segments[index].numpy()], atol=0.05 * np.abs(values).max()
        )
    assert most > 3


def test_kernel_shap_sums_to_the_difference_of_logits(case: Case) -> None:
    model, images = case
    segments = superpixels(images, kernel_shap.n_segments)
    for n_samples in (10, 128):  # fewer than superpixels, too
        maps = KernelShap(n_samples=n_samples)(model, images, TARGETS)[:, 0]
        sums = [
            sum(float(of[segment == number][0]) for number in range(int(segment.max()) + 1))
            for of, segment in zip(maps, segments, strict=True)
        ]
        gain = at_target(model, images) - at_target(model, mean_colour(images))
        np.testing.assert_allclose(sums, gain.numpy(), rtol=1e-6)


def test_kernel_shaps_masks_are_pairs_of_complements(draw: Draw) -> None:
    kept = KernelShap(n_samples=400).draw(draw(2), [6, 4], 6)
    assert torch.equal(kept[0, 0::2], ~kept[0, 1::2])
    assert not bool(kept[1, :, 4:].any())
    numbers = kept[0].sum(1)
    assert (numbers.min(), numbers.max()) == (1, 5)
    share = [float((numbers == number).double().mean()) for number in range(1, 6)]
    wanted = np.array([1 / (number * (6 - number)) for number in range(1, 6)])
    np.testing.assert_allclose(share, wanted / wanted.sum(), atol=0.08)


def test_image_of_one_superpixel_has_it_all() -> None:
    features, gains = torch.zeros(1, 5, 1).double(), torch.zeros(1, 5).double()
    values = shapley(features, gains, torch.tensor([[3.0]]).double(), torch.ones(1, 1).bool())
    torch.testing.assert_close(values, torch.tensor([[3.0]]).double())
    assert ridge(features, gains, torch.ones(1, 5).double()).tolist() == [[0]]
    assert not KernelShap().draw(torch.rand(1, 3, 8, 8), [1], 1).any()


def test_rise_is_the_mean_over_the_masks_that_show_the_pixel(case: Case) -> None:
    """The same masks one after another, bilinear between nodes by hand."""
    model, images = case
    explainer = RISE(n_masks=10, n_cells=4)
    nodes, shifts = explainer._draw(images)
    maps = explainer(model, images, TARGETS)
    for index, image in enumerate(images):
        masks = np.zeros((10, SIDE, SIDE))
        for number, row, column in np.ndindex(10, SIDE, SIDE):
            y, x = (
                (place + 0.5) / SIDE * 4 + shifts[index, number, axis].item()
                for axis, place in enumerate((row, column))
            )
            corner = nodes[index, number].numpy()[int(y) : int(y) + 2, int(x) : int(x) + 2]
            weights = np.outer([1 - y % 1, y % 1], [1 - x % 1, x % 1])
            masks[number, row, column] = (corner * weights).sum()
        logits = model(image * torch.from_numpy(masks)[:, None])[:, TARGETS[index]].numpy()
        wanted = np.einsum("m,mhw->hw", logits, masks) / masks.sum(0) - logits.mean()
        np.testing.assert_allclose(maps[index, 0].numpy(), wanted, atol=1e-9)


def test_rise_finds_the_only_pixels_that_count(draw: Draw) -> None:
    class Corner(nn.Module):
        def forward(self, inputs: Tensor) -> Tensor:
            return inputs[:, :, 2:6, 12:16].mean((1, 2, 3))[:, None].expand(-1, 4)

    maps = rise(Corner(), draw(3, SIDE) + 0.2, TARGETS)
    for peak in maps.flatten(1).argmax(1):
        assert 0 <= peak // SIDE <= 8
        assert 10 <= peak % SIDE <= 18
    flat = RISE(n_masks=300)(nn.Sequential(nn.Flatten(), nn.Linear(3 * SIDE**2, 4)), 0 * draw(3, SIDE), TARGETS)
    assert flat.abs().max() < 1e-6, "black images: no mask changes them"


@pytest.mark.parametrize("explainer", [rise, lime, kernel_shap])
def test_masks_belong_to_seed_and_image(explainer: RISE | Lime | KernelShap, case: Case) -> None:
    model, images = case
    maps = explainer(model, images, TARGETS)
    assert torch.equal(explainer(model, images, TARGETS), maps)
    assert not torch.allclose(replace(explainer, seed=1)(model, images, TARGETS), maps)
    twice = explainer(model, images[[0, 0]], TARGETS[[0, 0]])
    torch.testing.assert_close(twice[0], twice[1])


def test_batch_is_halved_until_memory_takes_it(case: Case) -> None:
    model, images = case
    sizes: list[int] = []

    def scarce(_module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        sizes.append(len(inputs[0]))
        if sizes[-1] > 7:
            raise torch.OutOfMemoryError("out of memory")

    masks = torch.rand(3, 9, SIDE, SIDE, generator=torch.Generator().manual_seed(0)).double()
    wanted = Masked(model, images, 0 * images).logits(lambda which: masks[:, which], 9)
    handle = model.register_forward_pre_hook(scarce)
    torch.testing.assert_close(Masked(model, images, 0 * images).logits(lambda which: masks[:, which], 9), wanted)
    assert sizes == [27, 15, 6, 6, 6, 6, 3]
    handle.remove()
    model.register_forward_pre_hook(lambda *_: (_ for _ in ()).throw(torch.OutOfMemoryError("not even one")))
    with pytest.raises(torch.OutOfMemoryError, match="not even one"):
        rise(model, images, TARGETS)


def test_as_many_images_are_forwarded_as_the_docstrings_say(case: Case) -> None:
    model, images = case
    n_forwarded: list[int] = []
    model.register_forward_pre_hook(lambda _module, inputs: n_forwarded.append(len(inputs[0])))
    segments = superpixels(images, 36)
    for explainer, n_passes in (
        (occlusion, 82),
        (rise, 128),
        (lime, 128),
        (kernel_shap, 130),
        (feature_ablation, int(segments.max()) + 2),
    ):
        n_forwarded.clear()
        explainer(model, images, TARGETS)
        assert sum(n_forwarded) == 3 * n_passes
