"""The studies' statistics: planted effects are found, none is not, and slow replicas agree."""

from collections.abc import Mapping
from dataclasses import replace
from itertools import permutations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.image import imread
from scipy import stats

from leaderboard.record import Results
from leaderboard.studies import accuracy, composites, shortcut, training
from leaderboard.studies.accuracy import Accuracy, accuracy_study
from leaderboard.studies.composites import composite_study
from leaderboard.studies.page import Page, markdown
from leaderboard.studies.scores import CUE, NOT_RESTING, RESTING, balanced, joined, of_task
from leaderboard.studies.shortcut import Twins, shortcut_study
from leaderboard.studies.training import Change, training_study
from leaderboard.style import Style

from .planted import Array, normal, planted

TWINS = Twins("cued", "honest")
CHANGE = Change("plain", "augmented")


def decided(results: Results, targets: Mapping[str, list[str]] | None = None) -> Results:
    """The same, with a decision for each sample: right, and for one class, unless targets say otherwise."""
    samples = results.samples.assign(target="tumour", prediction="tumour", label="tumour")
    for task, of_task_ in (targets or {}).items():
        samples.loc[samples.task == task, "target"] = of_task_
    return replace(results, samples=samples)


def cued(first: Mapping[str, Array], second: Mapping[str, Array]) -> Results:
    """Masses on the cue by explainer; the first network rests on it, the second does not."""
    nothing = np.full(len(next(iter(first.values()))), np.nan)
    parts = {}
    for task, masses, metric, other in (
        ("cued", first, RESTING, NOT_RESTING),
        ("honest", second, NOT_RESTING, RESTING),
    ):
        for explainer, mass in masses.items():
            parts[task, "localization", metric, explainer] = mass
            parts[task, "localization", other, explainer] = nothing
    return decided(planted(parts, lower_is_better=(NOT_RESTING,)))


def masses(n: int, seed: int, mean: float) -> Array:
    return np.clip(normal(n, seed) * 0.05 + mean, 0, 1)


def test_a_cue_is_revealed_by_the_explainer_that_points_at_it_and_by_no_other() -> None:
    center = masses(20, 9, 0.2)
    first = {"sees": masses(20, 0, 0.6), "blind": masses(20, 1, 0.3), "shy": masses(20, 2, 0.1), "c_center": center}
    second = {"sees": masses(20, 3, 0.1), "blind": masses(20, 4, 0.3), "shy": masses(20, 5, 0.0), "c_center": center}
    study = shortcut_study(cued(first, second), [TWINS])
    table = study.table.set_index("explainer")
    reveals = study.reveals().set_axis(table.index)
    assert reveals.to_dict() == {"blind": False, "sees": True, "shy": True, "c_center": False}
    assert table.above_controls.to_dict() == {"blind": True, "sees": True, "shy": False, "c_center": None}
    assert table.auc["c_center"] == 0.5
    told = "\n".join(line for _, lines in shortcut.page(study).verdicts for line in lines)
    assert "Revealed by 1 of 3 explainers: sees (AUC 1.00 [1.00, 1.00])." in told
    assert "Told apart from its honest twin, but with no more on the cue" in told
    assert "Cannot be told apart from its honest twin by blind" in told


def test_the_area_counts_pairs_of_samples() -> None:
    first, second = normal(15, 1, 0.5).round(1), normal(15, 2).round(1)
    study = shortcut_study(cued({"one": first}, {"one": second}), [TWINS])
    slowly = np.mean([(a > b) + 0.5 * (a == b) for a in first for b in second])
    row = study.table.iloc[0]
    assert row.auc == pytest.approx(slowly)
    assert row.auc_low < row.auc < row.auc_high


def test_twins_that_do_not_differ_are_seldom_told_apart() -> None:
    found = [
        shortcut_study(cued({"one": normal(12, seed)}, {"one": normal(12, seed + 1000)}), [TWINS]).reveals().any()
        for seed in range(60)
    ]
    assert np.mean(found) <= 0.1


def test_few_samples_are_said_to_be_few_and_no_cue_is_an_error() -> None:
    study = shortcut_study(cued({"one": np.full(3, 0.9)}, {"one": np.full(3, 0.1)}), [TWINS])
    assert "too few samples: 3" in study.too_few
    assert not study.reveals().any()
    with pytest.raises(ValueError, match="no sample in common on whose cue the first rests"):
        shortcut_study(cued({"one": np.full(3, np.nan)}, {"one": np.full(3, 0.1)}), [TWINS])
    without = decided(planted({(task, "localization", "iou", "one"): normal(3, 0) for task in TWINS}))
    with pytest.raises(ValueError, match="cued has no score of shortcut_mass"):
        shortcut_study(without, [TWINS])


def test_the_mass_on_the_cue_is_whichever_is_defined() -> None:
    parts = {
        ("t", "localization", RESTING, "one"): np.array([0.7, np.nan, np.nan]),
        ("t", "localization", NOT_RESTING, "one"): np.array([np.nan, 0.2, np.nan]),
    }
    assert of_task(planted(parts), "t")[CUE, "one"].to_list() == pytest.approx([0.7, 0.2, np.nan], nan_ok=True)


