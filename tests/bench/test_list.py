"""`bench list`: every entry with its card, its size, its scores, in columns that fit a terminal, and for machines."""

import csv
import io
import json
import math

import pytest
import torch

from bench.about import About, about, data_sets
from bench.catalog import catalog
from tasks.networks.checkpoints import read_metadata, save_checkpoint
from tasks.phantoms.base import CuedPhantoms
from tasks.rendered import PhantomTask
from tasks.training import Trainable

TASKS = catalog().tasks
ARCHITECTURES = {
    "vgg16": "VGG16",
    "resnet18": "ResNet-18",
    "resnet50": "ResNet-50",
    "densenet121": "DenseNet-121",
    "squeezenet": "SqueezeNet",
    "cnn": "plain CNN",
}


@pytest.fixture(scope="module")
def known() -> dict[str, About]:
    return {name: about(name, task) for name, task in TASKS.items()}


@pytest.mark.parametrize("name", TASKS)
def test_every_task_has_a_card_that_says_all(name):
    card = TASKS[name].card()
    assert card is not None
    assert all(line.strip() and "\n" not in line for line in card)
    assert card.kind == ("real" if not name.startswith("phantom_") else card.kind)


@pytest.mark.parametrize("name", TASKS)
def test_a_card_names_the_network_that_the_task_is_called_after(name):
    (architecture,) = [title for part, title in ARCHITECTURES.items() if f"_{part}" in name]
    assert TASKS[name].card().network.startswith(architecture)


@pytest.mark.parametrize("name", [name for name, task in TASKS.items() if isinstance(task, PhantomTask)])
def test_a_phantom_task_is_a_shortcut_task_if_the_cue_told_the_class_in_training(name):
    part = TASKS[name].part("train")
    taught = isinstance(part, CuedPhantoms) and part.agreement > 0.5
    assert TASKS[name].card().kind == ("shortcut" if taught else "phantom")


def test_parameters_are_those_of_the_shipped_networks(known):
    shipped = [name for name, task in TASKS.items() if name.startswith("phantom_") and not task.unavailable()]
    assert shipped
    for name in shipped:
        assert known[name].parameters == sum(value.numel() for value in TASKS[name].model().parameters()), name


def test_counting_parameters_leaves_the_random_state_alone():
    before = torch.random.get_rng_state()
    assert about("brain_mri_vgg16", TASKS["brain_mri_vgg16"]).parameters == 134_276_932
    assert torch.equal(torch.random.get_rng_state(), before)


def test_scores_are_those_of_the_checkpoints(known):
    trained = [name for name, task in TASKS.items() if isinstance(task, Trainable) and task.checkpoint().is_file()]
    assert trained
    for name in trained:
        heldout = read_metadata(TASKS[name].checkpoint())["heldout"]
        assert known[name].accuracy == heldout.get("accuracy")


def test_every_data_set_is_told_once(known):
    rows = data_sets(known.values())
    assert len({row.data for row in rows}) == len(rows)
    assert rows[-1].data == "phantoms"
    assert {row.citation for row in rows} == {task.citation for task in known.values()}


@pytest.mark.parametrize("columns", [100, 200])
def test_tasks_fit_the_terminal(bench, monkeypatch, known, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    out = bench("list", "tasks").out
    assert max(map(len, out.splitlines())) <= columns
    row = next(line for line in out.splitlines() if line.startswith("phantom_brain_mri_vgg16 "))
    accuracy = f"{known['phantom_brain_mri_vgg16'].accuracy:.3f}"
    assert row.split()[1:] == ["phantom", "VGG16,", "1/8", "as", "wide", "445", "k", accuracy, "yes"]
    row = next(line for line in out.splitlines() if line.startswith("brain_mri_vgg16 "))
    assert row.split()[1:] == ["real", "VGG16", "134.3", "M", "–", "no"]
    for told in ("classes: melanoma, nevus, seborrheic_keratosis", "CC BY 4.0", "PLOS ONE 2015", "data not found"):
        assert told in " ".join(out.split())


def test_everything_is_listed_with_family_and_settings(bench):
    out = bench("list").out
    for name, told in [("integrated_gradients", "n_steps=32"), ("pointing_game", "localization ↑")]:
        assert told in next(line for line in out.splitlines() if f" {name} " in line)
    assert "phantom_brain_mri_vgg16" in out
    assert "Variants: grad_cam@1 … grad_cam@5." in " ".join(out.split())


def test_list_of_one_kind(bench):
    answer = bench("list", "metrics")
    assert "deletion" in answer.out
    assert "grad_cam" not in answer.out


def test_the_references_stand_in_a_group_of_their_own_at_the_end(bench):
    own, _, references = bench("list", "metrics").out.partition("Quantus's own metrics")
    assert "quantus_" not in own
    assert "pixel_flipping_blur" in own
    assert "pixel_flipping_blur" not in references
    assert all(f" {name} " in references for name in catalog().metrics if name.startswith("quantus_"))


def test_tasks_for_machines(bench):
    from_json = json.loads(bench("list", "tasks", "--format", "json").out)
    from_csv = list(csv.DictReader(io.StringIO(bench("list", "tasks", "--format", "csv").out)))
    assert [row["name"] for row in from_json] == [row["name"] for row in from_csv] == list(TASKS)
    assert list(from_json[0]) == list(from_csv[0])
    task, cells = from_json[0], from_csv[0]
    assert task["classes"] == ["glioma_tumor", "meningioma_tumor", "pituitary_tumor", "no_tumor"]
    assert cells["classes"] == "glioma_tumor; meningioma_tumor; pituitary_tumor; no_tumor"
    assert (task["accuracy"], cells["accuracy"], task["parameters"]) == (None, "", 737_476)


def test_all_kinds_for_machines(bench):
    listed = json.loads(bench("list", "--format", "json").out)
    assert list(listed) == ["tasks", "explainers", "metrics"]
    assert {"name", "family", "higher_is_better", "needs_masks", "settings", "about"} == set(listed["metrics"][0])
    assert {"name", "family", "settings", "about", "variants"} == set(listed["explainers"][0])
    answer = bench("list", "--format", "csv")
    assert answer.status == 2
    assert "bench list tasks" in answer.err


def test_a_users_task_without_a_card_has_blanks(bench, write):
    out = bench("list", "tasks", "--plugins", write("toy = ToyTask()")).out
    assert next(line for line in out.splitlines() if line.startswith("toy ")).split() == ["toy", "–", "yes"]


def test_many_labels_have_a_mean_auc_and_a_bad_checkpoint_is_told(bench, monkeypatch, tmp_path):
    task, path = TASKS["phantom_brain_mri_vgg16"], tmp_path / "task.safetensors"
    monkeypatch.setattr(type(task), "checkpoint", lambda _: path)
    heldout = {"accuracy": 0.9, "roc_auc": [0.9, math.nan, 0.7], "multi_label": True}
    save_checkpoint(path, torch.nn.Linear(1, 1), {"heldout": heldout})
    assert about("task", task).roc_auc == pytest.approx(0.8)
    row = next(line for line in bench("list", "tasks").out.splitlines() if line.startswith("phantom_brain_mri_vgg16 "))
    assert " AUC 0.800 " in row
    path.write_bytes(b"no checkpoint")
    assert "not a readable checkpoint" in about("task", task).unavailable
