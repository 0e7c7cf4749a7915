"""CheXpert: phantoms with several findings, the network that was fitted to them, and the loader with all oddities."""

import csv
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tasks.base import Sample, Samples
from tasks.chexlocalize import ANNOTATIONS, SEGMENTATIONS, Outline
from tasks.chexpert import CheXpert, PhantomCheXpert, chexpert_densenet121, phantom_chexpert_densenet121
from tasks.files.run_lengths import decoded, encoded
from tasks.phantoms.chest_xray import CheXpertFindings
from tasks.publishing import PARTS, write_picture

SIDE, N_SAMPLES = 48, 60
FINDINGS = ("Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Pleural Effusion")


def _all(samples: Samples) -> list[Sample]:
    return [samples[index] for index in range(len(samples))]


def _mask(sample: Sample) -> Tensor:
    assert sample.mask is not None
    return sample.mask


def _target(sample: Sample) -> int:
    assert sample.target is not None
    return sample.target


# Phantoms


@pytest.fixture(scope="module")
def phantoms() -> CheXpertFindings:
    return CheXpertFindings(n_samples=40, seed=9)


@pytest.fixture(scope="module")
def samples(phantoms: CheXpertFindings) -> list[Sample]:
    return _all(phantoms)


def test_targets_take_turns_with_and_without(samples: list[Sample]) -> None:
    assert [sample.target for sample in samples] == [index % 5 for index in range(40)]
    for start in (0, 10, 20, 30):
        kinds = {(sample.target, int(sample.label[_target(sample)])) for sample in samples[start : start + 10]}
        assert len(kinds) == 10


def test_labels_and_masks_belong_together(phantoms: CheXpertFindings, samples: list[Sample]) -> None:
    for index, sample in enumerate(samples):
        assert sample.label.shape == (5,)
        assert sample.label.dtype == torch.int64
        present = bool(sample.label[_target(sample)])
        assert 0.002 < _mask(sample).float().mean() < 0.4 if present else not _mask(sample).any()
        masks = phantoms.masks(index)
        assert list(masks) == [name for name, there in zip(FINDINGS, sample.label.tolist(), strict=True) if there]
        if present:
            assert torch.equal(masks[FINDINGS[_target(sample)]], _mask(sample))


def test_findings_are_independent_and_one_in_three() -> None:
    drawn = torch.stack([CheXpertFindings(1500, seed=4, size=32).truth(index, index) for index in range(1500)]).double()
    assert ((drawn.mean(0) - 0.367).abs() < 0.05).all()  # as targets they are there every second time
    assert (torch.corrcoef(drawn.T) - torch.eye(5)).abs().max() < 0.1
    assert not drawn[:, 0].equal(torch.stack([CheXpertFindings(1500, 5).truth(i, i)[0] for i in range(1500)]).double())


def test_only_the_target_is_taken_away(phantoms: CheXpertFindings, samples: list[Sample]) -> None:
    for index, sample in enumerate(samples):
        without = phantoms.sample(index, evidence=False)
        assert torch.equal(without.label, sample.label)
        assert not _mask(without).any()
        change = (sample.input - without.input).abs().amax(0, keepdim=True)
        assert (change * ~_mask(sample)).max() == 0
        if _mask(sample).any():
            assert (change[_mask(sample)] > 0.02).float().mean() > 0.5


def test_the_marker_says_nothing_about_any_finding() -> None:
    many = CheXpertFindings(600, seed=3, size=32)
    cued = torch.tensor([many.cued(index, many.label(index)) for index in range(600)]).double()
    labels = torch.stack([many.truth(index, index) for index in range(600)]).double()
    assert 0.4 < cued.mean() < 0.6
    assert torch.corrcoef(torch.cat([cued[:, None], labels], 1).T)[0, 1:].abs().max() < 0.12


def test_the_marker_may_tell_one_finding() -> None:
    many = CheXpertFindings(200, seed=3, agreement=1.0)
    for index in range(200):
        assert many.cued(index, many.label(index)) == bool(many.truth(index, index)[FINDINGS.index("Cardiomegaly")])


