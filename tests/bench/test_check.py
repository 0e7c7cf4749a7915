"""`bench check`: an explainer that breaks a promise is caught by the check of that promise, in one clear line."""

import random
import re
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bench.contract import traces
from bench.contract.checks import CHECKS, answers_as_on_the_cpu, checks_on, is_a_map
from bench.contract.examine import Outcome, examine
from bench.contract.networks import NETWORKS, named, structures
from bench.contract.trial import Case, Trial
from explainers.base import Explainer, InapplicableError
from explainers.gradient import gradient, input_x_gradient

README = Path(__file__).parents[2] / "README.md"
CALLS: list[int] = []
"""What an explainer that remembers its calls remembers."""


@pytest.fixture(scope="module")
def case() -> Case:
    return Case("cnn", partial(named, "cnn"))


class Honest(Explainer):
    """Pixel times gradient; those below add one mistake each."""

    def attribute(self, model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        return input_x_gradient.attribute(model, inputs, targets)


class LeavesHook(Honest):
    def attribute(self, model, inputs, targets):
        model.get_submodule("network.3").register_forward_hook(lambda *_: None)
        return super().attribute(model, inputs, targets)


class ChangesWeights(Honest):
    def attribute(self, model, inputs, targets):
        maps = super().attribute(model, inputs, targets)
        model.get_submodule("network.0").weight.data.mul_(1.01)
        return maps


class ChangesInputs(Honest):
    def attribute(self, model, inputs, targets):
        maps = super().attribute(model, inputs, targets)
        inputs.data.mul_(0.5)
        return maps


class ChangesTargets(Honest):
    def attribute(self, model, inputs, targets):
        maps = super().attribute(model, inputs, targets)
        targets.add_(1)
        return maps


class UnfreezesParameters(Honest):
    def attribute(self, model, inputs, targets):
        maps = super().attribute(model, inputs, targets)
        model.requires_grad_(True)
        return maps


class FillsGradients(Honest):
    def attribute(self, model, inputs, targets):
        leaf = inputs.detach().clone().requires_grad_()
        model(leaf).gather(1, targets[:, None]).sum().backward()
        return (leaf * leaf.grad).sum(1, keepdim=True)


class SetsInplaceFlag(Honest):
    def attribute(self, model, inputs, targets):
        maps = super().attribute(model, inputs, targets)
        model.get_submodule("network.1").inplace = True
        return maps


class LeavesAttribute(Honest):
    def attribute(self, model, inputs, targets):
        maps = super().attribute(model, inputs, targets)
        model.get_submodule("network.1").seen = maps
        return maps


class ConsumesRandomNumbers(Honest):
    def attribute(self, model, inputs, targets):
        maps = super().attribute(model, inputs, targets)
        torch.rand(1), np.random.rand(1), random.random()
        return maps


class UsesGlobalRandomState(Honest):
    def attribute(self, model, inputs, targets):
        return super().attribute(model, inputs, targets) + torch.rand(1).to(inputs)


class Counts(Honest):
    def attribute(self, model, inputs, targets):
        CALLS.append(1)
        return super().attribute(model, inputs, targets) * len(CALLS)


class LooksAtTheBatch(Honest):
    def attribute(self, model, inputs, targets):
        maps = super().attribute(model, inputs, targets)
        return maps / maps.abs().max()


class ThreeChannels(Honest):
    def attribute(self, model, inputs, targets):
        return super().attribute(model, inputs, targets).expand(-1, 3, -1, -1)


class NotFinite(Honest):
    def attribute(self, model, inputs, targets):
        maps = super().attribute(model, inputs, targets)
        maps[0, 0, 0, 0] = torch.nan
        return maps


class IgnoresTarget(Honest):
    def attribute(self, model, inputs, targets):
        return super().attribute(model, inputs, torch.zeros_like(targets))


class SaysItIgnoresTarget(Honest):
    class_sensitive = False


class IgnoresModel(Explainer):
    def attribute(self, model, inputs, targets):  # noqa: ARG002
        return inputs.detach().sum(1, keepdim=True) * (1 + targets[:, None, None, None])


class ModelControl(Honest):
    __module__ = "mine.controls"


class BreaksInFloat64(Honest):
    def attribute(self, model, inputs, targets):
        return super().attribute(model, inputs.float(), targets)


class DiffersInFloat64(Honest):
    def attribute(self, model, inputs, targets):
        maps = super().attribute(model, inputs, targets)
        return maps + 1 if inputs.dtype == torch.float64 else maps


class DiffersInBfloat16(Honest):
    def attribute(self, model, inputs, targets):
        maps = super().attribute(model, inputs, targets)
        return -maps if inputs.dtype == torch.bfloat16 else maps


class RefusesBfloat16(Honest):
    def attribute(self, model, inputs, targets):
        if inputs.dtype == torch.bfloat16:
            raise InapplicableError("bfloat16 is not precise enough")
        return super().attribute(model, inputs, targets)


class RefusesBfloat16AtLength(Honest):
    def attribute(self, model, inputs, targets):
        if inputs.dtype == torch.bfloat16:
            raise InapplicableError("bfloat16\nis not precise enough")
        return super().attribute(model, inputs, targets)


class LeavesTrainMode(Honest):
    def attribute(self, model, inputs, targets):
        model.get_submodule("network.0").training = True
        maps = super().attribute(model, inputs, targets)
        model.get_submodule("network.0").training = False
        return maps


class HidesExceptions(Honest):
    def attribute(self, model, inputs, targets):
        try:
            return super().attribute(model, inputs, targets)
        except ArithmeticError:
            return torch.zeros_like(inputs[:, :1])


class SpoilsTheNext(Honest):
    spoilt = False

    def attribute(self, model, inputs, targets):
        try:
            return super().attribute(model, inputs, targets) * (2 if type(self).spoilt else 1)
        except ArithmeticError:
            type(self).spoilt = True
            raise


class Raises(Explainer):
    def attribute(self, model, inputs, targets):  # noqa: ARG002
        raise ZeroDivisionError("nothing to divide by\nat all")


class Inapplicable(Honest):
    def inapplicable(self, model):  # noqa: ARG002
        return "no step that it knows"


class FindsOutLater(Honest):
    def attribute(self, model, inputs, targets):  # noqa: ARG002
        raise InapplicableError("no step that it knows")


LARGEST = r"differs by [\d.e+]+ % of the largest value"
BROKEN: list[tuple[type[Explainer], dict[str, str]]] = [
    (Honest, {}),
    (
        LeavesHook,
        {"traces": "changed: hooks of network.3", "exception": "after .* first .* changed: hooks of network.3"},
    ),
    (
        ChangesWeights,
        {
            "batch": rf"alone an image has another map: {LARGEST} .*",
            "traces": "changed: weights network.0.weight",
            "exception": f"after an exception the answer is another one: {LARGEST}",
        },
    ),
    (ChangesInputs, {"traces": "changed: inputs"}),
    (ChangesTargets, {"traces": "changed: targets"}),
    (UnfreezesParameters, {"traces": r"changed: requires_grad of weights network.0.weight and \d+ more"}),
    (FillsGradients, {"traces": r"changed: grad of weights .* \(where parameters want gradients\)"}),
    (SetsInplaceFlag, {"traces": "changed: inplace flag of network.1"}),
    (LeavesAttribute, {"traces": "changed: attributes of network.1"}),
    (ConsumesRandomNumbers, {"traces": "changed: torch's random state and 2 more"}),
    (LooksAtTheBatch, {"batch": rf"alone an image has another map: {LARGEST} \(torch.float64\)"}),
    (ThreeChannels, {"map": r"ValueError: ThreeChannels\(\): .*\(2, 1, 64, 64\), not \(2, 3, 64, 64\)"}),
    (NotFinite, {"map": r"ValueError: NotFinite\(\): attributions are not finite"}),
    (IgnoresTarget, {"target": r"classes \d and \d have the same map"}),
    (SaysItIgnoresTarget, {"target": f"class_sensitive is False, but another class has another map: {LARGEST}"}),
    (IgnoresModel, {"model": "a network with other weights has the same map: differs by 0 % of the largest value"}),
    (BreaksInFloat64, {"float64": "RuntimeError: .*", "bf16": "RuntimeError: .*"}),
    (DiffersInFloat64, {"float64": r"float32 and float64 differ by [\d.e+-]+ of the sum of values"}),
    (DiffersInBfloat16, {"bf16": r"bfloat16 and float32 correlate by -0.9\d, where rounded weights alone leave .*"}),
    (RefusesBfloat16, {}),
    (RefusesBfloat16AtLength, {"bf16": "says no in more than one line: .*"}),
    (LeavesTrainMode, {"exception": "after an exception in the first forward pass changed: mode of network.0"}),
    (HidesExceptions, {"exception": "answers although the first forward pass raised an exception"}),
    (Raises, {"map": r"ZeroDivisionError: nothing to divide by \(test_check.py, line \d+\)"}),
    (
        ModelControl,
        {
            "target": f"class_sensitive is False, but another class has another map: {LARGEST}",
            "model": f"a control, but another network has another map: {LARGEST}",
        },
    ),
]


@pytest.mark.parametrize(("kind", "lines"), BROKEN, ids=[kind.__name__ for kind, _ in BROKEN])
def test_a_broken_promise_is_caught_by_its_check(kind: type[Explainer], lines: dict[str, str], case: Case):
    outcome = examine(kind(), case)
    assert outcome.inapplicable is None
    assert outcome.failures.keys() == lines.keys(), outcome
    for check, line in lines.items():
        assert re.fullmatch(line, outcome.failures[check]), outcome.failures[check]
    assert examine(Honest(), case) == Outcome(), "one explainer's harm is not the next one's"


@pytest.mark.parametrize("kind", [UsesGlobalRandomState, Counts])
def test_answers_that_change_are_random(kind: type[Explainer], case: Case):
    failures = examine(kind(), case).failures
    assert re.fullmatch(f"the answer to the same question is another one: {LARGEST}", failures["random"])
    assert "batch" in failures


def test_an_exception_may_not_spoil_the_next_answer(case: Case):
    failures = examine(SpoilsTheNext(), case).failures
    assert re.fullmatch(f"after an exception the answer is another one: {LARGEST}", failures["exception"])


@pytest.mark.parametrize("kind", [Inapplicable, FindsOutLater])
def test_an_explainer_that_does_not_apply_has_a_reason_and_no_failures(kind: type[Explainer], case: Case):
    assert examine(kind(), case) == Outcome(inapplicable="no step that it knows")


@pytest.mark.parametrize(
    ("answer", "complaint"),
    [
        (lambda maps: maps[:, 0], r"the answer is \(2, 64, 64\), not \(2, 1, 64, 64\)"),
        (lambda maps: maps.double(), "the answer is torch.float64 on cpu, the images are torch.float32 on cpu"),
        (lambda maps: maps.requires_grad_(), "the answer has a graph attached"),
        (lambda maps: maps / maps.relu(), r"\d+ of 8192 values are not finite"),
    ],
)
def test_an_explainer_that_guards_itself_is_looked_at_as_well(answer, complaint, case: Case):
    class Own(Honest):
        def __call__(self, model, inputs, targets):
            return answer(gradient(model, inputs, targets))

    assert re.fullmatch(complaint, is_a_map(Trial(Own(), case)))


def test_another_device_has_the_same_answer(case: Case):
    assert "cuda" not in checks_on(torch.device("cpu"))
    assert list(checks_on(torch.device("cuda"))) == [*CHECKS, "cuda"]
    trial = Trial(gradient, case)
    assert answers_as_on_the_cpu(trial) is None
    trial.__dict__["exact"] = 1.01 * trial.exact
    assert re.fullmatch(rf"cpu and CPU differ: {LARGEST} \(float64\)", answers_as_on_the_cpu(trial))


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda: torch.set_default_dtype(torch.float64), "torch's default dtype"),
        (lambda: torch.set_grad_enabled(False), "grad mode"),
        (lambda: torch.use_deterministic_algorithms(True), "torch's deterministic algorithms"),
        (lambda: np.random.seed(5), "numpy's random state"),
        (lambda: random.seed(5), "random's state"),
    ],
)
def test_changes_of_the_process_are_seen(change, what):
    with traces.random_states_kept():
        before = traces.of_process()
        try:
            change()
            assert traces.changed(before, traces.of_process()) == [what]
        finally:
            torch.set_default_dtype(torch.float32)
            torch.set_grad_enabled(True)
            torch.use_deterministic_algorithms(False)
    assert not traces.changed(before, traces.of_process())


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_are_the_same_every_time_and_answer_like_trained_ones(name):
    before = traces.of_process()
    one, again, other = named(name, 1), named(name, 1), named(name, 2)
    assert not traces.changed(before, traces.of_process())
    assert all(torch.equal(*pair) for pair in zip(one.parameters(), again.parameters(), strict=True))
    assert not any(part.training for part in one.modules())
    assert not any(parameter.requires_grad for parameter in one.parameters())
    images = structures(4, 64, seed=9)
    logits = one(images)
    assert logits.shape == (4, 5)
    assert 0.1 < logits.abs().max() < 100
    assert not torch.allclose(logits, other(images))


