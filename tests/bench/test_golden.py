"""The whole table of a small run, against the stored one.

Made by `bench run --tasks phantom_brain_mri_vgg16 --samples 4 --device cpu --results golden`, from the columns
task, metric, explainer, n, mean of `golden/leaderboard.csv`, the family runtime left out. Where a change of scores
is meant, make it again and say why in the changelog.
"""

from pathlib import Path

import pandas as pd

GOLDEN = Path(__file__).with_name("golden.csv")
KEY = ["task", "metric", "explainer"]


def test_the_table_of_a_small_run_is_the_stored_one(bench, tmp_path):
    golden = pd.read_csv(GOLDEN).set_index(KEY).sort_index()
    metrics = ",".join(sorted({metric for _, metric, _ in golden.index}))
    explainers = ",".join(sorted({explainer for _, _, explainer in golden.index}))
    choice = ("--tasks", "phantom_brain_mri_vgg16", "--samples", 4, "--device", "cpu")
    answer = bench("run", *choice, "--metrics", metrics, "--explainers", explainers, "--results", tmp_path)
    assert answer.status == 0, answer.out
    table = pd.read_csv(tmp_path / "leaderboard.csv").set_index(KEY).sort_index()[["n", "mean"]]
    # Other versions of torch round otherwise, and that swaps pixels of nearly equal attribution.
    pd.testing.assert_frame_equal(table, golden, rtol=0.02, atol=0.005)
