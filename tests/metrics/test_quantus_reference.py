"""Quantus's metrics as entries: they are all there, return Quantus's own numbers, and fail with a reason."""

import importlib
import inspect
import pkgutil
import re
import sys
import warnings
from collections.abc import Callable
from dataclasses import fields, replace
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from metrics import reference
from metrics.base import Category, Decisions, Explanation, Metric
from metrics.reference.adapter import Reference
from metrics.reference.adapter import quantus as imported

Judge = Callable[..., Explanation]
ENTRIES: dict[str, Reference] = {
    name: entry
    for module in pkgutil.iter_modules(reference.__path__)
    for name, entry in vars(importlib.import_module(f"metrics.reference.{module.name}")).items()
    if isinstance(entry, Metric) and not name.startswith("_")
}
FAILING = {
    "quantus_sensitivity_n": "SensitivityN correlates over the samples of a batch",
    "quantus_sufficiency": "Sufficiency compares the samples of a batch",
    "quantus_consistency": "Consistency compares the samples of a batch",
    "quantus_focus": "Focus judges mosaics",
    "quantus_smooth_mprt": "SmoothMPRT explains by its own quantus.explain",
    "quantus_irof": r"IROF fails on images of three channels.* \(AssertionError: ",
    "quantus_road": r"ROAD fails on images of three channels.* \(IndexError: ",
}
# What differs from Quantus's defaults, each for a reason that its docstring gives.
OWN_SETTINGS = {
    "n_perturb_samples": 1,
    "perturb_patch_sizes": (4,),
    "return_average_correlation": True,
}
running = pytest.mark.parametrize("name", sorted(ENTRIES.keys() - FAILING.keys()))


@pytest.fixture(scope="module")
def library() -> ModuleType:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("quantus")


def _cheap(entry: Reference) -> Reference:
    """The same with few random samples and steps, and for images of 24 pixels."""
    less = {"nr_samples": 3, "nr_runs": 10, "n_steps": 4, "k": 12}
    return replace(entry, **{key: value for key, value in less.items() if key in {one.name for one in fields(entry)}})


def _shrunk(explanation: Explanation, name: str) -> Explanation:
    """Where each value of an image costs a forward pass, a smaller image."""
    if name != "quantus_non_sensitivity":
        return explanation
    decisions = explanation.decisions
    network = nn.Sequential(nn.Upsample(size=(24, 24)), decisions.model).eval()
    small = Decisions(network, decisions.inputs[..., ::4, ::4], ids=decisions.ids, masks=decisions.masks)
    return Explanation(small, explanation.attributions[..., ::4, ::4], explanation.explain)


@pytest.fixture
def part(judge: Judge, maps: Tensor) -> Callable[..., Explanation]:
    """Some of the samples as a batch of their own; the gradient times the input explains."""

    def make(rows: list[int], attributions: Tensor = maps) -> Explanation:
        whole = judge(attributions).decisions
        decisions = Decisions(
            whole.model, whole.inputs[rows], ids=tuple("abcdef"[row] for row in rows), masks=whole.masks[rows]
        )
        return Explanation(decisions, attributions[rows], judge(maps).explain)

    return make


def test_every_metric_that_quantus_has_for_images_is_an_entry(library: ModuleType) -> None:
    theirs = {
        kind.__name__
        for family in library.AVAILABLE_METRICS.values()
        for kind in family.values()
        if "image" in {str(one).lower().rpartition(".")[2] for one in kind.data_applicability}
    }
    assert {type(entry).__name__ for entry in ENTRIES.values()} == theirs
    assert len(theirs) == 37
    for name, entry in ENTRIES.items():
        words = re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", type(entry).__name__)
        assert name == f"quantus_{words.lower()}"


@pytest.mark.parametrize("name", sorted(ENTRIES))
def test_direction_category_and_settings_are_those_of_quantus(library: ModuleType, name: str) -> None:
    entry = ENTRIES[name]
    kind = getattr(library, type(entry).__name__)
    assert entry.higher_is_better == (kind.score_direction.name == "HIGHER")
    families = {"LOCALISATION": Category.LOCALIZATION, "RANDOMISATION": Category.RANDOMIZATION}
    theirs = kind.evaluation_category.name
    assert entry.category == families.get(theirs, theirs.lower())
    assert entry.needs_masks == (entry.category == Category.LOCALIZATION and name != "quantus_focus")
    assert entry.on_request
    defaults = inspect.signature(kind.__init__).parameters
    for one in fields(entry):
        if one.name != "n_steps":
            wanted = OWN_SETTINGS.get(one.name, defaults[one.name].default)
            assert getattr(entry, one.name) == wanted, one.name


@running
def test_a_score_depends_on_no_batch_mate_and_comes_again(part: Callable[..., Explanation], name: str) -> None:
    entry = _cheap(ENTRIES[name])
    whole = entry(_shrunk(part([0, 1, 2]), name))
    assert bool(whole.isfinite().any())
    assert torch.equal(entry(_shrunk(part([2, 0]), name)).nan_to_num(-9), whole[[2, 0]].nan_to_num(-9))


