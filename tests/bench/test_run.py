"""`bench run`: records are complete, kept, resumed, replaced; what fails costs its own cells only."""

import errno
import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bench.catalog import catalog
from leaderboard import record
from leaderboard.record import Status

TASK = "toy = ToyTask()\n"
METRICS = "deletion,pointing_game,sparseness"


def contents(results: Path) -> dict[str, tuple[int, bytes]]:
    return {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in results.rglob("*.parquet")}


def test_a_bare_run_says_what_to_choose(bench):
    answer = bench("run")
    assert answer.status == 2
    assert "--all" in answer.err
    assert answer.err.count("\n") == 1


def test_a_run_makes_a_whole_table(bench, write, tmp_path):
    plugin = write(TASK + "weights = Weights()")
    answer = bench("run", "--tasks", "toy", "--plugins", plugin, "--results", tmp_path / "r", "--metrics", METRICS)
    assert answer.status == 0, answer.err
    assert "weights" in answer.out
    table = pd.read_csv(tmp_path / "r" / "leaderboard.csv").set_index(["metric", "explainer"])
    assert table.loc[("pointing_game", "weights"), "mean"] == 1
    assert table.loc[("pointing_game", "noise"), "mean"] < 1
    assert table.loc[("deletion", "noise"), "n"] == 6
    written = (tmp_path / "r" / "leaderboard.md").read_text()
    assert written.startswith("## Summary · toy · 6 samples")
    assert "### toy" in written
    assert set(pd.read_csv(tmp_path / "r" / "summary.csv").explainer) == set(table.reset_index().explainer)


def test_a_record_tells_where_it_comes_from(bench, write, tmp_path):
    plugin = write(TASK)
    bench("run", "--tasks", "toy", "--plugins", plugin, "--results", tmp_path, "--explainers", "grad_cam", "--seed", 3)
    made = record.read(record.path_of(tmp_path, "toy", "00000", "grad_cam"))
    assert made.provenance["task"] == "ToyTask(n_samples=6, contrast=0.5)"
    assert made.provenance["explainer"].startswith("GradCAM(stage=None)")
    assert made.provenance["seed"] == "3"
    assert "torch=" in made.provenance["versions"]
    assert made.origin.keys() >= {"commit", "seconds", "images"}
    assert set(made.samples) == {f"toy-{index}" for index in range(6)}
    assert made.cells["deletion"].settings.startswith("Deletion(imputer=MeanImputer(), n_steps=32)")


def test_samples_are_told_with_their_outcome(bench, write, tmp_path):
    bench("run", "--tasks", "toy", "--plugins", write(TASK), "--results", tmp_path, "--explainers", "noise")
    samples = record.load(tmp_path).samples
    assert samples.label.tolist() == ["left", "right"] * 3
    assert set(samples.outcome) == {"true positive"}
    assert samples.mask_area.tolist() == [0.5] * 6


def test_samples_are_told_with_their_patient_where_the_task_knows(bench, write, tmp_path):
    known = (
        TASK
        + """
class OfPatients(ToyTask):
    def patient(self, sample):
        return f"p{int(sample.removeprefix('toy-')) // 2}"


known = OfPatients()
"""
    )
    choice = ("--tasks", "toy,known", "--explainers", "noise,gradient", "--metrics", "sparseness")
    answer = bench("run", *choice, "--plugins", write(known), "--results", tmp_path)
    samples = record.load(tmp_path).samples.set_index("task")
    assert samples.patient["known"].tolist() == ["p0", "p0", "p1", "p1", "p2", "p2"]
    assert samples.patient["toy"].isna().all()
    assert "12 samples of 9 patients" in answer.out


def test_a_second_identical_run_rewrites_nothing(bench, write, tmp_path):
    arguments = (
        "run",
        "--tasks",
        "toy",
        "--plugins",
        write(TASK),
        "--results",
        tmp_path / "r",
        "--explainers",
        "noise,edges",
    )
    bench(*arguments)
    before = contents(tmp_path / "r")
    answer = bench(*arguments)
    assert contents(tmp_path / "r") == before
    assert "0 computed" in answer.out


def test_a_further_explainer_computes_only_its_own_cells(bench, write, tmp_path):
    plugin = write(TASK)
    common = ("run", "--tasks", "toy", "--plugins", plugin, "--results", tmp_path / "r", "--metrics", METRICS)
    bench(*common, "--explainers", "noise")
    before = contents(tmp_path / "r")
    answer = bench(*common, "--explainers", "noise,center")
    after = contents(tmp_path / "r")
    assert after["noise.parquet"] == before["noise.parquet"]
    assert "3 computed, 3 already there" in answer.out


