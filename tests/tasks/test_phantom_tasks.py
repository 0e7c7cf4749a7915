"""What holds for every task on phantoms: the shipped network is right, by the evidence, and keeps the contract."""

from dataclasses import replace

import pytest
import torch

from tasks.brain_mri import phantom_brain_mri_vgg16, phantom_brain_mri_vgg16_deleted
from tasks.chest_xray_pneumonia import (
    phantom_chest_xray_pneumonia_cnn,
    phantom_chest_xray_pneumonia_cnn_augmented,
    phantom_chest_xray_pneumonia_cnn_segmented,
)
from tasks.covid19_radiography import (
    phantom_covid19_radiography_densenet121,
    phantom_covid19_radiography_resnet18,
    phantom_covid19_radiography_vgg16,
)
from tasks.covid_qu_ex import phantom_covid_qu_ex_resnet50, phantom_covid_qu_ex_vgg16
from tasks.isic_2017 import phantom_isic_2017_resnet50
from tasks.melanoma import phantom_melanoma_resnet50, phantom_melanoma_vgg16
from tasks.rendered import PhantomTask, PhantomVGG16
from tasks.sars_cov_2_ct import phantom_sars_cov_2_ct_vgg16

TASKS = [
    phantom_brain_mri_vgg16,
    phantom_brain_mri_vgg16_deleted,
    phantom_chest_xray_pneumonia_cnn,
    phantom_chest_xray_pneumonia_cnn_augmented,
    phantom_chest_xray_pneumonia_cnn_segmented,
    phantom_covid19_radiography_densenet121,
    phantom_covid19_radiography_resnet18,
    phantom_covid19_radiography_vgg16,
    phantom_covid_qu_ex_resnet50,
    phantom_covid_qu_ex_vgg16,
    phantom_isic_2017_resnet50,
    phantom_melanoma_resnet50,
    phantom_melanoma_vgg16,
    phantom_sars_cov_2_ct_vgg16,
]
N_SAMPLES = 120

every_task = pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)


@every_task
def test_the_shipped_network_is_right_by_the_evidence(task: PhantomTask) -> None:
    """Without its evidence a finding is no longer found; with that evidence in another patient it still is."""
    phantoms, model = replace(task.part("heldout"), n_samples=N_SAMPLES, seed=77), task.model()
    samples = [phantoms[index] for index in range(N_SAMPLES)]
    without = [phantoms.sample(index, evidence=False) for index in range(N_SAMPLES)]
    elsewhere = [phantoms.sample(index, surroundings=(index + 7) % N_SAMPLES) for index in range(N_SAMPLES)]
    labels = torch.stack([sample.label for sample in samples])
    with torch.inference_mode():
        predictions, changed, kept = (
            model(torch.stack([sample.input for sample in variant])).argmax(1)
            for variant in (samples, without, elsewhere)
        )
    right = labels == predictions
    assert right.float().mean() >= 0.9
    found = right & (labels != task.classes().index(str(task.negative())))
    assert (changed != predictions)[found].float().mean() >= 0.9
    assert (kept == predictions)[found].float().mean() >= 0.9


@every_task
def test_the_entry_keeps_the_contract(task: PhantomTask) -> None:
    assert task.unavailable() is None
    assert task.negative() in task.classes()
    model = task.model()
    assert not model.training
    assert not any(parameter.requires_grad for parameter in model.parameters())
    assert not any(getattr(module, "inplace", False) for module in model.modules())
    if isinstance(task, PhantomVGG16):
        assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in model.modules())
    first, again = list(task.batches(4, stop=10)), list(task.batches(4, stop=10))
    assert [len(batch.ids) for batch in first] == [4, 4, 2]
    for batch, other in zip(first, again, strict=True):
        assert batch.ids == other.ids
        assert torch.equal(batch.inputs, other.inputs)
        assert model(batch.inputs).shape == (len(batch.ids), len(task.classes()))


@every_task
def test_the_explained_phantoms_are_not_those_of_the_training(task: PhantomTask) -> None:
    assert len({task.part(name).seed for name in ("train", "validation", "heldout")}) == 3


@every_task
def test_the_shipped_file_is_small(task: PhantomTask) -> None:
    assert task.checkpoint().stem == task.name
    assert task.checkpoint().stat().st_size < 3_000_000


def test_all_shipped_files_together_are_not_large() -> None:
    weights = phantom_brain_mri_vgg16.checkpoint().parent
    assert sum(file.stat().st_size for file in weights.glob("*.safetensors")) < 32_000_000
