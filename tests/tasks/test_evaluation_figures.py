"""An evaluation in pictures: they show the numbers of their data frames, whatever these are."""

from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from bench.evaluation import FORMATS
from leaderboard.style import Style
from tasks.evaluation import figures, tables
from tasks.evaluation.predictions import Predictions
from tasks.evaluation.scores import assess

STYLE = Style()
HISTORY = [
    {"epoch": epoch, "loss": 1 / epoch, "validation_loss": 0.2 + 1 / epoch, "score": score, "seconds": 1.0}
    for epoch, score in enumerate([0.5, 0.9, 0.9, 0.7], start=1)
]


def drawn(n_classes: int, many: bool, n_samples: int = 40) -> Predictions:
    """Samples of all classes but the second, which has none."""
    generator = torch.Generator().manual_seed(0)
    shape = (n_samples, n_classes) if many else (n_samples,)
    labels = torch.randint(-1, 2 if many else n_classes, shape, generator=generator)
    if many:
        labels[:, 1] = 0
    else:
        labels[labels == 1] = 0
    logits = torch.randn((n_samples, n_classes), generator=generator, dtype=torch.float64)
    embeddings = torch.randn((n_samples, 5), generator=generator)
    return Predictions(logits, labels, tuple(map(str, range(n_samples))), embeddings)


def pictures(found: Predictions, classes: tuple[str, ...], style: Style = STYLE) -> dict[str, Figure]:
    evaluation = assess(found, classes)
    scores = tables.class_scores(evaluation)
    return {
        "classes": figures.draw_classes(scores, "title", style),
        "confusion": figures.draw_confusion(tables.confusion(evaluation), "title", style),
        "roc": figures.draw_roc(tables.roc(found, classes), scores, "title", style),
        "reliability": figures.draw_reliability(tables.reliability(found, classes), "title", style),
        "map": figures.draw_map(tables.embedding_map(found, classes), classes, "title", style),
    }


def saved(figure: Figure, path: Path, style: Style = STYLE) -> list[Path]:
    with style.context():
        return [style.save(figure, path.with_suffix(suffix)) for suffix in FORMATS]


def test_a_picture_is_as_wide_as_asked_for_and_its_letters_as_large(tmp_path: Path) -> None:
    found, classes = drawn(3, False), ("a", "b", "c")
    usual, narrow, large = (pictures(found, classes, style) for style in (STYLE, Style(width=85), Style(font_size=14)))
    for name, figure in narrow.items():
        assert figure.get_figwidth() == pytest.approx(85 / 25.4), name
        assert large[name].get_size_inches() == pytest.approx(2 * usual[name].get_size_inches())
        assert {text.get_size() for text in large[name].findobj(Text) if text.get_text().startswith("title")} == {14}
        saved(figure, tmp_path / name, Style(width=85))


CLASSES = {
    "odd names": (("$x_1$", "a class of a very long name indeed", "", "naïve–ß"), False),
    "findings": (("Edema", "Enlarged Cardiomediastinum"), True),
}


@pytest.mark.parametrize("case", CLASSES)
def test_pictures_are_written_without_a_warning_and_are_not_blank(case: str, tmp_path: Path) -> None:
    classes, many = CLASSES[case]
    before = dict(mpl.rcParams)
    for name, figure in pictures(drawn(len(classes), many), classes).items():
        written = saved(figure, tmp_path / name)
        assert written[1].read_bytes().startswith(b"%PDF")
        with Image.open(written[0]) as image:
            pixels = np.asarray(image.convert("RGB")).reshape(-1, 3)
        assert min(image.size) > 250
        assert 0.005 < (pixels.min(axis=1) < 200).mean() < 0.6
    assert dict(mpl.rcParams) == before


