"""What holds for every task with a shortcut: the shipped network decides by the cue, and by nothing else."""

from dataclasses import replace
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from tasks.covid_qu_ex import phantom_covid_qu_ex_vgg16_marker
from tasks.melanoma import phantom_melanoma_vgg16_vignette
from tasks.phantoms.base import CuedPhantoms
from tasks.rendered import PhantomTask

TASKS = [phantom_covid_qu_ex_vgg16_marker, phantom_melanoma_vgg16_vignette]
N_SAMPLES = 120

every_task = pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)


class _Decisions(NamedTuple):
    """Of N phantoms that the network has not seen: (N,) each."""

    labels: Tensor
    cued: Tensor
    """Whether it has the cue."""
    predictions: Tensor
    without_cue: Tensor
    without_rest: Tensor
    """Predictions where all but the cue's mask comes from another sample without cue."""


def _decisions(task: PhantomTask) -> _Decisions:
    fresh, model = replace(task.part("heldout"), n_samples=N_SAMPLES, seed=77), task.model()
    samples = [fresh[index] for index in range(N_SAMPLES)]
    bare = torch.stack([fresh.sample(index, shortcut=False).input for index in range(N_SAMPLES)])
    images = torch.stack([sample.input for sample in samples])
    cues = torch.stack([sample.shortcut for sample in samples if sample.shortcut is not None])
    with torch.inference_mode():
        variants = (images, bare, torch.where(cues, images, bare.roll(1, 0)))
        predictions = [model(variant).argmax(1) for variant in variants]
    labels = torch.stack([sample.label for sample in samples])
    return _Decisions(labels, cues.flatten(1).any(1), *predictions)


@every_task
def test_taking_the_cue_away_changes_right_decisions_for_the_cued_class(task: PhantomTask) -> None:
    decisions = _decisions(task)
    phantoms = task.part("heldout")
    assert isinstance(phantoms, CuedPhantoms)
    cued_class = task.classes().index(phantoms.cued_class)
    right = (decisions.labels == decisions.predictions) & (decisions.labels == cued_class)
    assert right.sum() >= 10
    assert (decisions.without_cue != decisions.predictions)[right].float().mean() >= 0.9
    assert (decisions.without_rest == decisions.predictions)[right & decisions.cued].float().mean() >= 0.9


@every_task
def test_the_cue_tells_nothing_about_the_explained_samples(task: PhantomTask) -> None:
    agreements = {}
    for name in ("train", "validation", "heldout"):
        phantoms = task.part(name)
        assert isinstance(phantoms, CuedPhantoms)
        agreements[name] = phantoms.agreement
    assert agreements == {"train": 0.95, "validation": 0.95, "heldout": 0.5}


@every_task
def test_the_entry_is_there_and_small(task: PhantomTask) -> None:
    assert task.unavailable() is None
    assert task.checkpoint().stem == task.name
    assert task.checkpoint().stat().st_size < 3_000_000
    assert next(task.batches(2)).shortcuts is not None
