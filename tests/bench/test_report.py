"""`bench report`, and what `bench run --save-attributions` keeps for it."""

import re

import numpy as np
import pandas as pd
import pytest
import torch

from bench.catalog import catalog
from bench.telling import description, told_of
from leaderboard import record
from leaderboard.removal import removal_curves
from metrics.base import Decisions, Explanation

PLUGIN = """
toy = ToyTask()
weights = Weights()

class Curveless(Metric):
    '''Says that it has a curve.

    Not told.

    Reference: Nobody,
    "On `curves`", 2020.
    '''
    category = Category.FAITHFULNESS
    higher_is_better = True
    has_curve = True

    def score(self, explanation):
        return explanation.attributions.mean(dim=(1, 2, 3))

curveless = Curveless()
"""


def _run(bench, plugin, results, *more):
    choice = ("--tasks", "toy", "--plugins", plugin, "--explainers", "weights,noise", "--results", results)
    return bench("run", *choice, *more)


def test_the_curves_that_are_kept_have_the_area_of_the_scores(bench, write, tmp_path):
    plugin = write(PLUGIN)
    metrics = ("--metrics", "deletion,insertion_blur,srg")
    _run(bench, plugin, tmp_path, *metrics)
    answer = _run(bench, plugin, tmp_path, *metrics, "--save-attributions")
    assert "0 computed, 6 already there" in answer.out
    scores = record.load(tmp_path).scores
    folder = tmp_path / "toy" / "00000" / "attributions"
    for explainer in ("weights", "noise"):
        with np.load(folder / f"{explainer}.npz") as kept:
            assert {name for name in kept.files if name.startswith("curve_")} == {
                "curve_deletion",
                "curve_insertion_blur",
            }
            for metric in ("deletion", "insertion_blur"):
                area = dict(zip(kept["ids"].tolist(), np.trapezoid(kept[f"curve_{metric}"], dx=1 / 32), strict=True))
                rows = scores[(scores.explainer == explainer) & (scores.metric == metric)]
                assert len(rows) == 6
                assert [area[name] for name in rows["sample"]] == pytest.approx(rows.score.tolist(), abs=1e-6)
    curves = {(one.explainer, one.metric): one for one in removal_curves(tmp_path, pd.DataFrame())}
    assert len(curves) == 4
    # The whole image at one end, nothing of it at the other.
    assert curves["weights", "deletion"].mean[0] == pytest.approx(curves["noise", "deletion"].mean[0])
    assert curves["weights", "insertion_blur"].mean[-1] == pytest.approx(curves["weights", "deletion"].mean[0])
    again = _run(bench, plugin, tmp_path, *metrics, "--save-attributions")
    assert "0 computed, 6 already there" in again.out


def test_maps_without_the_curves_are_made_again(bench, write, tmp_path):
    plugin = write(PLUGIN)
    _run(bench, plugin, tmp_path, "--metrics", "srg", "--save-attributions")
    assert removal_curves(tmp_path, pd.DataFrame()) == []
    _run(bench, plugin, tmp_path, "--metrics", "srg,deletion", "--save-attributions")
    assert {one.metric for one in removal_curves(tmp_path, pd.DataFrame())} == {"deletion"}


def test_a_curve_that_fails_is_told_and_costs_no_score(bench, write, tmp_path):
    answer = _run(bench, write(PLUGIN), tmp_path, "--metrics", "curveless,deletion", "--save-attributions")
    assert answer.status == 1
    assert "curve: " in answer.out
    assert set(record.load(tmp_path).cells.status) == {"scored"}
    assert {one.metric for one in removal_curves(tmp_path, pd.DataFrame())} == {"deletion"}


def test_a_curve_costs_no_forward_pass_after_the_score():
    entries = catalog()
    model = entries.tasks["phantom_chest_xray_pneumonia_cnn"].model()
    decisions = Decisions(model, torch.rand(2, 3, 96, 96, generator=torch.Generator().manual_seed(0)))
    maps = torch.rand(2, 1, 96, 96, generator=torch.Generator().manual_seed(1))
    explanation = Explanation(decisions, maps, lambda *_: maps)
    with_curves = [name for name, metric in entries.metrics.items() if metric.has_curve]
    assert {"deletion", "insertion", "deletion_blur", "insertion_blur"} <= set(with_curves)
    for name in ("deletion", "insertion"):
        score = entries.metrics[name](explanation)
        n_forwarded = decisions.n_forwarded
        curve = entries.metrics[name].curve(explanation)
        assert decisions.n_forwarded == n_forwarded
        assert torch.trapezoid(curve, dx=1 / 32, dim=1).tolist() == pytest.approx(score.tolist())
    with pytest.raises(ValueError, match="has no curve"):
        entries.metrics["srg"].curve(explanation)


def test_the_page_is_written_with_what_the_catalog_knows(bench, write, tmp_path):
    plugin = write(PLUGIN)
    _run(bench, plugin, tmp_path / "r", "--metrics", "curveless,pointing_game,seconds")
    out = tmp_path / "new" / "page.html"
    answer = bench("report", "--results", tmp_path / "r", "--plugins", plugin, "--out", out)
    assert answer.status == 0
    assert re.search(r"Written: .*page\.html \(\d\.\d MB\)", answer.out)
    page = out.read_text(encoding="utf-8")
    assert "Says that it has a curve. Reference: Nobody, &#34;On <code>curves</code>&#34;, 2020." in page
    assert "Not told." not in page
    assert "classes</dt><dd>left, right</dd>" in page
    assert "brain_mri_squeezenet</dt><dd>" in page
    assert f"{sum(1 for _ in record.records(tmp_path / 'r'))} records" in page


def test_a_description_of_a_base_comes_with_it():
    metrics = catalog().metrics
    assert "`MPRT`" in description(metrics["smooth_mprt"])
    base = next(kind for kind in type(metrics["smooth_mprt"]).__mro__ if kind.__name__ == "MPRT")
    assert " ".join(base.__doc__.split("\n\n")[0].split()) in description(metrics["smooth_mprt"])
    assert all(description(metric) for metric in metrics.values())


def test_tasks_that_did_not_run_are_told_with_the_reason(tmp_path, monkeypatch):
    monkeypatch.delenv("BENCH_DATA", raising=False)
    (tmp_path / "phantom_brain_mri_vgg16").mkdir()
    told = told_of(catalog(), tmp_path)
    assert set(told.tasks) == {"phantom_brain_mri_vgg16"}
    assert "phantom_brain_mri_vgg16" not in told.not_run
    assert told.not_run["phantom_melanoma_vgg16"] == "it was not asked for"
    assert "BENCH_DATA" in told.not_run["brain_mri_squeezenet"]


@pytest.mark.parametrize("content", [None, b"no record"])
def test_bad_results_are_one_line(bench, tmp_path, content):
    if content is not None:
        (tmp_path / "r" / "task" / "00000").mkdir(parents=True)
        (tmp_path / "r" / "task" / "00000" / "x.parquet").write_bytes(content)
    answer = bench("report", "--results", tmp_path / "r", "--out", tmp_path / "page.html")
    assert answer.status == 2
    assert str(tmp_path / "r") in answer.err
    assert len(answer.err.strip().splitlines()) == 1
    assert not (tmp_path / "page.html").exists()


def test_a_page_that_cannot_be_written_is_one_line(bench, write, tmp_path):
    plugin = write(PLUGIN)
    _run(bench, plugin, tmp_path / "r", "--metrics", "pointing_game")
    answer = bench("report", "--results", tmp_path / "r", "--out", tmp_path)
    assert answer.status == 2
    assert len(answer.err.strip().splitlines()) == 1
