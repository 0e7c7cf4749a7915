"""`bench metrics --reliability`: what is run, what is used again, and what is answered."""

from dataclasses import dataclass, fields, replace
from pathlib import Path

import pandas as pd
import pytest
import torch
from torch import nn

from bench import reliability as asked
from bench.catalog import catalog
from bench.errors import UserError
from bench.randomized import OfRandomized, randomized
from bench.runner import Settings
from explainers.base import Explainer
from leaderboard import record
from metrics.perturb import BlurImputer, MeanImputer

PLUGIN = """
from metrics.faithfulness import Deletion
from metrics.perturb import BlurImputer
from metrics.localization import RocAuc


@dataclass(frozen=True)
class Dice(Metric):
    category: ClassVar[Category] = Category.LOCALIZATION
    higher_is_better: ClassVar[bool] = True

    def score(self, explanation: Explanation) -> Tensor:
        return torch.stack([torch.rand((), generator=one) for one in explanation.decisions.generators("dice")])


@dataclass(frozen=True)
class Scaled(Weights):
    def attribute(self, model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        noise = torch.randn(inputs[:, :1].shape, generator=torch.Generator().manual_seed(int(self.scale)))
        return super().attribute(model, inputs, targets) + 0.02 * self.scale * noise


toy = ToyTask(n_samples=16)
toy_weights, toy_blurred, toy_noisy = Weights(), Scaled(1.0), Scaled(2.0)
toy_dice = Dice()
toy_auc = RocAuc()
toy_deletion = Deletion(imputer=BlurImputer(), n_steps=4)
"""

CHOICE = ("--tasks", "toy", "--explainers", "toy_*", "--metrics", "toy_*", "--samples", 16)


@pytest.fixture(scope="module")
def network() -> nn.Module:
    layers = (nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 14 * 14, 2))
    network = nn.Sequential(*layers).eval().requires_grad_(False)
    network[1].running_mean += 1
    return network


def test_verdicts_of_a_good_metric_and_of_one_that_throws_dice(bench, write, tmp_path):
    csv, figure = tmp_path / "new" / "table.csv", tmp_path / "new" / "tau.pdf"
    ask = ("metrics", "--reliability", *CHOICE, "--plugins", write(PLUGIN), "--results", tmp_path / "results")
    answer = bench(*ask, "--csv", csv, "--figure", figure, "--font", "DejaVu Serif")
    assert answer.status == 0, answer.err + answer.out
    table = pd.read_csv(csv).set_index("metric")
    assert table.verdict["toy_auc"] == "holds"
    assert table.verdict["toy_dice"] == "cannot tell noise"
    assert table.loc["toy_auc", ["n_above_all", "n_explainers", "n_samples", "trained_share"]].tolist() == [3, 3, 16, 1]
    assert table.seed_moved.to_dict() == {"toy_auc": 0, "toy_deletion": table.seed_moved["toy_deletion"], "toy_dice": 1}
    assert table.batch_moved["toy_dice"] == 0
    assert table.imputer_n.notna().to_dict() == {"toy_auc": False, "toy_deletion": True, "toy_dice": False}
    assert table.steps_n.notna().to_dict() == {"toy_auc": False, "toy_deletion": True, "toy_dice": False}
    assert "cannot tell noise" in answer.out
    assert "Agreement · localization" in answer.out
    assert b"DejaVuSerif" in figure.read_bytes()


def test_records_are_used_again(bench, write, tmp_path):
    plugin, results = write(PLUGIN), tmp_path / "results"
    common = (*CHOICE, "--plugins", plugin, "--results", results)
    assert bench("run", *common).status == 0
    first = (results / "toy" / "00000" / "toy_noisy.parquet").stat().st_mtime_ns
    ask = ("metrics", "--reliability", *common)
    assert bench(*ask).status == 0
    files = {path: path.stat().st_mtime_ns for path in results.rglob("*.parquet")}
    assert files[results / "toy" / "00000" / "toy_noisy.parquet"] == first
    assert bench(*ask).status == 0
    assert {path: path.stat().st_mtime_ns for path in results.rglob("*.parquet")} == files
    assert bench("table", "--results", results).status == 0
    strata = bench("table", "--results", results, "--strata", "mask-area").out
    assert "toy · localization · small evidence, up to 50.0 % of the image · 16 samples" in strata
    assert "toy · faithfulness" not in strata
    assert set(record.load(results).cells.task) == {"toy"}


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ((), "say what to ask of the metrics: --reliability"),
        (("--reliability", "--figure", "tau.txt"), "--figure tau.txt: give it the ending"),
        (("--reliability", "--explainers", "noise"), "only controls are chosen"),
        (("--reliability", "--metrics", "seconds"), "only costs are chosen"),
        (("--reliability", "--metrics", "roc_acu"), "no metric is called 'roc_acu': did you mean roc_auc"),
        (("--reliability", "--tasks", "brain_mri_vgg16"), "no task that was chosen can run here"),
    ],
)
def test_wrong_choices_are_one_line(bench, arguments, complaint):
    answer = bench("metrics", *arguments)
    assert answer.status == 2
    assert complaint in answer.err
    assert answer.err.count("\n") == 1