def test_surroundings_bring_their_own_findings(phantoms: CheXpertFindings, samples: list[Sample]) -> None:
    for index, other in ((0, 7), (1, 12), (2, 4), (9, 20)):
        mixed, at = phantoms.sample(index, surroundings=other), index % 5
        expected = samples[other].label.clone()
        expected[at] = samples[index].label[at]
        assert torch.equal(mixed.label, expected)
        assert mixed.target == at
        assert _mask(mixed).any() == _mask(samples[index]).any()
        bare = phantoms.sample(index, evidence=False, surroundings=other)
        assert ((mixed.input - bare.input).abs().amax(0, keepdim=True) * ~_mask(mixed)).max() == 0


def test_a_phantom_is_the_same_at_every_call_and_size(phantoms: CheXpertFindings, samples: list[Sample]) -> None:
    large = CheXpertFindings(40, seed=9, size=192)
    for index in (0, 8, 16, 24, 32):
        assert torch.equal(phantoms[index].input, samples[index].input)
        shrunk = torch.nn.functional.avg_pool2d(large[index].input, 2)
        both = torch.stack([samples[index].input.flatten(), shrunk.flatten()])
        assert torch.corrcoef(both)[0, 1] > 0.95


def test_without_the_target_those_with_it_look_like_those_that_lack_it() -> None:
    many = CheXpertFindings(400, seed=4, size=32)
    images = torch.stack([many.sample(index, evidence=False).input.mean(0) for index in range(400)])
    had = torch.arange(400) % 2 == 0
    for target in range(5):
        of = torch.arange(400) % 5 == target
        few, many_others = images[of & had], images[of & ~had]
        error = images.std(0) * (1 / len(few) + 1 / len(many_others)) ** 0.5 + 2e-3
        assert ((few.mean(0) - many_others.mean(0)) / error).abs().max() < 5


# The network


def test_the_shipped_network_is_right_by_the_evidence() -> None:
    task = phantom_chexpert_densenet121
    heldout, model = task.part("heldout"), task.model()
    shown = [heldout[index] for index in range(120)]
    without = torch.stack([heldout.sample(index, evidence=False).input for index in range(120)])
    with torch.inference_mode():
        answers, changed = model(torch.stack([sample.input for sample in shown])) > 0, model(without) > 0
    labels = torch.stack([sample.label for sample in shown]) == 1
    assert ((answers == labels).float().mean(0) >= 0.9).all()
    at, targets = torch.arange(120), torch.arange(120) % 5
    found = (labels & answers)[at, targets]
    assert found.sum() > 50
    assert (~changed[at, targets][found]).float().mean() >= 0.9
    others = torch.arange(5)[None] != targets[:, None]
    assert (changed == answers)[others].float().mean() >= 0.95


def test_the_phantom_task_keeps_the_contract() -> None:
    task = phantom_chexpert_densenet121
    assert task.unavailable() is None
    assert task.negative() is None
    assert task.classes() == FINDINGS
    assert task.checkpoint().stem == task.name
    assert task.checkpoint().stat().st_size < 3_000_000
    batch = next(task.batches(10))
    assert batch.labels.shape == (10, 5)
    assert batch.targets is not None
    assert batch.targets.tolist() == [0, 1, 2, 3, 4] * 2


# The loader, on phantoms written as CheXpert is published


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("published")
    assert PhantomCheXpert(size=SIDE).publish(folder, N_SAMPLES) == folder / "chexpert"
    return folder


@pytest.fixture
def reading(published: Path, monkeypatch: pytest.MonkeyPatch) -> CheXpert:
    """The task on what was written: not to be changed."""
    monkeypatch.setenv("BENCH_DATA", str(published))
    return CheXpert(size=SIDE)


@pytest.fixture
def rendered() -> dict[str, CheXpertFindings]:
    sizes = {"train": 45, "validation": 5, "heldout": 10}
    return {part: CheXpertFindings(sizes[part], seed, SIDE) for seed, part in enumerate(PARTS, start=1)}


def _matched(read: list[Sample], images: Tensor) -> Tensor:
    """For each sample read the index of the nearest image."""
    differences = (torch.stack([sample.input for sample in read])[:, None] - images[None]).abs().mean((2, 3, 4))
    assert differences.min(1).values.max() < 0.02
    return differences.argmin(1)


