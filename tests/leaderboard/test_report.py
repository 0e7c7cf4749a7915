"""The report: what it says of results whose answers are known, and that no name becomes markup."""

import base64
import hashlib
import io
import json
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy import stats

from leaderboard import verdict
from leaderboard.agreement import LEAST_EXPLAINERS, agreement, agreements
from leaderboard.origins import origins
from leaderboard.record import heads, load, read, records
from leaderboard.removal import removal_curves
from leaderboard.report import plots
from leaderboard.report.building import Told, report
from leaderboard.report.gallery import exhibits, outline_path
from leaderboard.standings import standings
from leaderboard.statistics import intervals
from leaderboard.table import leaderboard


class Outline(HTMLParser):
    """What elements a page has, and what text."""

    VOID = frozenset({"meta", "link", "img", "input", "br", "wbr"})

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag in self.open:
            while self.open.pop() != tag:
                pass

    def handle_data(self, data):
        self.texts.append((self.open[-1] if self.open else "", data))

    def within(self, tag):
        """The texts of every element of a kind, one after another."""
        return [text for of, text in self.texts if of == tag]


@pytest.fixture(scope="module")
def results(showcase):
    return load(showcase.folder)


@pytest.fixture(scope="module")
def found(results):
    return standings(results)


@pytest.fixture(scope="module")
def page(showcase):
    return report(showcase.folder, showcase.told(), n_images=4)


@pytest.fixture(scope="module")
def outline(page):
    return Outline(page)


@pytest.fixture(scope="module")
def shown(outline):
    """All that a reader sees."""
    seen = "".join(text for tag, text in outline.texts if tag not in ("script", "style"))
    return " ".join(seen.split())


def test_the_verdict_names_the_leader_and_who_cannot_be_told_apart(showcase, found):
    overall = verdict.verdicts(found)[0]
    assert {overall.leader, *overall.tied} == {"good", showcase.HOSTILE}
    assert overall.told
    assert overall.n_ranked == 4
    assert not {"good", showcase.HOSTILE, "fair"} & set(overall.unproven)
    assert overall.low <= overall.mean_rank <= overall.high
    families = [one.column for one in verdict.verdicts(found)]
    assert families == ["overall", "faithfulness", "localization", "robustness"]


def test_the_verdict_says_what_the_leader_lacks(showcase, results, found):
    assert all(one.lacking == {} for one in verdict.verdicts(found) if one.leader == "good")
    cells = results.cells[results.cells.explainer.isin([showcase.HOSTILE, "bad"])]
    without_good = standings(replace(results, cells=cells))
    overall, faithfulness, localization, *_ = verdict.verdicts(without_good)
    assert overall.leader == faithfulness.leader == localization.leader == showcase.HOSTILE
    assert overall.lacking == faithfulness.lacking == {"faithfulness": 0.5}
    assert localization.lacking == {}


def test_costs_are_those_of_the_records(found):
    assert verdict.cost(found, "good").seconds == "100 ms"
    assert verdict.cost(found, "good").times == pytest.approx(10)
    assert verdict.cheapest(found, found.explainers.ranked).explainer == "fair"
    assert verdict.cheapest(found, []) is None


def test_the_front_is_what_nothing_beats_in_both(found):
    names = found.explainers.ranked
    for column in found.columns:
        points = {name: (found.costs.times[name], column.mean_rank[at, 0]) for at, name in enumerate(names)}
        beaten = {
            name
            for name, (time, rank) in points.items()
            if any(t <= time and r <= rank and (t, r) != (time, rank) for t, r in points.values())
        }
        front = verdict.front(found, column)
        assert set(front) == set(names) - beaten
        assert [points[name][0] for name in front] == sorted(points[name][0] for name in front)
    assert verdict.front(found, found.columns[0])[:2] == ["fair", "good"]


def test_agreement_is_kendalls_tau_with_ties_and_gaps():
    rng = np.random.default_rng(1)
    values = rng.integers(0, 5, (9, 6)).astype(float)
    values[rng.random(values.shape) < 0.1] = np.nan
    values[:, 5] = 1
    one = agreement("x", pd.DataFrame(values, columns=list("abcdef")))
    for a in range(6):
        for b in range(6):
            both = np.isfinite(values[:, a]) & np.isfinite(values[:, b])
            expected = stats.kendalltau(values[both, a], values[both, b]).statistic if both.sum() >= 4 else np.nan
            assert one.taus[a, b] == pytest.approx(expected, nan_ok=True)
    assert {pair.first for pair in one.pairs()} | {pair.second for pair in one.pairs()} == set("abcde")
    assert [pair.tau for pair in one.pairs()] == sorted((pair.tau for pair in one.pairs()), reverse=True)


def test_agreement_of_too_few_explainers_is_not_known():
    values = pd.DataFrame(np.arange(2.0 * (LEAST_EXPLAINERS - 1)).reshape(-1, 2), columns=["a", "b"])
    assert np.isnan(agreement("x", values).taus).all()
    assert agreement("x", values).pairs() == []


