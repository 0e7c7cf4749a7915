"""Five findings in adults' chest X-rays, any number of which an image may show: rendered radiographs, and CheXpert's.

The public data [1] are laid out as

    chexpert/CheXpert-v1.0-small/{train,valid}/patient00001/study1/view1_frontal.jpg
    chexpert/CheXpert-v1.0-small/{train,valid}.csv    Path,Sex,Age,Frontal/Lateral,AP/PA,No Finding, … 13 findings

with images of about 390 x 320; `CheXpert-v1.0` holds them in full, and the folder of the version may be absent. The
findings here are the five of the CheXpert competition. In `train.csv` a label is 1, 0, -1 where the report is
uncertain, or blank where it does not mention the finding, which counts as 0; in `valid.csv`, by three radiologists, it
is 1 or 0. The published `valid` is held out; a twentieth of the patients of `train` is kept to choose the epoch.

An image is explained once for each finding that it has, and one that has none for one that it lacks; so the samples
to explain are more than the images of the held-out part. Masks are CheXlocalize's segmentations [2], whose JSON files
(`tasks/chexlocalize.py`) lie in `chexpert`, in `chexpert/CheXlocalize` or beside the tables. They are all False where
the finding is absent, and also where it is present but no radiologist marked it (CheXlocalize lacks a few).

[1] Irvin et al., CheXpert: a large chest radiograph dataset with uncertainty labels and expert comparison, AAAI 2019.
[2] Saporta et al., Benchmarking saliency methods for chest X-ray interpretation, Nature Machine Intelligence 2022.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from torch import Tensor, nn
from torch.nn import functional
from torchvision.models import DenseNet121_Weights

from .base import DataSet, Samples, balanced_order, checkpoint_folder
from .chexlocalize import SEGMENTATIONS, Outline, key_of, outlines
from .chexpert_tables import COLUMNS, FINDINGS, Row, read_rows, settled
from .files.pictures import Picture, Pictures
from .files.run_lengths import encoded
from .learning.augmentation import Jitter
from .learning.fitting import Recipe
from .networks.architectures import densenet121
from .phantoms.chest_xray import CheXpertFindings
from .published import PublishedTask, drawn, unnested
from .publishing import Layout, numbers, rendered, write_picture, write_table
from .rendered import PhantomTask

_ROOTS = ("CheXpert-v1.0-small", "CheXpert-v1.0", "")
_VALIDATION_FRACTION = 0.05

CHEXPERT = DataSet(
    name="CheXpert",
    licence="Stanford University Dataset Research Use Agreement",
    citation="Irvin et al., CheXpert: a large chest radiograph dataset with uncertainty labels and expert comparison, "
    "AAAI 2019; masks: Saporta et al., Benchmarking saliency methods for chest X-ray interpretation, Nature Machine "
    "Intelligence 2022",
)


class PhantomCheXpert(PhantomTask):
    """Rendered chest X-rays with any of five findings, and a small DenseNet-121.

    On 400 held-out phantoms it is right in 0.991 of the findings (0.985 to 1 each; mean ROC AUC 0.998). Of the targets
    that it rightly finds, taking the target away changes its decision in all, on 400 others in 0.995; replacing all
    else keeps the decision in 0.995, on others in 0.984.
    """

    phantoms: ClassVar[type[CheXpertFindings]] = CheXpertFindings
    name: ClassVar[str] = "phantom_chexpert_densenet121"
    data_set: ClassVar = CHEXPERT
    architecture: ClassVar[str] = "DenseNet-121, 1/4 as wide"
    nothing_found: ClassVar = None
    mean: ClassVar = (0.45,) * 3
    deviation: ClassVar = (0.28,) * 3

    def layout(self) -> Layout:
        return Layout(CheXpert.folder, _write)

    def network(self) -> nn.Sequential:
        return densenet121(len(self.classes()), width=1 / 4, mean=self.mean, deviation=self.deviation)

    def recipe(self) -> Recipe:
        return Recipe(epochs=12, learning_rate=3e-3, augment=Jitter(rotation=5, shift=0.03))


@dataclass(frozen=True)
class CheXpert(PublishedTask):
    """Radiographs of the public data set, and torchvision's DenseNet-121, fine-tuned from ImageNet weights.

    Irvin et al. found different policies for uncertain labels to be the best for different findings. As is customary
    in the competition that followed, an uncertain atelectasis or edema counts as present by default, and an uncertain
    one of the other three as absent (`by_finding`).
    """

    uncertain: Literal["by_finding", "ones", "zeros", "ignore"] = "by_finding"
    """What an uncertain label is trained as: see above, or in every finding present, absent, or not at all."""
    frontal_only: bool = True
    """Leave the lateral views out."""

    name: ClassVar[str] = "chexpert_densenet121"
    data_set: ClassVar[DataSet] = CHEXPERT
    architecture: ClassVar[str] = "DenseNet-121"
    ground_truth: ClassVar[str] = "the finding, by two radiologists (CheXlocalize)"
    folder: ClassVar[str] = "chexpert"
    source: ClassVar[str] = "Stanford's CheXpert-v1.0-small or CheXpert-v1.0"
    initial: ClassVar = DenseNet121_Weights.IMAGENET1K_V1
    epochs: ClassVar[int] = 3
    learning_rate: ClassVar[float] = 1e-4

    def classes(self) -> tuple[str, ...]:
        return FINDINGS

    def network(self) -> nn.Sequential:
        return densenet121(len(self.classes()))

    def checkpoint(self) -> Path:
        policy = "" if self.uncertain == "by_finding" else f"_u_{self.uncertain}"
        return checkpoint_folder() / f"{self.name}{policy}.safetensors"

    def needed(self) -> Sequence[str]:
        root = _root(self.data())
        return [f"{root}/{table}".lstrip("/") for table in ("train.csv", "valid.csv")]

    def pictures(self, folder: Path, part: str) -> Sequence[Picture]:
        """Those of a part, or, of the part "explained", each held-out one for every finding to explain."""
        root = unnested(folder, _root(folder))
        table = root / ("train.csv" if part in ("train", "validation") else "valid.csv")
        rows = [row for row in read_rows(table) if row.frontal or not self.frontal_only]
        at = root.relative_to(folder)
        if part == "explained":
            marks = outlines([folder, unnested(folder, "CheXlocalize"), root])
            return [_asked(row, at, target, marks) for row in rows for target in _targets(row)]
        if part == "heldout":
            return [Picture((at / row.path).as_posix(), row.labels, name=row.path) for row in rows]
        return [
            Picture((at / row.path).as_posix(), settled(row.labels, self.uncertain), name=row.path)
            for row in rows
            if drawn(row.patient, _VALIDATION_FRACTION) == (part == "validation")
        ]

    def patient(self, sample: str) -> str | None:
        """As the folder's name tells; several findings of one image are samples of one patient too."""
        told = re.search(r"patient\d+", sample)
        return told.group() if told else None

    def samples(self) -> Samples:
        """Every prefix has as many samples of each finding, as many with as without, as long as there are any."""
        pictures = self._readable("explained")
        order = balanced_order([_turn(picture) for picture in pictures])
        return Pictures(self.data(), [pictures[index] for index in order], self.size)


