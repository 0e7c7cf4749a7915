"""What holds for every set of phantoms: always the same, masks exact, evidence and shortcut separable."""

from functools import lru_cache

import pytest
import torch

from tasks.base import Sample
from tasks.phantoms.base import CuedPhantoms, Phantoms
from tasks.phantoms.brain_mri import BrainMRI
from tasks.phantoms.chest_ct import ChestCT
from tasks.phantoms.chest_xray import ChestXray, CovidQuEx, Pneumonia, Radiography
from tasks.phantoms.dermoscopy import ISIC2017, Melanoma

CLEAN = {
    BrainMRI: "no_tumor",
    Radiography: "Normal",
    Pneumonia: "NORMAL",
    CovidQuEx: "Normal",
    ChestCT: "non-COVID",
    ISIC2017: "nevus",
    Melanoma: "benign",
}
"""The class of each set that has no evidence."""

every_set = pytest.mark.parametrize("kind", list(CLEAN), ids=lambda kind: kind.__name__)
every_cued_set = pytest.mark.parametrize(
    "kind", [kind for kind in CLEAN if issubclass(kind, CuedPhantoms)], ids=lambda kind: kind.__name__
)


@lru_cache
def _samples(kind: type[Phantoms]) -> list[Sample]:
    phantoms = kind(n_samples=24, seed=9)
    return [phantoms[index] for index in range(24)]


@every_set
def test_rendering_is_the_same_at_every_call(kind: type[Phantoms]) -> None:
    state = torch.get_rng_state()
    for index in (7, 0):
        sample, again = _samples(kind)[index], kind(n_samples=500, seed=9)[index]
        for part, other in zip(sample, again, strict=True):
            assert torch.equal(part, other) if isinstance(part, torch.Tensor) else part == other
    assert torch.equal(state, torch.get_rng_state())
    assert not torch.equal(kind(1, seed=10)[0].input, _samples(kind)[0].input)


@every_set
def test_samples_keep_the_contract_and_take_turns(kind: type[Phantoms]) -> None:
    for index, sample in enumerate(_samples(kind)):
        assert sample.input.shape == (3, 96, 96)
        assert sample.input.dtype == torch.float32
        assert 0 <= sample.input.min() <= sample.input.max() <= 1
        assert sample.label == index % len(kind.class_names)
        assert sample.id == f"{kind.class_names[int(sample.label)]}-{index:05d}"


@every_set
def test_no_two_phantoms_are_alike(kind: type[Phantoms]) -> None:
    images = torch.stack([sample.input.flatten() for sample in _samples(kind)])
    assert (torch.cdist(images, images) + torch.eye(len(images)) * 1e3).min() > 5


@every_set
def test_only_a_finding_has_a_mask_of_sensible_size(kind: type[Phantoms]) -> None:
    for sample in _samples(kind):
        assert sample.mask is not None
        area = sample.mask.float().mean().item()
        if kind.class_names[int(sample.label)] == CLEAN[kind]:
            assert area == 0
        else:
            assert 0.002 < area < 0.4


@every_set
def test_taking_the_evidence_away_changes_the_mask_and_nothing_else(kind: type[Phantoms]) -> None:
    phantoms = kind(n_samples=24, seed=9)
    for index, sample in enumerate(_samples(kind)):
        without = phantoms.sample(index, evidence=False)
        assert sample.mask is not None
        assert without.mask is not None
        assert not without.mask.any()
        change = (sample.input - without.input).abs().amax(0, keepdim=True)
        assert (change * ~sample.mask).max() == 0
        if sample.mask.any():
            assert (change[sample.mask] > 0.02).float().mean() > 0.5


@every_set
def test_in_other_surroundings_the_evidence_alone_is_of_the_sample(kind: type[Phantoms]) -> None:
    phantoms = kind(n_samples=24, seed=9)
    for index, sample in enumerate(_samples(kind)[:8]):
        other = index + 5
        moved = phantoms.sample(index, shortcut=False, surroundings=other)
        bare = phantoms.sample(index, evidence=False, shortcut=False, surroundings=other)
        assert torch.equal(bare.input, phantoms.sample(other, evidence=False, shortcut=False).input)
        assert moved.mask is not None
        assert sample.mask is not None
        assert bool(moved.mask.any()) == bool(sample.mask.any())
        assert (moved.input - bare.input).abs().amax(0, keepdim=True)[~moved.mask].max() == 0
        assert moved.label == sample.label
    with pytest.raises(IndexError, match="sample 24 of 24"):
        phantoms.sample(0, surroundings=24)


