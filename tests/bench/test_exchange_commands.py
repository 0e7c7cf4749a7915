"""`bench export`, `merge`, `submit` and `verify`, on a toy task."""

import json
import shutil
import zipfile
from pathlib import Path

import pandas as pd
import pytest

from bench import verification
from leaderboard import record
from leaderboard.exchange.export import SCORES
from leaderboard.record import path_of, read, write

METRICS = "deletion,pointing_game,sparseness,seconds,mean"
ENTRIES = "toy = ToyTask()\nother = ToyTask(contrast=0.25)\nweights = Weights()\nmean = Mean()\nfussy = Fussy()\n"
RANDOM = """
@dataclass(frozen=True)
class Sum(Explainer):
    def attribute(self, model, inputs, targets):
        digits = (inputs.sum(dim=(1, 2, 3), dtype=torch.float64) * 1e9).frac().float()
        return digits[:, None, None, None] * torch.ones_like(inputs[:, :1])


last_digits = Sum()
"""


@pytest.fixture
def run(bench, write, tmp_path):
    """Run the toys into a folder; the plugin's text may be changed between runs."""

    def ran(name: str, *options: object, tasks: str = "toy", entries: str = ENTRIES, explainers: str = "weights,noise"):
        plugin = write(entries)
        common = ("--plugins", plugin, "--tasks", tasks, "--explainers", explainers, "--results", tmp_path / name)
        if "--metrics" not in options:
            common = (*common, "--metrics", METRICS)
        answer = bench("run", *common, *options)
        assert answer.status == 0, answer.out + answer.err
        return tmp_path / name

    return ran


@pytest.fixture(scope="module")
def kept(tmp_path_factory) -> Path:
    """What the first test that needs it has run."""
    return tmp_path_factory.mktemp("kept")


@pytest.fixture
def submitted(bench, run, write, kept, tmp_path) -> Path:
    if not (kept / "r").exists():
        shutil.copytree(run("r", tasks="toy,other", explainers="weights,noise,fussy"), kept / "r")
    write(ENTRIES)
    shutil.copytree(kept / "r", tmp_path / "r", dirs_exist_ok=True)
    assert bench("submit", "--results", tmp_path / "r", "--out", tmp_path / "r.zip").status == 0
    return tmp_path / "r.zip"


def verify(bench, archive: Path, tmp_path: Path, *options: object):
    return bench("verify", archive, "--plugins", tmp_path / "plugins" / "mine.py", "--device", "cpu", *options)


def repacked(bench, archive: Path, folder: Path, change) -> Path:
    """The archive of changed results, its hashes and manifest as they should be."""
    for path in record.records(folder):
        write(folder, change(read(path)))
    assert bench("submit", "--results", folder, "--out", archive).status == 0
    return archive


def test_export_writes_the_rows_that_patterns_choose(bench, run, tmp_path):
    folder = run("r", tasks="toy,other")
    choice = ("--tasks", "t*", "--explainers", "weights", "--metrics", "s*,deletion", "--results", folder)
    answer = bench("export", "--out", tmp_path / "x.csv", *choice)
    assert answer.status == 0, answer.err
    assert "(18 rows of scores" in answer.out
    rows = pd.read_csv(tmp_path / "x.csv")
    assert list(rows.columns) == list(SCORES)
    assert set(zip(rows.task, rows.explainer, rows.metric, strict=True)) == {
        ("toy", "weights", metric) for metric in ("deletion", "seconds", "sparseness")
    }
    assert (rows.mask_area == 0.5).all()
    assert bench("export", "--means", "--out", tmp_path / "m.parquet", *choice).status == 0
    assert len(pd.read_parquet(tmp_path / "m.parquet")) == 3


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (("--out", "x.xlsx"), "give it the ending .csv, .parquet or .json"),
        (("--out", "x.csv", "--metrics", "delation"), "did you mean deletion"),
        (("--out", "x.csv", "--explainers", "lrp*"), "no explainer is called 'lrp*'"),
    ],
)
def test_export_says_what_is_wrong(options, complaint, bench, run):
    answer = bench("export", "--results", run("r", "--samples", 2), *options)
    assert answer.status == 2
    assert complaint in answer.err
    assert answer.err.count("\n") == 1