def test_agreement_turns_metrics_and_leaves_controls_and_costs_out(results, showcase):
    mean, *of_tasks = agreements(leaderboard(results))
    assert [one.title for one in of_tasks] == list(showcase.TASKS)
    assert "seconds" not in mean.metrics
    assert mean.n_explainers == 4
    for metric in ("insertion", showcase.HOSTILE_METRIC):
        assert np.isnan(of_tasks[0].taus[of_tasks[0].metrics.index("deletion"), of_tasks[0].metrics.index(metric)])
    at = [mean.metrics.index(metric) for metric in ("insertion", "rotation")]
    parts = [one.taus[tuple(one.metrics.index(metric) for metric in ("insertion", "rotation"))] for one in of_tasks]
    assert mean.taus[tuple(at)] == pytest.approx(np.mean(parts))
    assert mean.taus[tuple(at)] > 0.5


def test_curves_are_the_mean_over_samples_with_its_interval(showcase):
    curves = {(one.task, one.metric, one.explainer): one for one in removal_curves(showcase.folder, pd.DataFrame())}
    assert set(curves) == {(showcase.TASKS[0], "deletion", name) for name in ("good", "bad")}
    one = curves[showcase.TASKS[0], "deletion", "good"]
    assert one.removed == pytest.approx([0, 0.25, 0.5, 0.75, 1])
    assert one.mean == pytest.approx([1, 0.75, 0.5, 0.25, 0], abs=1e-6)
    kept = np.load(showcase.folder / showcase.TASKS[0] / "00000" / "attributions" / "good.npz")["curve_deletion"]
    _, _, low, high = intervals(kept)
    assert one.low == pytest.approx(low)
    assert one.high == pytest.approx(high)
    assert (one.low < one.mean).all()
    assert one.n_samples == showcase.N_SAMPLES


def test_a_sample_of_two_shards_counts_once_in_the_curves(showcase, tmp_path):
    source = showcase.folder / showcase.TASKS[0] / "00000" / "attributions"
    for shard in ("00000", "00001"):
        shutil.copytree(source, tmp_path / "task" / shard / "attributions")
    assert {one.n_samples for one in removal_curves(tmp_path, pd.DataFrame())} == {showcase.N_SAMPLES}


def test_damaged_maps_are_named(showcase, tmp_path):
    shutil.copytree(showcase.folder, tmp_path / "r")
    damaged = tmp_path / "r" / showcase.TASKS[0] / "00000" / "attributions" / "good.npz"
    damaged.write_bytes(b"no zip")
    with pytest.raises(ValueError, match=re.escape(str(damaged))):
        report(tmp_path / "r", Told())


def test_the_outline_of_a_mask_encloses_its_area():
    mask = np.zeros((12, 9), dtype=bool)
    mask[2:7, 0:4] = True
    points = np.array(
        [[float(part) for part in point.split()] for point in re.split("[ML]", outline_path(mask)[:-1]) if point]
    )
    x, y = points.T
    area = abs(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1))) / 2
    # The contour cuts each corner by an eighth of a pixel.
    assert area == pytest.approx(5 * 4 - 4 / 8)
    assert (x.min(), x.max(), y.min(), y.max()) == (0, 4, 2, 7)
    assert outline_path(np.zeros((3, 3), dtype=bool)) == ""


def test_the_gallery_takes_outcomes_in_turn_and_shows_what_was_kept(showcase, results):
    shown = exhibits(showcase.folder, showcase.TASKS[0], results.samples, ["bad", "fair", "good"], 4)
    assert [one.outcome for one in shown] == ["true positive", "true negative", "false positive", "true positive"]
    assert [picture.name for picture in shown[0].pictures] == ["", "bad", "good"]
    zero = {(one.sample, picture.name) for one in shown for picture in one.pictures if picture.all_zero}
    assert zero == {(f"{showcase.TASKS[0]}-00", "bad")}
    assert shown[0].facts["probability"] == "0.75"
    kept = np.load(showcase.folder / showcase.TASKS[0] / "00000" / "attributions" / "inputs.npz")
    first = Image.open(io.BytesIO(base64.b64decode(shown[0].pictures[0].source.partition(",")[2])))
    assert first.size == (16, 16)
    original = kept["inputs"][0].astype(float).mean(axis=0)
    assert np.corrcoef(np.asarray(first.convert("L"), dtype=float).ravel(), original.ravel())[0, 1] > 0.8
    assert exhibits(showcase.folder, showcase.TASKS[1], results.samples, ["good"], 4) == []
    assert exhibits(showcase.folder, showcase.TASKS[0], results.samples, ["good"], 0) == []


def test_heads_are_the_records_without_their_scores(showcase):
    found = list(heads(showcase.folder))
    for head, path in zip(found, records(showcase.folder), strict=True):
        whole = read(path)
        assert {**vars(head), "scores": None} == {**vars(whole), "scores": None}
        assert head.scores.empty


