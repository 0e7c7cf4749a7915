"""`bench figure`: sheets hold the samples of tasks, and every set of phantoms above the images that it imitates."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from bench.catalog import catalog, select_standard
from bench.commands.figure import _augmentations
from bench.contact import no_samples, phantom_rows, sample_row
from bench.maps import map_rows
from bench.runner import Settings
from explainers.base import Explainer
from leaderboard.pictures.figures import map_tile
from leaderboard.pictures.sheets import EVIDENCE, SHORTCUT
from tasks.base import Sample, Task
from tasks.phantoms.base import Phantoms

TASKS = catalog().tasks
PHANTOMS = {name: task for name, task in TASKS.items() if name.startswith("phantom_")}


@pytest.fixture(autouse=True)
def _no_data(monkeypatch):
    monkeypatch.delenv("BENCH_DATA", raising=False)


def test_a_row_has_the_samples_of_the_task_in_its_order():
    task = TASKS["phantom_melanoma_vgg16_vignette"]
    row = sample_row("name", task, 5, masks=True)
    assert row.title.startswith("name\n")
    assert [tile.caption for tile in row.tiles] == ["benign", "malignant", "benign", "malignant", "benign"]
    for tile, sample in zip(row.tiles, (task.samples()[index] for index in range(5)), strict=True):
        assert np.array_equal(tile.image, sample.input)
        assert np.array_equal(tile.outlines[EVIDENCE], sample.mask[0])
        assert np.array_equal(tile.outlines[SHORTCUT], sample.shortcut[0])
    assert not any(tile.outlines for tile in sample_row("name", task, 2, masks=False).tiles)


def test_a_task_shorter_than_the_row_is_drawn_whole():
    assert len(sample_row("name", replace(TASKS["phantom_brain_mri_vgg16"], n_samples=3), 8, masks=True).tiles) == 3


def test_every_set_of_phantoms_has_one_row_class_by_class():
    rows = list(phantom_rows(TASKS, 4, masks=True))
    sets = {repr(task.samples()) for task in PHANTOMS.values()}
    assert len(rows) == len(sets)
    assert len({row.title for row in rows}) == len(rows)
    assert all(row.title.startswith("phantoms: ") for row in rows)
    assert {task.card().data for task in PHANTOMS.values()} == {
        row.title.removeprefix("phantoms: ").partition(",")[0] for row in rows
    }
    ct = next(row for row in rows if "CT" in row.title)
    assert [tile.caption for tile in ct.tiles] == ["COVID", "COVID", "non-COVID", "non-COVID"]


def test_real_images_stand_below_their_phantoms_once(bench, tmp_path, monkeypatch):
    """Phantoms written in the published layout serve as real images."""
    written = bench("data", "phantom_melanoma_vgg16", "--out", tmp_path / "data", "--samples", 40, "--size", 32)
    assert written.status == 0, written.err
    monkeypatch.setenv("BENCH_DATA", str(tmp_path / "data"))
    melanoma = {name: task for name, task in TASKS.items() if "melanoma" in name}
    titles = [row.title.partition(":")[0] for row in phantom_rows(melanoma, 2, masks=True)]
    assert titles == ["phantoms", "real", "phantoms"]


def test_no_network_is_needed():
    assert no_samples(TASKS["phantom_brain_mri_vgg16"]) is None
    assert "data not found" in no_samples(TASKS["brain_mri_vgg16"])


class Several(Task):
    """A user's task of many labels."""

    def classes(self):
        return ("first", "second", "third")

    def model(self):
        return torch.nn.Identity()

    def samples(self):
        truths = ([1, 0, 1], [0, 0, -1], [1, 1, 1])
        return [Sample(torch.zeros(3, 8, 8), torch.tensor(truth), str(truth)) for truth in truths]


def test_many_labels_are_named_as_far_as_there_is_room():
    row = sample_row("several", Several(), 3, masks=True)
    assert row.title == "several"
    assert [tile.caption for tile in row.tiles] == ["first, third", "none", "first, second, third"]


def test_samples_are_drawn_and_tasks_without_data_skipped(bench, tmp_path):
    sheet = tmp_path / "new" / "sheet.png"
    answer = bench("figure", "samples", "--tasks", "*brain_mri_vgg16", "--columns", 2, "--out", sheet)
    assert answer.status == 0, answer.err
    assert "Skipped brain_mri_vgg16: data not found" in answer.out
    assert f"Drawn: {sheet} (1 rows)" in answer.out
    assert sheet.read_bytes()[:4] == b"\x89PNG"


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("samples", "--tasks", "brain_mri_vgg16", "--out", "x.png"), "nothing to draw"),
        (("samples", "--tasks", "brian", "--out", "x.png"), "no task is called 'brian'"),
        (("samples", "--tasks", "phantom_brain*", "--columns", "1", "--out", "x.doc"), "x.doc"),
        (("grid", "--tasks", "brain_mri_vgg16", "--out", "x.png"), "nothing to draw"),
        (("grid", "--tasks", "phantom_brain*", "--augmentations", "deletion", "--out", "x.png"), "no augmentation"),
        (("grid", "--tasks", "phantom_brain*", "--explainers", "grad_cm", "--out", "x.png"), "did you mean grad_cam"),
    ],
)
def test_what_cannot_be_drawn_is_one_line(bench, monkeypatch, tmp_path, arguments, complaint):
    monkeypatch.chdir(tmp_path)
    answer = bench("figure", *arguments)
    assert answer.status == 2
    assert complaint in answer.err
    assert answer.err.count("\n") == 1