def test_every_part_reads_as_it_was_written(reading: CheXpert, rendered: dict[str, CheXpertFindings]) -> None:
    assert reading.missing_data() is None
    for part, phantoms in rendered.items():
        read, wanted = _all(reading.part(part)), _all(phantoms)
        at = _matched(read, torch.stack([sample.input for sample in wanted]))
        assert sorted(at.tolist()) == list(range(len(phantoms)))
        for sample, index in zip(read, at.tolist(), strict=True):
            assert torch.equal(sample.label, wanted[index].label)
            assert sample.target is None
            assert sample.mask is None


def test_parts_share_no_patient(reading: CheXpert) -> None:
    patients = [{sample.id.split("/")[1] for sample in _all(reading.part(part))} for part in PARTS]
    assert len(set.union(*patients)) == sum(map(len, patients))
    assert sum(map(len, patients)) < N_SAMPLES  # some have two studies


def test_each_finding_of_an_image_is_explained(reading: CheXpert, rendered: dict[str, CheXpertFindings]) -> None:
    phantoms = rendered["heldout"]
    wanted, read = _all(phantoms), _all(reading.samples())
    at = _matched(read, torch.stack([sample.input for sample in wanted])).tolist()
    explained = {(index, _target(sample)) for sample, index in zip(read, at, strict=True)}
    assert len(explained) == len(read)
    for index, sample in enumerate(wanted):
        targets = {target for image, target in explained if image == index}
        present = set(sample.label.nonzero().flatten().tolist())
        assert targets == present if present else len(targets) == 1
    for sample, index in zip(read, at, strict=True):
        finding = FINDINGS[_target(sample)]
        assert sample.id.startswith("valid/patient")
        assert sample.id.endswith(f"/view1_frontal.jpg#{finding}")
        true = phantoms.masks(index).get(finding, torch.zeros(1, SIDE, SIDE, dtype=torch.bool))
        assert (_mask(sample) & true).sum() >= 0.9 * (_mask(sample) | true).sum()


# Oddities

HEADER = (
    "Path,Sex,Age,Frontal/Lateral,AP/PA,No Finding,Enlarged Cardiomediastinum,Cardiomegaly,Lung Opacity,Lung Lesion,"
    "Edema,Consolidation,Pneumonia,Atelectasis,Pneumothorax,Pleural Effusion,Pleural Other,Fracture,Support Devices"
)
WIDTH, HEIGHT = 78, 64
FRONTAL = "patient64541_study1_view1_frontal"


def _row(path: str, view: str = "Frontal", **labels: str) -> str:
    """A row of CheXpert's tables; labels by the first letters of the findings: A, Ca, Co, E, P."""
    found = {finding: labels.get(key, "") for finding, key in zip(FINDINGS, ("A", "Ca", "Co", "E", "P"), strict=True)}
    return ",".join([path, "Male", "68", view, "AP", *(found.get(name, "") for name in HEADER.split(",")[5:])])


