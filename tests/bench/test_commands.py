"""`bench table`, `bench train`, and the README's explainer in a file of one's own."""

import re
from pathlib import Path

import pandas as pd
import pytest

README = Path(__file__).parents[2] / "README.md"


@pytest.fixture
def results(bench, write, tmp_path) -> Path:
    plugin = write("toy = ToyTask()")
    folder = tmp_path / "results"
    bench("run", "--plugins", plugin, "--tasks", "toy", "--explainers", "noise,gradient", "--results", folder)
    return folder


def test_table_in_every_format(bench, results):
    common = ("table", "--results", results)
    assert "deletion" in bench(*common).out
    assert "| explainer" in bench(*common, "--format", "markdown").out
    assert r"\begin{tabular}" in bench(*common, "--format", "latex").out
    assert bench(*common, "--format", "csv").out.startswith("task,")


def test_several_tasks_are_one_summary_unless_asked_for_by_task(bench, write, tmp_path):
    plugin, folder = write("toy = ToyTask()\nother = ToyTask(4)"), tmp_path / "two"
    choice = ("--tasks", "toy,other", "--explainers", "noise,gradient,edges", "--metrics", "srg,sparseness,seconds")
    answer = bench("run", "--plugins", plugin, *choice, "--results", folder)
    assert "Summary · 2 tasks · 10 samples" in answer.out
    assert "toy · faithfulness" not in answer.out
    common = ("table", "--results", folder)
    assert bench(*common).out in answer.out
    assert "toy · faithfulness" in bench(*common, "--by-task").out
    assert "toy · faithfulness" in bench(*common, "--tasks", "toy").out
    assert "toy · faithfulness" not in bench(*common, "--tasks", "toy", "--summary").out
    assert bench(*common, "--summary", "--format", "csv").out.startswith("column,explainer,control")
    assert bench("leaderboard", "--results", folder).out == bench(*common).out


def test_families_are_weighed(bench, results):
    weighed = bench("table", "--results", results, "--weights", "complexity=0, faithfulness=2").out
    assert "each counting 1 but for complexity 0, faithfulness 2" in re.sub(r"\s+", " ", weighed)
    for wrong, complaint in (("beauty=1", "no family beauty"), ("complexity", "--weights"), ("complexity=-1", "0 or")):
        answer = bench("table", "--results", results, "--weights", wrong)
        assert answer.status == 2
        assert complaint in answer.err


