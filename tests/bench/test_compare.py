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
    look = ("--width", 127, "--dpi", 100, "--colours", "PuOr_r", "--font", "DejaVu Serif")
    answer = bench("compare", "weights", "noise", "--results", results, "--pictures", picture, *look)
    assert answer.status == 0, answer.err
    assert re.search(r"localization +weights closer to the evidence, p = 0\.00\d: wins", answer.out)
    assert re.search(r"runtime +(weights|noise) [\d.]+ times faster", answer.out)
    assert "toy · localization" in answer.out
    assert f"Drawn: {picture}" in answer.err
    assert imread(picture).shape[1] == 500
    assert "toy · localization" not in bench("compare", "weights", "noise", "--results", results, "--no-details").out
    for format, mark in (("markdown", "- **overall**"), ("latex", r"\begin{tabular}"), ("csv", "task,category,")):
        assert mark in bench("compare", "weights", "noise", "--results", results, "--format", format).out
    assert "weights a" in bench("compare", "weights", "noise", "edges", "--results", results).out


def test_a_file_is_written_in_the_format_of_its_ending(bench, results, tmp_path):
    marks = {".html": "<!doctype html>", ".md": "- **overall**", ".csv": "task,category,", ".txt": "runtime"}
    for ending, mark in marks.items():
        path = tmp_path / "new" / f"apart{ending}"
        answer = bench("compare", "weights", "noise", "--results", results, "--out", path)
        assert answer.status == 0, answer.err
        assert answer.out == ""
        assert f"Written: {path}" in answer.err
        assert mark in path.read_text(encoding="utf-8")
    page = (tmp_path / "new" / "apart.html").read_text(encoding="utf-8")
    assert 'alt="Map by weights"' in page
    bench("compare", "weights", "noise", "--results", results, "--out", tmp_path / "page.txt", "--format", "html")
    assert (tmp_path / "page.txt").read_text(encoding="utf-8") == page


WRONG = [
    (("weights", "noize"), "no record of noize: did you mean noise"),
    (("weights",), "two different explainers"),
    (("weights", "noise", "--tasks", "toi"), "no task toi"),
    (("weights", "noise", "--pictures", "x.gif"), "--pictures x.gif"),
    (("weights", "noise", "--family", "runtime"), "no score in common"),
    (("weights", "noise", "--out", "x.doc"), "--out x.doc"),
    (("weights", "noise", "--format", "html"), "--out FILE.html"),
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


CHARTS = {
    "pareto": ("--family", "overall,localization"),
    "ranks": (),
    "cd": ("--over", "tasks"),
}


def test_charts_are_drawn_as_wide_as_asked_for(bench, results, tmp_path):
    for name, arguments in CHARTS.items():
        path = tmp_path / f"{name}.png"
        answer = bench(
            *("figure", name, "--results", results, "--out", path, "--width", 160, "--dpi", 60),
            *("--font", "DejaVu Serif", "--font-size", 6, *arguments),
        )
        assert answer.status == 0, answer.err
        assert answer.out == f"Drawn: {path}\n"
        assert imread(path).shape[1] == pytest.approx(160 / 25.4 * 60, abs=1)


def test_charts_of_the_showcase(bench, showcase, tmp_path):
    for name, arguments in (
        ("strengths", ("--metrics", "rot*")),
        ("curves", ("--metrics", "deletion", "--explainers", "good,bad")),
        ("agreement", ("--colours", "PuOr", "--tasks", "phantom_spots")),
        ("agreement", ("--by-family",)),
    ):
        path = tmp_path / f"{name}.pdf"
        answer = bench("figure", name, "--results", showcase.folder, "--out", path, *arguments)
        assert answer.status == 0, answer.err
        assert path.read_bytes()[:4] == b"%PDF"
        assert ("--explainers chooses" in answer.out) == (name == "strengths")


NO_CHARTS = [
    (("strengths",), "rotation_mild,rotation,rotation_strong"),
    (("agreement", "--family", "localization"), "no agreement to draw"),
    (("ranks", "--font", "DejaVu Sanz"), "did you mean DejaVu Sans"),
    (("agreement", "--cmap", "RdBuu"), "did you mean RdBu"),
    (("pareto", "--family", "beauty"), "no ranked family beauty"),
    (("curves", "--explainers", "weigths"), "no record of weigths: there are weights"),
    (("ranks", "--tasks", "toi"), "no task toi"),
]


def test_what_cannot_be_charted_is_one_line(bench, results, tmp_path):
    for arguments, complaint in NO_CHARTS:
        answer = bench("figure", *arguments, "--results", results, "--out", tmp_path / "x.png")
        assert answer.status == 2
        assert complaint in answer.err
        assert answer.err.count("\n") == 1
