"""A task's companions: drawn by the task and the seed alone, and whatever is scored among them."""

import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from bench import companions
from bench.catalog import Catalog, catalog, settings_of
from bench.companions import N_COMPANIONS, Companions
from bench.notebook import score
from bench.runner import Event, Settings, run_task
from explainers.base import Explainer
from explainers.controls import noise
from explainers.gradient import input_x_gradient
from leaderboard import record
from leaderboard.record import Record, Status
from tasks.base import Sample
from tasks.chexpert import phantom_chexpert_densenet121
from tests.bench.toys import SIDE, Halves, ToyTask

METRICS = {name: catalog().metrics[name] for name in ("focus", "iou_tuned", "sparseness", "sufficiency")}


class AnySize(Halves):
    def forward(self, inputs: Tensor) -> Tensor:
        return super().forward(nn.functional.adaptive_avg_pool2d(inputs, SIDE))


@dataclass(frozen=True)
class AnySizeTask(ToyTask):
    def model(self) -> nn.Module:
        return AnySize().eval().requires_grad_(False)


@dataclass(frozen=True)
class Uneven(ToyTask):
    """Of ten samples nine are left."""

    def samples(self) -> list[Sample]:
        return [self.sample(2 * index if index % 10 else 1)._replace(id=f"toy-{index}") for index in range(200)]


@dataclass(frozen=True)
class OfAnySize(ToyTask):
    """The samples of a batch have one size, those of the task have not."""

    def sample(self, index: int) -> Sample:
        made = super().sample(index)
        return made if index < 4 else made._replace(input=made.input[:, 1:], mask=None)


def run(folder: Path, task: ToyTask, n_samples: int, batch_size: int = 16, **chosen: Any) -> tuple[Record, list[Event]]:
    explainers: dict[str, Explainer] = {"mine": chosen.get("explainer", input_x_gradient)}
    wanted = Catalog({}, explainers, chosen.get("metrics", METRICS))
    settings = Settings(folder, torch.device("cpu"), n_samples, batch_size, chosen.get("seed", 0))
    events: list[Event] = []
    run_task("toy", task, wanted, settings, events.append)
    return record.read(record.path_of(folder, "toy", "00000", "mine")), [one for one in events if one.ended]


def scores(of: Record) -> pd.DataFrame:
    rows = of.scores.astype({"sample": str, "metric": str})
    return rows.pivot_table(index="sample", columns="metric", values="score", dropna=False)


def test_they_are_drawn_by_the_task_and_the_seed_and_spread_over_the_classes() -> None:
    random.seed(0)
    torch.manual_seed(0)
    before = random.getstate(), torch.get_rng_state()
    task = ToyTask(n_samples=200)
    first = Companions(task, "toy", 0).batch
    assert random.getstate() == before[0]
    assert torch.equal(torch.get_rng_state(), before[1])
    assert first.ids == Companions(task, "toy", 0).batch.ids
    assert len(set(first.ids)) == N_COMPANIONS
    assert first.labels.bincount().tolist() == [8, 8]
    assert first.masks is not None
    others = [Companions(task, "toy", 1), Companions(task, "another", 0)]
    assert all(len(set(first.ids) & set(other.batch.ids)) < N_COMPANIONS for other in others)
    assert min(Companions(Uneven(), "toy", 0).batch.labels.bincount().tolist()) >= 3
    assert set(Companions(ToyTask(n_samples=3), "toy", 0).batch.ids) == {"toy-0", "toy-1", "toy-2"}


def test_those_of_several_labels_are_spread_over_findings_that_are_there_and_that_are_not() -> None:
    batch = Companions(phantom_chexpert_densenet121, "phantom_chexpert_densenet121", 0).batch
    assert batch.targets is not None
    there = batch.labels.gather(1, batch.targets[:, None])[:, 0]
    kinds = set(zip(batch.targets.tolist(), there.tolist(), strict=True))
    assert len(kinds) == min(N_COMPANIONS, 2 * len(batch.targets.unique()))


def test_scores_depend_neither_on_batches_nor_on_how_many_samples_are_run(tmp_path: Path) -> None:
    task = AnySizeTask(n_samples=40)
    whole = scores(run(tmp_path / "whole", task, 24, explainer=noise)[0])
    assert whole.notna().all().all()
    assert (whole.nunique() > 2).all()
    for n_samples, batch_size in ((24, 5), (7, 16), (1, 1)):
        other = scores(run(tmp_path / f"{n_samples}-{batch_size}", task, n_samples, batch_size, explainer=noise)[0])
        pd.testing.assert_frame_equal(other, whole.loc[other.index], rtol=1e-5, atol=1e-5)
    seeded = scores(run(tmp_path / "seed", task, 24, seed=1, explainer=noise)[0])
    pd.testing.assert_series_equal(seeded.sparseness, whole.sparseness)
    assert (seeded != whole).sum()[["focus", "sufficiency"]].min() > 0