def test_fourteen_findings_have_room(tmp_path: Path) -> None:
    """matplotlib warns where it finds none."""
    found = drawn(14, True)
    figure = figures.draw_reliability(tables.reliability(found, tuple(map(str, range(14)))), "title", STYLE)
    figure.savefig(tmp_path / "reliability.png")
    assert len([axis for axis in figure.axes if axis.get_visible()]) == 14


def test_more_classes_than_colours_differ_in_their_lines() -> None:
    classes = tuple(map(str, range(11)))
    found = drawn(11, False)
    figure = figures.draw_roc(tables.roc(found, classes), tables.class_scores(assess(found, classes)), "title", STYLE)
    looks = {(line.get_color(), line.get_linestyle()) for line in figure.axes[0].lines}
    assert len(looks) == 1 + 11


def test_the_same_picture_has_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        saved(figures.draw_learning_curves(tables.learning_curves(HISTORY), "title", STYLE), tmp_path / name)
    for suffix in FORMATS:
        assert (tmp_path / f"one{suffix}").read_bytes() == (tmp_path / f"two{suffix}").read_bytes()


def test_the_confusion_matrix_shows_its_counts() -> None:
    found = drawn(3, False)
    evaluation = assess(found, ("a", "b", "c"))
    (axis,) = figures.draw_confusion(tables.confusion(evaluation), "title", STYLE).axes
    shown = {(round(text.get_position()[1]), round(text.get_position()[0])): text.get_text() for text in axis.texts}
    assert shown == {place: str(count) for place, count in np.ndenumerate(np.array(evaluation.confusion))}


def test_a_finding_is_shown_as_what_it_is_and_what_it_is_called() -> None:
    evaluation = assess(drawn(3, True), ("a", "b", "c"))
    panels = figures.draw_confusion(tables.confusion(evaluation), "title", STYLE).axes
    first = {
        (round(text.get_position()[1]), round(text.get_position()[0])): text.get_text() for text in panels[0].texts
    }
    quiet, alarms, misses, hits = map(str, evaluation.confusion[0])
    assert first == {(0, 0): quiet, (0, 1): alarms, (1, 0): misses, (1, 1): hits}


def test_the_roc_picture_names_the_areas_and_a_dash_where_there_is_none() -> None:
    found = drawn(3, False)
    evaluation = assess(found, ("a", "b", "c"))
    figure = figures.draw_roc(tables.roc(found, "abc"), tables.class_scores(evaluation), "title", STYLE)
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["chance (0.500)", f"a ({evaluation.roc_auc[0]:.3f})", "b (–)", f"c ({evaluation.roc_auc[2]:.3f})"]


def test_the_epoch_that_is_kept_is_the_best_of_the_validation_part() -> None:
    figure = figures.draw_learning_curves(tables.learning_curves(HISTORY), "title", STYLE)
    assert figure.get_suptitle() == "title; epoch 3 is kept"  # as good as the second, with a lower loss


def test_the_map_rings_what_is_wrong_and_colours_what_is_true() -> None:
    found = drawn(3, False)
    places = tables.embedding_map(found, ("a", "b", "c"))
    (axis,) = figures.draw_map(places, ("a", "b", "c"), "title", STYLE).axes
    shown = {str(points.get_label()): len(points.get_offsets()) for points in axis.collections}
    truth = [label for label in found.labels.tolist() if label >= 0]
    wrong = int(((found.labels != found.logits.argmax(1)) & (found.labels >= 0)).sum())
    unknown = found.labels.tolist().count(-1)
    assert shown == {"a": truth.count(0), "b": 0, "c": truth.count(2), "not known": unknown, f"wrong ({wrong})": wrong}


def test_one_finding_and_one_curve_of_one_epoch_are_drawn() -> None:
    found = drawn(3, True)
    one = found._replace(logits=found.logits[:, :1], labels=found.labels[:, :1])
    assert len(pictures(one, ("Edema",))) == 5
    assert figures.draw_learning_curves(tables.learning_curves(HISTORY[:1]), "title", STYLE).axes
