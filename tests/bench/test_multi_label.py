"""A multi-label task through the run: its outcomes are those of the targets, its scores are numbers."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from bench.notebook import score
from bench.outcome import sample_table
from leaderboard import record
from metrics.base import Decisions

TASK = '''
import torch
from tasks.base import Sample


class Both(ToyTask):
    """Each half may be bright or not; the sample is asked about one, in turn. Bright is a logit above 0."""

    def model(self):
        model = super().model()
        model.conv.bias -= 0.1 * 3 * SIDE * SIDE / 2 * 0.45
        return model

    def sample(self, index):
        label = torch.tensor([index // 2 % 2, index // 4 % 2])
        label[index % 2] = label[index % 2] if index < 8 else -1
        target = index % 2
        bright = torch.tensor([index // 2 % 2, index // 4 % 2]).repeat_interleave(SIDE // 2)
        bright = 1 - bright if index == 7 else bright
        noise = 0.4 * torch.rand((3, SIDE, SIDE), generator=torch.Generator().manual_seed(index))
        mask = torch.zeros(1, SIDE, SIDE, dtype=torch.bool)
        mask[..., SIDE // 2 * target : SIDE // 2 * (target + 1)] = label[target] == 1
        return Sample(noise + 0.5 * bright, label, f"toy-{index}", mask, target=target)


both = Both(n_samples=10)
'''


@pytest.fixture
def decisions() -> Decisions:
    """Of six images: the model's logits are their pixels."""

    class Pixels(torch.nn.Module):
        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            return inputs[:, :, 0, 0] - 0.5

    inputs = torch.tensor([[1, 0, 1], [1, 0, 1], [0, 0, 0], [0, 1, 0], [1, 1, 1], [1, 1, 1]]).float()
    labels = torch.tensor([[1, 0, 0], [1, 0, 0], [0, 0, 0], [1, 0, 0], [0, -1, 1], [0, 1, -1]])
    targets = torch.tensor([0, 2, 1, 0, 1, 1])
    return Decisions(Pixels(), inputs[..., None, None], targets, labels)


def test_the_outcome_is_that_of_the_target(decisions: Decisions) -> None:
    table = sample_table([decisions], ["a", "b", "c"], None)
    assert table.outcome.tolist() == [
        "true positive",
        "false positive",
        "true negative",
        "false negative",
        "unknown",
        "true positive",
    ]
    assert table.target.tolist() == ["a", "c", "b", "a", "b", "b"]
    assert table.label.tolist() == ["a", "a", "", "a", "c", "b"]
    assert table.prediction.tolist() == ["a | c", "a | c", "", "b", "a | b | c", "a | b | c"]
    assert np.allclose(table.probability, 1 / (1 + np.exp(-(np.array([1, 1, 0, 0, 1, 1]) - 0.5))))


def test_a_run_has_scores_and_outcomes(bench, write, tmp_path: Path) -> None:
    plugin = write(TASK + "weights = Weights()")
    results = tmp_path / "r"
    arguments = (
        *("--explainers", "weights,noise", "--samples", 10),
        *("--metrics", "deletion,srg,blur,pointing_game,sparseness"),
    )
    answer = bench("run", "--tasks", "both", "--plugins", plugin, "--results", results, *arguments)
    assert answer.status == 0, answer.err
    samples = record.load(results).samples.set_index("sample")
    target = [index % 2 for index in range(10)]
    assert samples.target.tolist() == [("left", "right")[at] for at in target]
    there = [bool((index // 2 % 2, index // 4 % 2)[at]) for index, at in zip(range(7), target, strict=False)]
    assert samples.outcome.tolist()[:7] == ["true positive" if it else "true negative" for it in there]
    assert samples.outcome.tolist()[7:] == ["false negative", "unknown", "unknown"]
    assert samples.label["toy-7"] == "left | right"
    table = pd.read_csv(results / "leaderboard.csv").set_index(["metric", "explainer"])
    assert np.isfinite(table["mean"]).all()
    assert table.loc[("pointing_game", "weights"), "mean"] == 1
    assert table.loc[("pointing_game", "weights"), "n"] == sum(samples.mask_area > 0)
    assert table.loc[("deletion", "noise"), "n"] == 10


def test_maps_are_told_by_target_and_outcome(bench, write, tmp_path: Path) -> None:
    arguments = ("--explainers", "center", "--metrics", "sparseness", "--save-attributions", "--samples", 2)
    answer = bench("run", "--tasks", "both", "--plugins", write(TASK), "--results", tmp_path / "r", *arguments)
    assert answer.status == 0, answer.err
    with np.load(next((tmp_path / "r").rglob("inputs.npz"))) as content:
        assert content["captions"].tolist() == ["left: true negative", "right: true negative"]


def test_a_notebook_scores_a_multi_label_model_by_its_sigmoid() -> None:
    class Sums(torch.nn.Module):
        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            return inputs.mean((2, 3)) * 8 - 4

    images = torch.rand(2, 3, 1, 1, generator=torch.Generator().manual_seed(0)).expand(-1, -1, 8, 8).contiguous()
    answers = {"explainers": "center", "metrics": "deletion", "targets": torch.tensor([0, 1])}
    many = score(Sums(), images, labels=torch.tensor([[1, 0, -1], [1, 1, 0]]), **answers)
    expected = torch.sigmoid(images[[0, 1], [0, 1], 0, 0] * 8 - 4)  # of one colour: to remove pixels changes nothing
    assert np.allclose(many.score, expected, atol=1e-5)
    one = score(Sums(), images, labels=torch.tensor([0, 1]), **answers)
    assert not np.allclose(one.score, expected, atol=0.1)


@pytest.mark.parametrize("labels", [torch.zeros(2, 2).long(), torch.full((2, 3), 2), torch.zeros(2, 3)])
def test_labels_of_another_shape_or_range_are_refused(labels: torch.Tensor) -> None:
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.LazyLinear(3))
    model(torch.zeros(1, 3, 8, 8))
    with pytest.raises(ValueError, match=r"^labels: \(2,\) classes, or \(2, 3\) int64 in {0, 1, -1} [^\n]*$"):
        score(model, torch.rand(2, 3, 8, 8), labels=labels, explainers="center", metrics="sparseness")
