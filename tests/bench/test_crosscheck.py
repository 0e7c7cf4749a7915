"""`bench crosscheck`: what should be equal is, what is not is told, and how it ends."""

import io
import math
import sys
import warnings
from collections.abc import Callable
from types import ModuleType

import numpy as np
import pandas as pd
import pytest
import torch
from rich.console import Console
from torch import Tensor, nn

from bench.commands import crosscheck as command
from bench.crosscheck import Case, Pair, crosscheck, table, without_ties
from bench.pairs import complexity
from bench.pairs.listed import PAIRS
from metrics.base import Decisions, Explanation

SIDE = 16
SECONDS = ("seconds", "Quantus's seconds")


def _explain(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    images = inputs.detach().clone().requires_grad_()
    with torch.enable_grad():
        (slopes,) = torch.autograd.grad(model(images).gather(1, targets[:, None]).sum(), images)
    return (slopes * inputs).sum(dim=1, keepdim=True)


TOY = "toy, fussy = ToyTask(n_samples=4), Fussy()"


@pytest.fixture(scope="module")
def library() -> ModuleType:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("quantus")


@pytest.fixture
def network() -> nn.Module:
    """Not linear, and its logits differ enough for probabilities to move."""
    generator = torch.Generator().manual_seed(0)
    layers = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3, stride=2), nn.ReLU(), nn.Flatten())
    model = nn.Sequential(*layers, nn.Linear(4 * 6 * 6, 3))
    for parameter in model.parameters():
        spread = 2 / parameter[0].numel() ** 0.5 if parameter.ndim > 1 else 0.0
        parameter.data = torch.randn(parameter.shape, generator=generator) * spread
    with torch.no_grad():  # no class is ahead, so that decisions hang on the image
        model[-1].bias -= model(torch.rand(20, 3, SIDE, SIDE, generator=generator)).mean(dim=0)
    return model.eval().requires_grad_(False)


@pytest.fixture
def make(network: nn.Module, library: ModuleType) -> Callable[..., Callable[[], Case]]:
    """Samples, and whether an image may be of several classes -> what makes a case."""
    generator = torch.Generator().manual_seed(1)
    images = torch.rand(4, 3, SIDE, SIDE, generator=generator)
    maps = torch.randn(4, 1, SIDE, SIDE, generator=generator).round(decimals=1)
    masks = torch.zeros(4, 1, SIDE, SIDE, dtype=torch.bool)
    masks[:3, :, 3:9, 4:12] = True

    def case(multi_label: bool = False, with_masks: bool = True) -> Callable[[], Case]:
        labels = torch.zeros(4, 3, dtype=torch.int64) if multi_label else None
        targets = torch.tensor([0, 1, 2, 0]) if multi_label else None

        def fresh() -> Case:
            decisions = Decisions(network, images, targets, labels, masks=masks if with_masks else None)
            untied = without_ties(decisions, maps)
            return Case(Explanation(decisions, untied, _explain), library, network)

        return fresh

    return case


def test_pairs_that_should_be_equal_are_equal_and_the_others_differ(make: Callable[..., Callable[[], Case]]) -> None:
    found = crosscheck(PAIRS, [make()])
    for one in found:
        assert not one.wanting, (one.pair.ours, one.verdict, one.difference)
        if one.pair.expected == "equal":
            assert one.verdict == "equal"
            assert len(one.ours) == (3 if one.pair.needs_masks else 4)
            assert len(set(one.ours)) > 1 or one.pair.ours == "pointing_game"
    told = {one.pair.ours: one.verdict for one in found}
    assert told["irof"].startswith("Quantus fails: AssertionError")
    assert told["completeness"].startswith("Quantus is wrong")
    assert told["sensitivity_n"].startswith("differs by definition")
    differing = {one.pair.ours: one.difference for one in found if one.ours and one.pair.expected != "equal"}
    assert all(difference > 0.01 for difference in differing.values())
    assert {"infidelity", "effective_complexity"} <= differing.keys()