def test_a_further_metric_keeps_the_scores_that_are_there(bench, write, tmp_path):
    common = ("run", "--tasks", "toy", "--plugins", write(TASK), "--results", tmp_path / "r", "--explainers", "noise")
    bench(*common, "--metrics", "seconds")
    before = record.load(tmp_path / "r").scores.score.tolist()
    answer = bench(*common, "--metrics", "seconds,sparseness")
    assert "1 computed, 1 already there" in answer.out
    loaded = record.load(tmp_path / "r").scores
    assert loaded.score[loaded.metric == "seconds"].tolist() == before


def test_runs_of_parts_equal_one_run_bit_for_bit(bench, write, tmp_path, scores):
    plugin = write("toy = ToyTask(40)\n")
    common = ("run", "--tasks", "toy", "--plugins", plugin, "--metrics", "deletion,srg_blur,rotation")
    bench(*common, "--results", tmp_path / "whole", "--explainers", "noise,gradient,edges", "--samples", 40)
    bench(*common, "--results", tmp_path / "parts", "--explainers", "edges", "--samples", 32)
    bench(*common, "--results", tmp_path / "parts", "--explainers", "gradient", "--samples", 40)
    bench(*common, "--results", tmp_path / "parts", "--explainers", "noise,gradient,edges", "--samples", 40)
    pd.testing.assert_frame_equal(scores(tmp_path / "parts"), scores(tmp_path / "whole"), check_exact=True)


def test_scores_do_not_depend_on_the_batch_size(bench, write, tmp_path, scores):
    common = (
        "run",
        "--tasks",
        "toy",
        "--plugins",
        write(TASK),
        "--metrics",
        "deletion,srg_blur,rotation,pointing_game",
        "--explainers",
        "noise,center,gradient,integrated_gradients,smoothgrad,grad_cam,lrp_epsilon_plus,rise",
    )
    bench(*common, "--results", tmp_path / "1", "--batch-size", 1)
    bench(*common, "--results", tmp_path / "5", "--batch-size", 5)
    pd.testing.assert_frame_equal(scores(tmp_path / "1"), scores(tmp_path / "5"), rtol=1e-4, atol=1e-6)


def test_more_samples_extend_a_shard_and_keep_what_is_there(bench, write, tmp_path, scores):
    common = ("run", "--tasks", "toy", "--plugins", write(TASK), "--explainers", "noise", "--metrics", "sparseness")
    bench(*common, "--results", tmp_path / "r", "--samples", 2)
    answer = bench(*common, "--results", tmp_path / "r", "--samples", 6)
    assert "stale" not in answer.out
    assert len(scores(tmp_path / "r")) == 6
    fewer = bench(*common, "--results", tmp_path / "r", "--samples", 4)
    assert "0 computed" in fewer.out


@pytest.mark.parametrize(
    ("first", "second", "what"),
    [
        ("toy = ToyTask()\nmine = Weights(1.0)", "toy = ToyTask()\nmine = Weights(2.0)", "explainer"),
        (
            "toy = ToyTask(contrast=0.5)\nmine = Weights()",
            "toy = ToyTask(contrast=0.4)\nmine = Weights()",
            "task, data",
        ),
    ],
)
def test_a_stale_record_is_replaced_and_said_to_be(bench, write, tmp_path, first, second, what):
    common = ("run", "--tasks", "toy", "--explainers", "mine", "--metrics", "sparseness", "--results", tmp_path / "r")
    # What follows the entries in the file is the same: only the settings differ.
    bench(*common, "--plugins", write(first))
    answer = bench(*common, "--plugins", write(second))
    assert answer.status == 0
    assert "Replaced as stale: 1 records" in answer.out
    assert what.split(", ")[0] in answer.out


def test_another_seed_makes_records_stale(bench, write, tmp_path):
    common = ("run", "--tasks", "toy", "--plugins", write(TASK), "--explainers", "noise", "--metrics", "sparseness")
    bench(*common, "--results", tmp_path / "r")
    assert "(seed changed)" in bench(*common, "--results", tmp_path / "r", "--seed", 1).out


def test_other_settings_of_a_metric_cost_that_metric_only(bench, write, tmp_path):
    results = tmp_path / "r"
    common = ("run", "--tasks", "toy", "--plugins", write(TASK), "--explainers", "noise", "--results", results)
    bench(*common, "--metrics", "sparseness,pointing_game")
    path = record.path_of(results, "toy", "00000", "noise")
    old = record.read(path)
    cells = {**old.cells, "sparseness": record.Cell("complexity", True, "older settings", Status.SCORED)}
    record.write(results, record.Record(**{**vars(old), "cells": cells}))
    answer = bench(*common, "--metrics", "sparseness,pointing_game")
    assert "1 computed, 1 already there" in answer.out
    assert "settings of sparseness changed" in answer.out