def test_help_tells_every_column(bench):
    told = bench("export", "--help").out
    assert all(f" {name}: " in told for name in SCORES)


def test_a_merged_folder_is_whole_and_a_run_goes_on_with_it(bench, run, tmp_path):
    a = run("a", "--metrics", "deletion")
    b = run("b", "--metrics", "sparseness,deletion", explainers="weights")
    answer = bench("merge", a, b, "--out", tmp_path / "c")
    assert answer.status == 0, answer.err
    assert "2 records of 1 tasks from 2 folders, 3 cells, 1 of them in more than one folder and equal" in answer.out
    again = bench(
        *("run", "--plugins", tmp_path / "plugins" / "mine.py", "--tasks", "toy", "--results", tmp_path / "c"),
        *("--explainers", "weights,noise", "--metrics", "deletion,sparseness"),
    )
    assert "Cells: 1 computed, 3 already there, 0 failed." in again.out


def test_contradictions_are_told_and_nothing_is_written_until_it_is_decided(bench, run, tmp_path):
    a, b = run("a"), run("b", "--seed", 3)
    answer = bench("merge", a, b, "--out", tmp_path / "c")
    assert answer.status == 1
    first, last = answer.err.splitlines()
    assert first == f"Conflict: toy: seed: 0 in {a}, but 3 in {b} (noise of shard 00000, weights of shard 00000)"
    assert last == "bench: 1 conflict, so nothing is written; --prefer first or newest decides"
    assert not (tmp_path / "c").exists()
    decided = bench("merge", a, b, "--out", tmp_path / "c", "--prefer", "first")
    assert decided.status == 0
    assert "conflicts decided: 1" in decided.out
    assert {read(path).provenance["seed"] for path in record.records(tmp_path / "c")} == {"0"}


def test_merge_refuses_a_folder_that_is_there(bench, run):
    folder = run("a", "--samples", 2)
    answer = bench("merge", folder, "--out", folder)
    assert answer.status == 2
    assert "is there already" in answer.err
    assert answer.err.count("\n") == 1


def test_what_is_submitted_is_reproduced(bench, submitted, tmp_path):
    answer = verify(bench, submitted, tmp_path, "--samples", 3)
    assert answer.status == 0, answer.out + answer.err
    assert "Of 24 cells drawn: 24 reproduced, 0 unstable, 0 differs, 0 not run." in answer.out
    assert "seconds" not in answer.out
    assert "fussy" in answer.out


def test_the_draw_is_the_same_for_the_same_archive_and_another_for_another_seed(bench, submitted, tmp_path):
    few = ("--samples", 1, "--cells", 2, "--tasks", "toy")
    drawn = {seed: verify(bench, submitted, tmp_path, *few, *seed).out for seed in ((), ("--draw-seed", 1))}
    assert verify(bench, submitted, tmp_path, *few).out == drawn[()]
    others = {verify(bench, submitted, tmp_path, *few, "--draw-seed", seed).out for seed in range(6)}
    assert len(others) > 1
    assert "Of 2 cells drawn" in drawn[()]
    assert "other" not in drawn[()]


def test_a_score_that_is_not_computed_here_is_found(bench, submitted, tmp_path):
    def better(made: record.Record) -> record.Record:
        if made.explainer == "weights" and made.task == "toy":
            made.scores.loc[made.scores["metric"] == "deletion", "score"] -= 0.02
        return made

    answer = verify(bench, repacked(bench, submitted, tmp_path / "r", better), tmp_path)
    assert answer.status == 1
    assert f"Differs: toy, weights by deletion: {verification.UNEXPLAINED}" in answer.out
    assert "1 differs" in answer.out


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("weights", "abcd", "weights: abcd there, "),
        ("versions", "torch=1.0", "versions: torch=1.0 there, torch=2"),
        ("device", "H200", "device: H200 there, cpu"),
        ("task", "ToyTask()", "task: ToyTask() there, ToyTask(n_samples=6, contrast=0.5) here"),
    ],
)
def test_why_scores_may_differ_is_told(key, value, reason, bench, submitted, tmp_path):
    def moved(made: record.Record) -> record.Record:
        made.scores["score"] += 0.5
        made.provenance[key] = value  # type: ignore[index]
        return made

    answer = verify(bench, repacked(bench, submitted, tmp_path / "r", moved), tmp_path, "--tasks", "toy")
    assert answer.status == 1
    assert reason in answer.out
    assert verification.UNEXPLAINED not in answer.out