def _root(folder: Path) -> str:
    """The folder of the version, in that of the data set."""
    return next((root for root in _ROOTS if (unnested(folder, root) / "valid.csv").is_file()), _ROOTS[0])


def _targets(row: Row) -> list[int]:
    """The findings that an image has; if none, one that it lacks, drawn by its name."""
    present = [at for at, label in enumerate(row.labels) if label == 1]
    absent = [at for at, label in enumerate(row.labels) if label == 0]
    number = int.from_bytes(hashlib.sha256(row.path.encode()).digest()[:8], "big")
    return present or [absent[number % len(absent)]] if present or absent else []


def _asked(row: Row, at: Path, target: int, marks: Path | None) -> Picture:
    finding = FINDINGS[target]
    return Picture(
        (at / row.path).as_posix(),
        row.labels,
        target=target,
        name=f"{row.path}#{finding}",
        outline=None if marks is None else Outline(marks, key_of(row.path), finding),
    )


def _turn(picture: Picture) -> tuple[int, ...]:
    """The kind of a sample to explain: its target, and whether it is there."""
    if isinstance(picture.label, int) or picture.target is None:
        raise TypeError(f"{picture}: is not one of several labels")
    return picture.target, 1 - picture.label[picture.target]


def _write(folder: Path, parts: Mapping[str, CheXpertFindings]) -> None:
    """Two studies a patient, not square, some with a lateral view (the same chest, narrowed), and their outlines."""
    root, tables = folder / _ROOTS[0], dict[str, list[list[str]]](train=[], valid=[])
    segmentations: dict[str, dict[str, object]] = {}
    for part, phantoms in parts.items():
        published, free = "valid" if part == "heldout" else "train", _studies(part)
        for position, _, _, sample in rendered(phantoms):
            study = f"{published}/{next(free)}"
            path = f"{study}/view1_frontal.jpg"
            write_picture(root / path, sample.input, "L", _sides(phantoms.size))
            cells = _cells(sample.label.tolist(), position, published)
            tables[published].append(
                [f"{_ROOTS[0]}/{path}", "Female", str(20 + position % 70), "Frontal", "AP", *cells]
            )
            if position % 4 == 0:
                lateral = f"{study}/view2_lateral.jpg"
                write_picture(root / lateral, sample.input, "L", (phantoms.size // 2, phantoms.size))
                tables[published].append([f"{_ROOTS[0]}/{lateral}", "Female", "50", "Lateral", "", *cells])
            if published == "valid" and (masks := phantoms.masks(position)):
                segmentations[key_of(path)] = {name: _run_lengths(mask) for name, mask in masks.items()}
    for name, rows in tables.items():
        write_table(root / f"{name}.csv", COLUMNS, rows)
    (folder / "CheXlocalize").mkdir()
    (folder / "CheXlocalize" / SEGMENTATIONS).write_text(json.dumps(segmentations), encoding="utf-8")


def _studies(part: str) -> Iterator[str]:
    """Folders of images of patients that the reader counts to the part: two of each."""

    def counts(number: int) -> bool:
        of_validation = drawn(f"patient{number:05d}", _VALIDATION_FRACTION)
        return part == "heldout" or of_validation == (part == "validation")

    start = 64541 if part == "heldout" else 1
    return (f"patient{number:05d}/study{study}" for number in numbers(counts, start) for study in (1, 2))


def _cells(labels: Sequence[int], position: int, published: str) -> list[str]:
    """A row's 14 observations: in `train` most of what is absent is blank, and some of the other nine are uncertain."""
    known = dict(zip(FINDINGS, labels, strict=True)) | {"No Finding": int(not any(labels))}
    if published == "valid":
        return [f"{known.get(name, 0):.1f}" for name in COLUMNS[5:]]
    absent = "0.0" if position % 3 == 0 else ""
    cells = {name: "1.0" if label else absent for name, label in known.items()}
    return [cells.get(name, "-1.0" if position % 5 == 0 else "") for name in COLUMNS[5:]]


def _sides(size: int) -> tuple[int, int]:
    """Width and height of a published image."""
    return size * 39 // 32, size


def _run_lengths(mask: Tensor) -> dict[str, object]:
    """A (1, H, W) mask as CheXlocalize has it: of the full radiograph, twice as large."""
    width, height = (2 * side for side in _sides(mask.shape[-1]))
    whole = functional.interpolate(mask[None].float(), (height, width))[0, 0] > 0
    return {"size": [height, width], "counts": encoded(whole.numpy())}


phantom_chexpert_densenet121 = PhantomCheXpert()
chexpert_densenet121 = CheXpert()
chexpert_densenet121_u_ones = CheXpert(uncertain="ones")
chexpert_densenet121_u_zeros = CheXpert(uncertain="zeros")
chexpert_densenet121_u_ignore = CheXpert(uncertain="ignore")
