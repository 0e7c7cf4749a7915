"""Charts for papers: what they show is what was planted, as wide as asked for, in fonts that journals take."""

import re
import zlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib import rcParams
from matplotlib.figure import Figure
from matplotlib.image import imread

from leaderboard.agreement import agreements, family_agreements
from leaderboard.charts.agreement import draw_agreement
from leaderboard.charts.curves import draw_curves
from leaderboard.charts.diagram import diagrams
from leaderboard.charts.looks import SYMBOLS, looks
from leaderboard.charts.marks import MARKERS, N_SHOWN, per_row, shown
from leaderboard.charts.pareto import draw_pareto
from leaderboard.charts.ranks import draw_ranks
from leaderboard.charts.strengths import draw_strengths
from leaderboard.record import Results, load
from leaderboard.removal import removal_curves
from leaderboard.standings import Standings, standings
from leaderboard.strengths import by_strength, of_explainer
from leaderboard.style import INCH, Style
from leaderboard.table import leaderboard
from leaderboard.verdict import front

from .planted import normal, planted


@pytest.fixture(scope="module")
def results(showcase) -> Results:
    return load(showcase.folder)


@pytest.fixture(scope="module")
def found(results: Results) -> Standings:
    return standings(results)


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """What is saved while the test runs."""
    saved: list[Figure] = []
    save = Style.save
    monkeypatch.setattr(Style, "save", lambda style, figure, path: saved.append(figure) or save(style, figure, path))
    return saved


def media_box(path: Path) -> tuple[float, float]:
    """Width and height of a PDF's page, mm."""
    box = re.search(rb"/MediaBox \[ ?0 0 ([\d.]+) ([\d.]+) ?\]", path.read_bytes())
    assert box
    return float(box[1]) / 72 * INCH, float(box[2]) / 72 * INCH


def embedded(path: Path) -> tuple[set[bytes], set[bytes]]:
    """Subtypes of a PDF's fonts, and their names."""
    content = path.read_bytes()
    unpacked = [
        zlib.decompress(part) for part in re.findall(rb"stream\r?\n(.*?)endstream", content, re.S) if part[:1] == b"x"
    ]
    everything = b"\n".join([content, *unpacked])
    kinds = set(re.findall(rb"/Subtype /(Type3|Type1|TrueType|CIDFontType2|Type0)", everything))
    return kinds, set(re.findall(rb"/FontFile\d?|/BaseFont /\S+", everything))


def every_chart(results: Results, folder: Path, made: Path, suffix: str, style: Style) -> list[Path]:
    found, table = standings(results), leaderboard(results)
    appearance = {name: looks(found)[name] for name in shown(found, None)}
    controls = found.explainers.controls
    first = agreements(table)[0]
    return [
        draw_pareto(found, ["overall", "faithfulness"], made / f"pareto{suffix}", style),
        draw_ranks(found, [], made / f"ranks{suffix}", style),
        diagrams(found, ["overall"], made / f"cd{suffix}", style),
        draw_strengths(list(by_strength(table)), appearance, controls, made / f"strengths{suffix}", style),
        draw_curves(removal_curves(folder, pd.DataFrame()), appearance, controls, made / f"curves{suffix}", style),
        draw_agreement({first.title: first.frame()}, made / f"agreement{suffix}", style),
    ]


def test_a_pdf_is_as_wide_as_asked_for_and_has_its_fonts_in_it(results, showcase, tmp_path) -> None:
    for path in every_chart(results, showcase.folder, tmp_path / "new", ".pdf", Style(width=150, font="DejaVu Serif")):
        assert media_box(path)[0] == pytest.approx(150, abs=0.2), path
        kinds, names = embedded(path)
        assert kinds == {b"Type0", b"CIDFontType2"}, path
        assert any(b"DejaVuSerif" in name for name in names)
        assert b"/FontFile2" in names
        assert not any(b"DejaVuSans" in name for name in names), path


def test_a_png_has_the_dots_and_is_not_empty(results, showcase, tmp_path) -> None:
    for path in every_chart(results, showcase.folder, tmp_path, ".png", Style(width=160, dpi=50)):
        pixels = imread(path)
        assert pixels.shape[1] == pytest.approx(160 / INCH * 50, abs=1)
        assert np.ptp(pixels[..., :3]) > 0.5


def test_the_same_records_are_the_same_file(found, tmp_path) -> None:
    for suffix in (".pdf", ".svg", ".png"):
        first, second = (draw_ranks(found, [], tmp_path / f"{at}{suffix}").read_bytes() for at in "ab")
        assert first == second


def test_nothing_of_the_style_is_left_behind(found, tmp_path) -> None:
    before = dict(rcParams)
    draw_ranks(found, ["overall"], tmp_path / "x.png", Style(font="DejaVu Serif", font_size=11))
    assert dict(rcParams) == before


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        ({"font": "DejaVu Sanz"}, "no font is called 'DejaVu Sanz' here: did you mean DejaVu Sans"),
        ({"font": "Qqqq"}, "no font is called 'Qqqq' here: there are DejaVu Sans"),
        ({"colours": "RdBu_R"}, "no colour map is called 'RdBu_R' here: did you mean RdBu"),
        ({"colours": "q"}, "there are RdBu_r, PuOr_r"),
    ],
)
def test_unknown_looks_are_one_line(wrong, complaint) -> None:
    with pytest.raises(ValueError, match=re.escape(complaint)):
        Style(**wrong)


