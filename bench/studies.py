"""What has to be run for the studies: their usual tasks and metrics, and networks as they were while they learnt."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from leaderboard import record
from leaderboard.record import Results
from leaderboard.reliability import chosen
from leaderboard.studies.accuracy import Accuracy
from leaderboard.studies.scores import NOT_RESTING, RESTING, balanced
from tasks.base import Samples, Task
from tasks.evaluation.scores import evaluate, macro
from tasks.networks.checkpoints import load_checkpoint, read_metadata
from tasks.training import Trainable

from .catalog import Catalog
from .errors import UserError

CHECKPOINTS = "checkpoints"
"""Folder in the results folder: records of networks as they were while they learnt."""

EXPLAINERS = "gradient,input_x_gradient,grad_cam,lrp_epsilon_plus,lrp_epsilon_plus_flat"
COMPOSITES = "lrp*,excitation_backprop"
FAVOURITE = "lrp_epsilon_plus_flat"

NETWORKS = "phantom_covid19_radiography_*"
"""Of one data set, where all decide about the same images."""
SEVERAL_NETWORKS = f"{NETWORKS},phantom_chest_xray_pneumonia_cnn"
LOCALIZATION = "relevance_mass_accuracy"
CUES = f"{RESTING},{NOT_RESTING}"
LOOKED_AT = f"relevance_mass_accuracy,relevance_rank_accuracy,border_mass,sparseness,complexity,{CUES}"
OF_COMPOSITES = "srg,srg_blur,blur,relevance_mass_accuracy,relevance_rank_accuracy,sparseness,complexity,conservation"

CHANGES = (
    "phantom_chest_xray_pneumonia_cnn:phantom_chest_xray_pneumonia_cnn_augmented,"
    "phantom_chest_xray_pneumonia_cnn:phantom_chest_xray_pneumonia_cnn_segmented,"
    "phantom_melanoma_vgg16:phantom_melanoma_vgg16_vignette"
)
TWINS = (
    "phantom_covid_qu_ex_vgg16_marker:phantom_covid_qu_ex_vgg16,phantom_melanoma_vgg16_vignette:phantom_melanoma_vgg16"
)


@dataclass(frozen=True)
class Snapshot(Task):
    """A task whose network is as it was when a checkpoint was written."""

    task: Task
    path: Path = field(repr=False)
    """Not part of what the task is: the weights have a fingerprint."""

    def classes(self) -> tuple[str, ...]:
        return self.task.classes()

    def negative(self) -> str | None:
        return self.task.negative()

    def model(self) -> nn.Module:
        assert isinstance(self.task, Trainable)
        with torch.random.fork_rng(devices=[]):
            model = self.task.finished(self.task.network())
        load_checkpoint(self.path, model, self.classes())
        return model.eval().requires_grad_(False)

    def samples(self) -> Samples:
        return self.task.samples()


def snapshots(folder: Path, tasks: Mapping[str, Task]) -> dict[str, Task]:
    """The networks that `bench train NAME --checkpoints DIR` kept, by `<name>@<epoch>`.

    Raises:
        UserError: there is none, or one is of a task that nobody knows.
    """
    found: dict[str, Task] = {}
    for path in sorted(folder.glob("*.safetensors")):
        told = re.fullmatch(r"(.+)-epoch-(\d+)", path.stem)
        task = tasks.get(told[1]) if told else None
        if told is None or not isinstance(task, Trainable):
            raise UserError(
                f"{path}: no network of a known task; its name is <task>-epoch-<number>.safetensors, and a task of "
                "your own needs --plugins FILE"
            )
        if reason := task.missing_data():
            raise UserError(f"{told[1]}: {reason}")
        found[f"{told[1]}@{told[2]}"] = Snapshot(task, path)
    if not found:
        raise UserError(f"--checkpoints {folder}: no checkpoint; `bench train NAME --checkpoints {folder}` keeps some")
    return found


def accuracy_of(task: Task, device: torch.device) -> Accuracy:
    """As the checkpoint tells of the held-out part; where there is none, all of the task's samples are asked.

    Raises:
        ValueError, OSError: neither can be had; one line.
    """
    path = task.path if isinstance(task, Snapshot) else task.checkpoint() if isinstance(task, Trainable) else None
    told: Any = read_metadata(path).get("heldout") if path is not None and path.is_file() else None
    if not isinstance(told, dict):
        told = vars(evaluate(task.model().to(device), task.samples(), task.classes(), device=device))
    if told.get("multi_label"):
        return Accuracy(macro(told["roc_auc"])[0], int(np.max(told["support"])), counts=False)
    return Accuracy(told["accuracy"], int(np.sum(told["support"])))


def pairs(text: str, tasks: Mapping[str, Task], option: str = "--tasks") -> list[tuple[str, str]]:
    """The pairs in `first:second,first:second`, as names of tasks.

    Raises:
        UserError: it is not written so, or a name is not known.
    """
    found = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        names = part.split(":")
        if len(names) != 2 or names[0] == names[1]:
            raise UserError(f"{option} {part}: give two tasks as FIRST:SECOND, several pairs comma-separated")
        for name in names:
            if name not in tasks:
                raise UserError(f"{option}: no task is called {name!r}; `bench list tasks` shows them all")
        found.append((names[0], names[1]))
    if not found:
        raise UserError(f"{option}: give two tasks as FIRST:SECOND")
    return list(dict.fromkeys(found))


def same_samples(results: Path, first: str, second: str) -> bool | None:
    """Whether the samples that the records of two tasks have in common are the same to the pixel; None: there is none.

    Raises:
        ValueError: a record is broken.
    """
    samples: list[dict[str, str]] = [{}, {}]
    for task, known in zip((first, second), samples, strict=True):
        for shard in sorted((results / task).glob("*")):
            path = next((path for path in sorted(shard.glob("*.parquet")) if path.stem != record.SAMPLES), None)
            if path is not None:
                known.update(record.read(path).samples)
    common = samples[0].keys() & samples[1].keys()
    return all(samples[0][name] == samples[1][name] for name in common) if common else None


def read(results: Path, ran: Catalog) -> Results:
    """What the folder holds of this choice, of samples that all of it is known of.

    Raises:
        ValueError: a record is missing or broken.
    """
    found = balanced(chosen(record.load(results), ran.tasks, ran.explainers, ran.metrics))
    if found.scores.empty:
        raise ValueError(f"not one score of {', '.join(ran.tasks)} in {results}")
    return found
