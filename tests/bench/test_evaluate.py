"""`bench evaluate`: from a checkpoint to tables and pictures."""

import json
import math
import re
import stat

import pandas as pd
import pytest
from PIL import Image

PHANTOM = ("evaluate", "phantom_covid19_radiography_densenet121", "--samples", 12, "--device", "cpu")
TABLES = ("answers", "calibration", "classes", "confusion", "reliability", "roc", "summary", "tsne")
PICTURES = ("classes", "confusion", "reliability", "roc", "tsne")

TRAINABLE = """
from collections import OrderedDict

from torchvision.transforms import Normalize

from tasks.base import checkpoint_folder
from tasks.learning.fitting import Recipe
from tasks.training import Trainable


class Taught(Trainable):
    def classes(self):
        return ("left", "right")

    def network(self):
        network = nn.Sequential(nn.Flatten(), nn.Linear(3 * SIDE * SIDE, 2))
        return nn.Sequential(OrderedDict(preprocessing=Normalize((0.5,) * 3, (0.2,) * 3), network=network))

    def part(self, name):
        first = {"train": 0, "validation": 100, "heldout": 200}[name]
        return sorted((ToyTask().sample(index) for index in range(first, first + 40)), key=lambda s: int(s.label))

    def checkpoint(self):
        return checkpoint_folder() / "taught.safetensors"

    def recipe(self):
        return Recipe(epochs=2, learning_rate=0.01, batch_size=8)


taught = Taught()
"""

FINDINGS = """
class Findings(ToyTask):
    def classes(self):
        return ("left", "right", "unheard of")

    def model(self):
        class Three(nn.Module):
            def __init__(self):
                super().__init__()
                self.halves = Halves()

            def forward(self, inputs):
                logits = 10 * (self.halves(inputs) - 60)
                return torch.cat([logits, logits[:, :1]], 1)

        return Three().eval()

    def samples(self):
        labels = [[1, 0, -1], [0, 1, -1], [1, -1, -1]]
        return [self.sample(index)._replace(label=torch.tensor(labels[index % 3])) for index in range(12)]


findings = Findings()
"""


def test_a_shipped_network_is_evaluated(bench, tmp_path):
    folder = tmp_path / "evaluation"
    folder.mkdir()
    (folder / "learning_curves.png").write_text("of an earlier evaluation")
    (folder / "mine.txt").write_text("not the command's")
    answer = bench(*PHANTOM, "--out", folder, "--width", 127, "--dpi", 100)
    assert answer.status == 0, answer.err
    assert "Held-out accuracy 1.000" in answer.out
    assert re.search(r"class +precision +recall +F1 +ROC AUC +n +→ 1 +→ 2", answer.out)
    assert re.search(r"2 \S+ +1\.000 +1\.000 +1\.000 +1\.000 +3 +0 +3", answer.out)
    assert re.search(r"macro +1\.000 +1\.000 +1\.000 +1\.000", answer.out)
    assert "calibration error 0.0" in answer.out
    assert "no learning curves: none are kept with the weights" in answer.out
    assert f"written to {folder}" in answer.out
    expected = {f"{stem}.csv" for stem in TABLES} | {
        f"{stem}{suffix}" for stem in PICTURES for suffix in (".png", ".pdf")
    }
    assert {path.name for path in folder.iterdir()} == expected | {"summary.json", "mine.txt"}
    for stem in TABLES:
        assert len(pd.read_csv(folder / f"{stem}.csv")) > 0
    for stem in PICTURES:
        with Image.open(folder / f"{stem}.png") as image:
            assert image.width == 500
            assert len(set(image.convert("L").tobytes())) > 20
        assert (folder / f"{stem}.pdf").stat().st_size > 2000
    check_that_the_files_agree(folder)


def check_that_the_files_agree(folder):
    about = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    answers, summary = (pd.read_csv(folder / f"{stem}.csv") for stem in ("answers", "summary"))
    assert (about["task"], about["part"], about["samples"], about["of"]) == (PHANTOM[1], "heldout", 12, 400)
    assert about["summary"]["accuracy"]["value"] == (answers["label"] == answers["prediction"]).mean()
    assert {row.measure: row.value for row in summary.itertuples()} == pytest.approx(
        {measure: row["value"] for measure, row in about["summary"].items()}
    )
    assert answers["id"].tolist() == pd.read_csv(folder / "tsne.csv")["id"].tolist()
    assert set(about["definitions"]) >= {"roc_auc", "calibration_error", "macro"}