def test_a_failing_explainer_costs_its_own_cells(bench, write, tmp_path):
    plugin = write(TASK + "failing = Failing()\nweights = Weights()")
    common = ("run", "--tasks", "toy", "--plugins", plugin, "--metrics", METRICS, "--results", tmp_path / "r")
    answer = bench(*common, "--explainers", "failing,weights")
    assert answer.status == 1
    assert "FAILED toy, failing: explainer: RuntimeError: the explainer is broken" in answer.out
    cells = record.load(tmp_path / "r").cells.set_index(["explainer", "metric"])
    assert cells.loc[("failing", "deletion"), "status"] == Status.FAILED
    assert cells.loc[("failing", "deletion"), "reason"] == "explainer: RuntimeError: the explainer is broken"
    assert set(cells.loc["weights"].status) == {Status.SCORED}
    assert "and says more" in (tmp_path / "r" / "failures.log").read_text()
    again = bench(*common, "--explainers", "failing,weights")
    assert "0 computed, 3 already there, 3 failed" in again.out


def test_a_failing_metric_costs_its_own_cells(bench, write, tmp_path):
    plugin = write(TASK + "raising = Raising()")
    common = ("run", "--tasks", "toy", "--plugins", plugin, "--explainers", "noise", "--results", tmp_path / "r")
    answer = bench(*common, "--metrics", "raising,sparseness")
    assert answer.status == 1
    assert "noise by raising: ZeroDivisionError: the metric is broken" in answer.out
    assert set(record.load(tmp_path / "r").scores.metric) == {"sparseness"}


def test_an_inapplicable_explainer_is_an_answer_with_its_reason(bench, write, tmp_path):
    plugin = write(TASK + "fussy = Fussy()")
    common = ("run", "--tasks", "toy", "--plugins", plugin, "--metrics", "sparseness", "--results", tmp_path / "r")
    answer = bench(*common, "--explainers", "fussy,noise")
    assert answer.status == 0
    assert "it does not like halves" in answer.out


def test_a_stage_that_the_network_does_not_have_is_inapplicable(bench, write, tmp_path):
    common = ("run", "--tasks", "toy", "--plugins", write(TASK), "--metrics", "sparseness", "--results", tmp_path)
    answer = bench(*common, "--explainers", "grad_cam@1,grad_cam@2,noise")
    assert answer.status == 0, answer.err
    assert "the model has 1 stages for images of this size, so no stage 2" in answer.out
    assert record.read(record.path_of(tmp_path, "toy", "00000", "grad_cam@1")).origin["layer"] == "colors"


@pytest.mark.parametrize("what", ["of_samples", "of_model"])
def test_a_failing_task_leaves_the_others_alone(bench, write, tmp_path, what, scores):
    plugin = write(TASK + f"broken = BrokenTask({what}=lambda: OSError('image 7 is truncated: replace it'))")
    common = (
        "run",
        "--tasks",
        "toy,broken",
        "--plugins",
        plugin,
        "--metrics",
        "sparseness",
        "--explainers",
        "noise,center",
    )
    answer = bench(*common, "--results", tmp_path / "r")
    assert answer.status == 1
    assert "FAILED broken, shard 00000: task: OSError: image 7 is truncated: replace it" in answer.out
    assert set(scores(tmp_path / "r").task) == {"toy"}


def test_a_failing_task_takes_nothing_that_was_computed(bench, write, tmp_path):
    common = ("run", "--tasks", "toy", "--metrics", "sparseness", "--explainers", "noise", "--results", tmp_path / "r")
    bench(*common, "--plugins", write("toy = BrokenTask()"))
    before = contents(tmp_path / "r")
    answer = bench(*common, "--plugins", write("toy = BrokenTask(of_samples=lambda: OSError('gone'))"))
    assert answer.status == 1
    assert contents(tmp_path / "r") == before


def test_a_mask_of_another_size_names_its_sample(bench, write, tmp_path):
    source = """
from dataclasses import dataclass


class WrongMask(ToyTask):
    def sample(self, index):
        return super().sample(index)._replace(mask=torch.zeros(1, 4, 4, dtype=torch.bool))


wrong = WrongMask()
"""
    answer = bench(
        "run", "--tasks", "wrong", "--plugins", write(source), "--results", tmp_path / "r", "--explainers", "noise"
    )
    assert answer.status == 1
    assert "toy-0: its mask is (1, 16, 16) bool, not (1, 4, 4)" in answer.out