def test_origins_say_once_what_is_the_same_everywhere(showcase):
    found = origins(heads(showcase.folder))
    assert found.run == {"seed": {"7"}, "versions": {"torch=2.15.0"}, "device": {"cpu x86_64"}, "commit": {"abc123"}}
    assert found.n_records == 12
    assert found.seconds == pytest.approx(18)
    assert found.n_forwarded == 480
    assert len(found.tasks[showcase.TASKS[0]].samples) == showcase.N_SAMPLES
    assert found.tasks[showcase.TASKS[0]].data != found.tasks[showcase.TASKS[1]].data


def test_plots_are_of_all_kinds_and_escaped(page, showcase):
    data = json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)[1])
    assert set(data["plots"]) == {"ranks", "pareto", "removal", "strengths", "agreement"}
    text = json.dumps(data["plots"])
    assert showcase.HOSTILE not in text
    assert showcase.HOSTILE_METRIC not in text
    assert plots.label(showcase.HOSTILE) in text
    assert plots.label(showcase.HOSTILE_METRIC) in text
    assert len(data["plots"]["pareto"]) == 4
    assert len(data["plots"]["strengths"]) == 2
    lines = {trace["name"]: trace for trace in data["plots"]["strengths"][0]["data"]}
    assert lines["good"]["x"] == ["mild", "medium", "strong"]


def test_the_list_of_all_scores_is_the_long_table(page, results):
    data = json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)[1])
    table = leaderboard(results)
    assert len(data["scores"]) == len(table)
    for row, expected in zip(data["scores"], table.to_dict("records"), strict=True):
        assert row[:2] == [expected["task"], expected["category"]]
        assert row[2][:-2] == expected["metric"]
        assert row[3] == expected["explainer"]
        assert (row[4] is None) == np.isnan(expected["mean"])
        assert row[4] is None or row[4] == pytest.approx(expected["mean"], rel=1e-3)
    assert {row[9] for row in data["scores"]} >= {"failed", "control", "among the best"}


def test_names_are_text(outline, shown, showcase):
    assert showcase.HOSTILE in shown
    assert showcase.HOSTILE_METRIC in shown
    assert " ".join(showcase.HOSTILE_REASON.split()) in shown
    assert "a network of <b>two</b> layers" in shown
    assert "no data: set BENCH_DATA <here>" in shown
    assert "<b>none</b> → tumour" in shown
    tags = [tag for tag, _ in outline.elements]
    assert tags.count("script") == 4
    assert not any(name.startswith("on") for _, attributes in outline.elements for name in attributes)
    assert not [attributes for tag, attributes in outline.elements if tag == "img" and attributes["src"] == "x"]


def test_nothing_is_asked_from_anywhere(outline):
    for tag, attributes in outline.elements:
        for name in ("src", "href", "action", "data", "srcset", "poster"):
            assert (attributes.get(name) or "#").startswith(("#", "data:")), (tag, attributes)


def test_the_policy_knows_the_scripts_by_their_hashes(page, outline):
    policy = next(
        attributes["content"] for tag, attributes in outline.elements if tag == "meta" and "http-equiv" in attributes
    )
    scripts = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    assert len(scripts) == 3
    for script in scripts:
        assert f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'" in policy
    assert policy.startswith("default-src 'none'; ")
    rules = dict(rule.strip().partition(" ")[::2] for rule in policy.split(";"))
    assert "unsafe" not in rules["script-src"]
    assert set(rules) == {"default-src", "script-src", "style-src", "img-src", "base-uri", "form-action"}
    assert rules["img-src"] == "data:"


def test_headings_are_in_order_and_ids_are_single(outline):
    levels = [int(tag[1]) for tag, _ in outline.elements if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    ids = [attributes["id"] for _, attributes in outline.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    links = [attributes["href"] for tag, attributes in outline.elements if tag == "a"]
    assert {link.removeprefix("#") for link in links} <= set(ids)


def test_the_page_says_what_it_knows(shown):
    assert "Sums what matters. Reference: Somebody, 2020." in shown
    assert "Not described: it is not installed here." in shown
    assert "abc123" in shown
    assert "records differ" not in shown
    assert "✗ failed" in shown


def test_the_page_is_small_and_the_same_each_time(page, showcase):
    assert len(page.encode()) < 6.5e6
    assert report(showcase.folder, showcase.told(), n_images=4) == page


def test_without_maps_the_page_says_how_to_get_them(showcase, tmp_path):
    shutil.copytree(showcase.folder / showcase.TASKS[1], tmp_path / showcase.TASKS[1])
    page = report(tmp_path, Told())
    assert "No maps were kept." in page
    assert "The records keep the areas under the curves" in page
    assert 'data-plot="removal"' not in page


def test_a_folder_of_costs_alone_ranks_nobody(showcase, tmp_path):
    for path in records(showcase.folder):
        if path.parts[-3] == showcase.TASKS[1]:
            one = read(path)
            cells = {name: cell for name, cell in one.cells.items() if name == "seconds"}
            kept = one.scores[one.scores.metric == "seconds"].astype({"metric": str, "sample": str})
            showcase._write(tmp_path, type(one)(**{**vars(one), "cells": cells, "scores": kept}))
    page = report(tmp_path, Told())
    assert "Nothing is ranked" in page
    assert "×" in page


def test_an_empty_folder_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="no records"):
        report(tmp_path, Told())