def test_a_trained_network_has_learning_curves_and_its_evaluation_beside_its_checkpoint(bench, write, tmp_path):
    plugin = write(TRAINABLE)
    assert bench("train", "taught", "--plugins", plugin, "--from-scratch", "--device", "cpu").status == 0
    checkpoints = tmp_path / "cache" / "heatmark" / "checkpoints"
    answer = bench("evaluate", "taught", "--plugins", plugin)
    assert answer.status == 0, answer.err
    assert "no learning curves" not in answer.out
    curves = pd.read_csv(checkpoints / "taught-evaluation" / "learning_curves.csv")
    assert curves["epoch"].tolist() == [1, 2]
    assert (checkpoints / "taught-evaluation" / "learning_curves.png").is_file()
    assert bench("evaluate", "taught", "--plugins", plugin, "--part", "train", "--samples", 8).status == 0
    answers = pd.read_csv(checkpoints / "taught-evaluation-train" / "answers.csv")
    assert answers["label"].value_counts().to_dict() == {"left": 5, "right": 3}  # a draw, although they are sorted


def test_a_model_of_ones_own_with_many_labels_is_evaluated_in_the_current_folder(bench, write, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    answer = bench("evaluate", "findings", "--plugins", write(FINDINGS))
    assert answer.status == 0, answer.err
    assert re.search(r"finding +precision +recall +F1 +ROC AUC +n +TN +FP +FN +TP", answer.out)
    assert re.search(r"unheard of +– +– +– +– +0 +0 +0 +0 +0", answer.out)
    assert re.search(r"mean over +2 +2 +2 +2", answer.out)
    assert "macro calibration error" in answer.out
    folder = tmp_path / "findings-evaluation"
    rows = json.loads((folder / "summary.json").read_text(encoding="utf-8"))["classes"]
    assert [row["recall"] is None for row in rows] == [False, False, True]
    confusion = pd.read_csv(folder / "confusion.csv").set_index("finding")
    assert confusion.sum(axis=1).to_dict() == {"left": 12, "right": 8, "unheard of": 0}
    assert math.isnan(pd.read_csv(folder / "classes.csv")["roc_auc"][2])
    assert (folder / "tsne.png").is_file()


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("phantom_chest_xray_pneumonia_cn",), "phantom_chest_xray_pneumonia_cnn"),
        (("phantom_*",), "one task is evaluated at a time"),
        (("taught",), "run `bench train taught`"),
        (("brain_mri_squeezenet", "--data", "."), "brain_mri_squeezenet: data not found"),
        (("toy", "--part", "train"), "toy brings its own model and has no part 'train'"),
        (("toy", "--device", "abacus"), "device 'abacus' cannot be used here"),
        (("nobody_knows",), "of no sample the truth is known"),
        (("none",), "there is no sample"),
    ],
)
def test_what_cannot_be_evaluated_is_one_line(bench, write, tmp_path, arguments, complaint):
    plugin = write(
        TRAINABLE + "\n\nclass Unknown(ToyTask):\n    def samples(self):\n"
        "        return [self.sample(0)._replace(label=torch.tensor(-1))]\n\n\n"
        "nobody_knows = Unknown()\nnone = ToyTask(n_samples=0)\ntoy = ToyTask()\n"
    )
    answer = bench("evaluate", *arguments, "--plugins", plugin, "--out", tmp_path / "out")
    assert answer.status == 2
    assert complaint in answer.err
    assert answer.err.count("\n") == 1


def test_a_folder_that_cannot_be_written_to_is_found_before_the_work(bench, write, tmp_path):
    (tmp_path / "file").write_text("in the way")
    plugin = write(
        "class Slow(ToyTask):\n    def samples(self):\n        raise AssertionError('too early')\n\n\ntoy = Slow()"
    )
    for place in (tmp_path / "file", tmp_path / "file" / "below"):
        answer = bench("evaluate", "toy", "--plugins", plugin, "--out", place)
        assert answer.status == 2
        assert f"{place}: cannot be written to" in answer.err
        assert "--out" in answer.err
        assert answer.err.count("\n") == 1


def test_a_folder_without_the_right_to_write_is_refused(bench, write, tmp_path):
    locked = tmp_path / "locked"
    locked.mkdir()
    locked.chmod(stat.S_IRUSR | stat.S_IXUSR)
    try:
        (locked / "probe").touch()
    except PermissionError:
        answer = bench("evaluate", "toy", "--plugins", write("toy = ToyTask()"), "--out", locked)
        assert answer.status == 2
        assert "Permission denied" in answer.err
    else:
        pytest.skip("this user may write anywhere")


def test_a_network_that_fails_to_be_laid_out_says_why(bench, write, tmp_path):
    answer = bench("evaluate", "toy", "--plugins", write("toy = ToyTask(n_samples=2)"), "--out", tmp_path / "out")
    assert answer.status == 0, answer.err
    assert "no t-SNE: 2 samples are too few" in answer.out
    assert not (tmp_path / "out" / "tsne.png").exists()
