"""`bench study`: what is missing is run, what is there is used again, and the page says what came out."""

from pathlib import Path

import pytest
import torch
from matplotlib.image import imread

from bench import studies
from bench.catalog import catalog, select
from bench.errors import UserError
from leaderboard import record
from tasks.base import Task

PLUGIN = """
from dataclasses import replace
from pathlib import Path
from tasks.learning.fitting import Recipe
from tasks.networks.architectures import with_preprocessing
from tasks.training import Trainable


@dataclass(frozen=True)
class Cued(ToyTask):
    '''A bright corner that outweighs the left half, if the network weighs it; in the mean colour it does not.'''

    weight: float = 0.0

    def model(self) -> nn.Module:
        network = Halves()
        with torch.no_grad():
            network.conv.weight[1, :, :4, :4] += self.weight
        return network.eval().requires_grad_(False)

    def sample(self, index: int) -> Sample:
        sample = super().sample(index)
        corner = torch.zeros_like(sample.mask)
        corner[..., :4, :4] = True
        return sample._replace(input=torch.where(corner, 1.0, sample.input), shortcut=corner)


@dataclass(frozen=True)
class InputTimesWeights(Explainer):
    def attribute(self, model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        return (inputs * model.get_submodule("conv").weight[targets]).sum(dim=1, keepdim=True)


@dataclass(frozen=True)
class Learner(Trainable):
    '''A network of three epochs.'''

    def classes(self) -> tuple[str, ...]:
        return ("left", "right")

    def network(self) -> nn.Sequential:
        layers = nn.Conv2d(3, 4, 5, stride=3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 2)
        return with_preprocessing(nn.Sequential(*layers))

    def part(self, name: str) -> list[Sample]:
        first = {"train": 0, "validation": 100, "heldout": 200}[name]
        samples = [ToyTask(contrast=0.1).sample(first + index) for index in range(40 if name == "train" else 20)]
        return [sample._replace(input=sample.input.clamp(0, 1)) for sample in samples]

    def checkpoint(self) -> Path:
        return Path(FOLDER) / "toy_learner.safetensors"

    def recipe(self) -> Recipe:
        return Recipe(epochs=3, learning_rate=0.01, batch_size=8)


toy_honest, toy_cued = Cued(n_samples=24), Cued(n_samples=24, weight=0.55)
toy_weak, toy_strong = ToyTask(n_samples=12), ToyTask(n_samples=12, contrast=0.6)
toy_map, toy_scaled, toy_blind = InputTimesWeights(), Weights(), Weights(-1.0)
toy_learner = Learner()
"""


@pytest.fixture
def plugin(write, tmp_path):
    return write(PLUGIN.replace("FOLDER", repr(str(tmp_path))))


def test_the_shortcut_study_runs_what_is_missing_and_reveals_the_cue(bench, plugin, tmp_path):
    page, results = tmp_path / "out" / "page.md", tmp_path / "results"
    asked = ("study", "shortcut", "--plugins", plugin, "--tasks", "toy_cued:toy_honest", "--explainers", "toy_map")
    answer = bench(*asked, "--results", results, "--out", page, "--width", 127, "--dpi", 100)
    assert answer.status == 0, answer.err
    assert imread(page.with_suffix(".png")).shape[1] == 500
    assert "Revealed by 1 of 1 explainers: toy_map (AUC 1.00" in answer.out
    assert "Controls have, by geometry alone" in answer.out
    assert "What this does not show" in answer.out
    assert "# Does the explainer reveal the cue" in page.read_text()
    assert "](page.png)" in page.read_text()
    assert all(page.with_suffix(ending).stat().st_size > 3000 for ending in (".png", ".pdf"))
    written = {path: path.stat().st_mtime_ns for path in record.records(results)}
    assert {path.stem for path in written} == {"toy_map", "noise", "center", "edges"}
    assert bench(*asked, "--results", results).out.splitlines()[:8] == answer.out.splitlines()[:8]
    assert {path: path.stat().st_mtime_ns for path in record.records(results)} == written


def test_the_augmentation_study_compares_pairs(bench, plugin, tmp_path):
    answer = bench(
        *("study", "augmentation", "--plugins", plugin, "--tasks", "toy_honest:toy_cued", "--samples", 24),
        *("--explainers", "toy_map", "--metrics", "relevance_mass_accuracy,border_mass", "--results", tmp_path),
    )
    assert answer.status == 0, answer.err
    assert "samples are explained for the same class, the same images and masks" in answer.out
    assert "toy_cued less toy_honest" in answer.out
    assert "border_mass: higher by 1 of 1 explainers (toy_map +" in answer.out


def test_the_study_of_composites_ranks_them(bench, plugin, tmp_path):
    asked = ("study", "composites", "--plugins", plugin, "--tasks", "toy_weak,toy_strong", "--samples", 12)
    chosen = ("--explainers", "toy_map,toy_scaled,toy_blind", "--metrics", "relevance_mass_accuracy,sparseness")
    answer = bench(*asked, *chosen, "--favourite", "toy_scaled", "--results", tmp_path)
    assert answer.status == 0, answer.err
    assert "Which LRP composite is best, and is it toy_scaled?" in answer.out
    assert "By family of metrics:" in answer.out
    refused = bench(*asked, *chosen, "--results", tmp_path)
    assert refused.status == 2
    assert "--favourite lrp_epsilon_plus_flat: it is none of --explainers" in refused.err