def test_all_phantoms_are_drawn(bench, tmp_path, monkeypatch):
    monkeypatch.setattr("bench.commands.figure.catalog", lambda _: replace(catalog(), tasks=_one_set()))
    answer = bench("figure", "phantoms", "--columns", 2, "--no-masks", "--out", tmp_path / "sheet.pdf")
    assert answer.status == 0, answer.err
    assert "(1 rows)" in answer.out


def _one_set() -> dict[str, Task]:
    name = "phantom_sars_cov_2_ct_vgg16"
    assert isinstance(TASKS[name].samples(), Phantoms)
    return {name: TASKS[name]}


def settings(n_samples: int) -> Settings:
    return Settings(Path(), torch.device("cpu"), n_samples=n_samples)


def test_maps_stand_beneath_their_images():
    task, entry = TASKS["phantom_brain_mri_vgg16"], catalog().explainers["lrp_epsilon_plus"]
    steps = list(map_rows("mri", task, {"lrp": entry}, {}, settings(3)))
    assert [step.failure for step in steps] == [None, None]
    images, maps = (step.row for step in steps)
    assert (images.title, maps.title) == ("mri", "lrp")
    batch = next(iter(task.batches(3, 0, 3)))
    assert np.array_equal([tile.image for tile in images.tiles], batch.inputs)
    assert all(" → " in tile.caption for tile in images.tiles)
    model = task.model()
    attributions = entry(model, batch.inputs, model(batch.inputs).argmax(1))[:, 0].numpy()
    for attribution, image, mask, tile in zip(attributions, batch.inputs, batch.masks, maps.tiles, strict=True):
        wanted = map_tile(attribution, image.numpy())
        assert abs(tile.image - wanted.image).max() < 0.05
        assert np.array_equal(tile.outlines[EVIDENCE], mask[0])


def test_augmented_images_stand_below_with_the_likeness_of_their_maps():
    task, found = TASKS["phantom_brain_mri_vgg16"], catalog()
    explainers = {name: found.explainers[name] for name in ("center", "constant")}
    steps = list(map_rows("mri", task, explainers, {"rotation": found.metrics["rotation"]}, settings(2)))
    titles = ["mri", "center", "constant", "mri\nrotation", "center\nrotation", "constant\nrotation"]
    rows = {step.row.title: step.row for step in steps}
    assert list(rows) == titles
    upright, turned = rows["mri"].tiles[0], rows["mri\nrotation"].tiles[0]
    assert not np.array_equal(upright.image, turned.image)
    assert not np.array_equal(upright.outlines[EVIDENCE], turned.outlines[EVIDENCE])
    assert {tile.caption for tile in rows["center\nrotation"].tiles} == {"ρ = 1.00"}
    assert {tile.caption for tile in rows["constant\nrotation"].tiles} == {"undefined"}


def test_patterns_choose_among_the_transformations_of_images_alone():
    every = _augmentations(catalog(), "*")
    assert {"blur", "rotation_strong", "flip", "jpeg_mild"} < set(every)
    assert len({augmentation.transformation for augmentation in every.values()}) == len(every) == 25
    assert list(_augmentations(catalog(), "rotation*")) == ["rotation", "rotation_mild", "rotation_strong"]
    assert _augmentations(catalog(), "") == {}


def test_outlines_move_with_the_image_and_only_then():
    task, found = TASKS["phantom_brain_mri_vgg16"], catalog()
    chosen = {name: found.metrics[name] for name in ("flip", "gaussian_noise_strong")}
    rows = {step.row.title: step.row for step in map_rows("mri", task, {}, chosen, settings(2))}
    for upright, flipped, noisy in zip(*(row.tiles for row in rows.values()), strict=True):
        assert np.array_equal(flipped.outlines[EVIDENCE], upright.outlines[EVIDENCE][:, ::-1])
        assert np.array_equal(noisy.outlines[EVIDENCE], upright.outlines[EVIDENCE])
        assert abs(noisy.image - upright.image).max() > 0.1


def test_an_explainer_that_fails_or_has_no_answer_is_a_line_of_the_sheet(bench, write, tmp_path):
    plugin = write("toy = ToyTask()\nweights = Weights()\nfailing = Failing()")
    common = ("figure", "grid", "--plugins", plugin, "--tasks", "toy", "--out", tmp_path / "grid.png")
    answer = bench(*common, "--explainers", "weights,failing,grad_cam@2", "--samples", 2)
    assert answer.status == 1
    assert answer.err == "Failed: toy, failing: RuntimeError: the explainer is broken\n"
    assert "(4 rows)" in answer.out
    steps = list(map_rows("toy", *_toys(plugin), {}, settings(2)))
    lines = [step.row.title for step in steps if not step.row.tiles]
    assert lines == [
        "grad_cam@2: inapplicable: the model has 1 stages for images of this size, so no stage 2",
        "failing: failed: RuntimeError: the explainer is broken",
    ]
    assert bench(*common, "--explainers", "weights,grad_cam@2", "--samples", 2).status == 0


def _toys(plugin: Path) -> tuple[Task, dict[str, Explainer]]:
    found = catalog((plugin,))
    return found.tasks["toy"], select_standard(found.explainers, "weights,failing,grad_cam@2", "explainer")
