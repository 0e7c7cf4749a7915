"""Brain MRI phantoms: always the same, masks exact, evidence separable, learnt by the shipped network."""

import pytest
import torch

from tasks.base import Sample
from tasks.brain_mri import PhantomBrainMRI, phantom_brain_mri_vgg16
from tasks.phantoms.brain_mri import CLASSES, BrainMRI
from tasks.phantoms.shapes import coordinates, ellipse, generator, smooth_field

PHANTOMS = BrainMRI(n_samples=40, seed=9)


@pytest.fixture(scope="module")
def samples() -> list[Sample]:
    return [PHANTOMS[index] for index in range(len(PHANTOMS))]


def test_rendering_is_the_same_at_every_call(samples: list[Sample]) -> None:
    for index in (7, 3, 0):
        again = BrainMRI(n_samples=500, seed=9)[index]
        assert torch.equal(again.input, samples[index].input)
        assert again.mask is not None
        assert torch.equal(again.mask, samples[index].mask)


def test_rendering_leaves_the_global_random_state() -> None:
    state = torch.get_rng_state()
    PHANTOMS[0]
    assert torch.equal(state, torch.get_rng_state())


def test_no_two_phantoms_are_alike(samples: list[Sample]) -> None:
    images = torch.stack([sample.input[0].flatten() for sample in samples])
    distances = torch.cdist(images, images) + torch.eye(len(images)) * 1e3
    assert distances.min() > 3


def test_another_seed_gives_other_phantoms() -> None:
    assert not torch.equal(BrainMRI(1, seed=1)[0].input, BrainMRI(1, seed=2)[0].input)


def test_samples_keep_the_contract(samples: list[Sample]) -> None:
    for index, sample in enumerate(samples):
        assert sample.input.shape == (3, 96, 96)
        assert sample.input.dtype == torch.float32
        assert 0 <= sample.input.min() <= sample.input.max() <= 1
        assert sample.id == f"{CLASSES[int(sample.label)]}-{index:05d}"


def test_every_prefix_is_balanced(samples: list[Sample]) -> None:
    labels = torch.stack([sample.label for sample in samples])
    for length in range(1, len(labels)):
        counts = torch.bincount(labels[:length], minlength=4)
        assert counts.max() - counts.min() <= 1


def test_only_a_tumour_has_a_mask_of_sensible_size(samples: list[Sample]) -> None:
    for sample in samples:
        assert sample.mask is not None
        area = sample.mask.float().mean().item()
        if CLASSES[int(sample.label)] == "no_tumor":
            assert area == 0
        else:
            assert 0.002 < area < 0.2


def test_taking_the_evidence_away_changes_the_mask_and_nothing_else(samples: list[Sample]) -> None:
    for index, sample in enumerate(samples):
        without = PHANTOMS.sample(index, evidence=False)
        assert sample.mask is not None
        assert without.mask is not None
        assert not without.mask.any()
        change = (sample.input - without.input).abs()
        assert (change * ~sample.mask).max() == 0
        if sample.mask.any():
            assert (change[:1][sample.mask] > 0.02).float().mean() > 0.6


def test_without_evidence_the_classes_look_alike_on_average() -> None:
    renderings = BrainMRI(n_samples=240, seed=4, size=32)
    images = torch.stack([renderings.sample(index, evidence=False).input[0] for index in range(240)])
    labels = torch.arange(240) % 4
    for label in range(4):
        difference = images[labels == label].mean(0) - images[labels != label].mean(0)
        error = images.std(0) * (1 / 60 + 1 / 180) ** 0.5 + 1e-3
        assert (difference / error).abs().max() < 5


def test_a_phantom_is_the_same_picture_at_every_size() -> None:
    small, large = BrainMRI(8, seed=2, size=64), BrainMRI(8, seed=2, size=192)
    for index in range(8):
        shrunk = torch.nn.functional.avg_pool2d(large[index].input, 3)
        both = torch.stack([small[index].input.flatten(), shrunk.flatten()])
        assert torch.corrcoef(both)[0, 1] > 0.95


def test_an_index_out_of_range_is_refused() -> None:
    for index in (-1, 40):
        with pytest.raises(IndexError, match=r"of 40"):
            PHANTOMS[index]


def test_smooth_field_has_unit_deviation_at_every_size() -> None:
    for size in (32, 96):
        field = smooth_field(generator(0, 0, "field"), size, 30)
        assert abs(float(field.mean())) < 0.1
        assert 0.85 < float(field.std()) < 1.15


def test_ellipse_distance_is_exact_for_a_circle() -> None:
    x, y = coordinates(16)
    expected = ((x - 0.25) ** 2 + y**2) ** 0.5 - 0.5
    assert abs(ellipse(x, y, (0.25, 0), (0.5, 0.5), angle=1.0) - expected).max() < 1e-6


@pytest.fixture(scope="module")
def decisions() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Labels, and predictions with and without the evidence, on phantoms the shipped network never saw."""
    fresh, model = BrainMRI(n_samples=200, seed=77), phantom_brain_mri_vgg16.model()
    images = torch.stack([fresh[index].input for index in range(200)])
    without = torch.stack([fresh.sample(index, evidence=False).input for index in range(200)])
    with torch.inference_mode():
        return torch.arange(200) % 4, model(images).argmax(1), model(without).argmax(1)


def test_the_shipped_network_is_right(decisions: tuple[torch.Tensor, torch.Tensor, torch.Tensor]) -> None:
    labels, predictions, _ = decisions
    assert (labels == predictions).float().mean() >= 0.9


def test_the_shipped_network_decides_by_the_evidence(
    decisions: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
) -> None:
    labels, predictions, without = decisions
    right = (labels == predictions) & (labels != CLASSES.index("no_tumor"))
    assert (without != predictions)[right].float().mean() >= 0.9


def test_the_entry_keeps_the_contract() -> None:
    task = phantom_brain_mri_vgg16
    assert task.unavailable() is None
    assert task.negative() in task.classes()
    model = task.model()
    assert not model.training
    assert not any(parameter.requires_grad for parameter in model.parameters())
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in model.modules())
    first, again = list(task.batches(8, stop=20)), list(task.batches(8, stop=20))
    assert [len(batch.ids) for batch in first] == [8, 8, 4]
    for batch, other in zip(first, again, strict=True):
        assert batch.ids == other.ids
        assert torch.equal(batch.inputs, other.inputs)
        assert model(batch.inputs).shape == (len(batch.ids), 4)


def test_the_explained_phantoms_are_not_those_of_the_training() -> None:
    task = PhantomBrainMRI()
    seeds = {task.part(name).seed for name in ("train", "validation", "heldout")}
    assert len(seeds) == 3


def test_the_shipped_file_is_small() -> None:
    assert phantom_brain_mri_vgg16.checkpoint().stat().st_size < 3_000_000
