"""A whole run forwards just the images that it must: counted at the network, and from first principles."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from bench.catalog import Catalog, catalog
from bench.runner import Settings, run_task
from explainers.base import Explainer
from explainers.controls import center
from explainers.gradient import gradient, integrated_gradients
from leaderboard import record
from metrics.base import Metric
from tasks.base import Task
from tests.bench.toys import SIDE, Halves, ToyTask

STANDARD = {name: metric for name, metric in catalog().metrics.items() if not metric.on_request}
CURVES, STEPS = 4, 32
"""By mean colour and by blur, most and least relevant first."""
REGIONS = 16
AUGMENTATIONS = 3
"""Blurred, sharpened, rotated."""
RANDOMIZED, OTHER_CLASS = 2, 1
"""The network with half of its layers random and with all of them; the map of another class."""
TIMED = 3
MEASURED = 1
"""For its memory."""

Counts = list[int]


@pytest.fixture
def forwarded(monkeypatch: pytest.MonkeyPatch) -> Iterator[Counts]:
    """How many images each forward pass of any of the toys' networks had."""
    counts: Counts = []
    forward = Halves.forward

    def counting(self: nn.Module, inputs: Tensor) -> Tensor:
        counts.append(len(inputs))
        return forward(self, inputs)

    monkeypatch.setattr(Halves, "forward", counting)
    return counts


def of_a_run(
    counts: Counts,
    folder: Path,
    explainers: dict[str, Explainer],
    n_samples: int,
    batch_size: int,
    task: Task = ToyTask(),  # noqa: B008  # frozen
    metrics: Mapping[str, Metric] = STANDARD,
) -> int:
    counts.clear()
    settings = Settings(folder, torch.device("cpu"), n_samples, batch_size)
    failures: list[object] = []
    chosen = Catalog({}, explainers, dict(metrics))
    run_task("toy", task, chosen, settings, lambda event: failures.extend(event.failures.items()))
    assert not failures
    return sum(counts)


def of_the_task(n: int, n_batches: int) -> int:
    """Whatever the explainers: the decision, both ends of the curves, augmented images; a black image a batch; and one
    image that tells the order of the layers."""
    return n + 2 * n + AUGMENTATIONS * n + n_batches + 1


def of_an_explainer(n: int, n_batches: int) -> int:
    """Between the curves' ends, without regions, and one image a batch whose operations are counted."""
    return CURVES * (STEPS - 1) * n + REGIONS * n + n_batches


def of_its_own(n: int, n_batches: int) -> int:
    """Explanations, each one pass: that which is judged, of augmented images, of random networks, of another class,
    timed; and of one image a batch, counted."""
    return (1 + AUGMENTATIONS + RANDOMIZED + OTHER_CLASS + TIMED + MEASURED) * n + n_batches


@pytest.mark.parametrize(("n_samples", "batch_size", "n_batches"), [(6, 6, 1), (6, 4, 2), (4, 16, 1)])
def test_a_run_forwards_what_first_principles_say(
    tmp_path: Path, forwarded: Counts, n_samples: int, batch_size: int, n_batches: int
) -> None:
    size = n_samples, n_batches
    of_none = of_a_run(forwarded, tmp_path / "one", {"center": center}, n_samples, batch_size)
    assert of_none == of_the_task(*size) + of_an_explainer(*size)
    both = {"center": center, "gradient": gradient}
    of_both = of_a_run(forwarded, tmp_path / "two", both, n_samples, batch_size)
    assert of_both == of_the_task(*size) + 2 * of_an_explainer(*size) + of_its_own(*size)
    told = sum(int(one.origin["images"]) for one in map(record.read, sorted(tmp_path.glob("two/toy/*/[cg]*.parquet"))))
    # Explanations, what `passes` compares with, and the order of the layers.
    counted_otherwise = of_its_own(*size) + 2 * n_batches + 1
    assert told == of_both - counted_otherwise - n_samples  # the decision is made before the first explainer


def test_another_explainer_costs_its_own_passes_only(tmp_path: Path, forwarded: Counts) -> None:
    three = {name: replace(integrated_gradients, n_steps=steps) for name, steps in (("a", 2), ("b", 3), ("c", 4))}
    runs = [
        of_a_run(forwarded, tmp_path / str(count), dict(list(three.items())[:count]), 6, 6) for count in range(1, 4)
    ]
    steps = [2, 3, 4]
    assert runs[0] == of_the_task(6, 1) + of_an_explainer(6, 1) + steps[0] * of_its_own(6, 1)
    for count in (1, 2):
        assert runs[count] - runs[count - 1] == of_an_explainer(6, 1) + steps[count] * of_its_own(6, 1)


def test_the_same_run_again_forwards_nothing(tmp_path: Path, forwarded: Counts) -> None:
    assert of_a_run(forwarded, tmp_path, {"gradient": gradient}, 6, 6)
    assert of_a_run(forwarded, tmp_path, {"gradient": gradient}, 6, 6) == 0


@dataclass(frozen=True)
class OfAnySize(ToyTask):
    """The toys, of a network that takes mosaics too."""

    def model(self) -> nn.Module:
        return Pooling().eval().requires_grad_(False)


class Pooling(Halves):
    def forward(self, inputs: Tensor) -> Tensor:
        return super().forward(nn.functional.adaptive_avg_pool2d(inputs, SIDE))


def test_companions_are_decided_once_and_explained_once_an_explainer(tmp_path: Path, forwarded: Counts) -> None:
    """Of 40 samples, in two shards of 32 and 8: two batches in the first, one in the second."""
    among = {name: catalog().metrics[name] for name in ("sufficiency", "focus", "iou_tuned")}
    n, n_batches, n_companions = 40, 3, 16
    of_task = n + n_batches + n_companions  # the decisions, whether mosaics are taken, the companions' decisions
    of_gradient = n + n + n_companions  # explained: the samples, a mosaic of each, the companions
    chosen: tuple[dict[str, Explainer], ...] = ({"center": center}, {"center": center, "gradient": gradient})
    for explainers, wanted in zip(chosen, (of_task, of_task + of_gradient), strict=True):
        folder = tmp_path / str(len(explainers))
        assert of_a_run(forwarded, folder, explainers, n, 16, OfAnySize(n_samples=60), among) == wanted