def test_the_explainer_of_the_readme_keeps_the_contract(bench, tmp_path):
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), flags=re.DOTALL)
    source = next(block for block in blocks if "class" in block and "Explainer" in block)
    plugin = tmp_path / "my_explainer_to_check.py"
    plugin.write_text(source)
    answer = bench("check", plugin, "--networks", "cnn,resnet18")
    assert answer.status == 0, answer.out + answer.err
    (row,) = [line for line in answer.out.splitlines() if line.lstrip().startswith("my_")]
    assert row.split()[1:3] == ["✓", "✓"]
    assert "grad_cam" not in answer.out
    assert "Checked on cpu: map, batch, traces, exception" in answer.out


BAD = """
class Flat(Explainer):
    def attribute(self, model, inputs, targets):
        return torch.ones_like(inputs[:, :1])


flat = Flat()
fussy = Fussy()
_hidden = Flat()
"""


def test_failures_are_lines_and_the_exit_status(bench, write):
    answer = bench("check", write(BAD), "center", "--networks", "cnn")
    assert answer.status == 1
    rows = {line.split()[0]: line.split()[1:] for line in answer.out.splitlines() if line.strip()}
    assert rows["flat"][:3] == ["✗", "target,", "model"]
    assert rows["center"][0] == "✓"
    assert rows["fussy"][0] == "–"
    assert "FAILED flat, cnn: target: classes " in answer.out
    assert "FAILED flat, cnn: model: a network with other weights has the same map: differs by 0 %" in answer.out
    assert "– fussy: it does not like halves (cnn)" in answer.out
    assert "_hidden" not in answer.out