def trained(shift: float, targets: Mapping[str, list[str]] | None = None, n: int = 16) -> Results:
    base = normal(n, 3)
    parts = {
        (task, "localization", "mass", explainer): base + noise
        for explainer, seed in (("lrp", 10), ("cam", 20), ("c_edges", 30))
        for task, noise in (
            ("plain", 0.1 * normal(n, seed)),
            ("augmented", 0.1 * normal(n, seed + 1) + (shift if explainer == "lrp" else 0)),
        )
    }
    return decided(planted(parts), targets)


def test_a_change_is_found_where_it_is() -> None:
    study = training_study(trained(0.5), [CHANGE], ["mass"])
    assert study.significant().to_list() == [False, True, False]
    row = study.table.set_index("explainer").loc["lrp"]
    assert row.low < 0.5 < row.high
    assert row.difference == pytest.approx(row.mean_changed - row.mean_without)
    ((heading, lines),) = training.page(study).verdicts
    assert heading == "augmented less plain"
    assert lines[1].startswith("mass: higher by 1 of 2 explainers (lrp +0.")
    none = training_study(trained(0.0), [CHANGE], ["mass"])
    assert not none.significant().any()
    assert "cannot be told apart by any of 2 explainers" in training.page(none).verdicts[0][1][1]


def test_only_samples_explained_for_the_same_class_are_compared() -> None:
    targets = {"augmented": ["tumour"] * 10 + ["none"] * 6}
    study = training_study(trained(0.5, targets), [CHANGE], ["mass"], {CHANGE: True})
    assert study.n_alike[CHANGE] == (10, 16)
    assert set(study.table.n) == {10}
    assert (
        "10 of 16 samples are explained for the same class, the same images" in training.page(study).verdicts[0][1][0]
    )
    with pytest.raises(ValueError, match="none for which both explain the same class"):
        training_study(trained(0.5, {"augmented": ["none"] * 16}), [CHANGE], ["mass"])
    with pytest.raises(ValueError, match="no score in common"):
        training_study(trained(0.5), [CHANGE], ["iou"])


def networks(slope: float, n: int) -> tuple[Results, dict[str, Accuracy]]:
    base, parts = normal(20, 1) * 0.1, {}
    for at in range(n):
        parts[f"n{at}", "localization", "mass", "lrp"] = base + slope * at + 0.05 * normal(20, at + 50)
        parts[f"n{at}", "localization", "mass", "c_center"] = base
    return decided(planted(parts)), {f"n{at}": Accuracy(0.5 + 0.05 * at, 400) for at in range(n)}


def test_networks_that_classify_better_and_localize_better_are_found() -> None:
    study = accuracy_study(*networks(0.2, 6), metric="mass")
    row = study.table.set_index("explainer").loc["lrp"]
    assert row.rho == pytest.approx(1)
    assert row.p_value == pytest.approx(2 / 720)
    assert row.difference == pytest.approx(1.0, abs=0.1)
    assert row.p_difference < 0.001
    told = "\n".join(accuracy.page(study).verdicts[0][1])
    assert "Networks that classify better localize better by lrp (rho +1.00" in told
    assert np.isnan(study.table.set_index("explainer").rho["c_center"])


def test_three_networks_are_too_few_whatever_they_say() -> None:
    study = accuracy_study(*networks(0.2, 3), metric="mass")
    assert study.least_p == pytest.approx(1 / 3)
    told = "\n".join(accuracy.page(study).verdicts[0][1])
    assert "Too few networks to tell: 3" in told
    assert "No correlation can be told by lrp" in told


def test_networks_that_do_not_differ_are_not_told_apart() -> None:
    study = accuracy_study(*networks(0.0, 6), metric="mass")
    row = study.table.set_index("explainer").loc["lrp"]
    assert row.p_value > 0.05
    assert row.sample_low < 0 < row.sample_high or row.network_low < 0 < row.network_high
    assert "cannot be told apart by any explainer" in "\n".join(accuracy.page(study).verdicts[0][1])


def test_the_correlation_and_its_test_are_those_of_the_book() -> None:
    values, means = np.array([0.5, 0.7, 0.7, 0.8, 0.9]), normal(5, 7).round(1)
    found = accuracy._spearman(values[:, None], means[:, None])[0]
    assert found == pytest.approx(stats.spearmanr(values, means).statistic)
    others = [stats.spearmanr(values, means[list(order)]).statistic for order in permutations(range(5))]
    assert accuracy._permuted(values, means) == pytest.approx(np.mean(np.abs(others) >= abs(found) - 1e-9))
    assert 0 < accuracy._permuted(np.arange(12.0), np.arange(12.0)) < 0.001


def test_an_accuracy_has_wilsons_interval_and_an_area_has_none() -> None:
    low, high = Accuracy(1.0, 400).interval()
    assert (low, high) == pytest.approx((0.9905, 1.0), abs=1e-4)
    assert np.isnan(Accuracy(0.9, 400, counts=False).interval()).all()