@running
def test_maps_that_quantus_refuses_are_undefined(part: Callable[..., Explanation], maps: Tensor, name: str) -> None:
    attributions = maps.clone()
    attributions[0], attributions[1], attributions[2] = 0.0, 2.0, -maps[2].abs() - 1
    score = _cheap(ENTRIES[name])(_shrunk(part([0, 1, 2, 3], attributions), name))
    assert score[:3].isnan().all()
    assert name.startswith("quantus_relative") or bool(score[3].isfinite())


def test_maps_that_quantus_refuses_are_undefined_also_where_the_explainer_makes_them_anew(
    part: Callable[..., Explanation], maps: Tensor
) -> None:
    whole = part([0, 1])
    nothing = Explanation(whole.decisions, maps[:2], lambda *_: torch.zeros(1, 1, 24, 24))
    assert bool(_cheap(ENTRIES["quantus_max_sensitivity"])(nothing).isnan().all())


@pytest.mark.parametrize("name", sorted(FAILING))
def test_what_quantus_cannot_do_fails_with_a_reason_of_one_line(part: Callable[..., Explanation], name: str) -> None:
    with pytest.raises(RuntimeError, match=FAILING[name]) as raised:
        _cheap(ENTRIES[name])(part([0, 1]))
    assert "\n" not in str(raised.value)
    assert str(raised.value).startswith("Quantus's ")


def test_what_the_explainer_raises_is_told(part: Callable[..., Explanation], maps: Tensor) -> None:
    def broken(*_: Any) -> Tensor:
        raise ZeroDivisionError("of the explainer\nand more")

    explanation = Explanation(part([0]).decisions, maps[:1], broken)
    with pytest.raises(RuntimeError, match=r"MaxSensitivity fails \(ZeroDivisionError: of the explainer\)$"):
        _cheap(ENTRIES["quantus_max_sensitivity"])(explanation)


def test_input_invariance_needs_a_convolution_first(images: Tensor, maps: Tensor, judge: Judge) -> None:
    model = nn.Sequential(nn.Identity(), judge(maps).decisions.model).eval()
    explanation = Explanation(Decisions(model, images), maps, judge(maps).explain)
    with pytest.raises(RuntimeError, match="does not begin with a convolution"):
        ENTRIES["quantus_input_invariance"](explanation)


@pytest.mark.parametrize("name", ["RegionPerturbation", "Selectivity", "FaithfulnessEstimate", "AUC", "Sparseness"])
def test_scores_are_those_that_quantus_gives_to_its_own_user(
    library: ModuleType, part: Callable[..., Explanation], name: str
) -> None:
    explanation = part([0, 1, 2])
    decisions = explanation.decisions
    (entry,) = [_cheap(one) for one in ENTRIES.values() if type(one).__name__ == name]
    settings = {"features_in_step": 144} if name == "FaithfulnessEstimate" else {}
    batch = {"x_batch": decisions.inputs.numpy().copy(), "y_batch": decisions.targets.numpy()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        metric = getattr(library, name)(**settings)
        call = {"a_batch": explanation.attributions.numpy().copy(), "s_batch": decisions.masks.numpy().copy()}
        answer = np.asarray(metric(model=decisions.model, **batch, **call), dtype=float)
    theirs = answer if answer.ndim == 1 else np.trapezoid(answer, axis=1)
    assert entry(explanation).numpy() == pytest.approx(theirs, abs=1e-4)


@running
def test_asking_leaves_everything_as_it_was(part: Callable[..., Explanation], name: str, capsys: Any) -> None:
    explanation = _shrunk(part([0]), name)
    decisions = explanation.decisions
    held = [decisions.inputs, explanation.attributions, decisions.masks, *decisions.model.parameters()]
    before, state = [tensor.clone() for tensor in held], np.random.get_state()[1].copy()
    torch.manual_seed(0)
    _cheap(ENTRIES[name])(explanation)
    drawn = torch.rand(1)
    torch.manual_seed(0)
    assert torch.equal(drawn, torch.rand(1))
    assert np.array_equal(np.random.get_state()[1], state)
    assert all(torch.equal(now, then) for now, then in zip(held, before, strict=True))
    assert not any(module._forward_hooks for module in decisions.model.modules())
    printed = capsys.readouterr()
    assert printed.out + printed.err == ""


def test_no_copy_of_the_model_is_held(library: ModuleType, part: Callable[..., Explanation]) -> None:
    ENTRIES["quantus_efficient_mprt"](part([0]))
    wrapper = library.helpers.model.pytorch_model.PyTorchModel
    assert wrapper._get_last_softmax_layer_index.cache_info().currsize == 0


def test_without_quantus_one_line_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, part: Callable[..., Explanation]
) -> None:
    monkeypatch.setitem(sys.modules, "quantus", None)
    with pytest.raises(RuntimeError, match=r"^needs quantus: pip install heatmark\[quantus\]"):
        ENTRIES["quantus_sparseness"](part([0]))
    with pytest.raises(RuntimeError, match="needs quantus"):
        imported()
