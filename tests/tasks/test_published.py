"""Published data sets: their layouts with all oddities, written from phantoms; bad files; the real sets if there."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from tasks.base import data_folder
from tasks.chest_xray_pneumonia import (
    ChestXrayPneumonia,
    ChestXrayPneumoniaAugmented,
    chest_xray_pneumonia_cnn,
    patient,
)
from tasks.covid19_radiography import (
    Covid19Radiography,
    Covid19RadiographyDenseNet121,
    Covid19RadiographyVGG16,
    covid19_radiography_resnet18,
)
from tasks.covid_qu_ex import CovidQuExResNet50, CovidQuExVGG16, covid_qu_ex_resnet50
from tasks.evaluation import evaluate
from tasks.fitting import Recipe
from tasks.isic_2017 import ISIC2017ResNet50, isic_2017_resnet50, read_labels
from tasks.melanoma import MelanomaResNet50, MelanomaVGG16
from tasks.phantoms.base import Phantoms
from tasks.phantoms.chest_ct import ChestCT
from tasks.phantoms.chest_xray import CovidQuEx, Pneumonia, Radiography
from tasks.phantoms.dermoscopy import ISIC2017, Melanoma
from tasks.published import PublishedTask, consecutive, drawn
from tasks.sars_cov_2_ct import SARSCoV2CT, sars_cov_2_ct_vgg16

N_SAMPLES, SIDE = 48, 40


def _save(image: Tensor, path: Path, mode: str = "RGB", size: tuple[int, int] = (SIDE, SIDE)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = (image.expand(3, -1, -1).permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
    Image.fromarray(pixels).resize(size).convert(mode).save(path)


def _write_ct(folder: Path) -> None:
    phantoms = ChestCT(N_SAMPLES, size=SIDE)
    for index in range(N_SAMPLES):
        stem = ("COVID/Covid", "non-COVID/Non-Covid")[index % 2]
        path, wide = folder / f"sars-cov-2-ct-scan/{stem} ({index // 2 + 1}).png", SIDE + index % 3
        _save(phantoms[index].input, path, ("RGB", "RGBA")[index // 2 % 2], (wide, SIDE))


def _write_isic(folder: Path) -> None:
    phantoms, root = ISIC2017(N_SAMPLES, size=SIDE), folder / "isic-2017"
    rows: dict[str, list[str]] = {"Training": [], "Validation": []}
    for index in range(N_SAMPLES):
        sample, part = phantoms[index], "Validation" if index < 9 else "Training"
        image = f"ISIC_{index:07d}"
        _save(sample.input, root / f"ISIC-2017_{part}_Data/{image}.jpg")
        _save(sample.input, root / f"ISIC-2017_{part}_Data/{image}_superpixels.png")
        mask = phantoms.lesion(index).float()
        _save(mask, root / f"ISIC-2017_{part}_Part1_GroundTruth/{image}_segmentation.png", "L")
        rows[part].append(f"{image},{float(sample.label == 0)},{float(sample.label == 2)}\n")
    for part, lines in rows.items():
        table = root / f"ISIC-2017_{part}_Part3_GroundTruth.csv"
        table.write_text("image_id,melanoma,seborrheic_keratosis\n" + "".join(lines))


def _write_pneumonia(folder: Path) -> None:
    phantoms = Pneumonia(N_SAMPLES, size=SIDE)
    for index in range(N_SAMPLES):
        part = "test" if index < 8 else "val" if index < 12 else "train"
        name = f"NORMAL2-IM-{index // 4:04d}-{index:04d}" if index % 2 == 0 else f"person{index // 4}_virus_{index}"
        below = f"chest-xray-pneumonia/chest_xray/chest_xray/{part}/{Pneumonia.class_names[index % 2]}"
        _save(phantoms[index].input, folder / below / f"{name}.jpeg", ("L", "RGB")[index % 3 == 0])
        (folder / below / ".DS_Store").write_text("left by a Mac")
        (folder / below / f"._{name}.jpeg").write_text("left by a Mac")


def _write_radiography(folder: Path) -> None:
    phantoms, root = Radiography(N_SAMPLES, size=SIDE), folder / "covid19-radiography/COVID-19_Radiography_Dataset"
    for index in range(N_SAMPLES):
        name = Radiography.class_names[index % 4]
        _save(phantoms[index].input, root / f"{name}/images/{name}-{index // 4}.png", "L")
        _save(phantoms.lungs(index).float(), root / f"{name}/masks/{name}-{index // 4}.png", "RGB", (32, 32))
    (root / "COVID.metadata.xlsx").write_bytes(b"")


def _write_qu_ex(folder: Path) -> None:
    phantoms = CovidQuEx(N_SAMPLES, size=SIDE)
    root = folder / "covid-qu-ex/Infection Segmentation Data/Infection Segmentation Data"
    for index in range(N_SAMPLES):
        sample, name = phantoms[index], CovidQuEx.class_names[index % 3]
        below, file = root / ("Test", "Val", "Train")[index // 3 % 3] / name, f"{name} ({index}).png"
        assert sample.mask is not None
        _save(sample.input, below / "images" / file, "L")
        _save(phantoms.lungs(index).float(), below / "lung masks" / file, "L")
        _save(sample.mask.float() * (name == "COVID-19"), below / "infection masks" / file, "L")


def _write_melanoma(folder: Path) -> None:
    phantoms, root = Melanoma(N_SAMPLES, size=SIDE), folder / MelanomaResNet50.folder / "melanoma_cancer_dataset"
    for index in range(N_SAMPLES):
        below = f"{'test' if index < 8 else 'train'}/{Melanoma.class_names[index % 2]}"
        _save(phantoms[index].input, root / below / f"melanoma_{index}.jpg")


WRITTEN: dict[type[PublishedTask], Callable[[Path], None]] = {
    SARSCoV2CT: _write_ct,
    ISIC2017ResNet50: _write_isic,
    ChestXrayPneumonia: _write_pneumonia,
    Covid19Radiography: _write_radiography,
    CovidQuExResNet50: _write_qu_ex,
    MelanomaResNet50: _write_melanoma,
}

RENDERED: dict[type[PublishedTask], type[Phantoms]] = {
    SARSCoV2CT: ChestCT,
    ISIC2017ResNet50: ISIC2017,
    ChestXrayPneumonia: Pneumonia,
    Covid19Radiography: Radiography,
    CovidQuExResNet50: CovidQuEx,
    MelanomaResNet50: Melanoma,
}

every_task = pytest.mark.parametrize("kind", list(WRITTEN), ids=lambda kind: kind.name)


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[type[PublishedTask]], PublishedTask]:
    def write(kind: type[PublishedTask]) -> PublishedTask:
        WRITTEN[kind](tmp_path)
        monkeypatch.setenv("BENCH_DATA", str(tmp_path))
        monkeypatch.setattr("tasks.published.checkpoint_folder", lambda: tmp_path / "cache")
        return kind(size=32)

    return write


Write = Callable[[type[PublishedTask]], PublishedTask]


def _ids(task: PublishedTask, part: str) -> list[str]:
    samples = task.part(part)
    return [samples[index].id for index in range(len(samples))]


@every_task
def test_every_picture_is_in_one_part(kind: type[PublishedTask], written: Write) -> None:
    task = written(kind)
    parts = [_ids(task, part) for part in ("train", "validation", "heldout")]
    assert all(parts)
    assert len(set().union(*parts)) == sum(map(len, parts)) == N_SAMPLES


@every_task
def test_samples_are_in_balanced_order_and_have_the_right_labels(kind: type[PublishedTask], written: Write) -> None:
    task = written(kind)
    assert task.missing_data() is None
    batch = next(task.batches(len(task.classes())))
    assert sorted(batch.labels.tolist()) == list(range(len(task.classes())))
    assert batch.inputs.shape[1:] == (3, 32, 32)
    again = next(task.batches(len(task.classes())))
    assert torch.equal(batch.inputs, again.inputs)
    assert task.negative() in task.classes()


@every_task
def test_images_are_the_phantoms_that_were_written(kind: type[PublishedTask], written: Write) -> None:
    sample = written(kind).part("heldout")[0]
    phantoms = RENDERED[kind](N_SAMPLES, size=SIDE)
    images = torch.stack([phantoms[index].input for index in range(N_SAMPLES)])
    small = torch.nn.functional.interpolate(images, (32, 32), mode="bilinear", antialias=True)
    nearest = int((small - sample.input).abs().mean((1, 2, 3)).argmin())
    assert phantoms.label(nearest) == sample.label
    assert (small[nearest] - sample.input).abs().mean() < 0.03


@every_task
def test_absent_data_say_where_to_get_them(
    kind: type[PublishedTask], written: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = written(kind)
    assert f"run `bench train {kind.name}`" in str(task.unavailable())
    monkeypatch.setenv("BENCH_DATA", str(tmp_path / "elsewhere"))
    assert f"no {tmp_path / 'elsewhere' / kind.folder}" in str(task.unavailable())
    assert kind.source in str(task.unavailable())
    monkeypatch.delenv("BENCH_DATA")
    assert "BENCH_DATA" in str(task.unavailable())


def test_lesions_and_infections_and_lungs_are_the_masks(written: Write) -> None:
    for kind in (ISIC2017ResNet50, Covid19Radiography, CovidQuExResNet50):
        batch = next(written(kind).batches(6))
        assert batch.masks is not None
        shares = batch.masks.float().mean((1, 2, 3))
        found = batch.labels == CovidQuEx.class_names.index("COVID-19")
        assert ((shares > 0) == (found if kind is CovidQuExResNet50 else torch.ones(6, dtype=torch.bool))).all()


def test_without_lung_masks_radiographs_have_none(written: Write, tmp_path: Path) -> None:
    task = written(Covid19Radiography)
    for masks in tmp_path.rglob("masks"):
        masks.rename(masks.with_name("elsewhere"))
    assert next(task.batches(4)).masks is None


def test_some_classes_of_the_radiographs_are_enough(written: Write) -> None:
    written(Covid19Radiography)
    task = Covid19Radiography(size=32, class_names=("Normal", "COVID"))
    assert task.network()(torch.zeros(2, 3, 32, 32)).shape == (2, 2)
    assert next(task.batches(2)).ids[0].startswith("COVID-19_Radiography_Dataset/Normal/")


def test_patients_of_the_pneumonia_data_are_in_one_part(written: Write) -> None:
    task = written(ChestXrayPneumonia)
    train, validation = ({patient(path) for path in _ids(task, part)} for part in ("train", "validation"))
    assert not train & validation


def test_a_missing_val_folder_does_not_matter(written: Write, tmp_path: Path) -> None:
    task = written(ChestXrayPneumonia)
    (val,) = tmp_path.rglob("val")
    val.rename(tmp_path / "gone")
    assert len(_ids(task, "train") + _ids(task, "validation")) == N_SAMPLES - 12


def test_a_mask_of_another_shape_or_none_is_named(written: Write, tmp_path: Path) -> None:
    task = written(ISIC2017ResNet50)
    mask = next(tmp_path.rglob("*Validation_Part1*/*0000000_segmentation.png"))
    _save(torch.zeros(1, 8, 8), mask, "L", (40, 20))
    with pytest.raises(ValueError, match=r"0000000_segmentation.png: is 40 x 20, and its image 40 x 40"):
        task.samples()[0]
    mask.unlink()
    with pytest.raises(FileNotFoundError, match=r"0000000_segmentation.png: no such image"):
        task.samples()[0]


@every_task
def test_an_archive_in_a_folder_of_its_own_name_reads_the_same(
    kind: type[PublishedTask], written: Write, tmp_path: Path
) -> None:
    task = written(kind)
    before = _ids(task, "heldout")
    outer = tmp_path / kind.folder
    outer.rename(tmp_path / "unpacked")
    outer.mkdir()
    (tmp_path / "unpacked").rename(outer / kind.folder)
    assert task.missing_data() is None
    assert _ids(task, "heldout") == before


def test_an_empty_folder_is_named(written: Write, tmp_path: Path) -> None:
    task = written(SARSCoV2CT)
    for path in (tmp_path / "sars-cov-2-ct-scan/COVID").iterdir():
        path.unlink()
    with pytest.raises(FileNotFoundError, match=r"sars-cov-2-ct-scan/COVID: holds no picture; "):
        task.samples()


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("image_id,melanoma\nISIC_1,0.0\n", "has no column seborrheic_keratosis"),
        ("image_id,melanoma,seborrheic_keratosis\nISIC_1,1.0,1.0\n", "line 2: melanoma '1.0' and seborr"),
        ("image_id,melanoma,seborrheic_keratosis\nISIC_1,,0.0\n", "line 2: melanoma ''"),
        ("image_id,melanoma,seborrheic_keratosis\nISIC_1,0,0\nISIC_1,0,0\n", "line 3: ISIC_1 is there twice"),
        ("", "is empty"),
    ],
)
def test_bad_tables_are_named_in_one_line(table: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text(table)
    with pytest.raises(ValueError, match=f"^[^\n]*labels.csv: {message}[^\n]*; replace it by the published file$"):
        read_labels(tmp_path / "labels.csv")


def test_groups_are_drawn_as_often_as_asked_and_independently() -> None:
    names = [f"COVID-{number}" for number in range(2000)]
    first, second = ([drawn(prefix + name, 0.2) for name in names] for prefix in ("", "validation "))
    both = sum(one and other for one, other in zip(first, second, strict=True))
    assert 340 < sum(first) < 460
    assert 50 < both < 115


def test_consecutive_parts_are_never_empty() -> None:
    assert [consecutive("abc", part) for part in ("train", "validation", "heldout")] == ["a", "b", "c"]


@pytest.mark.parametrize(
    "kind",
    [
        *WRITTEN,
        ChestXrayPneumoniaAugmented,
        Covid19RadiographyVGG16,
        Covid19RadiographyDenseNet121,
        CovidQuExVGG16,
        MelanomaVGG16,
    ],
    ids=lambda kind: kind.name,
)
def test_every_network_answers_for_its_classes(kind: type[PublishedTask]) -> None:
    task = kind()
    with torch.device("meta"):
        network = task.network().get_submodule("network").eval()
        assert network(torch.zeros(2, 3, 224, 224)).shape == (2, len(task.classes()))
    assert task.checkpoint().stem == kind.name


@pytest.mark.parametrize(
    ("task", "part", "n_samples"),
    [
        (sars_cov_2_ct_vgg16, "heldout", 2),
        (isic_2017_resnet50, "heldout", 150),
        (chest_xray_pneumonia_cnn, "heldout", 624),
        (covid_qu_ex_resnet50, "heldout", 12),
        (Covid19Radiography(class_names=("COVID", "Normal")), "heldout", None),
    ],
    ids=["sars_cov_2_ct", "isic_2017", "pneumonia", "covid_qu_ex", "radiography"],
)
def test_real_data_are_read(task: PublishedTask, part: str, n_samples: int | None) -> None:
    if data_folder() is None or task.missing_data():
        pytest.skip(f"real data absent: BENCH_DATA is {os.environ.get('BENCH_DATA')!r}")
    samples = task.part(part)
    if n_samples is not None:
        assert len(samples) >= n_samples  # more where the data set is not cut down
    batch = next(task.batches(2 * len(task.classes()), stop=6))
    assert batch.inputs.shape[1:] == (3, 224, 224)
    assert batch.labels[: len(task.classes())].tolist() == list(range(len(task.classes())))
    assert batch.inputs.std() > 0.05


def test_entries_are_named_as_their_checkpoints() -> None:
    assert covid19_radiography_resnet18.checkpoint().name == "covid19_radiography_resnet18.safetensors"


def test_training_on_published_data_leaves_a_checkpoint(written: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    written(ChestXrayPneumonia)
    task = ChestXrayPneumonia(size=64)
    monkeypatch.setattr(ChestXrayPneumonia, "recipe", lambda _: Recipe(epochs=1, learning_rate=1e-3))
    evaluation = task.train().evaluation
    assert sum(evaluation.support) == 8
    assert task.unavailable() is None
    assert evaluate(task.model(), task.samples(), task.classes()) == evaluation