def test_table_fits_a_terminal_of_100_columns(bench, results, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    assert max(map(len, bench("table", "--results", results).out.splitlines())) <= 100


def test_controls_have_neither_rank_nor_mark(bench, results):
    out = bench("table", "--results", results, "--family", "complexity").out.partition("toy · complexity")[2]
    control = next(line for line in out.splitlines() if line.startswith("noise"))
    assert not re.search(r"[*†¹²]", control)
    assert re.search(r"\d\.\d", control)
    ranked = next(line for line in out.splitlines() if line.startswith("gradient"))
    assert re.search(r"\d\.\d+\*¹", ranked)


def test_table_is_cut_by_task_family_and_outcome(bench, results, tmp_path):
    csv = bench("table", "--results", results, "--family", "complexity", "--format", "csv").out
    (tmp_path / "cut.csv").write_text(csv)
    assert set(pd.read_csv(tmp_path / "cut.csv").category) == {"complexity"}
    assert bench("table", "--results", results, "--tasks", "toy", "--outcome", "true positive").status == 0


@pytest.mark.parametrize(
    ("cut", "complaint"),
    [
        (("--tasks", "toi"), "no task toi"),
        (("--family", "beauty"), "no category beauty"),
        (("--outcome", "false negative"), "no sample with outcome false negative"),
    ],
)
def test_a_cut_that_leaves_nothing_says_what_there_is(bench, results, cut, complaint):
    answer = bench("table", "--results", results, *cut)
    assert answer.status == 2
    assert complaint in answer.err
    assert "there are" in answer.err


def test_a_results_folder_without_records_is_one_line(bench, tmp_path):
    answer = bench("table", "--results", tmp_path)
    assert answer.status == 2
    assert "no records in" in answer.err
    assert answer.err.count("\n") == 1


def test_an_unknown_option_is_a_usage_error(bench):
    answer = bench("run", "--everything")
    assert answer.status == 2
    assert "--everything" in answer.err


def test_training_needs_a_task_with_a_network_of_its_own(bench, write):
    answer = bench("train", "toy", "--plugins", write("toy = ToyTask()"))
    assert answer.status == 2
    assert "toy brings its own model" in answer.err


def test_training_without_data_says_where_they_are_looked_for(bench, tmp_path):
    answer = bench("train", "brain_mri_squeezenet", "--data", tmp_path)
    assert answer.status == 2
    assert str(tmp_path / "brain-tumor-classification-mri") in answer.err
    assert answer.err.count("\n") == 1


TRAINABLE = """
from collections import OrderedDict
from pathlib import Path

from torchvision.transforms import Normalize

from tasks.base import checkpoint_folder
from tasks.learning.fitting import Recipe
from tasks.training import Trainable


class Taught(Trainable):
    def classes(self):
        return ("left", "right")

    def network(self):
        network = nn.Sequential(nn.Flatten(), nn.Linear(3 * SIDE * SIDE, 2))
        return nn.Sequential(OrderedDict(preprocessing=Normalize((0.5,) * 3, (0.2,) * 3), network=network))

    def part(self, name):
        first = {"train": 0, "validation": 100, "heldout": 200}[name]
        return [ToyTask().sample(index) for index in range(first, first + 40)]

    def checkpoint(self):
        return checkpoint_folder() / "taught.safetensors"

    def recipe(self):
        return Recipe(epochs=3, learning_rate=0.01, batch_size=8)


taught = Taught()
"""


def test_training_prints_the_evaluation_and_keeps_the_checkpoint(bench, write, tmp_path):
    plugin = write(TRAINABLE)
    before = bench(
        "run", "--tasks", "taught", "--plugins", plugin, "--results", tmp_path / "r", "--explainers", "noise"
    )
    assert before.status == 1
    assert "Skipped taught: no checkpoint" in before.out
    answer = bench("train", "taught", "--plugins", plugin, "--from-scratch")
    assert answer.status == 0, answer.err
    assert "epoch 3 of 3: loss" in answer.err
    assert "Held-out accuracy 1.000" in answer.out
    assert re.search(r"class +precision +recall +F1 +ROC AUC +n +→ 1 +→ 2", answer.out)
    assert re.search(r"2 right +1\.000 +1\.000 +1\.000 +1\.000 +20 +0 +20", answer.out)
    assert (tmp_path / "cache" / "heatmark" / "checkpoints" / "taught.safetensors").is_file()
    choice = ("--tasks", "taught", "--explainers", "noise,gradient", "--metrics", "pointing_game")
    assert bench("run", *choice, "--plugins", plugin, "--results", tmp_path / "r").status == 0


def test_initial_weights_that_cannot_be_read_are_one_line(bench, write, tmp_path):
    (tmp_path / "bad.pth").write_bytes(b"not weights")
    answer = bench("train", "taught", "--plugins", write(TRAINABLE), "--init", tmp_path / "bad.pth")
    assert answer.status == 2
    assert str(tmp_path / "bad.pth") in answer.err
    assert answer.err.count("\n") == 1


def test_the_explainer_of_the_readme_works(bench, tmp_path):
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), flags=re.DOTALL)
    source = next(block for block in blocks if "class" in block and "Explainer" in block)
    assert len(source.splitlines()) <= 25
    plugin = tmp_path / "my_explainer.py"
    plugin.write_text(source)
    choice = ("--tasks", "phantom_brain_mri_vgg16", "--samples", 4, "--metrics", "pointing_game,sparseness")
    answer = bench("run", "--plugins", plugin, "--explainers", "my_*,center", *choice, "--results", tmp_path / "r")
    assert answer.status == 0, answer.out + answer.err
    assert "my_" in answer.out


def test_the_notebook_of_the_readme_works(capsys):
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), flags=re.DOTALL)
    exec(next(block for block in blocks if "Decisions(model, *batch)" in block), {})
    assert capsys.readouterr().out.startswith("tensor([")
