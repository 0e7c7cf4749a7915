"""Phantoms in published layouts: what is written is what the real reader reads, in the same parts."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from bench.catalog import catalog
from tasks.base import Sample
from tasks.brain_mri import BrainTumorMRI, PhantomBrainMRI, read_slices
from tasks.chest_xray_pneumonia import ChestXrayPneumonia, PhantomPneumonia, patient
from tasks.covid19_radiography import Covid19Radiography, PhantomRadiographyResNet18
from tasks.covid_qu_ex import CovidQuExResNet50, PhantomCovidQuExVGG16
from tasks.isic_2017 import ISIC2017ResNet50, PhantomISIC2017ResNet50
from tasks.melanoma import MelanomaResNet50, PhantomMelanomaVGG16, PhantomMelanomaVGG16Vignette
from tasks.phantoms.base import Phantoms
from tasks.published import PublishedTask
from tasks.publishing import PARTS, Layout, part_sizes, write_picture
from tasks.rendered import PhantomTask
from tasks.sars_cov_2_ct import PhantomChestCTVGG16, SARSCoV2CT

SIDE, N_SAMPLES = 48, 28
CLOSE = 0.02
"""Mean difference between a picture and itself after a JPEG and a little stretching, in [0, 1]."""

TWINS: list[tuple[type[PhantomTask], type[PublishedTask]]] = [
    (PhantomBrainMRI, BrainTumorMRI),
    (PhantomChestCTVGG16, SARSCoV2CT),
    (PhantomISIC2017ResNet50, ISIC2017ResNet50),
    (PhantomMelanomaVGG16, MelanomaResNet50),
    (PhantomPneumonia, ChestXrayPneumonia),
    (PhantomRadiographyResNet18, Covid19Radiography),
    (PhantomCovidQuExVGG16, CovidQuExResNet50),
]


class Twins(NamedTuple):
    """What was written and what the real task reads of it; for each part."""

    real: PublishedTask
    rendered: dict[str, Phantoms]
    images: dict[str, Tensor]
    """Of the phantoms."""
    read: dict[str, list[Sample]]
    folder: Path

    def matched(self, part: str) -> tuple[Tensor, Tensor]:
        """For each sample read the index of the nearest phantom, and the mean absolute difference."""
        images = torch.stack([sample.input for sample in self.read[part]])
        nearest = (images[:, None] - self.images[part][None]).abs().mean((2, 3, 4)).min(1)
        return nearest.indices, nearest.values


def _layout(task: PhantomTask) -> Layout:
    layout = task.layout()
    assert layout is not None
    return layout


def _all(samples: object) -> list[Sample]:
    return [samples[index] for index in range(len(samples))]  # type: ignore[arg-type,index]


@pytest.fixture(scope="module", params=TWINS, ids=lambda pair: pair[1].folder)
def twins(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Twins]:
    phantom, real = (kind(size=SIDE) for kind in request.param)
    folder = tmp_path_factory.mktemp("data")
    assert phantom.publish(folder, N_SAMPLES) == folder / real.folder
    n_classes = len(phantom.classes())
    sizes = _layout(phantom).sizes(-(-N_SAMPLES // n_classes))
    rendered = {part: phantom.phantoms(sizes[part] * n_classes, seed, SIDE) for seed, part in enumerate(PARTS, start=1)}
    images = {part: torch.stack([sample.input for sample in _all(rendered[part])]) for part in PARTS}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENCH_DATA", str(folder))
        assert real.missing_data() is None
        yield Twins(real, rendered, images, {part: _all(real.part(part)) for part in PARTS}, folder)


def test_every_part_reads_as_the_phantoms_that_were_written(twins: Twins) -> None:
    for part, phantoms in twins.rendered.items():
        indices, differences = twins.matched(part)
        assert sorted(indices.tolist()) == list(range(len(phantoms)))
        assert differences.max() < CLOSE
        labels = [phantoms.label(index) for index in indices.tolist()]
        assert [int(sample.label) for sample in twins.read[part]] == labels


def _expected_mask(phantoms: Phantoms, index: int, kind: type[PublishedTask]) -> Tensor | None:
    mask = phantoms[index].mask
    assert mask is not None
    if kind is ISIC2017ResNet50:
        return phantoms.lesion(index)  # type: ignore[attr-defined,no-any-return]
    if kind is Covid19Radiography:
        return phantoms.lungs(index)  # type: ignore[attr-defined,no-any-return]
    if kind is CovidQuExResNet50:
        return mask & torch.tensor(phantoms.class_names[phantoms.label(index)] == "COVID-19")
    if kind is BrainTumorMRI:
        return mask.any(1, keepdim=True) & mask.any(2, keepdim=True)  # the box of what is in one piece
    return None


def test_masks_come_back(twins: Twins) -> None:
    for part, phantoms in twins.rendered.items():
        for sample, index in zip(twins.read[part], twins.matched(part)[0].tolist(), strict=True):
            expected = _expected_mask(phantoms, index, type(twins.real))
            if expected is None:
                assert sample.mask is None
            else:
                assert sample.mask is not None
                assert (sample.mask & expected).sum() >= 0.9 * (sample.mask | expected).sum()


def test_a_folder_that_holds_something_is_left_alone(twins: Twins) -> None:
    before = sorted(twins.folder.rglob("*"))
    phantom = next(kind for kind, real in TWINS if real is type(twins.real))(size=SIDE)
    with pytest.raises(FileExistsError, match=rf"^{twins.folder / twins.real.folder}: is there already; [^\n]*$"):
        phantom.publish(twins.folder, N_SAMPLES)
    assert sorted(twins.folder.rglob("*")) == before


def _sizes_and_modes(folder: Path) -> set[tuple[tuple[int, int], str]]:
    found = set()
    for path in folder.rglob("*"):
        if path.suffix in (".png", ".jpg", ".jpeg") and not path.name.startswith("."):
            with Image.open(path) as picture:
                found.add((picture.size, picture.mode))
    return found


def test_the_oddities_of_the_publications_are_there(twins: Twins) -> None:
    root = twins.folder / twins.real.folder
    modes, sizes = ({pair[at] for pair in _sizes_and_modes(root)} for at in (1, 0))
    match twins.real:
        case BrainTumorMRI():
            assert len(sizes) == 3
            assert modes == {"L", "RGB"}
            assert {row.part for row in read_slices(root / "annotations/images.csv")} == {
                "train",
                "heldout",
                "duplicate",
            }
        case SARSCoV2CT():
            assert len(sizes) == 3
            assert modes == {"RGB", "RGBA"}
        case ISIC2017ResNet50():
            assert sizes == {(64, 48)}
            assert list(root.glob("*_Data/*_superpixels.png"))
        case ChestXrayPneumonia():
            assert modes == {"L", "RGB"}
            assert list(root.glob("chest_xray/chest_xray/val/*/._*.jpeg"))
            patients = [patient(sample.id) for part in PARTS for sample in twins.read[part]]
            assert len(patients) > len(set(patients))
        case Covid19Radiography():
            assert len(sizes) == 2
            assert list(root.glob("*/*.metadata.xlsx"))
        case CovidQuExResNet50():
            assert list(
                root.glob("Infection Segmentation Data/Infection Segmentation Data/Val/Normal/lung masks/*.png")
            )
        case MelanomaResNet50():
            assert list(root.glob("melanoma_cancer_dataset/test/malignant/*.jpg"))


def test_every_phantom_task_can_be_written_for_a_real_one() -> None:
    tasks = catalog().tasks.values()
    real = {task.folder for task in tasks if isinstance(task, PublishedTask)}
    for task in tasks:
        if isinstance(task, PhantomTask):
            assert _layout(task).folder in real


def test_a_shortcut_is_written_with_its_cue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH_DATA", str(tmp_path))
    phantom, real = PhantomMelanomaVGG16Vignette(size=SIDE), MelanomaResNet50(size=SIDE)
    phantom.publish(tmp_path, 60)
    corners = {
        name: torch.stack([sample.input[:, :3, :3].mean() for sample in _all(real.part("train")) if sample.label == at])
        for at, name in enumerate(phantom.classes())
    }
    assert (corners["malignant"] < 0.1).float().mean() > 0.8
    assert (corners["benign"] < 0.1).float().mean() < 0.2


def test_another_seed_and_size_are_other_images(tmp_path: Path) -> None:
    task = PhantomMelanomaVGG16(size=SIDE)
    for seed in (0, 1):
        task.publish(tmp_path / str(seed), 20, size=40, seed=seed)
    pictures = [sorted((tmp_path / seed).rglob("*.jpg")) for seed in "01"]
    assert [path.name for path in pictures[0]] == [path.name for path in pictures[1]]
    assert _sizes_and_modes(tmp_path) == {((40, 40), "RGB")}
    contents = {path.read_bytes() for paths in pictures for path in paths}
    assert len(contents) == 2 * len(pictures[0]) == 40


def test_too_few_samples_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^4 samples are too few for 4 classes in 3 parts; take more$"):
        PhantomBrainMRI().publish(tmp_path, 4)
    assert not list(tmp_path.iterdir())


def test_phantoms_without_a_counterpart_say_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PhantomBrainMRI, "layout", lambda _: None)
    with pytest.raises(ValueError, match=r"^phantom_brain_mri_vgg16: imitates no published data set"):
        PhantomBrainMRI().publish(tmp_path)


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "I;16"])
def test_pictures_are_written_in_any_mode(mode: str, tmp_path: Path) -> None:
    image = torch.linspace(0, 1, 64).reshape(1, 8, 8).expand(3, -1, -1)
    write_picture(tmp_path / "new/picture.png", image, mode)
    with Image.open(tmp_path / "new/picture.png") as picture:
        assert picture.mode == mode
        pixels = np.asarray(picture, dtype=np.float64).reshape(8, 8, -1)[..., 0]
    assert np.abs(pixels / (65535 if mode == "I;16" else 255) - image[0].numpy()).max() < 1 / 255


def test_a_small_class_still_has_a_sample_in_every_part() -> None:
    assert part_sizes(3) == {"train": 1, "validation": 1, "heldout": 1}


def test_writing_that_stops_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = []

    def stopped(path: Path, *_: object, **__: object) -> None:
        path.parent.mkdir(parents=True)
        written.append(path)
        raise KeyboardInterrupt

    monkeypatch.setattr("tasks.sars_cov_2_ct.write_picture", stopped)
    with pytest.raises(KeyboardInterrupt):
        PhantomChestCTVGG16(size=SIDE).publish(tmp_path, N_SAMPLES)
    assert written
    assert not list(tmp_path.iterdir())


def test_an_empty_folder_is_filled(tmp_path: Path) -> None:
    (tmp_path / "sars-cov-2-ct-scan").mkdir()
    assert list(PhantomChestCTVGG16(size=SIDE).publish(tmp_path, N_SAMPLES).iterdir())