def test_a_task_of_three_samples_has_scores_that_are_not_defined_and_no_failures(tmp_path: Path) -> None:
    made, events = run(tmp_path, AnySizeTask(n_samples=3), 8)
    assert not [event.failures for event in events if event.failures]
    assert {cell.status for cell in made.cells.values()} == {Status.SCORED}
    undefined = made.scores.set_index("metric").score.isna().groupby(level=0, observed=True).mean()
    assert undefined.to_dict() == {"focus": 1.0, "iou_tuned": 0.0, "sparseness": 0.0, "sufficiency": 1.0}


def test_focus_is_inapplicable_to_a_network_of_one_size(tmp_path: Path) -> None:
    made, events = run(tmp_path, ToyTask(n_samples=20), 8)
    assert not [event.failures for event in events if event.failures]
    assert made.cells["focus"].status is Status.INAPPLICABLE
    assert made.cells["focus"].reason.startswith("the network answers a mosaic, an image of 32 × 32 pixels")
    assert made.cells["sufficiency"].status is Status.SCORED


def test_companions_that_cannot_be_had_cost_their_own_cells_only(tmp_path: Path) -> None:
    made, (event,) = run(tmp_path, OfAnySize(n_samples=20), 4)
    assert set(event.failures) == {"iou_tuned", "sufficiency"}  # focus is inapplicable
    assert "must have one size" in event.failures["sufficiency"]
    assert made.cells["sparseness"].status is Status.SCORED


def test_a_record_tells_its_companions_and_others_make_its_cells_stale(tmp_path: Path) -> None:
    made, _ = run(tmp_path, AnySizeTask(n_samples=40), 8)
    assert made.cells["sparseness"].settings == settings_of(METRICS["sparseness"])
    assert made.cells["focus"].settings.startswith(f"{settings_of(METRICS['focus'])} companions ")
    _, (again,) = run(tmp_path, AnySizeTask(n_samples=40), 8)
    assert (again.n_computed, again.n_reused) == (0, 4)
    # The same samples as before, among more.
    images = torch.rand(24, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    given: dict[str, Any] = {
        "explainers": "input_x_gradient",
        "metrics": "sparseness,sufficiency",
        "results": tmp_path / "n",
    }
    score(AnySize(), images[:20], **given)
    few = record.read(record.path_of(tmp_path / "n", "notebook", "00000", "input_x_gradient"))
    score(AnySize(), images, **given)
    more = record.read(record.path_of(tmp_path / "n", "notebook", "00000", "input_x_gradient"))
    assert few.cells["sparseness"] == more.cells["sparseness"]
    assert few.cells["sufficiency"].settings != more.cells["sufficiency"].settings


def test_nobody_reads_companions_who_needs_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(_: object) -> None:
        raise AssertionError("read")

    monkeypatch.setattr(companions, "collate", never)
    made, (event,) = run(tmp_path, AnySizeTask(), 6, metrics={"sparseness": METRICS["sparseness"]})
    assert not event.failures
    assert made.cells["sparseness"].status is Status.SCORED


def test_what_is_scored_among_companions_is_reproduced(bench: Any, write: Any, tmp_path: Path) -> None:
    plugin = write(
        "class AnySize(Halves):\n    def forward(self, inputs):\n"
        "        return super().forward(nn.functional.adaptive_avg_pool2d(inputs, SIDE))\n\n\n"
        "class AnySizeTask(ToyTask):\n    def model(self):\n"
        "        return AnySize().eval().requires_grad_(False)\n\n\ntoy = AnySizeTask(n_samples=40)\n"
    )
    choice = ("--plugins", plugin, "--tasks", "toy", "--explainers", "input_x_gradient", "--samples", 36)
    found = ("--metrics", "sufficiency,focus,iou_tuned", "--results", tmp_path / "r")
    assert bench("run", *choice, *found).status == 0
    assert bench("submit", "--results", tmp_path / "r", "--out", tmp_path / "r.zip").status == 0
    answer = bench("verify", tmp_path / "r.zip", "--plugins", plugin, "--device", "cpu", "--samples", 5)
    assert answer.status == 0, answer.out + answer.err
    assert "Of 3 cells drawn: 3 reproduced, 0 unstable, 0 differs, 0 not run." in answer.out