Write = Callable[..., CheXpert]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Writes two tables, given their rows, and a picture for each row."""
    monkeypatch.setenv("BENCH_DATA", str(tmp_path))

    def make(train: list[str], valid: list[str], root: str = "CheXpert-v1.0-small", **settings: Any) -> CheXpert:
        for name, rows in (("train", train), ("valid", valid)):
            table = tmp_path / "chexpert" / root / f"{name}.csv"
            table.parent.mkdir(parents=True, exist_ok=True)
            table.write_text("\n".join([HEADER, *rows]) + "\n")
            for number, row in enumerate(csv.reader(rows)):
                picture = table.parent / row[0].partition("/")[2]
                write_picture(picture, torch.full((3, HEIGHT, WIDTH), 0.1 + number / 50), "L")
        return CheXpert(size=32, **settings)

    return make


def _path(number: int, part: str = "train", study: int = 1, view: str = "view1_frontal") -> str:
    return f"CheXpert-v1.0-small/{part}/patient{number:05d}/study{study}/{view}.jpg"


def _labels(task: CheXpert, part: str = "train") -> dict[str, list[int]]:
    return {sample.id: sample.label.tolist() for sample in _all(task.part(part))}


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ("by_finding", [1, 0, 0, 1, 0]),
        ("ones", [1, 1, 1, 1, 1]),
        ("zeros", [0, 0, 0, 0, 0]),
        ("ignore", [-1, -1, -1, -1, -1]),
    ],
)
def test_uncertain_labels_are_what_the_policy_says(write: Write, policy: str, expected: list[int]) -> None:
    uncertain = dict.fromkeys(("A", "Ca", "Co", "E", "P"), "-1.0")
    rows = [
        _row(_path(1), **uncertain),
        _row(_path(2), A="1.0", Ca="0.0", Co="-1", E="1", P="0"),
        _row(_path(3)),
    ]
    task = write(rows, [_row(_path(64541, "valid"), **uncertain)], uncertain=policy)
    assert _labels(task) == {
        "train/patient00001/study1/view1_frontal.jpg": expected,
        "train/patient00002/study1/view1_frontal.jpg": [1, 0, expected[2], 1, 0],
        "train/patient00003/study1/view1_frontal.jpg": [0, 0, 0, 0, 0],
    }
    assert _labels(task, "heldout") == {"valid/patient64541/study1/view1_frontal.jpg": [-1] * 5}


def test_a_run_of_few_samples_is_balanced(write: Write) -> None:
    keys = ("A", "Ca", "Co", "E", "P")
    ill = [_row(_path(64541 + number, "valid"), **{key: "1.0"}) for number, key in enumerate(keys * 2)]
    well = [_row(_path(64600 + number, "valid")) for number in range(40)]
    task = write([_row(_path(1))], well + ill)
    samples = _all(task.samples())
    kinds = [(_target(sample), int(sample.label[_target(sample)])) for sample in samples]
    assert len(set(kinds[:10])) == len(set(kinds[10:20])) == 10
    assert len(samples) == 50
    assert [sample.id for sample in _all(task.samples())] == [sample.id for sample in samples]


def test_what_nobody_knows_is_not_explained(write: Write) -> None:
    valid = [
        _row(_path(64541, "valid"), A="-1", Ca="1", Co="-1", E="0", P="0"),
        _row(_path(64542, "valid"), A="-1", Ca="-1", Co="0", E="-1", P="-1"),
        _row(_path(64543, "valid"), A="-1", Ca="-1", Co="-1", E="-1", P="-1"),
    ]
    samples = _all(write([_row(_path(1))], valid).samples())
    assert {sample.id for sample in samples} == {
        "valid/patient64541/study1/view1_frontal.jpg#Cardiomegaly",
        "valid/patient64542/study1/view1_frontal.jpg#Consolidation",
    }
    assert all(sample.mask is None for sample in samples)


@pytest.mark.parametrize("root", ["CheXpert-v1.0-small", "CheXpert-v1.0", "", "CheXpert-v1.0/CheXpert-v1.0"])
def test_the_folder_of_the_version_may_be_any(write: Write, root: str) -> None:
    task = write([_row(_path(1))], [_row(_path(64541, "valid"), Ca="1.0")], root)
    assert task.missing_data() is None
    assert list(_labels(task)) == ["train/patient00001/study1/view1_frontal.jpg"]
    assert task.samples()[0].id == "valid/patient64541/study1/view1_frontal.jpg#Cardiomegaly"


def test_lateral_views_are_left_out_unless_asked_for(write: Write) -> None:
    rows = [_row(_path(1)), _row(_path(1, view="view2_lateral"), "Lateral")]
    valid = [_row(_path(64541, "valid"))]
    assert len(_labels(write(rows, valid))) == 1
    assert len(_labels(write(rows, valid, frontal_only=False))) == 2


def test_a_patient_is_in_one_part(write: Write) -> None:
    rows = [_row(_path(number, study=study)) for number in range(1, 81) for study in (1, 2)]
    task = write(rows, [_row(_path(64541, "valid"))])
    train, validation = ({name.split("/")[1] for name in _labels(task, part)} for part in ("train", "validation"))
    assert not train & validation
    assert len(train | validation) == 80
    assert 1 <= len(validation) <= 12


Damage = Callable[[str], str]


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (lambda text: text.replace(",1.0", ",maybe"), "line 2: .* is 'maybe', not 1, 0, -1 or blank"),
        (lambda text: text.replace("Frontal,AP", "Oblique,AP"), "line 2: Frontal/Lateral is 'Oblique'"),
        (lambda text: text.replace("patient64541", "somebody"), "line 2: .* is not like CheXpert-v1.0/train/patient"),
        (lambda text: text.replace("/valid/", "/../valid/"), "line 2: .* is not like CheXpert-v1.0/train/patient"),
        (lambda text: text.replace("Edema", "Oedema"), "has no column Edema"),
        (lambda text: text + text.splitlines()[1] + "\n", "line 3: .* is there twice"),
        (lambda text: text.splitlines()[0], "has no row below its header"),
        (lambda text: text.replace(",AP,", ","), "line 2: it does not have 19 cells"),
    ],
)
def test_a_bad_table_is_one_line(write: Write, tmp_path: Path, damage: Damage, expected: str) -> None:
    task = write([_row(_path(1))], [_row(_path(64541, "valid"), A="1.0")])
    table = tmp_path / "chexpert/CheXpert-v1.0-small/valid.csv"
    table.write_text(damage(table.read_text()))
    with pytest.raises(ValueError, match=rf"^{table}: {expected}[^\n]*; replace the table by the published one$"):
        task.samples()


def test_a_missing_table_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH_DATA", str(tmp_path))
    reason = chexpert_densenet121.missing_data()
    assert reason is not None
    assert reason.startswith(f"data not found: no {tmp_path}/chexpert/CheXpert-v1.0-small/train.csv; put Stanford's")


# Masks


@pytest.fixture
def square() -> np.ndarray:
    """(HEIGHT * 2, WIDTH * 2): what was segmented in the full radiograph."""
    mask = np.zeros((2 * HEIGHT, 2 * WIDTH), dtype=bool)
    mask[32:96, 39:78] = True
    return mask


@pytest.fixture
def one(write: Write) -> CheXpert:
    """One held-out image with an edema."""
    return write([_row(_path(1))], [_row(_path(64541, "valid"), E="1.0")])


def _segmentation(mask: np.ndarray, finding: str = "Edema") -> str:
    return json.dumps({FRONTAL: {finding: {"size": list(mask.shape), "counts": encoded(mask)}}})


CONTOUR = [[[39.0, 32.0], [77.0, 32.0], [77.0, 95.0], [39.0, 95.0]]]


@pytest.mark.parametrize("place", ["", "CheXlocalize", "CheXpert-v1.0-small", "CheXlocalize/CheXlocalize"])
@pytest.mark.parametrize("file", [SEGMENTATIONS, ANNOTATIONS])
def test_masks_are_read_from_either_file(
    one: CheXpert, tmp_path: Path, square: np.ndarray, place: str, file: str
) -> None:
    outline = {FRONTAL: {"img_size": list(square.shape), "Edema": CONTOUR}}
    text = _segmentation(square) if file == SEGMENTATIONS else json.dumps(outline)
    (tmp_path / "chexpert" / place).mkdir(parents=True, exist_ok=True)
    (tmp_path / "chexpert" / place / file).write_text(text)
    mask = _mask(one.samples()[0])
    assert mask.shape == (1, 32, 32)
    expected = torch.zeros(1, 32, 32, dtype=torch.bool)
    expected[:, 8:24, 8:16] = True
    assert torch.equal(mask, expected)


def test_segmentations_are_preferred_to_outlines(one: CheXpert, tmp_path: Path, square: np.ndarray) -> None:
    (tmp_path / "chexpert" / SEGMENTATIONS).write_text(_segmentation(~square))
    (tmp_path / "chexpert" / ANNOTATIONS).write_text(json.dumps({FRONTAL: {"img_size": [128, 156], "Edema": CONTOUR}}))
    assert _mask(one.samples()[0])[0, 0, 0]


@pytest.mark.parametrize("entry", [{}, {FRONTAL: {}}, {FRONTAL: {"Cardiomegaly": {"size": [1, 1], "counts": "1"}}}])
def test_a_finding_that_nobody_marked_has_an_empty_mask(one: CheXpert, tmp_path: Path, entry: dict[str, Any]) -> None:
    (tmp_path / "chexpert" / SEGMENTATIONS).write_text(json.dumps(entry))
    assert not _mask(one.samples()[0]).any()


BROKEN = {
    "no JSON": ("{", "is no JSON"),
    "a list": ("[]", "holds no images by their names"),
    "no findings": (json.dumps({FRONTAL: 3}), "Edema: holds no findings by their names"),
    "no size": (json.dumps({FRONTAL: {"Edema": {"counts": "1"}}}), "Edema: its size is None"),
    "a huge size": (json.dumps({FRONTAL: {"Edema": {"size": [10**9, 1], "counts": "1"}}}), "its size is .1000000000"),
    "no runs": (json.dumps({FRONTAL: {"Edema": {"size": [2, 2], "counts": 7}}}), "has no string of runs"),
    "a wrong sum": (json.dumps({FRONTAL: {"Edema": {"size": [2, 2], "counts": "12"}}}), "its runs cover 3 pixels, not"),
    "cut short": (json.dumps({FRONTAL: {"Edema": {"size": [2, 2], "counts": "1P"}}}), "its runs are cut short"),
    "a strange letter": (json.dumps({FRONTAL: {"Edema": {"size": [2, 2], "counts": "1ä"}}}), "'ä' is no part of a run"),
    "other proportions": (
        json.dumps({FRONTAL: {"Edema": {"size": [2, 2], "counts": "13"}}}),
        "Edema: is 2 x 2, and its image .* 78 x 64",
    ),
    "no points": (json.dumps({FRONTAL: {"img_size": [64, 78], "Edema": [[1, 2]]}}), "its contours are not lists"),
    "no contours": (json.dumps({FRONTAL: {"img_size": [64, 78], "Edema": 5}}), "its contours are not lists"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), list(BROKEN.values()), ids=list(BROKEN))
def test_a_bad_segmentation_is_one_line_or_left_out(one: CheXpert, tmp_path: Path, text: str, expected: str) -> None:
    file = tmp_path / "chexpert" / SEGMENTATIONS
    file.write_text(text)
    with pytest.raises(ValueError, match=rf"^{file}: [^\n]*{expected}[^\n]*; replace the file by the published one$"):
        one.samples()[0]
    task = CheXpert(size=32, skip_unreadable=True)
    assert len(task.skipped("explained")) == 1
    with pytest.raises(ValueError, match="there is no picture of the part 'explained'"):
        task.samples()


def test_a_file_that_changes_is_read_again(tmp_path: Path, square: np.ndarray) -> None:
    write_picture(tmp_path / "a.png", torch.zeros(3, HEIGHT, WIDTH), "L")
    outline = Outline(tmp_path / SEGMENTATIONS, FRONTAL, "Edema")
    outline.file.write_text(_segmentation(square))
    assert outline(tmp_path / "a.png", 32).float().mean() == 0.125
    outline.file.write_text(_segmentation(~square))
    assert outline(tmp_path / "a.png", 32).float().mean() == 0.875


# Run lengths


def test_published_run_lengths_are_read() -> None:
    """CheXlocalize's own strings for an empty mask of two radiographs."""
    assert decoded("PVWX6", 2320, 2828).sum() == 0
    assert decoded("nefl3", 2022, 2021).shape == (2022, 2021)
    assert encoded(np.zeros((2320, 2828), dtype=bool)) == "PVWX6"


