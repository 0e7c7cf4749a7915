"""Where the truth is known: the true map is the best there is, its opposite the worst, and noise is at chance."""

from collections.abc import Callable
from statistics import fmean

import pytest
import torch
from torch import Tensor, nn

from bench.catalog import catalog
from metrics.base import Category, Decisions, Explanation, Metric
from metrics.perturb import Imputer, MeanImputer
from tasks.brain_mri import phantom_brain_mri_vgg16

METRICS = catalog().metrics
SIDE = 24
ADDITIVE = sorted(
    name
    for name, metric in METRICS.items()
    if metric.category is Category.FAITHFULNESS
    and not name.startswith("quantus_")
    # These put other things in a removed pixel's place than one image, so that no map adds up.
    and name not in {"road", "road_exact", "monotonicity_correlation"}
    and not metric.needs_companions  # they remove nothing
)
CHANCE = {
    **dict.fromkeys(("srg", "srg_blur", "pixel_flipping_blur"), 0.0),
    **dict.fromkeys(("faithfulness_correlation", "faithfulness_estimate", "sensitivity_n"), 0.0),
    "single_deletion_correlation": 0.0,
}
N_NOISES = 16


@pytest.fixture
def decisions(linear_pixels: Callable[[Tensor], nn.Module], images: Tensor) -> Decisions:
    """Of a network that only weights its pixels, one sign or the other; unsure enough for its probability to move."""
    weights = torch.randn(3, SIDE, SIDE, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    return Decisions(linear_pixels(0.1 * weights), images.double(), torch.zeros(6, dtype=torch.int64))


def truth(decisions: Decisions, metric: Metric) -> Tensor:
    """(6, 1, 24, 24) what each pixel adds to the logit, over what stands there when it is removed."""
    imputer: Imputer = getattr(metric, "imputer", MeanImputer())
    gone = imputer.without(decisions, torch.ones_like(decisions.inputs[:, :1], dtype=torch.bool))
    return ((decisions.inputs - gone) * decisions.model.weights).sum(1, keepdim=True)


def noises(like: Tensor) -> list[Tensor]:
    generator = torch.Generator().manual_seed(5)
    return [torch.randn(like.shape, generator=generator, dtype=like.dtype) for _ in range(N_NOISES)]


def scored(metric: Metric, decisions: Decisions, attributions: Tensor) -> Tensor:
    """Higher is better, whichever way the metric counts."""
    score = metric(Explanation(decisions, attributions, lambda *_: attributions))
    return score if metric.higher_is_better else -score


@pytest.mark.parametrize("name", ADDITIVE)
def test_truth_of_a_linear_network_is_best_and_its_opposite_worst(name: str, decisions: Decisions) -> None:
    metric = METRICS[name]
    true = truth(decisions, metric)
    best = scored(metric, decisions, true)
    worst = scored(metric, decisions, -true)
    for noise in noises(true)[:3]:
        score = scored(metric, decisions, noise)
        assert bool((best > score)[~score.isnan()].all()), name
        if name != "infidelity":  # there, the opposite is brought to the logit's scale by a factor of -1
            assert bool((worst < score)[~score.isnan()].all()), name


@pytest.mark.parametrize("name", sorted(CHANCE))
def test_noise_is_at_chance_on_a_linear_network(name: str, decisions: Decisions) -> None:
    metric = METRICS[name]
    true = truth(decisions, metric)
    best = scored(metric, decisions, true)
    at_random = torch.stack([scored(metric, decisions, noise) for noise in noises(true)])
    if name == "pixel_flipping_blur":  # half of what removing all pixels costs
        best, at_random = best - true.sum((1, 2, 3)) / 2, at_random - true.sum((1, 2, 3)) / 2
    assert at_random.mean().item() == pytest.approx(CHANCE[name], abs=0.1 * best.mean().item())


@pytest.mark.parametrize(
    "name",
    [name for name, metric in METRICS.items() if metric.category is Category.LOCALIZATION and metric.needs_masks],
)
def test_mask_is_the_best_map_and_noise_is_at_chance(name: str, decisions: Decisions, masks: Tensor) -> None:
    if name.startswith("quantus_"):
        pytest.skip("the reference's own")
    metric = METRICS[name]
    alone = Decisions(decisions.model, decisions.inputs[:5], masks=masks[:5])
    of_masks = Decisions(decisions.model, decisions.inputs[:5], masks=masks[:5], companions=lambda: alone)
    best = metric(Explanation(of_masks, masks[:5].double(), lambda *_: masks[:5].double()))
    share = masks[:5].double().mean((1, 2, 3))
    torch.testing.assert_close(best, 1 / share if name == "relevance_mass_ratio" else torch.ones(5).double())
    at_random = torch.stack([scored(metric, of_masks, noise[:5]) for noise in noises(masks.double())])
    chance = {
        "roc_auc": torch.full((5,), 0.5).double(),
        "relevance_mass_accuracy": share,
        "relevance_rank_accuracy": share,
        "relevance_mass_ratio": torch.ones(5).double(),
    }
    if name in chance:
        torch.testing.assert_close(at_random.mean(0), chance[name], rtol=0, atol=0.08)
    assert bool((best >= at_random).all())
    assert bool((best > at_random.mean(0)).all())


def test_evidence_of_phantoms_beats_noise_at_every_standard_metric_that_looks_for_it() -> None:
    """Of right decisions for a tumour, on average: a network's evidence need not be all of the tumour."""
    batch = next(iter(phantom_brain_mri_vgg16.batches(8, stop=8)))
    assert batch.masks is not None
    found = batch.masks.flatten(1).any(1).nonzero()[:, 0]
    decisions = Decisions(phantom_brain_mri_vgg16.model(), batch.inputs[found], masks=batch.masks[found])
    evidence = batch.masks[found].float()
    noise = torch.rand(evidence.shape, generator=torch.Generator().manual_seed(6))
    for name, metric in METRICS.items():
        if metric.category in (Category.FAITHFULNESS, Category.LOCALIZATION) and not metric.on_request:
            if metric.needs_shortcuts:
                continue
            true, random = (fmean(scored(metric, decisions, one).tolist()) for one in (evidence, noise))
            assert true > random, name
