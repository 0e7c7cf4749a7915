"""Cells, superpixels, and the order in which regions are removed."""

from collections.abc import Callable

import pytest
import torch
from skimage.segmentation import slic
from torch import Tensor, nn

from metrics import regions
from metrics.base import Decisions, Explanation

Judge = Callable[..., Explanation]


@pytest.mark.parametrize(("height", "width", "grid"), [(24, 24, 8), (7, 10, 3), (5, 5, 5), (4, 9, 1)])
def test_cells_divide_the_image_evenly(height: int, width: int, grid: int) -> None:
    cells = regions.cells(height, width, grid).view(height, width)
    for row in range(height):
        for column in range(width):
            assert cells[row, column] == (row * grid // height) * grid + column * grid // width
    sizes = cells.flatten().bincount()
    assert len(sizes) == grid**2
    assert sizes.max() <= -(-height // grid) * -(-width // grid)
    assert sizes.min() >= (height // grid) * (width // grid)


def test_a_grid_finer_than_the_image_is_refused() -> None:
    with pytest.raises(ValueError, match=r"4 × 9 pixels cannot be divided into 5 × 5 cells"):
        regions.cells(4, 9, 5)


def test_superpixels_are_those_of_scikit_image(network: nn.Module, images: Tensor) -> None:
    found = regions.superpixels(Decisions(network, images), 30)
    assert found.shape == (6, 576)
    for image, one in zip(images.double().numpy(), found, strict=True):
        wanted = slic(image.transpose(1, 2, 0), n_segments=30, start_label=0)
        assert torch.equal(one.view(24, 24), torch.from_numpy(wanted))
    assert len({int(one.max()) for one in found}) > 1


def test_sums_and_means_are_those_of_loops(maps: Tensor) -> None:
    numbers = torch.randint(5, (6, 576), generator=torch.Generator().manual_seed(0))
    numbers[numbers == 3] = 4
    sums = regions.sums(maps.flatten(1), numbers, 5)
    means = regions.means(maps.flatten(1), numbers, 5)
    for values, belongs, total, mean in zip(maps.flatten(1), numbers, sums, means, strict=True):
        for region in (0, 1, 2, 4):
            wanted = [float(value) for value, number in zip(values, belongs, strict=True) if number == region]
            assert total[region].item() == pytest.approx(sum(wanted))
            assert mean[region].item() == pytest.approx(sum(wanted) / len(wanted))
        assert total[3] == 0
        assert mean[3] == -torch.inf


def test_regions_go_by_descending_mean(judge: Judge, maps: Tensor) -> None:
    explanation = judge(maps)
    numbers = regions.superpixels(explanation.decisions, 30)
    n_regions = int(numbers.max()) + 1
    order = regions.by_relevance(explanation, "test", numbers, n_regions)
    for values, belongs, places in zip(maps.flatten(1), numbers, order.places, strict=True):
        found = belongs.unique()
        means = {int(region): float(values[belongs == region].mean()) for region in found}
        ranked = sorted(means, key=lambda region: -means[region])
        for place, region in enumerate(ranked):
            assert places[belongs == region].unique().tolist() == [place]


def test_ties_among_regions_are_random_and_belong_to_the_sample(
    network: nn.Module, images: Tensor, maps: Tensor
) -> None:
    # Superpixels differ in number from image to image: the most of a batch must not take part.
    def places(rows: list[int], value: float = 0.0) -> Tensor:
        decisions = Decisions(network, images[rows], ids=tuple("abcdef"[row] for row in rows))
        numbers = regions.superpixels(decisions, 30)
        explanation = Explanation(decisions, torch.full_like(maps[rows], value), lambda *_: maps)
        return regions.by_relevance(explanation, "test", numbers, int(numbers.max()) + 1).places

    whole = places([0, 1, 2, 3, 4, 5])
    for row in range(6):
        assert torch.equal(places([row])[0], whole[row])
    assert torch.equal(places([0, 1, 2, 3, 4, 5], value=0.1), whole)
    first = regions.superpixels(Decisions(network, images), 30)[0]
    assert not torch.equal(whole[0], first)