@every_cued_set
def test_taking_the_shortcut_away_changes_its_mask_and_nothing_else(kind: type[CuedPhantoms]) -> None:
    phantoms, seen = kind(n_samples=12, seed=9), 0
    for index in range(12):
        sample, without = _samples(kind)[index], phantoms.sample(index, shortcut=False)
        assert sample.shortcut is not None
        assert sample.mask is not None
        assert without.shortcut is not None
        assert without.mask is not None
        assert not without.shortcut.any()
        assert torch.equal(sample.mask, without.mask)
        change = (sample.input - without.input).abs().amax(0, keepdim=True)
        assert (change * ~sample.shortcut).max() == 0
        assert bool(change.any()) == bool(sample.shortcut.any())
        seen += bool(sample.shortcut.any())
    assert 2 <= seen <= 10


@every_cued_set
def test_the_shortcut_agrees_with_the_class_as_often_as_asked(kind: type[CuedPhantoms]) -> None:
    for agreement in (0.0, 0.5, 0.95):
        phantoms = kind(n_samples=400, seed=3, agreement=agreement)
        cued = [phantoms.class_names[phantoms.label(index)] == kind.cued_class for index in range(400)]
        agrees = sum(phantoms.cued(index, phantoms.label(index)) == cued[index] for index in range(400)) / 400
        assert agrees == pytest.approx(agreement, abs=0.08)


@every_set
def test_without_evidence_the_classes_look_alike_on_average(kind: type[Phantoms]) -> None:
    phantoms, n_classes = kind(n_samples=180, seed=4, size=32), len(kind.class_names)
    images = torch.stack([phantoms.sample(index, evidence=False).input.mean(0) for index in range(180)])
    labels = torch.arange(180) % n_classes
    for label in range(n_classes):
        few, many = images[labels == label], images[labels != label]
        error = images.std(0) * (1 / len(few) + 1 / len(many)) ** 0.5 + 2e-3
        assert ((few.mean(0) - many.mean(0)) / error).abs().max() < 5


@every_set
def test_a_phantom_is_the_same_picture_at_every_size(kind: type[Phantoms]) -> None:
    small, large = kind(6, seed=2, size=64), kind(6, seed=2, size=192)
    for index in range(6):
        shrunk = torch.nn.functional.avg_pool2d(large[index].input, 3)
        both = torch.stack([small[index].input.flatten(), shrunk.flatten()])
        assert torch.corrcoef(both)[0, 1] > 0.95


@every_set
def test_an_index_out_of_range_is_refused(kind: type[Phantoms]) -> None:
    for index in (-1, 24):
        with pytest.raises(IndexError, match=r"of 24"):
            kind(n_samples=24)[index]


@pytest.mark.parametrize("kind", [Radiography, Pneumonia, CovidQuEx, ChestCT], ids=lambda kind: kind.__name__)
def test_findings_lie_in_the_lungs(kind: type[ChestXray | ChestCT]) -> None:
    phantoms = kind(n_samples=24, seed=9)
    for index, sample in enumerate(_samples(kind)):
        lungs = phantoms.lungs(index)
        assert lungs.shape == (1, 96, 96)
        assert lungs.dtype == torch.bool
        assert 0.08 < lungs.float().mean() < 0.6
        assert sample.mask is not None
        if sample.mask.any():
            assert (sample.mask & lungs).sum() > 0.75 * sample.mask.sum()


def test_lesions_are_there_in_every_class_and_in_colour() -> None:
    phantoms = ISIC2017(n_samples=24, seed=9)
    for index, sample in enumerate(_samples(ISIC2017)):
        lesion = phantoms.lesion(index)
        assert lesion.shape == (1, 96, 96)
        assert 0.01 < lesion.float().mean() < 0.5
        assert sample.mask is not None
        assert not (sample.mask & ~lesion).any()
        assert not torch.allclose(sample.input[0], sample.input[2], atol=0.1)


@every_cued_set
def test_fainter_evidence_has_the_same_mask(kind: type[CuedPhantoms]) -> None:
    index = 0 if kind.class_names[0] != CLEAN[kind] else 1
    sample, bare = _samples(kind)[index], kind(24, seed=9).sample(index, evidence=False)
    faint, none = (kind(24, seed=9, strength=strength)[index] for strength in (0.3, 0.0))
    assert sample.mask is not None
    assert faint.mask is not None
    assert torch.equal(sample.mask, faint.mask)
    change, faint_change = ((image - bare.input).abs().mean() for image in (sample.input, faint.input))
    assert 0.15 * change < faint_change < 0.5 * change
    assert torch.equal(none.input, bare.input)