def test_a_metric_that_raises_costs_its_own_row(bench, write, tmp_path):
    plugin = write(PLUGIN + "toy_raising = Raising()\n")
    answer = bench("metrics", "--reliability", *CHOICE, "--plugins", plugin, "--results", tmp_path)
    assert answer.status == 1
    assert "FAILED (seed) toy, toy_blurred by toy_raising, toy_noisy by toy_raising" in answer.out
    assert "ZeroDivisionError: the metric is broken" in answer.out
    assert "no scores" in answer.out


# What is changed


def test_every_condition_changes_one_thing(tmp_path):
    found = catalog()
    wanted = replace(
        found,
        tasks={},
        explainers={name: found.explainers[name] for name in ("gradient", "noise")},
        metrics={name: found.metrics[name] for name in ("deletion", "roc_auc", "seconds")},
    )
    settings = Settings(tmp_path, torch.device("cpu"))
    runs = {run.name: run for run in asked.conditions(wanted, settings, {"noise": found.explainers["noise"]})}
    assert list(runs) == ["usual", "random", "seed", "imputer", "steps", "batch"]
    assert set(runs["usual"].chosen.explainers) == {"gradient", "noise"}
    assert set(runs["usual"].chosen.metrics) == {"deletion", "roc_auc"}
    assert len({run.settings.results for run in runs.values()}) == 6
    for name in ("random", "seed", "imputer", "steps", "batch"):
        assert set(runs[name].chosen.explainers) == {"gradient"}
        assert runs[name].settings.results.is_relative_to(tmp_path / "reliability")
    assert runs["seed"].settings.seed == 1
    assert runs["batch"].settings.batch_size == 3
    assert runs["imputer"].chosen.metrics == {"deletion": replace(found.metrics["deletion"], imputer=BlurImputer())}
    assert runs["steps"].chosen.metrics == {"deletion": replace(found.metrics["deletion"], n_steps=16)}
    assert runs["random"].chosen.explainers["gradient"].explainer == found.explainers["gradient"]


def test_a_condition_that_no_metric_has_is_left_out(tmp_path):
    found = catalog()
    wanted = replace(found, tasks={}, metrics={"roc_auc": found.metrics["roc_auc"]})
    runs = asked.conditions(wanted, Settings(tmp_path, torch.device("cpu")), {})
    assert [run.name for run in runs] == ["usual", "random", "seed", "batch"]
    with pytest.raises(UserError, match="only controls"):
        asked.conditions(replace(wanted, explainers={"noise": found.explainers["noise"]}), runs[0].settings, {})


def test_every_metric_of_the_catalog_can_be_changed():
    for metric in catalog().metrics.values():
        other = asked.other_imputer(metric)
        assert (other is not None) == any(field.name == "imputer" for field in fields(metric))
        assert other != metric
        half = asked.half_the_steps(metric)
        assert half != metric
    blurred = asked.other_imputer(catalog().metrics["deletion_blur"])
    assert blurred.imputer == MeanImputer()


# A network with random weights


def test_a_randomized_network_is_another_and_the_model_as_it_was(network):
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    images = torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    changed = randomized(network, seed=0)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert not torch.allclose(changed(images), network(images))
    assert torch.equal(changed(images), randomized(network, seed=0)(images))
    assert not torch.equal(changed(images), randomized(network, seed=1)(images))
    assert not changed.training
    assert not any(parameter.requires_grad for parameter in changed.parameters())
    assert changed[1].running_mean.eq(0).all()
    assert changed[4].bias.eq(0).all()
    assert changed[0].weight.std().item() == pytest.approx((2 / 27) ** 0.5, rel=0.2)


def test_the_maps_of_a_randomized_network_are_those_of_the_explainer_on_it(network):
    @dataclass(frozen=True)
    class First(Explainer):
        def attribute(self, model, inputs, targets):  # noqa: ARG002
            return model[0].weight.sum().expand(len(inputs), 1, *inputs.shape[2:]).contiguous()

    images = torch.rand(2, 3, 16, 16)
    state = torch.random.get_rng_state()
    maps = OfRandomized(First())(network, images, torch.tensor([0, 1]))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.equal(maps, First()(randomized(network, 0), images, torch.tensor([0, 1])))
    assert not torch.equal(maps, First()(network, images, torch.tensor([0, 1])))


def test_the_code_of_the_explainer_is_part_of_the_record():
    found = catalog()
    wanted = replace(found, tasks={}, metrics={"roc_auc": found.metrics["roc_auc"]})
    runs = asked.conditions(wanted, Settings(Path(), torch.device("cpu")), {})
    codes = {explainer.code for explainer in runs[1].chosen.explainers.values()}
    assert len(codes) > 1
    assert "" not in codes
