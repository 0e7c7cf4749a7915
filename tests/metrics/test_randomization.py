"""Randomization: slow second definitions, Quantus on the same networks, maps that do not look, and what it costs."""

import copy
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor, nn

from metrics.base import Decisions, Explanation, Metric
from metrics.cascade import cascade
from metrics.likeness import RankSimilarity, StructuralSimilarity
from metrics.randomization import (
    MPRT,
    BottomUpMPRT,
    EfficientMPRT,
    RandomLogit,
    SmoothMPRT,
    efficient_mprt,
    mprt,
    mprt_bottom_up,
    random_logit,
    smooth_mprt,
)

Explain = Callable[[nn.Module, Tensor, Tensor], Tensor]
SIGNED = RankSimilarity()
ABSOLUTE = RankSimilarity(absolute=True)
ALL = [mprt, mprt_bottom_up, smooth_mprt, efficient_mprt, random_logit]
WEIGHTS = [mprt, mprt_bottom_up, smooth_mprt]


@pytest.fixture
def judged(network: nn.Module, images: Tensor, explain: Explain) -> Callable[..., Explanation]:
    """Images explained by the gradient times the input, or by another explainer."""

    def make(explainer: Explain = explain, rows: list[int] | None = None, **given: Any) -> Explanation:
        rows = list(range(6)) if rows is None else rows
        names = tuple("abcdef"[row] for row in rows)
        decisions = Decisions(network, images[rows], ids=names, **given)
        attributions = explainer(network, decisions.inputs, decisions.targets)
        return Explanation(decisions, attributions, explainer)

    return make