def test_weights_that_are_not_numbers_fail_the_explainers_that_notice(bench, write, tmp_path):
    source = """
class Poisoned(ToyTask):
    def model(self):
        model = super().model()
        model.conv.weight.fill_(float("nan"))
        return model


poisoned = Poisoned()
"""
    common = (
        "run",
        "--tasks",
        "poisoned",
        "--plugins",
        write(source),
        "--results",
        tmp_path / "r",
        "--metrics",
        "sparseness",
    )
    answer = bench(*common, "--explainers", "gradient,center")
    assert answer.status == 1
    assert "explainer: ValueError: Gradient(): attributions are not finite" in answer.out


def test_a_results_folder_that_cannot_be_written_is_one_line(bench, write, tmp_path):
    (tmp_path / "file").write_text("in the way")
    plugin = write(TASK)
    answer = bench(
        "run", "--tasks", "toy", "--plugins", plugin, "--explainers", "noise", "--results", tmp_path / "file"
    )
    assert answer.status == 2
    assert "cannot write to" in answer.err
    assert answer.err.count("\n") == 1


def test_a_full_disk_is_one_line_and_leaves_no_half_record(bench, write, tmp_path, monkeypatch):
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("leaderboard.record.pq.write_table", full)
    answer = bench(
        "run", "--tasks", "toy", "--plugins", write(TASK), "--explainers", "noise", "--results", tmp_path / "r"
    )
    assert answer.status == 2
    assert f"cannot write to {tmp_path / 'r'}: No space left on device" in answer.err
    assert answer.err.count("\n") == 1
    assert not [path for path in (tmp_path / "r").rglob("*") if path.is_file()]


def test_an_interrupted_run_says_how_to_go_on(bench, write, tmp_path, monkeypatch):
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("bench.commands.run.run_task", interrupted)
    answer = bench("run", "--tasks", "toy", "--plugins", write(TASK), "--results", tmp_path / "r")
    assert answer.status == 130
    assert "what was computed is kept" in answer.err


def test_a_corrupt_record_is_named(bench, write, tmp_path):
    common = ("run", "--tasks", "toy", "--plugins", write(TASK), "--explainers", "noise", "--metrics", "sparseness")
    bench(*common, "--results", tmp_path / "r")
    path = record.path_of(tmp_path / "r", "toy", "00000", "noise")
    path.write_bytes(path.read_bytes()[:100])
    answer = bench(*common, "--results", tmp_path / "r")
    assert answer.status == 2
    assert f"{path} cannot be read" in answer.err
    assert "delete it" in answer.err


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--tasks", "toi"), "no task is called 'toi': did you mean toy?"),
        (("--explainers", "lrp_epsilonplus"), "did you mean lrp_epsilon_plus"),
        (("--metrics", "deletoin"), "did you mean deletion"),
        (("--tasks", "toy", "--device", "warp"), "device 'warp' cannot be used here"),
        (("--tasks", "toy", "--data", "/no/such/folder"), "there is no such folder"),
    ],
)
def test_what_the_user_can_mend_is_one_line(bench, write, tmp_path, arguments, complaint):
    answer = bench("run", "--plugins", write(TASK), "--results", tmp_path / "r", *arguments)
    assert answer.status == 2
    assert complaint in answer.err
    assert answer.err.count("\n") == 1
    assert not (tmp_path / "r").exists()


def test_a_task_without_its_data_is_listed_with_what_to_do(bench, write, tmp_path):
    common = (
        "run",
        "--plugins",
        write(TASK),
        "--results",
        tmp_path / "r",
        "--explainers",
        "noise",
        "--metrics",
        "sparseness",
    )
    answer = bench(*common, "--tasks", "toy,brain_mri*")
    assert answer.status == 0
    assert "Skipped brain_mri_squeezenet: data not found" in answer.out
    assert "--data DIR" in answer.out
    assert bench(*common, "--tasks", "brain_mri_squeezenet").status == 1


def test_saved_attributions_are_what_was_scored(bench, write, tmp_path):
    plugin = write(TASK + "weights = Weights()")
    common = ("run", "--tasks", "toy", "--plugins", plugin, "--metrics", "sparseness", "--results", tmp_path / "r")
    bench(*common, "--explainers", "weights")
    answer = bench(*common, "--explainers", "weights,noise", "--save-attributions")
    assert "1 computed, 1 already there" in answer.out
    folder = tmp_path / "r" / "toy" / "00000" / "attributions"
    with np.load(folder / "weights.npz") as saved:
        maps = saved["attributions"]
    assert maps.shape == (6, 1, 16, 16)
    assert maps[0, 0, :, :8].min() == pytest.approx(0.3)
    with np.load(folder / "inputs.npz") as inputs:
        assert inputs["masks"].shape == (6, 1, 16, 16)
        assert inputs["captions"][1] == "right → right"
    assert (folder / "grid-00.png").stat().st_size > 1000


