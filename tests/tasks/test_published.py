"""Published data sets: their layouts with all oddities, written from phantoms; the real sets if there."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tasks.base import data_folder
from tasks.chest_xray_pneumonia import (
    ChestXrayPneumonia,
    ChestXrayPneumoniaAugmented,
    PhantomPneumonia,
    chest_xray_pneumonia_cnn,
    patient,
)
from tasks.covid19_radiography import (
    Covid19Radiography,
    Covid19RadiographyDenseNet121,
    Covid19RadiographyVGG16,
    PhantomRadiographyResNet18,
    covid19_radiography_resnet18,
)
from tasks.covid_qu_ex import CovidQuExResNet50, CovidQuExVGG16, PhantomCovidQuExVGG16, covid_qu_ex_resnet50
from tasks.evaluation.scores import evaluate
from tasks.files.pictures import SECOND_READER, collapsed
from tasks.isic_2017 import ISIC2017ResNet50, PhantomISIC2017ResNet50, isic_2017_resnet50
from tasks.learning.fitting import Recipe
from tasks.melanoma import MelanomaResNet50, MelanomaVGG16, PhantomMelanomaVGG16
from tasks.published import PublishedTask, consecutive, drawn
from tasks.rendered import PhantomTask
from tasks.sars_cov_2_ct import PhantomChestCTVGG16, SARSCoV2CT, sars_cov_2_ct_vgg16

N_SAMPLES, SIDE = 48, 40

PHANTOMS: dict[type[PublishedTask], type[PhantomTask]] = {
    SARSCoV2CT: PhantomChestCTVGG16,
    ISIC2017ResNet50: PhantomISIC2017ResNet50,
    ChestXrayPneumonia: PhantomPneumonia,
    Covid19Radiography: PhantomRadiographyResNet18,
    CovidQuExResNet50: PhantomCovidQuExVGG16,
    MelanomaResNet50: PhantomMelanomaVGG16,
}
"""Who writes what a task reads."""

every_task = pytest.mark.parametrize("kind", list(PHANTOMS), ids=lambda kind: kind.name)


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[type[PublishedTask]], PublishedTask]:
    def write(kind: type[PublishedTask]) -> PublishedTask:
        PHANTOMS[kind](size=SIDE).publish(tmp_path, N_SAMPLES)
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
    n_val = len(list(val.glob("*/[!.]*.jpeg")))
    before = len(_ids(task, "train") + _ids(task, "validation"))
    val.rename(tmp_path / "gone")
    assert n_val > 0
    assert len(_ids(task, "train") + _ids(task, "validation")) == before - n_val


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
        *PHANTOMS,
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
    assert sum(evaluation.support) == 10
    assert task.unavailable() is None
    assert evaluate(task.model(), task.samples(), task.classes()) == evaluation


def test_masks_of_a_second_reader_lie_in_a_folder_of_the_data_set(written: Write) -> None:
    task = written(CovidQuExResNet50)
    samples = task.samples()
    pictures = samples.pictures  # type: ignore[attr-defined]
    at = next(index for index in range(len(samples)) if samples[index].mask.any())  # type: ignore[union-attr]
    assert samples[at].second is None
    copy = task.data() / SECOND_READER / collapsed(pictures[at].mask)
    copy.parent.mkdir(parents=True)
    copy.write_bytes((task.data() / pictures[at].mask).read_bytes())
    again = task.samples()
    assert [index for index in range(len(again)) if again[index].second is not None] == [at]
    assert torch.equal(again[at].second, again[at].mask)  # type: ignore[arg-type]
    copy.write_bytes(b"no")
    with pytest.raises(ValueError, match=f"{SECOND_READER}.*not a readable image"):
        again[at]