def test_other_data_and_another_status_are_told(bench, submitted, tmp_path, write):
    write(
        ENTRIES.replace("toy = ToyTask()", "toy = ToyTask(contrast=0.3)").replace(
            "fussy = Fussy()", "fussy = Weights()"
        )
    )
    answer = verify(bench, submitted, tmp_path, "--tasks", "toy", "--samples", 6)
    assert answer.status == 1
    assert "has another content here" in answer.out
    assert "inapplicable there" in answer.out


def test_what_cannot_be_run_here_says_why(bench, submitted, tmp_path, write):
    write(
        "class Away(ToyTask):\n    def unavailable(self):\n        return 'its data are not here'\n\n\n"
        "toy = ToyTask()\nother = Away()\nmean = Mean()\nfussy = Fussy()\n"
    )
    answer = verify(bench, submitted, tmp_path)
    assert answer.status == 1
    assert "its data are not here" in answer.out
    assert "there is no explainer weights here: your own are given with --plugins" in answer.out
    assert "4 not run" not in answer.out
    assert verify(bench, submitted, tmp_path, "--tasks", "nothing").status == 2


def test_scores_that_rounding_moves_as_far_are_unstable(bench, run, tmp_path):
    """A map made of the last digits of its image: on another processor it is another one."""
    folder = run("r", "--metrics", "mean", entries=ENTRIES + RANDOM, explainers="last_digits,weights")

    def shifted(made: record.Record) -> record.Record:
        made.scores["score"] += 0.03 if made.explainer == "last_digits" else 0
        return made

    archive = repacked(bench, tmp_path / "r.zip", folder, shifted)
    answer = verify(bench, archive, tmp_path)
    assert answer.status == 0, answer.out
    assert "1 reproduced, 1 unstable, 0 differs" in answer.out


def test_submit_wants_records_and_an_ending(bench, tmp_path):
    assert "give it the ending .zip" in bench("submit", "--out", tmp_path / "r.tar").err
    answer = bench("submit", "--results", tmp_path, "--out", tmp_path / "r.zip")
    assert answer.status == 2
    assert "no records in" in answer.err
    assert not (tmp_path / "r.zip").exists()


def test_submit_tells_of_mixed_records(bench, run, tmp_path):
    a, b = run("a", explainers="weights"), run("b", "--seed", 3, explainers="noise")
    shutil.copytree(b, a, dirs_exist_ok=True)
    answer = bench("submit", "--results", a, "--out", tmp_path / "r.zip")
    assert "Note: toy has records of several seeds" in answer.out
    assert verify(bench, tmp_path / "r.zip", tmp_path).status == 0


def test_a_damaged_archive_is_one_line(bench, submitted, tmp_path):
    submitted.write_bytes(submitted.read_bytes()[:-40])
    answer = verify(bench, submitted, tmp_path)
    assert answer.status == 2
    assert f"{submitted} cannot be read" in answer.err
    assert answer.err.count("\n") == 1


def test_a_packed_file_names_its_packer(submitted):
    with zipfile.ZipFile(submitted) as file:
        manifest = json.loads(file.read("manifest.json"))
    assert manifest["packed_by"].keys() == {"heatmark", "commit", "versions"}
    assert manifest["tasks"]["toy"]["settings"] == ["ToyTask(n_samples=6, contrast=0.5)"]
    assert path_of(Path("results"), "toy", "00000", "weights").as_posix() in manifest["files"]
