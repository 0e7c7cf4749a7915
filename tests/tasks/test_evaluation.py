"""Evaluating a classifier: every number as by hand, and as written a second time, slowly."""

import json
import math
from dataclasses import asdict
from itertools import product

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from tasks.base import Sample
from tasks.evaluation import tables
from tasks.evaluation.predictions import Predictions
from tasks.evaluation.scores import Evaluation, assess, evaluate, macro


class Fixed(nn.Module):
    """Answers the logits that are written in the image's first pixels."""

    def __init__(self, n_classes: int) -> None:
        super().__init__()
        self.n_classes = n_classes

    def forward(self, images: Tensor) -> Tensor:
        return images[:, 0, 0, : self.n_classes]


def sample(logits: list[float], label: int | list[int], name: str = "x") -> Sample:
    return Sample(torch.tensor(logits).expand(3, 2, len(logits)).clone(), torch.tensor(label), name)


def predictions(logits: object, labels: object) -> Predictions:
    logits, labels = torch.as_tensor(logits, dtype=torch.float64), torch.as_tensor(labels)
    return Predictions(logits, labels, tuple(f"s{index}" for index in range(len(logits))))


def drawn(n_samples: int, n_classes: int, many: bool, seed: int = 0) -> Predictions:
    """Random logits on a coarse grid, so that there are ties, and random labels, some of them not known."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randint(-3, 4, (n_samples, n_classes), generator=generator) / 2
    shape = (n_samples, n_classes) if many else (n_samples,)
    labels = torch.randint(-1, 2 if many else n_classes, shape, generator=generator)
    return predictions(logits, labels)


def names(found: Predictions) -> tuple[str, ...]:
    return tuple("abcdefghij"[: found.logits.shape[1]])


def test_evaluate_scores_as_by_hand() -> None:
    truth, predicted = [0, 0, 0, 1, 1, 2], [0, 0, 1, 1, 0, 0]
    samples = [
        sample([float(guess == index) for index in range(3)], label)
        for label, guess in zip(truth, predicted, strict=True)
    ]
    evaluation = evaluate(Fixed(3), samples, ("a", "b", "c"), batch_size=4)
    assert evaluation.confusion == ((2, 1, 0), (1, 1, 0), (1, 0, 0))
    assert evaluation.accuracy == pytest.approx(0.5)
    assert evaluation.precision == pytest.approx((0.5, 0.5, 0.0))
    assert evaluation.recall == pytest.approx((2 / 3, 0.5, 0.0))
    assert evaluation.f1 == pytest.approx((4 / 7, 0.5, 0.0))
    assert evaluation.support == (3, 2, 1)
    # Of 9 pairs of an a with another, 2·1 are won (the called against the b called b), 1·2 lost, 5 tied.
    assert evaluation.roc_auc == pytest.approx(((2 * 1 + 0.5 * (2 * 2 + 1 * 1)) / 9, (3 + 0.5 * 4) / 8, 0.5))


def test_many_labels_score_as_by_hand() -> None:
    samples = [
        sample([1.0, 0.0, 0.5], [1, 0, -1], "one"),
        sample([0.8, 0.2, 0.5], [0, 1, -1], "two"),
        sample([0.0, 0.0, 0.5], [0, -1, -1], "three"),
        sample([0.4, 0.9, 0.5], [1, 1, -1], "four"),
    ]
    evaluation = evaluate(Fixed(3), samples, ("a", "b", "c"), batch_size=3)
    assert evaluation.multi_label
    assert evaluation.confusion == ((1, 1, 0, 2), (1, 0, 0, 2), (0, 0, 0, 0))
    assert evaluation.accuracy == pytest.approx(6 / 7)
    assert evaluation.precision == pytest.approx((2 / 3, 1.0, math.nan), nan_ok=True)
    assert evaluation.recall == pytest.approx((1.0, 1.0, math.nan), nan_ok=True)
    assert evaluation.f1 == pytest.approx((0.8, 1.0, math.nan), nan_ok=True)
    assert evaluation.roc_auc == pytest.approx((3 / 4, 1.0, math.nan), nan_ok=True)
    assert evaluation.support == (2, 2, 0)


def slow_truth(found: Predictions, index: int) -> list[int | None]:
    """1, 0 or None for each sample, entry by entry."""
    truth: list[int | None] = []
    for row in found.labels.tolist():
        label = row[index] if found.multi_label else row
        truth.append(None if label == -1 else int(label == (1 if found.multi_label else index)))
    return truth


def slow_probability(found: Predictions, row: int, index: int) -> float:
    logits = found.logits[row].tolist()
    if found.multi_label:
        return 1 / (1 + math.exp(-logits[index]))
    return math.exp(logits[index]) / sum(map(math.exp, logits))


def slow_called(found: Predictions, row: int, index: int) -> bool:
    logits = found.logits[row].tolist()
    return logits[index] > 0 if found.multi_label else logits.index(max(logits)) == index


def slow_auc(found: Predictions, index: int) -> float:
    """Over all pairs of one of the class and one of the rest."""
    truth = slow_truth(found, index)
    wins = pairs = 0.0
    for own, other in product(range(len(truth)), repeat=2):
        if truth[own] == 1 and truth[other] == 0:
            gap = slow_probability(found, own, index) - slow_probability(found, other, index)
            wins += 0.5 if abs(gap) < 1e-12 else float(gap > 0)
            pairs += 1
    return wins / pairs if pairs else math.nan


CASES = [(n, k, many, seed) for n, k, many in [(60, 4, False), (60, 2, False), (7, 5, False)] for seed in range(3)]
CASES += [(60, 3, True, seed) for seed in range(3)] + [(5, 6, True, 0), (2, 1, True, 0)]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_scores_are_those_of_a_slow_replica(case: tuple[int, int, bool, int]) -> None:
    found = drawn(*case)
    evaluation = assess(found, names(found))
    rights = total = 0
    for index in range(len(evaluation.classes)):
        truth = slow_truth(found, index)
        called = [slow_called(found, row, index) for row in range(len(truth))]
        hits = sum(called[row] and truth[row] == 1 for row in range(len(truth)))
        support = truth.count(1)
        calls = sum(called[row] and truth[row] is not None for row in range(len(truth)))
        precision = hits / calls if calls else 0.0
        recall = hits / support if support else 0.0
        f1 = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
        expected = (precision, recall, f1) if support else (math.nan,) * 3
        scores = (evaluation.precision[index], evaluation.recall[index], evaluation.f1[index])
        assert scores == pytest.approx(expected, nan_ok=True)
        assert evaluation.support[index] == support
        assert evaluation.roc_auc[index] == pytest.approx(slow_auc(found, index), nan_ok=True)
        if found.multi_label:
            outcomes = [(truth[row], called[row]) for row in range(len(truth))]
            counts = tuple(outcomes.count((so, guess)) for so in (0, 1) for guess in (False, True))
            assert evaluation.confusion[index] == counts
            rights, total = rights + counts[0] + counts[3], total + sum(counts)
        else:
            rights, total = rights + hits, total + support
    assert evaluation.accuracy == pytest.approx(rights / total)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_reliability_table_is_that_of_a_slow_replica(case: tuple[int, int, bool, int]) -> None:
    found = drawn(*case)
    table = tables.reliability(found, names(found), n_bins=5)
    errors = tables.calibration_errors(table).set_index("class")["calibration_error"]
    subjects: dict[str, list[tuple[float, int]]] = {}
    for row, index in product(range(len(found.ids)), range(len(names(found)))):
        truth = slow_truth(found, index)[row]
        if truth is None or not (found.multi_label or slow_called(found, row, index)):
            continue
        name = names(found)[index] if found.multi_label else tables.PREDICTED
        subjects.setdefault(name, []).append((slow_probability(found, row, index), truth))
    for name, entries in subjects.items():
        rows = table[table["class"] == name]
        error = 0.0
        for bin_index, (_, shown) in enumerate(rows.iterrows()):
            inside = [entry for entry in entries if max(math.ceil(entry[0] * 5 - 1e-9) - 1, 0) == bin_index]
            assert shown["n"] == len(inside)
            if inside:
                probability, frequency = (sum(values) / len(inside) for values in zip(*inside, strict=True))
                assert (shown["probability"], shown["frequency"]) == pytest.approx((probability, frequency))
                error += len(inside) / len(entries) * abs(frequency - probability)
        assert errors[name] == pytest.approx(error)


def test_calibration_as_by_hand() -> None:
    odds = [math.log(p / (1 - p)) for p in (0.9, 0.9, 0.9, 0.9, 0.6)]
    found = predictions([[0.0, value] for value in odds], [1, 1, 1, 0, 0])
    table = tables.reliability(found, ("no", "yes"), n_bins=5)
    assert table["n"].tolist() == [0, 0, 1, 0, 4]
    assert table["up_to"].tolist() == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert tables.calibration_errors(table)["calibration_error"].tolist() == pytest.approx([0.8 * 0.15 + 0.2 * 0.6])


def test_a_bin_is_closed_above_and_the_first_on_both_sides() -> None:
    table = tables.reliability(predictions([[0.0], [-800.0], [800.0]], [[1], [0], [1]]), ("a",), n_bins=2)
    assert table["n"].tolist() == [2, 1]  # 0 and 0.5; 1


@pytest.mark.parametrize("case", CASES, ids=str)
def test_every_point_of_a_roc_curve_is_a_threshold(case: tuple[int, int, bool, int]) -> None:
    found = drawn(*case)
    curves = tables.roc(found, names(found))
    areas = assess(found, names(found)).roc_auc
    for index, name in enumerate(names(found)):
        curve = curves[curves["class"] == name]
        assert (len(curve) == 0) == math.isnan(areas[index])
        truth = slow_truth(found, index)
        for _, point in curve.iterrows():
            level = math.inf if math.isnan(point["threshold"]) else point["threshold"] - 1e-12
            called = [slow_probability(found, row, index) >= level for row in range(len(truth))]
            for rate, kind in (("true_positive_rate", 1), ("false_positive_rate", 0)):
                of_kind = [called[row] for row in range(len(truth)) if truth[row] == kind]
                assert point[rate] == pytest.approx(sum(of_kind) / len(of_kind))
        if len(curve):
            area = np.trapezoid(curve["true_positive_rate"], curve["false_positive_rate"])
            assert area == pytest.approx(areas[index])


def test_a_perfect_predictor() -> None:
    labels = torch.arange(30) % 3
    found = predictions(1000.0 * torch.eye(3)[labels], labels)
    evaluation = assess(found, ("a", "b", "c"))
    assert evaluation.accuracy == 1
    assert evaluation.precision == evaluation.recall == evaluation.f1 == evaluation.roc_auc == (1, 1, 1)
    assert tables.calibration_errors(tables.reliability(found, "abc"))["calibration_error"].item() == 0


def test_a_constant_predictor() -> None:
    found = predictions([[0.0, 1.0]] * 10, [0, 1] * 5)
    evaluation = assess(found, ("a", "b"))
    assert evaluation.roc_auc == (0.5, 0.5)
    assert evaluation.precision == (0, 0.5)
    assert evaluation.recall == (0, 1)
    assert evaluation.f1 == pytest.approx((0, 2 / 3))
    assert len(tables.roc(found, ("a", "b"))) == 4  # (0, 0) and (1, 1) of each


def test_a_random_predictor_is_at_chance_and_a_calibrated_one_calibrated() -> None:
    generator = torch.Generator().manual_seed(0)
    log_odds = 2 * torch.randn(20000, generator=generator, dtype=torch.float64)
    logits = torch.stack([torch.zeros_like(log_odds), log_odds], 1)
    chance = predictions(logits, torch.randint(2, (20000,), generator=generator))
    assert assess(chance, "ab").roc_auc == pytest.approx((0.5, 0.5), abs=0.02)
    assert tables.calibration_errors(tables.reliability(chance, "ab"))["calibration_error"].item() > 0.2
    honest = predictions(logits, (torch.rand(20000, generator=generator) < log_odds.sigmoid()).long())
    assert tables.calibration_errors(tables.reliability(honest, "ab"))["calibration_error"].item() < 0.02


def test_a_class_without_samples_has_no_scores_and_no_part_in_the_mean() -> None:
    found = predictions([[2.0, 0.0, 0.0], [0.0, 2.0, 0.0], [0.0, 0.0, 2.0]], [0, 1, 1])
    evaluation = assess(found, ("a", "b", "c"))
    assert evaluation.precision == pytest.approx((1, 1, math.nan), nan_ok=True)
    assert evaluation.recall == pytest.approx((1, 0.5, math.nan), nan_ok=True)
    assert evaluation.roc_auc == pytest.approx((1, 0.75, math.nan), nan_ok=True)
    summary = tables.summary(evaluation, tables.reliability(found, evaluation.classes)).set_index("measure")
    assert summary.loc["macro recall"].tolist() == [0.75, 2]
    assert summary.loc["accuracy"].tolist() == pytest.approx([2 / 3, 3])


def test_with_one_class_only_there_is_no_area_under_a_curve() -> None:
    found = predictions([[1.0, 0.0], [0.0, 1.0]], [1, 1])
    evaluation = assess(found, ("a", "b"))
    assert evaluation.recall == pytest.approx((math.nan, 0.5), nan_ok=True)
    assert all(map(math.isnan, evaluation.roc_auc))
    mean, count = macro(evaluation.roc_auc)
    assert math.isnan(mean)
    assert count == 0
    assert len(tables.roc(found, ("a", "b"))) == 0


def test_the_area_tells_apart_what_a_probability_no_longer_does() -> None:
    found = predictions([[0.0, 100.0, -5.0], [0.0, 200.0, -5.0], [0.0, 300.0, -5.0]], [0, 1, 1])
    assert found.probabilities()[:, 1].unique().numel() == 1
    assert assess(found, "abc").roc_auc[1] == 1


def test_without_any_truth_there_is_nothing_to_score() -> None:
    with pytest.raises(ValueError, match="of no sample the truth is known"):
        assess(predictions([[1.0, 0.0]], [-1]), ("a", "b"))


def test_an_evaluation_survives_json_and_an_old_one_is_read() -> None:
    evaluation = assess(drawn(30, 3, False), "abc")
    stored = json.loads(json.dumps(asdict(evaluation)))
    assert stored["accuracy"] == evaluation.accuracy
    assert stored["multi_label"] is False
    old = {key: value for key, value in stored.items() if key not in ("roc_auc", "multi_label")}
    assert Evaluation(**old).confusion == stored["confusion"]
    assert tables.class_scores(Evaluation(**old))["roc_auc"].isna().all()


def test_the_tables_say_what_the_evaluation_says(tmp_path) -> None:
    found = drawn(30, 3, False)
    evaluation = assess(found, "abc")
    assert tables.confusion(evaluation).iloc[:, 1:].to_numpy().tolist() == [list(row) for row in evaluation.confusion]
    answers = tables.answers(found, "abc")
    answers.to_csv(tmp_path / "answers.csv", index=False)
    answers = pd.read_csv(tmp_path / "answers.csv")
    known = answers[answers["label"].notna()]
    assert (known["label"] == known["prediction"]).mean() == pytest.approx(evaluation.accuracy)
    assert answers["label"].isna().sum() == int((found.labels < 0).sum()) > 0
    assert answers.filter(like="probability: ").sum(axis=1).tolist() == pytest.approx([1] * 30)
    many = tables.answers(drawn(30, 3, True), "abc")
    assert set(many["truth: b"].dropna()) == {0, 1}
    assert many["truth: b"].isna().any()


def test_learning_curves_are_read_where_there_are_any() -> None:
    history = [
        {"epoch": 1, "loss": 0.7, "validation_loss": 0.6, "score": 0.8, "seconds": 12.3},
        {"epoch": 2, "loss": 0.5, "validation_loss": 0.4, "score": 0.9, "seconds": 12.4},
    ]
    curves = tables.learning_curves(history)
    assert curves is not None
    assert curves["validation_loss"].tolist() == [0.6, 0.4]
    for nothing in (None, [], "history", [1, 2], [{"epoch": 1}]):
        assert tables.learning_curves(nothing) is None
