"""What every entry must keep, whatever it measures: found as the catalogue finds them."""

import importlib
import pkgutil
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import metrics
from metrics.base import Category, Decisions, Explanation, Metric

Explain = Callable[[nn.Module, Tensor, Tensor], Tensor]
ENTRIES = {
    name: entry
    for module in pkgutil.iter_modules(metrics.__path__)
    for name, entry in vars(importlib.import_module(f"metrics.{module.name}")).items()
    if isinstance(entry, Metric) and not name.startswith("_")
}
OF_THE_BATCH = {name for name, entry in ENTRIES.items() if entry.category is Category.RUNTIME}
OF_THE_SAMPLE = sorted(ENTRIES.keys() - OF_THE_BATCH)
NAMES = tuple("abcdef")

every_entry = pytest.mark.parametrize("name", sorted(ENTRIES))
every_score = pytest.mark.parametrize("name", OF_THE_SAMPLE)


@pytest.fixture
def part(network: nn.Module, images: Tensor, masks: Tensor, explain: Explain) -> Callable[..., Explanation]:
    """Some of the samples, in some order, as a batch of their own; the gradient's map, with many ties."""

    def coarse(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        return (30 * explain(model, inputs, targets)).round()

    # At the images' own size the pooling changes nothing.
    model = nn.Sequential(*network[:4], nn.AdaptiveAvgPool2d(10), *network[4:]).eval()

    def make(rows: list[int], batch_size: int = 32, device: str = "cpu") -> Explanation:
        model.to(device)
        names = tuple(NAMES[row] for row in rows)
        inputs, inside = images[rows].to(device), masks[rows].to(device)
        cues = inside.roll(7, 3)
        pool = Decisions(model, images.to(device), ids=NAMES, masks=masks.to(device))
        decisions = Decisions(
            model,
            inputs,
            ids=names,
            masks=inside,
            shortcuts=cues,
            companions=lambda: pool,
            batch_size=batch_size,
        )
        return Explanation(decisions, coarse(model, inputs, decisions.targets), coarse)

    return make


def test_the_first_milestone_is_there() -> None:
    assert ENTRIES.keys() >= {
        *("deletion", "insertion", "srg", "deletion_blur", "insertion_blur", "srg_blur"),
        *("blur", "sharpen", "rotation"),
        *("pointing_game", "relevance_mass_accuracy", "relevance_rank_accuracy"),
        *("sparseness", "seconds", "peak_memory"),
    }


@every_score
def test_score_does_not_depend_on_batch_mates_size_or_order(name: str, part: Callable[..., Explanation]) -> None:
    whole = ENTRIES[name](part([0, 1, 2, 3, 4, 5]))
    assert bool(whole.isfinite().any())
    for rows, batch_size in (([5, 3, 1], 32), ([2], 32), ([4, 0, 5, 1, 2, 3], 4)):
        score = ENTRIES[name](part(rows, batch_size))
        assert torch.allclose(score, whole[rows], atol=1e-5, equal_nan=True), rows


def test_score_does_not_depend_on_who_asked_first(part: Callable[..., Explanation]) -> None:
    everyone = [0, 1, 2, 3, 4, 5]
    first = part(everyone)
    decisions, maps, explain = first.decisions, first.attributions, first.explain
    other = Explanation(decisions, maps.flip(2), explain)
    for asked in OF_THE_SAMPLE:
        ENTRIES[asked](other)
    moved = []
    for name in OF_THE_SAMPLE:
        alone = ENTRIES[name](part(everyone))
        after_another_explainer = ENTRIES[name](Explanation(decisions, maps, explain))
        after_other_metrics = ENTRIES[name](first)
        if not torch.equal(after_another_explainer.nan_to_num(9), alone.nan_to_num(9)):
            moved.append(f"{name}: another explainer")
        if not torch.equal(after_other_metrics.nan_to_num(9), alone.nan_to_num(9)):
            moved.append(f"{name}: other metrics")
    assert not moved


@every_entry
def test_asking_leaves_everything_as_it_was(name: str, part: Callable[..., Explanation]) -> None:
    explanation = part([0, 1, 2, 3, 4, 5])
    decisions = explanation.decisions
    held = [decisions.inputs, explanation.attributions, decisions.masks, *decisions.model.parameters()]
    before = [tensor.clone() for tensor in held]
    torch.manual_seed(0)
    ENTRIES[name](explanation)
    assert torch.initial_seed() == 0
    drawn = torch.rand(1)
    torch.manual_seed(0)
    assert torch.equal(drawn, torch.rand(1))
    assert all(torch.equal(now, then) for now, then in zip(held, before, strict=True))


def test_faithfulness_that_nobody_asks_for_costs_four_curves_and_at_most_40_passes(
    part: Callable[..., Explanation],
) -> None:
    explanation = part([0, 1, 2, 3, 4, 5])
    for entry in ENTRIES.values():
        if entry.category is Category.FAITHFULNESS and not entry.on_request:
            entry(explanation)
    decision, ends, curves, cells = 1, 2, 4 * 31, 16
    assert cells <= 40
    assert explanation.decisions.n_forwarded == 6 * (decision + ends + curves + cells)


@pytest.mark.parametrize("name", sorted(OF_THE_BATCH))
def test_what_the_batch_costs_is_the_same_for_every_sample(name: str, part: Callable[..., Explanation]) -> None:
    score = ENTRIES[name](part([0, 1, 2]))
    assert score.shape == (3,)
    assert score[0].isnan() or score[0] >= 0
    assert torch.equal(score.nan_to_num(9), score[:1].nan_to_num(9).expand(3))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@every_score
def test_cuda_scores_as_the_cpu_does(name: str, part: Callable[..., Explanation]) -> None:
    here = ENTRIES[name](part([0, 1, 2, 3, 4, 5]))
    there = ENTRIES[name](part([0, 1, 2, 3, 4, 5], device="cuda"))
    assert torch.allclose(here, there, atol=2e-3, equal_nan=True)