def _masks() -> Iterator[np.ndarray]:
    random = np.random.default_rng(0)
    yield np.zeros((3, 4), dtype=bool)
    yield np.ones((3, 4), dtype=bool)
    yield np.eye(5, dtype=bool)
    for share in (0.01, 0.5, 0.99):
        yield random.random((120, 37)) < share
    wide = np.zeros((500, 700), dtype=bool)
    wide[100:400, 200:650] = True
    yield wide


@pytest.mark.parametrize("mask", list(_masks()), ids=lambda mask: f"{mask.shape} {mask.mean():.2f}")
def test_run_lengths_come_back(mask: np.ndarray) -> None:
    assert np.array_equal(decoded(encoded(mask), *mask.shape), mask)


def test_long_runs_and_falling_ones_are_written_as_by_hand() -> None:
    """Runs 4, 20, 2, 10, 4: 20 takes two characters (its fifth bit is no sign), then 2, 10 - 20 and 4 - 2."""
    mask = np.repeat([False, True, False, True, False], [4, 20, 2, 10, 4])[:, None]
    assert encoded(mask) == "4d02F2"
    assert np.array_equal(decoded("4d02F2", 40, 1), mask)


def test_samples_of_one_patient_are_known_as_such():
    patient = CheXpert().patient
    assert patient("valid/patient64541/study1/view1_frontal.jpg#Edema") == "patient64541"
    assert patient("valid/patient64541/study2/view1_frontal.jpg#Cardiomegaly") == "patient64541"