def test_ranks_have_the_numbers_and_letters_of_the_standings(found, tmp_path, figures) -> None:
    draw_ranks(found, ["overall", "robustness"], tmp_path / "x.png")
    (figure,) = figures
    order = [found.explainers.names[at] for at in found.order()]
    for axis, name in zip(figure.axes, ("overall", "robustness"), strict=True):
        column = found.column(name)
        assert axis.get_title(loc="left") == name
        bars = {one.lines[0].get_gid(): one.lines for one in axis.containers}
        for at, explainer in enumerate(found.explainers.names):
            point, _, (line,) = bars[explainer]
            assert point.get_xdata()[0] == column.mean_rank[at, 0]
            assert point.get_ydata()[0] == order.index(explainer)
            assert line.get_segments()[0][:, 0] == pytest.approx(column.mean_rank[at, 1:])
        letters = {text.get_gid(): text.get_text() for text in axis.texts}
        for at, explainer in enumerate(found.explainers.ranked):
            assert letters[f"letters {explainer}"] == column.letters[at]
    assert "noise (control)" in [label.get_text() for label in figure.axes[0].get_yticklabels()]


def test_the_front_of_the_pareto_chart_is_that_of_the_verdict(found, tmp_path, figures) -> None:
    draw_pareto(found, [], tmp_path / "x.png")
    (axis,) = figures[0].axes
    names = found.explainers.names
    on_front = [names.index(name) for name in front(found, found.columns[0])]
    dotted = axis.lines[0]
    assert dotted.get_xdata().tolist() == found.costs.times.to_numpy()[on_front].tolist()
    assert dotted.get_ydata().tolist() == found.columns[0].mean_rank[on_front, 0].tolist()
    told = {text.get_text(): text for text in axis.texts}
    assert set(told) == {*found.explainers.ranked, *(f"{name} (control)" for name in found.explainers.controls)}
    assert {name for name, text in told.items() if text.get_color() == "black"} == {names[at] for at in on_front}
    assert axis.yaxis_inverted()


def test_names_do_not_touch_where_there_is_room(tmp_path, figures) -> None:
    scores = {("t", "f", "m", f"explainer_{at}"): normal(40, at, at) for at in range(8)}
    scores |= {("t", "runtime", "seconds", f"explainer_{at}"): np.full(40, 1 + 0.01 * at) for at in range(8)}
    draw_pareto(standings(planted(scores, ("seconds",))), [], tmp_path / "x.png")
    texts = figures[0].axes[0].texts
    boxes = [super(type(text), text).get_window_extent() for text in texts]
    assert len(boxes) == 8
    assert not [1 for at, one in enumerate(boxes) for other in boxes[:at] if one.overlaps(other)]


def test_strengths_are_the_means_with_their_intervals(results, found, tmp_path, figures) -> None:
    table = leaderboard(results)
    appearance = {"good": looks(found)["good"]}
    changes = list(by_strength(table))
    draw_strengths(changes, appearance, [], tmp_path / "x.png")
    for axis, change in zip(figures[0].axes, changes, strict=True):
        own = of_explainer(change, "good")
        assert list(own.index) == ["mild", "medium", "strong"]
        assert axis.lines[0].get_ydata().tolist() == own["mean"].tolist()
        band = axis.collections[0].get_paths()[0].vertices[:, 1]
        assert (band.min(), band.max()) == (own.low.min(), own.high.max())


def test_curves_are_those_that_were_kept(showcase, found, tmp_path, figures) -> None:
    curves = removal_curves(showcase.folder, pd.DataFrame())
    draw_curves(curves, looks(found), found.explainers.controls, tmp_path / "x.png")
    drawn = {line.get_gid(): line.get_ydata() for line in figures[0].axes[0].lines}
    own = {one.explainer: one.mean for one in curves if one.metric == "deletion"}
    assert set(drawn) == set(own)
    assert all(np.array_equal(drawn[name], mean) for name, mean in own.items())


def test_the_matrix_has_the_taus(tmp_path, figures) -> None:
    taus = pd.DataFrame([[1.0, -0.4], [-0.4, np.nan]], index=["a", "b"], columns=["a", "b"])
    draw_agreement({"f": taus}, tmp_path / "x.png", Style(colours="PuOr"))
    image = figures[0].axes[0].images[0]
    assert image.get_array().filled(np.nan) == pytest.approx(taus.to_numpy(), nan_ok=True)
    assert image.get_cmap().name == "PuOr"
    assert {text.get_text() for text in figures[0].axes[0].texts} == {"1.00", "−.40"}


