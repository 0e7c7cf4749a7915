"""Noisy linear imputation: the equations written out, Quantus, closed forms; the iterative solver against the exact."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from metrics.base import Decisions
from metrics.linear_imputation import ExactLinearImputer, IterativeLinearImputer, LinearImputer

NEIGHBOURS = [(row, column) for row in (-1, 0, 1) for column in (-1, 0, 1) if (row, column) != (0, 0)]
EXACT, ITERATIVE = ExactLinearImputer(noise=0), IterativeLinearImputer(noise=0, tolerance=1e-6)

both = pytest.mark.parametrize("imputer", [EXACT, ITERATIVE])


def _slowly(image: np.ndarray, removed: np.ndarray) -> np.ndarray:
    """One dense equation a removed pixel."""
    height, width = removed.shape
    unknown = [(int(row), int(column)) for row, column in zip(*np.nonzero(removed), strict=True)]
    left, right = np.zeros((len(unknown), len(unknown))), np.zeros((len(unknown), len(image)))
    for equation, (row, column) in enumerate(unknown):
        for down, along in NEIGHBOURS:
            place = row + down, column + along
            if not (0 <= place[0] < height and 0 <= place[1] < width):
                continue
            weight = 1 / 6 if down * along == 0 else 1 / 12
            left[equation, equation] += weight
            if removed[place]:
                left[equation, unknown.index(place)] -= weight
            else:
                right[equation] += weight * image[:, place[0], place[1]]
    solution = image.copy()
    for (row, column), colour in zip(unknown, np.linalg.solve(left, right), strict=True):
        solution[:, row, column] = colour
    return solution


@pytest.fixture
def removed(maps: Tensor) -> Tensor:
    """(6, 1, 24, 24) scattered pixels, blocks, the border, nearly all, and a disk; 10 to 99 % of the image."""
    removed = torch.zeros(maps.shape, dtype=torch.bool)
    removed[0] = maps[0] > 0.5
    removed[1, :, 2:20, 5:23] = True
    removed[2, :, :4], removed[2, :, :, 21:] = True, True
    removed[3] = True
    removed[3, :, 11, 7:9] = False
    rows, columns = torch.meshgrid(torch.arange(24), torch.arange(24), indexing="ij")
    removed[4, 0] = (rows - 9) ** 2 + (columns - 12) ** 2 < 49
    removed[5] = maps[5] > -1.3
    return removed


@both
def test_solutions_are_those_of_the_equations(imputer: LinearImputer, images: Tensor, removed: Tensor) -> None:
    solved = imputer.impute(images, removed)
    assert solved.dtype == images.dtype
    for image, place, one in zip(images.double().numpy(), removed[:, 0].numpy(), solved.numpy(), strict=True):
        assert np.abs(one - _slowly(image, place)).max() < 1e-4


@both
def test_solutions_are_those_of_quantus(imputer: LinearImputer, images: Tensor, removed: Tensor) -> None:
    quantus = pytest.importorskip("quantus.functions.perturb_func")
    solved = imputer.impute(images, removed)
    for image, place, one in zip(images.double().numpy(), removed.numpy(), solved.numpy(), strict=True):
        theirs = quantus.noisy_linear_imputation(image, np.flatnonzero(place), noise=0.0)
        assert np.abs(one - theirs).max() < 1e-4


@pytest.mark.parametrize("shape", [(17, 30), (5, 4), (33, 6), (64, 64), (2, 9)])
def test_iterative_solves_as_the_exact_within_its_tolerance(shape: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(4, 3, *shape, generator=generator)
    removed = torch.rand(4, 1, *shape, generator=generator) < torch.tensor([0.1, 0.5, 0.9, 0.97]).view(4, 1, 1, 1)
    removed[2, :, : shape[0] // 2] = True
    exact = EXACT.impute(images, removed)
    errors = [
        (IterativeLinearImputer(0, tolerance).impute(images, removed) - exact).abs().max().item()
        for tolerance in (1e-1, 1e-3, 1e-6)
    ]
    assert errors[1] < 0.03
    assert errors[2] < 1e-4
    assert errors[0] > errors[2]


def test_few_iterations_do_for_large_areas() -> None:
    images = torch.rand(1, 3, 128, 128, generator=torch.Generator().manual_seed(0))
    removed = torch.zeros(1, 1, 128, 128, dtype=torch.bool)
    removed[..., 9:120, 14:110] = True
    few = IterativeLinearImputer(0, 1e-3, n_iterations=12).impute(images, removed)
    assert torch.equal(few, IterativeLinearImputer(0, 1e-3).impute(images, removed))
    assert not torch.equal(few, IterativeLinearImputer(0, 1e-3, n_iterations=2).impute(images, removed))


@both
def test_a_ramp_is_filled_in_exactly(imputer: LinearImputer) -> None:
    ramp = torch.linspace(0, 1, 32).expand(1, 3, 32, 32)
    removed = torch.zeros(1, 1, 32, 32, dtype=torch.bool)
    removed[..., 5:25, 3:29] = True
    assert torch.allclose(imputer.impute(ramp, removed), ramp, atol=1e-5)


@both
def test_what_stays_is_untouched_and_what_is_removed_takes_no_part(
    imputer: LinearImputer, images: Tensor, removed: Tensor
) -> None:
    solved = imputer.impute(images, removed)
    assert torch.equal(solved.where(~removed, 0), images.where(~removed, 0))
    other = imputer.impute(images.where(~removed, 1 - images), removed)
    assert torch.allclose(solved, other, atol=1e-4)
    nothing = torch.zeros_like(removed)
    assert torch.equal(imputer.impute(images, nothing), images)


@both
def test_without_any_pixel_left_it_is_the_mean_colour(imputer: LinearImputer, images: Tensor, removed: Tensor) -> None:
    some = removed.clone()
    some[1] = some[4] = True
    solved = imputer.impute(images, some)
    assert torch.allclose(solved[[1, 4]], images[[1, 4]].mean(dim=(2, 3), keepdim=True).expand(2, 3, 24, 24), atol=1e-6)
    assert torch.allclose(solved[0], imputer.impute(images, removed)[0], atol=1e-6)


@both
def test_black_images_stay_black(imputer: LinearImputer, images: Tensor, removed: Tensor) -> None:
    assert torch.equal(imputer.impute(torch.zeros_like(images), removed), torch.zeros_like(images))


@both
def test_a_bright_pixel_among_black_ones_becomes_black(imputer: LinearImputer) -> None:
    images = torch.zeros(1, 3, 24, 24)
    images[..., 5, 7] = 1
    removed = torch.rand(1, 1, 24, 24, generator=torch.Generator().manual_seed(0)) < 0.4
    removed[..., 5, 7] = True
    assert imputer.impute(images, removed).abs().max() < 1e-5


@both
def test_images_do_not_depend_on_their_mates(imputer: LinearImputer, images: Tensor, removed: Tensor) -> None:
    whole = imputer.impute(images, removed)
    for rows in ([4], [5, 0], [3, 2, 1]):
        assert torch.allclose(imputer.impute(images[rows], removed[rows]), whole[rows], atol=1e-6)


@pytest.mark.parametrize("kind", [ExactLinearImputer, IterativeLinearImputer])
def test_noise_is_added_where_pixels_are_removed(
    kind: Callable[..., LinearImputer], network: nn.Module, images: Tensor, removed: Tensor
) -> None:
    inputs = 0.3 + 0.4 * images
    noisy = kind(noise=0.05).without(Decisions(network, inputs), removed)
    noise = noisy - kind(noise=0).without(Decisions(network, inputs), removed)
    assert torch.equal(noise.where(~removed, 0), torch.zeros_like(noise))
    drawn = noise[removed.expand_as(noise)]
    assert abs(drawn.mean().item()) < 0.003
    assert drawn.std().item() == pytest.approx(0.05, rel=0.05)
    loud = kind(noise=9).without(Decisions(network, inputs), removed)
    assert loud.min() == 0
    assert loud.max() == 1


def test_noise_belongs_to_the_sample_and_the_seed(network: nn.Module, images: Tensor, removed: Tensor) -> None:
    imputer = ExactLinearImputer()

    def imputed(rows: list[int], seed: int = 0) -> Tensor:
        decisions = Decisions(network, images[rows], ids=tuple("abcdef"[row] for row in rows), seed=seed)
        return imputer.without(decisions, removed[rows])

    whole = imputed([0, 1, 2, 3, 4, 5])
    assert torch.equal(imputed([4, 2]), whole[[4, 2]])
    assert not torch.equal(imputed([4, 2], seed=1), whole[[4, 2]])