def test_what_does_not_apply_is_no_failure_and_is_told_once(bench):
    answer = bench("check", "lrp_epsilon,lrp_epsilon_plus", "--networks", "eff*,convnext_tiny")
    assert answer.status == 0
    reason = "– lrp_epsilon, lrp_epsilon_plus: no rule for SiLU network.features.0.2, nor for Sigmoid, mul"
    assert answer.out.count(f"{reason} (efficientnet_b0)") == 1
    assert answer.out.count("network.features.0.1") == 1


def test_plugins_are_checked_by_name_and_by_default(bench, write):
    plugin = write("fussy = Fussy()")
    answer = bench("check", "fus*", "--plugins", plugin, "--networks", "cnn")
    assert (answer.status, "✓" in answer.out.splitlines()[4]) == (0, False)
    assert bench("check", plugin, "--plugins", plugin, "--networks", "cnn").status == 0


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("gradcam",), "no explainer is called 'gradcam': did you mean grad_cam"),
        (("center", "--networks", "resnet19"), "no network is called 'resnet19': did you mean resnet18"),
        (("center", "--networks", "xyzzy"), "no network is called 'xyzzy': there are vgg16, vgg16_bn, resnet18"),
        (("nowhere.py",), "plugin nowhere.py: there is no such file or package"),
        (("center", "--device", "abacus"), "device 'abacus' cannot be used here"),
    ],
)
def test_bad_input_is_one_line(bench, arguments, complaint):
    answer = bench("check", *arguments)
    assert answer.status == 2
    assert complaint in answer.err
    assert answer.err.count("\n") == 1


def test_a_file_without_an_explainer_is_told_what_it_lacks(bench, write):
    plugin = write("toy = ToyTask()\n_hidden = Fussy()")
    answer = bench("check", plugin)
    assert answer.status == 2
    assert f"{plugin} has no explainer of its own: write an instance of a subclass of explainers.base" in answer.err