def test_the_accuracy_study_takes_networks_as_they_were_after_every_epoch(bench, plugin, tmp_path):
    kept, results = tmp_path / "epochs", tmp_path / "results"
    trained = bench("train", "toy_learner", "--plugins", plugin, "--device", "cpu", "--checkpoints", kept)
    assert trained.status == 0, trained.err
    assert [path.name for path in sorted(kept.iterdir())] == [f"toy_learner-epoch-0{n}.safetensors" for n in (1, 2, 3)]
    asked = ("study", "accuracy", "--plugins", plugin, "--explainers", "gradient", "--results", results)
    answer = bench(*asked, "--checkpoints", kept, "--samples", 8)
    assert answer.status == 0, answer.err
    assert "3 of the 3 networks are epochs of one training, toy_learner" in answer.out
    assert "Too few networks to tell: 3" in answer.out
    found = record.load(results / studies.CHECKPOINTS)
    assert set(found.cells.task) == {"toy_learner@01", "toy_learner@02", "toy_learner@03"}
    weights = {record.read(path).provenance["weights"] for path in record.records(results / studies.CHECKPOINTS)}
    assert len(weights) == 3
    (kept / "stranger-epoch-01.safetensors").touch()
    refused = bench(*asked, "--checkpoints", kept)
    assert refused.status == 2
    assert "no network of a known task" in refused.err


def test_networks_without_a_checkpoint_are_asked(bench, plugin, tmp_path):
    answer = bench(
        *("study", "accuracy", "--plugins", plugin, "--tasks", "toy_weak,toy_strong", "--explainers", "toy_map"),
        *("--results", tmp_path, "--samples", 6),
    )
    assert answer.status == 0, answer.err
    assert "Too few networks to tell: 2" in answer.out
    assert "toy_strong (accuracy" in answer.out or "toy_weak (accuracy" in answer.out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("shortcut", "--tasks", "toy_cued"), "give two tasks as FIRST:SECOND"),
        (("shortcut", "--tasks", "toy_cued:nobody"), "no task is called 'nobody'"),
        (("augmentation", "--tasks", "toy_cued:toy_cued"), "give two tasks as FIRST:SECOND"),
        (("shortcut", "--out", "page.html"), "--out page.html: give it the ending .md"),
        (("accuracy", "--checkpoints", "empty"), "no checkpoint"),
        (("shortcut", "--tasks", "toy_cued:toy_learner"), "toy_learner cannot run here: no checkpoint"),
    ],
)
def test_bad_input_is_one_line(bench, plugin, tmp_path, arguments, told):
    answer = bench("study", *arguments, "--plugins", plugin, "--explainers", "toy_map", "--results", tmp_path / "r")
    assert answer.status == 2
    assert told in answer.err
    assert answer.err.startswith("bench: ")


def test_a_failure_is_told_and_counts(bench, write, tmp_path):
    plugin = write(PLUGIN.replace("FOLDER", "''") + "\ntoy_failing = Failing()\n")
    answer = bench(
        *("study", "shortcut", "--plugins", plugin, "--tasks", "toy_cued:toy_honest", "--results", tmp_path),
        *("--explainers", "toy_map,toy_failing"),
    )
    assert answer.status == 1
    assert "Revealed by 1 of 1 explainers" in answer.out
    assert "the explainer is broken" in answer.out


def test_the_usual_tasks_explainers_and_metrics_are_there():
    found = catalog()
    for text in (studies.CHANGES, studies.TWINS):
        assert studies.pairs(text, found.tasks)
    for text in (studies.NETWORKS, studies.SEVERAL_NETWORKS):
        assert select(found.tasks, text, "task")
    for text in (studies.EXPLAINERS, studies.COMPOSITES, studies.FAVOURITE):
        assert select(found.explainers, text, "explainer")
    for text in (studies.LOCALIZATION, studies.CUES, studies.LOOKED_AT, studies.OF_COMPOSITES):
        assert select(found.metrics, text, "metric")


def test_the_accuracy_of_shipped_networks_is_their_checkpoints(tmp_path: Path):
    tasks: dict[str, Task] = catalog().tasks
    told = studies.accuracy_of(tasks["phantom_covid19_radiography_resnet18"], torch.device("cpu"))
    assert (told.value, told.n, told.counts) == (pytest.approx(0.985), 400, True)
    several = studies.accuracy_of(tasks["phantom_chexpert_densenet121"], torch.device("cpu"))
    assert not several.counts
    assert several.value > 0.99
    with pytest.raises(UserError, match="no checkpoint"):
        studies.snapshots(tmp_path, tasks)
    assert studies.same_samples(tmp_path, "a", "b") is None
