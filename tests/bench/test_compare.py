"""`bench compare`: a verdict for each family first; its pictures; what it complains about."""

import re
from pathlib import Path

import pytest
from matplotlib.image import imread


@pytest.fixture
def results(bench, write, tmp_path) -> Path:
    plugin = write("toy = ToyTask(12)\nweights = Weights()")
    choice = (
        "--tasks",
        "toy",
        "--explainers",
        "noise,weights,edges",
        "--metrics",
        "srg,relevance_mass_accuracy,seconds",
    )
    bench("run", "--plugins", plugin, *choice, "--samples", 12, "--results", tmp_path / "r", "--save-attributions")
    return tmp_path / "r"


def test_verdicts_pictures_and_formats(bench, results, tmp_path):
    picture = tmp_path / "new" / "apart.png"
    answer = bench("compare", "weights", "noise", "--results", results, "--pictures", picture)
    assert answer.status == 0, answer.err
    assert re.search(r"localization +weights closer to the evidence, p = 0\.00\d: wins", answer.out)
    assert re.search(r"runtime +(weights|noise) [\d.]+ times faster", answer.out)
    assert "toy · localization" in answer.out
    assert f"Drawn: {picture}" in answer.err
    assert imread(picture).shape[0] > 100
    assert "toy · localization" not in bench("compare", "weights", "noise", "--results", results, "--no-details").out
    for format, mark in (("markdown", "- **overall**"), ("latex", r"\begin{tabular}"), ("csv", "task,category,")):
        assert mark in bench("compare", "weights", "noise", "--results", results, "--format", format).out
    assert "weights a" in bench("compare", "weights", "noise", "edges", "--results", results).out


WRONG = [
    (("weights", "noize"), "no record of noize: did you mean noise"),
    (("weights",), "two different explainers"),
    (("weights", "noise", "--tasks", "toi"), "no task toi"),
    (("weights", "noise", "--pictures", "x.gif"), "--pictures x.gif"),
    (("weights", "noise", "--family", "runtime"), "no score in common"),
]


def test_what_cannot_be_compared_is_one_line(bench, results):
    for arguments, complaint in WRONG:
        answer = bench("compare", *arguments, "--results", results)
        assert answer.status == 2
        assert complaint in answer.err
        assert answer.err.count("\n") == 1


def test_pictures_need_maps_that_were_kept(bench, results, tmp_path):
    (results / "toy" / "00000" / "attributions" / "noise.npz").unlink()
    arguments = ("compare", "weights", "noise", "--results", results, "--pictures", tmp_path / "x.png")
    assert "no maps of noise: run the same again with --save-attributions" in bench(*arguments).err
    (results / "toy" / "00000" / "attributions" / "inputs.npz").unlink()
    answer = bench(*arguments)
    assert answer.status == 2
    assert "were not kept" in answer.err


def test_the_critical_difference_diagram_is_drawn(bench, results, tmp_path):
    answer = bench("figure", "cd", "--results", results, "--out", tmp_path / "cd.png", "--family", "overall")
    assert answer.status == 0, answer.err
    assert imread(tmp_path / "cd.png").shape[1] > 500
    for arguments, complaint in (
        (("--out", "x.gif"), "--out x.gif"),
        (("--out", "x.png", "--family", "y"), "family y"),
    ):
        assert complaint in bench("figure", "cd", "--results", results, *arguments).err