def _brightness(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:  # noqa: ARG001
    return inputs.mean(dim=1, keepdim=True)


class Counting:
    """An explainer that counts its calls and knows for which networks it was asked."""

    def __init__(self, explain: Explain) -> None:
        self.explain, self.models = explain, []

    def __call__(self, model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        self.models.append(model)
        return self.explain(model, inputs, targets)


def _random_network(decisions: Decisions, names: list[str]) -> nn.Module:
    """The definition: a copy, and `reset_parameters` of each layer under a seed of its own."""
    model = copy.deepcopy(decisions.model)
    for name in names:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(decisions.task_generator(f"random weights/{name}").initial_seed())
            model.get_submodule(name).reset_parameters()
    return model


def _spearman(first: Tensor, second: Tensor) -> float:
    return float(stats.spearmanr(first.flatten().numpy(), second.flatten().numpy()).statistic)


@pytest.mark.parametrize(
    ("n_stages", "counts"), [(1, [3]), (2, [1, 3]), (3, [1, 2, 3]), (None, [1, 2, 3]), (9, [1, 2, 3])]
)
@pytest.mark.parametrize("kind", [MPRT, BottomUpMPRT])
def test_mprt_is_the_mean_over_the_stages(
    judged: Callable[..., Explanation], explain: Explain, kind: type[MPRT], n_stages: int | None, counts: list[int]
) -> None:
    explanation = judged(seed=4, task="toy")
    decisions = explanation.decisions
    order = ["5", "2", "0"] if kind is MPRT else ["0", "2", "5"]
    for similarity in (SIGNED, ABSOLUTE):
        wanted = []
        for index in range(6):
            image, target = decisions.inputs[index : index + 1], decisions.targets[index : index + 1]
            maps = [explain(_random_network(decisions, order[:count]), image, target) for count in counts]
            pairs = [(explanation.attributions[index], other) for other in maps]
            if similarity.absolute:
                pairs = [(a.abs(), b.abs()) for a, b in pairs]
            wanted.append(sum(_spearman(*pair) for pair in pairs) / len(pairs))
        assert kind(similarity, n_stages)(explanation).tolist() == pytest.approx(wanted, abs=1e-4)


def test_smooth_mprt_averages_maps_of_noisy_copies(judged: Callable[..., Explanation], explain: Explain) -> None:
    explanation = judged()
    decisions = explanation.decisions
    wanted = []
    for index, generator in enumerate(decisions.generators("smooth_mprt")):
        image, target = decisions.inputs[index : index + 1], decisions.targets[index : index + 1]
        noise = torch.randn((3, *image.shape[1:]), generator=generator) * 0.1 * (image.max() - image.min())
        copies = [image, *((image + one).clamp(0, 1) for one in noise)]
        smooth = {
            count: sum(explain(_random_network(decisions, ["5", "2", "0"][:count]), one, target) for one in copies) / 4
            for count in (0, 1, 2, 3)
        }
        wanted.append(sum(_spearman(smooth[0], smooth[count]) for count in (1, 2, 3)) / 3)
    assert SmoothMPRT(SIGNED, n_samples=4)(explanation).tolist() == pytest.approx(wanted, abs=1e-3)


def test_smooth_mprt_without_copies_is_mprt(judged: Callable[..., Explanation]) -> None:
    explanation = judged()
    before = explanation.attributions.clone()
    assert torch.equal(SmoothMPRT(SIGNED, n_samples=1)(explanation), MPRT(SIGNED)(explanation))
    still = SmoothMPRT(SIGNED, noise_level=0.0)(explanation)
    assert still.tolist() == pytest.approx(MPRT(SIGNED)(explanation).tolist(), abs=1e-5)
    assert torch.equal(explanation.attributions, before)  # Quantus changes them


def test_noisy_copies_are_images_and_the_same_for_all_explainers(judged: Callable[..., Explanation]) -> None:
    seen: list[Tensor] = []

    def looking(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        seen.append(inputs)
        return _brightness(model, inputs, targets)

    first = judged(looking)
    smooth_mprt(first)
    n_calls = len(seen)
    smooth_mprt(Explanation(first.decisions, first.attributions, looking))
    assert n_calls - 1 == 3 + 3 * 4  # three layers: three stages
    assert all(bool(((images >= 0) & (images <= 1)).all()) for images in seen)
    assert len({images.data_ptr() for images in seen}) == 1 + 3


@pytest.fixture
def ask_quantus(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Any]]:
    """Scores of Quantus's metrics, whose networks are replaced by given ones."""
    quantus = pytest.importorskip("quantus")
    pytorch_model = pytest.importorskip("quantus.helpers.model.pytorch_model").PyTorchModel

    def ask(name: str, explanation: Explanation, networks: list[nn.Module], explainer: Explain, **choice: Any) -> Any:
        def made(self: Any, order: str = "", seed: int = 0) -> Iterator[tuple[str, nn.Module]]:  # noqa: ARG001
            return ((str(index), model) for index, model in enumerate(networks))

        def explained(model: nn.Module, inputs: np.ndarray, targets: np.ndarray, **_: Any) -> np.ndarray:
            return explainer(model, torch.as_tensor(inputs), torch.as_tensor(targets)).numpy()

        monkeypatch.setattr(pytorch_model, "get_random_layer_generator", made)
        monkeypatch.setattr(pytorch_model, "random_layer_generator_length", len(networks))
        decisions = explanation.decisions
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            metric = getattr(quantus, name)(normalise=False, disable_warnings=True, **choice)
            return metric(
                model=decisions.model,
                x_batch=decisions.inputs.numpy().copy(),
                y_batch=decisions.targets.numpy().copy(),
                a_batch=explanation.attributions.numpy().copy(),
                explain_func=explained,
            )

    return ask


def test_mprt_is_that_of_quantus_on_the_same_networks(
    judged: Callable[..., Explanation], explain: Explain, ask_quantus: Callable[..., Any]
) -> None:
    explanation = judged()
    networks = cascade(explanation.decisions)
    models = [networks.network(networks.top_down(count)) for count in (1, 2, 3)]
    theirs = ask_quantus("MPRT", explanation, models, explain, abs=False)
    assert list(theirs) == ["original", "0", "1", "2"]
    ours = MPRT(SIGNED)(explanation).numpy()
    assert ours == pytest.approx(np.mean([theirs[name] for name in "012"], axis=0), abs=1e-4)
    absolute = ask_quantus("MPRT", explanation, models, explain)
    ours_absolute = MPRT(ABSOLUTE)(explanation).numpy()
    assert ours_absolute == pytest.approx(np.mean([absolute[name] for name in "012"], axis=0), abs=1e-4)
    average = ask_quantus("MPRT", explanation, models, explain, abs=False, return_average_correlation=True)
    assert np.array(average) == pytest.approx((1 + 3 * ours) / 4, abs=1e-4)  # it counts the original as a stage


def test_efficient_mprt_is_that_of_quantus(
    judged: Callable[..., Explanation], explain: Explain, ask_quantus: Callable[..., Any]
) -> None:
    explanation = judged()
    networks = cascade(explanation.decisions)
    whole = networks.network(networks.top_down(3))
    theirs = ask_quantus("EfficientMPRT", explanation, [whole], explain)
    assert efficient_mprt(explanation).numpy() == pytest.approx(np.array(theirs), abs=2e-3)  # it bins in float32


@pytest.mark.parametrize("n_bins", [2, 10, 100])
def test_efficient_mprt_is_the_relative_rise_of_the_entropy(
    judged: Callable[..., Explanation], maps: Tensor, n_bins: int
) -> None:
    explanation = judged(lambda model, *_: maps if len(model) == 6 and model[0].weight.std() > 0.2 else maps.abs() ** 3)
    wanted = []
    for before in maps[:, 0].double().numpy():
        entropies = [stats.entropy(np.histogram(one, n_bins)[0]) for one in (before, np.abs(before) ** 3)]
        wanted.append((entropies[1] - entropies[0]) / entropies[0])
    assert EfficientMPRT(n_bins)(explanation).tolist() == pytest.approx(wanted, abs=1e-3)
    assert len(set(wanted)) == 6


def _after(first: Tensor, second: Tensor, network: nn.Module) -> Explain:
    """The first map for the network itself, the second for any other."""
    return lambda model, *_: first if model is network else second


def test_complexity_that_does_not_rise_scores_zero_and_one_that_vanishes_minus_one(
    judged: Callable[..., Explanation], network: nn.Module, maps: Tensor
) -> None:
    for second, wanted in ((3 * maps + 7, 0.0), (maps.flip(2), 0.0), (torch.ones_like(maps), -1.0)):
        scores = efficient_mprt(judged(_after(maps, second, network)))
        assert scores.tolist() == pytest.approx([wanted] * 6, abs=1e-3)
    one = torch.zeros_like(maps)
    one[:, :, 5, 5] = -1.0
    assert bool((efficient_mprt(judged(_after(one, maps, network))) > 100).all())


@pytest.mark.parametrize("metric", ALL)
def test_a_map_that_does_not_look_fails(judged: Callable[..., Explanation], metric: Metric) -> None:
    wanted = 0.0 if metric is efficient_mprt else 1.0
    assert metric(judged(_brightness)).tolist() == pytest.approx([wanted] * 6, abs=1e-6)


@pytest.mark.parametrize("metric", WEIGHTS)
def test_the_gradient_of_a_random_network_is_another(judged: Callable[..., Explanation], metric: MPRT) -> None:
    def gradient(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        images = inputs.detach().requires_grad_()
        with torch.enable_grad():
            (slopes,) = torch.autograd.grad(model(images).gather(1, targets[:, None]).sum(), images)
        return slopes.sum(dim=1, keepdim=True)

    explanation = judged(gradient)
    last = type(metric)(SIGNED, n_stages=1)
    assert bool((metric(explanation).abs() < 0.5).all())
    assert bool((last(explanation).abs() < 0.2).all())


@pytest.mark.parametrize("metric", WEIGHTS)
def test_fresh_noise_scores_best(judged: Callable[..., Explanation], metric: MPRT) -> None:
    """A known weakness, as the docstring says: whoever mends it mends the docstring."""
    generator = torch.Generator().manual_seed(0)
    scores = metric(judged(lambda _, inputs, __: torch.randn(inputs[:, :1].shape, generator=generator)))
    assert bool((scores.abs() < 0.15).all())


@pytest.mark.parametrize("value", [0.0, 1.0, -2.0])
@pytest.mark.parametrize("metric", ALL)
def test_a_constant_map_is_not_judged(judged: Callable[..., Explanation], metric: Metric, value: float) -> None:
    assert bool(metric(judged(lambda _, inputs, __: torch.full_like(inputs[:, :1], value))).isnan().all())


@pytest.mark.parametrize("metric", ALL)
def test_one_constant_map_leaves_the_others_alone(
    judged: Callable[..., Explanation], explain: Explain, metric: Metric
) -> None:
    def partly(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        maps = explain(model, inputs, targets)
        maps[2] = 0
        return maps

    scores, wanted = metric(judged(partly)), metric(judged())
    assert bool(scores[2].isnan())
    assert torch.equal(scores[[0, 1, 3, 4, 5]], wanted[[0, 1, 3, 4, 5]])


@pytest.mark.parametrize("second", [0.0, 1.0])
def test_a_map_that_vanishes_has_changed(
    judged: Callable[..., Explanation], network: nn.Module, maps: Tensor, second: float
) -> None:
    explanation = judged(_after(maps, torch.full_like(maps, second), network))
    for kind in (MPRT, BottomUpMPRT):
        assert kind(SIGNED)(explanation).tolist() == [0.0] * 6


def test_negative_and_one_pixel_maps_are_maps(
    judged: Callable[..., Explanation], network: nn.Module, maps: Tensor
) -> None:
    one = torch.zeros_like(maps)
    one[:, :, 5, 5] = 1.0
    for original in (-maps.abs(), one):
        for metric in (mprt, mprt_bottom_up, efficient_mprt):
            assert bool(metric(judged(_after(original, maps, network))).isfinite().all())
    turned = MPRT(SIGNED)(judged(_after(-maps.abs(), maps.abs(), network)))
    assert turned.tolist() == pytest.approx([-1.0] * 6)
    assert mprt(judged(_after(-maps.abs(), maps.abs(), network))).tolist() == pytest.approx([1.0] * 6)


@pytest.mark.parametrize("similarity", [SIGNED, StructuralSimilarity()])
def test_random_logit_compares_with_the_map_of_another_class(
    judged: Callable[..., Explanation], explain: Explain, similarity: Any
) -> None:
    explanation = judged()
    decisions = explanation.decisions
    others = []
    for target, generator in zip(decisions.targets.tolist(), decisions.generators("random_logit"), strict=True):
        classes = [index for index in range(4) if index != target]
        others.append(classes[int(torch.randint(3, (), generator=generator))])
    maps = explain(decisions.model, decisions.inputs, torch.tensor(others))
    wanted = similarity(explanation.attributions, maps)
    assert RandomLogit(similarity)(explanation).tolist() == pytest.approx(wanted.tolist(), abs=1e-6)


def _class_map(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:  # noqa: ARG001
    """Pixels of the class's own column only: which class was asked about can be read from the map."""
    maps = torch.zeros_like(inputs[:, :1])
    maps[torch.arange(len(inputs)), :, :, targets] = 1.0
    return maps


def test_the_other_class_is_any_but_the_target(network: nn.Module, images: Tensor) -> None:
    asked: list[int] = []

    def noting(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        asked.extend(targets.tolist())
        return _class_map(model, inputs, targets)

    inputs = images[:1].expand(300, -1, -1, -1)
    targets = torch.full((300,), 1)
    decisions = Decisions(network, inputs, targets)
    random_logit(Explanation(decisions, _class_map(network, inputs, targets), noting))
    counts = np.bincount(asked, minlength=4)
    assert counts[1] == 0
    assert stats.chisquare(counts[[0, 2, 3]]).pvalue > 0.01


def test_of_two_classes_the_other_one(linear_pixels: Callable[[Tensor], nn.Module], images: Tensor) -> None:
    asked: list[Tensor] = []

    def noting(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        asked.append(targets)
        return _class_map(model, inputs, targets)

    targets = torch.tensor([0, 1, 0, 1, 1, 0])
    decisions = Decisions(linear_pixels(torch.ones(3, 24, 24)), images, targets)
    random_logit(Explanation(decisions, _class_map(decisions.model, images, targets), noting))
    assert torch.equal(asked[0], 1 - targets)


def test_a_single_logit_has_no_other_class(images: Tensor, maps: Tensor) -> None:
    model = nn.Sequential(nn.Conv2d(3, 1, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    decisions = Decisions(model, images, labels=torch.ones(6, 1, dtype=torch.int64))
    assert bool(random_logit(Explanation(decisions, maps, lambda *_: maps)).isnan().all())


@pytest.mark.parametrize("metric", ALL)
def test_findings_of_a_multi_label_task_are_asked_about_by_their_logits(
    judged: Callable[..., Explanation], metric: Metric
) -> None:
    targets = torch.tensor([0, 1, 2, 3, 0, 1])
    several = judged(targets=targets, labels=torch.full((6, 4), -1))
    assert several.decisions.multi_label
    assert torch.equal(metric(several), metric(judged(targets=targets)))


def test_random_networks_explain_the_original_decision(judged: Callable[..., Explanation], explain: Explain) -> None:
    """Whatever they decide themselves."""
    asked: list[Tensor] = []

    def noting(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        asked.append(targets)
        return explain(model, inputs, targets)

    explanation = judged(noting)
    for metric in (mprt, mprt_bottom_up, smooth_mprt, efficient_mprt):
        metric(explanation)
    assert all(torch.equal(targets, explanation.decisions.predictions) for targets in asked)
    networks = cascade(explanation.decisions)
    decided = networks.network(networks.top_down(3))(explanation.decisions.inputs).argmax(dim=1)
    assert not torch.equal(decided, explanation.decisions.predictions)


def test_maps_are_made_once_and_networks_once_for_all_batches_and_explainers(
    network: nn.Module, images: Tensor, explain: Explain
) -> None:
    counting = Counting(explain)
    for rows in (slice(0, 3), slice(3, 6)):
        decisions = Decisions(network, images[rows])
        for _ in range(2):
            explanation = Explanation(decisions, explain(network, decisions.inputs, decisions.targets), counting)
            before = len(counting.models)
            for metric in (mprt, efficient_mprt, mprt_bottom_up):
                metric(explanation)
            # One layer, all; the first, the first two, and all again, which is there.
            assert len(counting.models) - before == 2 + 2
        assert decisions.n_forwarded == 3
    assert len({id(model) for model in counting.models}) == 4
    assert network not in counting.models


def test_weights_that_have_changed_are_explained_anew(judged: Callable[..., Explanation], network: nn.Module) -> None:
    first = judged()
    scores = mprt(first)
    network[0].weight.mul_(-1)
    network[2].weight.mul_(torch.linspace(-1, 2, 5))
    second = judged()
    assert not torch.allclose(mprt(second), scores)
    network[2].weight.div_(torch.linspace(-1, 2, 5))
    network[0].weight.mul_(-1)
    assert mprt(judged()).tolist() == pytest.approx(scores.tolist(), abs=1e-4)


@pytest.mark.parametrize("metric", WEIGHTS)
def test_another_seed_is_another_network(judged: Callable[..., Explanation], metric: MPRT) -> None:
    assert torch.equal(metric(judged(seed=1)), metric(judged(seed=1)))
    assert not torch.allclose(metric(judged(seed=1)), metric(judged(seed=2)))


@settings(max_examples=8, derandomize=True, deadline=None)
@given(rows=st.lists(st.integers(0, 5), min_size=1, max_size=6, unique=True))
def test_a_score_does_not_depend_on_batch_mates(rows: list[int]) -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(6, 3, 12, 12, generator=generator)
    layers = [nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, 3)]
    model = nn.Sequential(*layers).eval().double()
    for parameter in model.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)

    def explain(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        images = inputs.detach().requires_grad_()
        (slopes,) = torch.autograd.grad(model(images).gather(1, targets[:, None]).sum(), images)
        return slopes.sum(dim=1, keepdim=True).float()  # ties where float64 differs in its last digits

    def scores(chosen: list[int]) -> list[Tensor]:
        names = tuple("abcdef"[row] for row in chosen)
        decisions = Decisions(model, images[chosen].double(), ids=names)
        explanation = Explanation(decisions, explain(model, decisions.inputs, decisions.targets), explain)
        return [metric(explanation) for metric in ALL]

    for alone, together in zip(scores(rows), scores(list(range(6))), strict=True):
        assert torch.allclose(alone, together[rows], atol=1e-4, equal_nan=True)


@pytest.mark.parametrize("wrong", [{"n_stages": 0}, {"n_stages": -1}])
def test_stages_are_at_least_one(wrong: dict[str, Any]) -> None:
    for kind in (MPRT, BottomUpMPRT, SmoothMPRT):
        with pytest.raises(ValueError, match="n_stages is at least 1"):
            kind(SIGNED, **wrong)


def test_settings_without_meaning_are_refused() -> None:
    with pytest.raises(ValueError, match="n_samples is at least 1"):
        SmoothMPRT(SIGNED, n_samples=0)
    with pytest.raises(ValueError, match="noise_level not negative"):
        SmoothMPRT(SIGNED, noise_level=-0.1)
    with pytest.raises(ValueError, match="n_bins is at least 2"):
        EfficientMPRT(1)


def test_what_costs_many_explanations_runs_on_request() -> None:
    assert [metric.on_request for metric in ALL] == [False, True, True, False, False]


def test_noise_of_copies_goes_by_the_range_of_the_image_and_not_by_its_brightness(network: nn.Module) -> None:
    images = 0.5 + 0.2 * torch.rand(2, 3, 24, 24, generator=torch.Generator().manual_seed(3))
    asked: list[Tensor] = []

    def listening(_model: nn.Module, inputs: Tensor, _targets: Tensor) -> Tensor:
        asked.append(inputs)
        return inputs.mean(dim=1, keepdim=True)

    smooth_mprt(Explanation(Decisions(network, images), images[:, :1], listening))
    noise = torch.stack([inputs - images for inputs in asked if not torch.equal(inputs, images)])
    assert noise.std().item() == pytest.approx(0.1 * 0.2, rel=0.05)


@pytest.mark.parametrize("metric", [mprt, mprt_bottom_up, efficient_mprt, random_logit])
def test_a_constant_map_is_not_judged_whatever_becomes_of_it(metric: Metric, network: nn.Module) -> None:
    images = torch.rand(2, 3, 24, 24, generator=torch.Generator().manual_seed(3))
    constant = torch.full((2, 1, 24, 24), 0.3)
    explanation = Explanation(Decisions(network, images), constant, lambda _, inputs, __: inputs[:, :1])
    assert bool(metric(explanation).isnan().all())