def test_networks_without_masks_or_samples_in_common_are_refused() -> None:
    results, scores = networks(0.2, 2)
    with pytest.raises(ValueError, match="fewer than two networks have scores"):
        accuracy_study(results, scores, metric="iou")
    apart = replace(results, scores=results.scores.astype({"sample": str}))
    apart.scores.loc[apart.scores.task == "n1", "sample"] += "x"
    with pytest.raises(ValueError, match="share no sample"):
        accuracy_study(apart, scores, metric="mass")


def ranked(shift: float) -> Results:
    parts = {}
    for task in ("one", "two"):
        for family, metric in (("faithfulness", "srg"), ("complexity", "sparse")):
            for at, composite in enumerate(("flat", "plus", "epsilon")):
                moved = shift * {"flat": 1, "plus": 0, "epsilon": -1}[composite]
                parts[task, family, metric, composite] = normal(
                    16, 100 * at + len(task + metric) + (task == "two"), moved
                )
    return planted(parts)


def test_the_best_composite_is_named_and_so_is_what_cannot_be_told() -> None:
    study = composite_study(ranked(6.0), ["one", "two"], "plus")
    assert study.rival == "flat"
    told = composites.page(study).verdicts[0][1]
    assert told[0].startswith(
        "all networks: flat leads, mean rank 1.0 [1.0, 1.0] a, significantly ahead of every other"
    )
    assert "plus is 2nd of 3" in told[0]
    assert "significantly behind the best" in told[0]
    assert told[-2] == "Which metrics decide: none alone, flat leads without any one family."
    assert "flat is better, p < 0.001" in told[-1]
    none = composites.page(composite_study(ranked(0.0), ["one", "two"], "plus")).verdicts[0][1]
    assert "cannot be told apart from" in none[0]
    assert "cannot be told apart, p = " in none[-1]
    with pytest.raises(ValueError, match="grad_cam among them, need scores"):
        composite_study(ranked(0.0), ["one", "two"], "grad_cam")


def test_a_page_is_escaped_and_names_its_figure() -> None:
    page = Page(
        "a_b*", (("", ("x | y",)), ("c", ("d",))), (("T", pd.DataFrame({"m|n": ["1\n[2]"]})),), ("no <b>",), "end"
    )
    text = markdown(page, ["a.png"])
    assert text.startswith("# a_b\\*\n\n- x \\| y\n\n**c**\n\n- d\n\n![a_b\\*](a.png)\n\n## T\n\n| m\\|n |")
    assert "1 \\[2\\]" in text
    assert "- no &lt;b&gt;" in text


@pytest.mark.parametrize("style", [None, Style(width=85, font="DejaVu Serif", font_size=9)])
def test_every_study_is_drawn(tmp_path: Path, style: Style | None) -> None:
    """matplotlib warns, which is an error here, where something has no room."""
    masses_ = cued(
        {"a": masses(12, 0, 0.6), "c_x": masses(12, 1, 0.2)}, {"a": masses(12, 2, 0.1), "c_x": masses(12, 3, 0.2)}
    )
    drawn = [
        shortcut.draw(shortcut_study(masses_, [TWINS]), tmp_path / "s.png", style),
        training.draw(training_study(trained(0.5), [CHANGE], ["mass"]), tmp_path / "t.pdf", style),
        accuracy.draw(accuracy_study(*networks(0.2, 4), metric="mass"), tmp_path / "sub" / "a.png", style),
        composites.draw(composite_study(ranked(1.0), ["one", "two"], "plus"), tmp_path / "c.png", style),
    ]
    assert all(path.stat().st_size > 3000 for path in drawn)
    widths = {imread(path).shape[1] for path in drawn if path.suffix == ".png"}
    assert widths == {int((style or Style()).inches * 150)}


def test_samples_that_not_everybody_was_asked_about_are_left_out() -> None:
    parts = {("a", "localization", "mass", name): normal(6, at) for at, name in enumerate(("lrp", "cam"))}
    parts["b", "localization", "mass", "lrp"] = np.array([0.1, np.nan])
    whole = planted(parts)
    late = (
        (whole.scores.task == "a") & (whole.scores.explainer == "cam") & (whole.scores["sample"].astype(str) >= "s004")
    )
    fair = balanced(replace(whole, scores=whole.scores[~late]))
    kept = {"a": [f"s{at:03d}" for at in range(4)], "b": ["s000", "s001"]}  # undefined is not unasked
    for task, names in kept.items():
        assert sorted(fair.samples["sample"][fair.samples.task == task]) == names
        assert sorted(set(fair.scores["sample"][fair.scores.task == task])) == names
    assert len(balanced(whole).scores) == len(whole.scores)


def test_results_of_different_tasks_are_put_together() -> None:
    first, second = (planted({(task, "localization", "mass", "lrp"): normal(3, 0)}) for task in "ab")
    both = joined([first, second])
    assert set(both.scores.task) == {"a", "b"}
    assert of_task(both, "b")["mass", "lrp"].to_list() == pytest.approx(normal(3, 0))
