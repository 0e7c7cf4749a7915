"""`bench profile`: a row an explainer, task and batch size; what cannot be measured says why."""

import json

import pandas as pd
import pytest

CHOICE = ("--tasks", "toy", "--repeats", 2, "--device", "cpu")


def test_costs_are_measured_by_batch_size(bench, write, tmp_path):
    plugin = write("toy = ToyTask()\nweights = Weights()")
    table = tmp_path / "new" / "costs.csv"
    answer = bench(
        *("profile", *CHOICE, "--plugins", plugin, "--explainers", "weights,gradient,integrated_gradients"),
        *("--batch-sizes", "9,2", "--csv", table),
    )
    assert answer.status == 0, answer.err
    assert "toy on cpu" in answer.out
    costs = pd.read_csv(table).set_index(["explainer", "batch_size"])
    assert len(costs) == 6
    assert (costs.seconds > 0).all()
    assert (costs.low <= costs.seconds).all()
    assert (costs.seconds <= costs.high).all()
    assert (costs.images_per_second * costs.seconds).round(6).tolist() == [float(size) for _, size in costs.index]
    assert costs.passes.xs("gradient", level=0).round(2).tolist() == [2, 2]
    assert costs.passes.xs("integrated_gradients", level=0).round(2).tolist() == [64, 64]
    assert costs.passes.xs("weights", level=0).tolist() == [0, 0]
    for column in ("img/s", "fwd", "passes", "MiB", "fits"):
        assert column in answer.out


def test_what_has_no_cost_says_why(bench, write):
    plugin = write("toy = ToyTask()\nweights = Weights()\nfailing = Failing()\nfussy = Fussy()")
    common = ("profile", *CHOICE, "--plugins", plugin, "--batch-sizes", 2, "--explainers")
    answer = bench(*common, "weights,failing,grad_cam@4")
    assert answer.status == 1
    assert answer.err == "Failed: toy, failing: RuntimeError: the explainer is broken\n"
    assert "Inapplicable: grad_cam@4 (toy: the model has 1 stages" in answer.out
    assert bench(*common, "weights,grad_cam@4").status == 0


def test_out_of_memory_is_a_line(bench, write):
    plugin = write(
        "import torch\n\nclass Greedy(Weights):\n    def attribute(self, model, inputs, targets):\n"
        "        raise torch.OutOfMemoryError('3 GiB')\n\ntoy = ToyTask()\ngreedy = Greedy()"
    )
    answer = bench("profile", *CHOICE, "--plugins", plugin, "--batch-sizes", 2, "--explainers", "greedy")
    assert answer.status == 1
    assert "greedy: out of memory with 2 images: choose a smaller batch" in answer.err


def test_a_trace_names_the_explainers(bench, write, tmp_path):
    plugin = write("toy = ToyTask()\nweights = Weights()")
    path = tmp_path / "traces" / "toy.json"
    answer = bench(
        *("profile", *CHOICE, "--plugins", plugin, "--explainers", "weights,gradient", "--batch-sizes", 2),
        *("--trace", path),
    )
    assert answer.status == 0, answer.err
    names = {event.get("name") for event in json.loads(path.read_text())["traceEvents"]}
    assert {"weights", "gradient", "aten::convolution"} <= names


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--tasks", "brain_mri_vgg16"), "nothing to measure"),
        (("--tasks", "phantom_brain_mri_vgg16", "--batch-sizes", "1,none"), "--batch-sizes 1,none: numbers above 0"),
        (("--tasks", "phantom_brain_mri_vgg16", "--batch-sizes", "0"), "--batch-sizes 0: numbers above 0"),
        (("--tasks", "phantom_brain_mri_vgg16", "--explainers", "lpr"), "no explainer is called 'lpr'"),
    ],
)
def test_wrong_choices_are_one_line(bench, arguments, complaint):
    answer = bench("profile", *arguments)
    assert answer.status == 2
    assert complaint in answer.err
    assert answer.err.count("\n") == 1