def test_networks_of_one_memory_layout_agree_to_rounding(
    network: nn.Module, make: Callable[..., Callable[[], Case]]
) -> None:
    """What the two differ by in the benchmark is their layout: each is given the network as it would have it."""
    network.to(memory_format=torch.channels_last)
    found = [one for one in crosscheck(PAIRS, [make()]) if one.pair.expected == "equal"]
    assert len(found) == 28
    assert {one.pair.ours: one.difference for one in found if not one.difference <= 1e-6} == {}


def test_tasks_of_several_labels_are_compared_by_their_sigmoid(make: Callable[..., Callable[[], Case]]) -> None:
    found = {(one.pair.ours, one.pair.quantus): one for one in crosscheck(PAIRS, [make(multi_label=True)])}
    assert not any(one.wanting for one in found.values())
    assert found["deletion", "PixelFlipping"].verdict == "equal"
    assert found["road", "ROAD"].verdict.startswith("not compared")


def test_without_masks_localization_is_not_compared(make: Callable[..., Callable[[], Case]]) -> None:
    few = [pair for pair in PAIRS if pair.quantus in ("AUC", "TopKIntersection", "Sparseness")]
    found = crosscheck(few, [make(with_masks=False)])
    assert [one.verdict for one in found] == [*["not compared: the task has no masks"] * 2, "equal"]
    assert not any(one.wanting for one in found)


def _pair(ours: float, theirs: Callable[[], Tensor | None], expected: str = "equal") -> Pair:
    return Pair("a", "B", "", lambda _: (lambda: torch.full((4,), ours), theirs), expected)


def test_what_is_not_equal_or_not_answered_is_wanting(make: Callable[..., Callable[[], Case]]) -> None:
    def fails() -> Tensor:
        raise IndexError("of Quantus\nand more")

    def one() -> Tensor:
        return torch.ones(4)

    verdicts = [
        (_pair(1 + 5e-6, one), "equal", False),
        (_pair(1 + 5e-5, one), "NOT equal", True),
        (_pair(1.0, fails), "Quantus fails: IndexError: of Quantus", True),
        (_pair(1.0, fails, "differs"), "Quantus fails: IndexError: of Quantus", False),
        (_pair(2.0, one, "differs"), "differs", False),
        (_pair(math.nan, one), "not compared: no sample is defined", False),
        (_pair(1.0, lambda: torch.full((4,), math.nan)), "NOT equal", True),
    ]
    found = crosscheck([pair for pair, _, _ in verdicts], [make(), make()])
    assert [(each.verdict, each.wanting) for each in found] == [(verdict, wanting) for _, verdict, wanting in verdicts]
    rows = table(found)
    assert rows["n"].tolist() == [8, 8, 0, 0, 8, 0, 8]
    assert rows["largest difference"][1] == pytest.approx(5e-5, rel=0.1)


def test_maps_without_ties_keep_their_order_and_are_the_same_again(network: nn.Module) -> None:
    decisions = Decisions(network, torch.zeros(2, 3, SIDE, SIDE))
    maps = torch.zeros(2, 1, SIDE, SIDE)
    maps[0, :, :4], maps[0, :, 4:8] = 50.0, -20.0
    untied = without_ties(decisions, maps)
    assert len(untied.flatten(1)[0].unique()) == SIDE**2
    assert len(untied.flatten(1)[1].unique()) == SIDE**2
    assert untied[0, 0, :4].min() > untied[0, 0, 8:].max()
    assert untied[0, 0, 8:].min() > untied[0, 0, 4:8].max()
    assert untied.abs().max().item() == pytest.approx(1, abs=1e-5)
    assert torch.equal(without_ties(decisions, maps), untied)