def test_families_and_tables_agree_on_how_far_metrics_agree(results) -> None:
    scores = {
        (task, "f", metric, f"e{at}"): normal(12, 7 * at + len(task + metric), at * sign)
        for task in ("one", "other_task")
        for metric, sign in (("m", 1), ("nn", -1), ("ooo", 0))
        for at in range(6)
    }
    for records in (results, planted(scores, lower_is_better=("nn",))):
        of_table = agreements(leaderboard(records))[0].frame()
        families = family_agreements(records)
        assert families
        for matrix in families.values():
            names = list(matrix.columns)
            assert matrix.to_numpy() == pytest.approx(of_table.loc[names, names].to_numpy(), nan_ok=True)


def lone(explainers: tuple[str, ...], n: int = 1) -> Results:
    scores = {("t", "f", "m", name): normal(n, at) for at, name in enumerate(explainers)}
    return planted(
        {**scores, **{("t", "runtime", "seconds", name): np.full(n, 0.5) for name in explainers}}, ("seconds",)
    )


@pytest.mark.parametrize("records", [lone(("a",)), lone(("a", "c_b")), lone(("$x_1$", "b"), 20)])
def test_one_explainer_one_metric_and_one_sample_can_be_drawn(records, tmp_path) -> None:
    found = standings(records)
    for suffix in (".png", ".pdf"):
        draw_ranks(found, [], tmp_path / f"ranks{suffix}", Style(width=85))
        draw_pareto(found, [], tmp_path / f"pareto{suffix}", Style(width=85))
        diagrams(found, [], tmp_path / f"cd{suffix}", Style(width=85))


def test_missing_scores_leave_gaps(tmp_path, figures) -> None:
    scores = {("t", "f", "m", name): normal(8, at) for at, name in enumerate("ab")}
    scores |= {("t", "f", "m", "nothing"): np.full(8, np.nan), ("t", "runtime", "seconds", "a"): np.full(8, 1.0)}
    found = standings(planted(scores, ("seconds",)))
    draw_ranks(found, [], tmp_path / "ranks.png")
    draw_pareto(found, [], tmp_path / "pareto.png")
    assert {one.lines[0].get_gid() for one in figures[0].axes[0].containers} == {"a", "b"}
    assert [text.get_text() for text in figures[1].axes[0].texts] == ["a"]


def test_what_cannot_be_drawn_is_said(found, tmp_path) -> None:
    records = lone(("a", "b"), 9)
    alone = standings(planted({("t", "f", "m", "a"): normal(9, 0)}))
    path = tmp_path / "x.png"
    for draw, complaint in (
        (lambda: draw_pareto(alone, [], path), "--metrics seconds"),
        (lambda: draw_pareto(standings(lone(("c_a",))), [], path), "of no ranked explainer"),
        (
            lambda: draw_pareto(alone, ["beauty"], path),
            "no ranked family beauty in these results; there are: overall, f",
        ),
        (lambda: draw_strengths([], {}, [], path), "rotation_mild,rotation,rotation_strong"),
        (lambda: draw_strengths(list(by_strength(leaderboard(records))), looks(alone), [], path), "two strengths"),
        (lambda: draw_curves([], looks(found), [], path), "--save-attributions"),
        (lambda: draw_agreement({}, path), "no agreement to draw"),
        (lambda: diagrams(found, [], path, Style(width=40)), "40 mm are too narrow for these names"),
        (lambda: draw_ranks(alone, [], tmp_path / "x.gif"), "give it the ending .png, .pdf or .svg"),
        (lambda: shown(found, ["goof"]), "no record of goof: there are good"),
    ):
        with pytest.raises(ValueError, match=re.escape(complaint)):
            draw()


def test_a_matrix_of_many_metrics_needs_width(tmp_path) -> None:
    names = [f"metric_{at:03d}" for at in range(150)]
    taus = pd.DataFrame(np.eye(150), index=names, columns=names)
    with pytest.raises(ValueError, match="85 mm are too narrow for these metrics"):
        draw_agreement({"": taus}, tmp_path / "x.png", Style(width=85))


def test_the_best_and_the_best_control_are_shown_unless_others_are_named(found) -> None:
    names = [found.explainers.names[at] for at in found.order()]
    n = min(N_SHOWN, found.explainers.n_ranked)
    assert shown(found, None) == [*names[:n], names[found.explainers.n_ranked]]
    assert shown(found, ["noise", "bad"]) == ["bad", "noise"]


def test_explainers_look_the_same_on_paper_and_on_the_page(found) -> None:
    assert set(MARKERS) == set(SYMBOLS)
    assert len(set(MARKERS.values())) == len(SYMBOLS)
    dealt = [(look.colour, look.symbol) for look in looks(found).values()]
    assert len(set(dealt)) == len(dealt)


def test_rows_of_panels_are_filled_alike() -> None:
    assert [per_row(7.0, n, 1.3) for n in (1, 5, 6, 7, 8, 11)] == [1, 5, 3, 4, 4, 4]
    assert per_row(1.0, 3, 1.3) == 1