def test_provenance_is_readable_without_this_benchmark(bench, write, tmp_path):
    import pyarrow.parquet as pq

    bench("run", "--tasks", "toy", "--plugins", write(TASK), "--results", tmp_path, "--explainers", "noise")
    path = record.path_of(tmp_path, "toy", "00000", "noise")
    head = json.loads(pq.read_schema(path).metadata[b"heatmark"])
    assert head["provenance"]["explainer"].startswith("Noise(seed=0)")


def test_all_runs_the_standard_explainers_and_names_or_patterns_any(bench, write, tmp_path):
    plugin = write("toy = ToyTask()")
    choice = ("--plugins", plugin, "--tasks", "toy", "--metrics", "sparseness", "--samples", 2)
    assert bench("run", "--all", *choice, "--results", tmp_path / "all").status == 0
    assert bench("run", *choice, "--explainers", "c?n*", "--results", tmp_path / "some").status == 0
    ran = {path.stem for path in (tmp_path / "all" / "toy" / "00000").glob("*.parquet")} - {"samples"}
    assert ran == {name for name, explainer in catalog().explainers.items() if not explainer.on_request}
    assert {path.stem for path in (tmp_path / "some" / "toy" / "00000").glob("c*")} == {"center", "constant"}


def test_all_judges_by_the_standard_metrics_and_names_or_patterns_any(bench, write, tmp_path):
    plugin = write("toy = ToyTask()")
    choice = ("--plugins", plugin, "--tasks", "toy", "--explainers", "center", "--samples", 2)
    assert bench("run", *choice, "--results", tmp_path / "all").status == 0
    assert bench("run", *choice, "--metrics", "*", "--results", tmp_path / "every").status == 0
    cells = {name: set(record.load(tmp_path / name).cells.metric) for name in ("all", "every")}
    metrics = catalog().metrics
    assert cells["every"] == set(metrics)
    assert cells["all"] == {name for name, metric in metrics.items() if not metric.on_request} < set(metrics)


def test_maps_that_are_zero_everywhere_are_told(bench, write, tmp_path):
    plugin = write("toy = ToyTask()\nweights = Weights()\nnothing = Weights(scale=0)")
    choice = ("--plugins", plugin, "--tasks", "toy", "--explainers", "weights,nothing", "--metrics", "sparseness")
    answer = bench("run", *choice, "--results", tmp_path, "--samples", 3)
    assert answer.status == 0, answer.err
    assert "maps that are 0 everywhere: nothing: 3 samples" in answer.out
    kept = record.read(record.path_of(tmp_path, "toy", "00000", "nothing")).origin["all_zero"]
    assert json.loads(kept) == ["toy-0", "toy-1", "toy-2"]
    assert record.load(tmp_path).zero_maps.explainer.tolist() == ["nothing"] * 3


def test_metrics_of_shortcuts_are_inapplicable_where_no_shortcut_is_marked(bench, write, tmp_path):
    choice = ("--plugins", write(TASK), "--tasks", "toy", "--explainers", "noise", "--metrics", "*shortcut_mass")
    assert bench("run", *choice, "--results", tmp_path).status == 0
    cells = record.read(record.path_of(tmp_path, "toy", "00000", "noise")).cells
    assert cells.keys() == {"shortcut_mass", "unused_shortcut_mass"}
    assert {cell.status for cell in cells.values()} == {record.Status.INAPPLICABLE}
    assert {cell.reason for cell in cells.values()} == {"the task has no masks of shortcuts"}


def test_the_summary_says_where_the_time_went(bench, write, tmp_path):
    plugin = write("toy = ToyTask()\nweights = Weights()")
    choice = ("--plugins", plugin, "--tasks", "toy", "--results", tmp_path, "--samples", 2)
    out = " ".join(bench("run", *choice, "--explainers", "weights,noise", "--metrics", "srg,sparseness").out.split())
    number = r"[0-9.]+ s"
    assert re.search(rf"Time: \w+ {number}, \w+ {number}, \w+ {number}\.", out)
    assert all(what in out.partition("Time: ")[2] for what in ("explaining", "faithfulness", "complexity"))
    assert re.search(rf"Time by explainer: \w+ {number}, \w+ {number}\.", out)
    again = bench("run", *choice, "--explainers", "weights,noise", "--metrics", "srg,sparseness")
    assert "Time" not in again.out