def test_the_command_prints_every_metric_of_quantus_and_writes_tables(bench, write, tmp_path, library):
    csv, page = tmp_path / "t.csv", tmp_path / "page.md"
    choice = ("--tasks", "toy", "--plugins", write(TOY), "--explainers", "input_x_gradient,noise", "--samples", 2)
    answer = bench("crosscheck", *choice, "--csv", csv, "--markdown", page)
    assert answer.status == 0, answer.out + answer.err
    rows = pd.read_csv(csv, keep_default_na=False)
    theirs = {kind.__name__ for family in library.AVAILABLE_METRICS.values() for kind in family.values()}
    assert set(rows["Quantus"]) == theirs
    equal = rows[rows.verdict == "equal"]
    of_toy = rows.set_index("Quantus").verdict
    assert (
        of_toy["RelativeRepresentationStability"] == "not compared: the network's last layer with weights is not linear"
    )
    assert len(equal) + 1 == sum(pair.expected == "equal" for pair in PAIRS)
    assert set(equal["n"].astype(int)) == {4}
    assert of_toy["Monotonicity"].startswith("not compared: Quantus is wrong")
    assert of_toy["Sufficiency"].startswith("differs by definition")
    assert "bench crosscheck --tasks toy" in page.read_text(encoding="utf-8")
    assert page.read_text(encoding="utf-8").count("\n| ") == len(rows) + 2


def test_the_command_ends_with_1_where_a_pair_is_not_equal(bench, write, monkeypatch, library):  # noqa: ARG001
    off = Pair(
        "sparseness",
        "Sparseness",
        "",
        lambda case: (lambda: complexity._sparseness(case)[0]() + 1e-3, complexity._sparseness(case)[1]),
    )
    monkeypatch.setattr(command, "PAIRS", (off,))
    answer = bench("crosscheck", "--tasks", "toy", "--plugins", write(TOY), "--explainers", "noise", "--samples", 2)
    assert answer.status == 1
    assert "NOT equal, and should be: sparseness and Quantus's Sparseness" in answer.out


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--metrics", "deletoin"), "did you mean deletion"),
        (("--explainers", "fussy", "--tasks", "toy"), "fussy cannot explain toy: it does not like halves"),
        (("--tasks", "brain_mri_vgg16"), "brain_mri_vgg16: "),
        (("--tasks", "toy", "--csv", "nowhere/table.csv", "--metrics", "complexity"), "nowhere"),
    ],
)
def test_what_the_user_can_mend_is_one_line(bench, write, options, said, library):  # noqa: ARG001
    answer = bench("crosscheck", "--plugins", write(TOY), "--samples", 2, "--explainers", "noise", *options)
    assert answer.status == 2
    assert said in answer.err
    assert len(answer.err.strip().splitlines()) == 1


def test_without_quantus_one_line_says_how_to_get_it(bench, monkeypatch):
    monkeypatch.setitem(sys.modules, "quantus", None)
    answer = bench("crosscheck")
    assert answer.status == 2
    assert "needs quantus: pip install heatmark[quantus]" in answer.err


def test_the_table_is_readable_on_eighty_columns():
    """Numbers of a pair in one line, words beneath it, broken between words only."""
    reason = "differs by definition: " + "of words that are many " * 8
    rows = pd.DataFrame(
        [
            (
                "a_metric_with_a_name_of_33_letters",
                "TheirMetric",
                "as both are",
                8,
                1.2e-5,
                0.5,
                61.25,
                0.5,
                "equal",
            ),
            ("mine", "Theirs", "[half] of it", 0, np.nan, np.nan, 0.0, 0.0, reason.strip()),
            ("", "Alone", "", 0, np.nan, np.nan, np.nan, np.nan, "not compared: because"),
        ],
        columns=["metric", "Quantus", "settings", "n", "largest difference", "Spearman", *SECONDS, "verdict"],
    )
    console = Console(width=80, file=io.StringIO())
    console.print(command._shown(rows))
    lines = [line.rstrip() for line in console.file.getvalue().splitlines()]
    assert max(map(len, lines)) <= 80
    assert lines[2].split() == ["a_metric_with_a_name_of_33_letters", "8", "1.2e-05", "0.500", "61.25", "0.50"]
    assert lines[3] == "  TheirMetric · equal · as both are"
    assert lines[4].split() == ["mine", "0", "–", "–", "0.00", "0.00"]
    words = " ".join(" ".join(lines[5:-1]).split())
    assert words == f"Theirs · {reason.strip()} · [half] of it"
    assert lines[-1] == "  Alone · not compared: because"
