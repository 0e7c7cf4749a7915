"""Pictures that cannot be used: `bench check-data` finds them, `--skip-unreadable` leaves them out and says so."""

from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bench.cli import app
from bench.errors import UserError
from tasks.sars_cov_2_ct import PhantomChestCTVGG16

Bench = Callable[..., tuple[int, str]]

PLUGIN = '''
"""A small network on the CT data."""
from tasks.networks.architectures import cnn
from tasks.sars_cov_2_ct import SARSCoV2CT

class Small(SARSCoV2CT):
    name = "small_ct"
    initial = None
    epochs = 1
    augment = None

    def network(self):
        return cnn(2, width=1 / 8)

small_ct = Small(size=64)
'''


@pytest.fixture(scope="module")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("plugin") / "small_ct_plugin.py"
    path.write_text(PLUGIN)
    return path


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BENCH_DATA", str(tmp_path))
    monkeypatch.setattr("tasks.published.checkpoint_folder", lambda: tmp_path / "cache")
    PhantomChestCTVGG16().publish(tmp_path, 60, size=40)
    return tmp_path


@pytest.fixture
def bench(plugin: Path) -> Callable[..., tuple[int, str]]:
    """Runs a command: its exit status, and its output with single blanks."""

    def run(*arguments: object) -> tuple[int, str]:
        return _run(*arguments, "--plugins", plugin)

    return run


def _run(*arguments: object) -> tuple[int, str]:
    command = [*map(str, arguments)]
    result = CliRunner().invoke(app, command, catch_exceptions=False)
    return result.exit_code, " ".join(result.output.split())


def _spoil(data: Path) -> None:
    for number in (2, 3, 5, 8, 30):
        (data / f"sars-cov-2-ct-scan/COVID/Covid ({number}).png").write_bytes(b"")


@pytest.mark.usefixtures("data")
def test_data_are_looked_over(bench: Bench) -> None:
    status, output = bench("check-data", "small_ct")
    assert status == 0
    assert "class train validation heldout" in output
    assert "COVID 21 3 6 non-COVID 21 3 6 cannot be used 0 0 0" in output
    assert "modes: RGB (32), RGBA (28) sizes: 40 x 40 (20), 42 x 40 (20), 41 x 40 (20)" in output
    assert "in two parts: none twice in a part: none pictures of no part: none" in output


def test_what_cannot_be_used_is_named_and_is_a_failure(data: Path, bench: Bench) -> None:
    _spoil(data)
    status, output = bench("check-data", "small_ct")
    assert status == 1
    assert "cannot be used 4 0 1" in output
    for number in (2, 3, 5, 8, 30):
        assert f"COVID/Covid ({number}).png: not a readable image (the file is empty)" in output


def test_copies_are_named_by_their_parts(data: Path, bench: Bench) -> None:
    folder = data / "sars-cov-2-ct-scan"
    original = (folder / "COVID/Covid (1).png").read_bytes()
    for copy in ("COVID/Covid (2).png", "COVID/Covid (30).png", "non-COVID/Non-Covid (22).png"):
        (folder / copy).write_bytes(original)
    _, output = bench("check-data", "small_ct")
    assert "in two parts: train and validation (1), train and heldout (1), validation and heldout (1): " in output
    assert "COVID/Covid (1).png = COVID/Covid (30).png" in output
    assert "twice in a part: train (1): COVID/Covid (1).png = COVID/Covid (2).png" in output
    assert "the same picture with two labels: 2: " in output


def test_pictures_of_no_part_and_absent_parts_are_told(data: Path, bench: Bench) -> None:
    folder = data / "sars-cov-2-ct-scan"
    (folder / "other").mkdir()
    (folder / "COVID/Covid (1).png").rename(folder / "other/x.png")
    assert "pictures of no part: other (1)" in bench("check-data", "small_ct")[1]


@pytest.mark.usefixtures("data")
def test_only_published_data_are_checked(bench: Bench) -> None:
    with pytest.raises(UserError, match=r"^phantom_sars_cov_2_ct_vgg16: reads no published data, so there is"):
        bench("check-data", "phantom_sars_cov_2_ct_vgg16")
    with pytest.raises(UserError, match=r"^isic_2017_resnet50: data not found: no "):
        bench("check-data", "isic_2017_resnet50")


def test_training_and_running_leave_out_what_cannot_be_used_and_say_so(data: Path, bench: Bench) -> None:
    _spoil(data)
    with pytest.raises(UserError, match=r"^[^\n]*Covid \(2\).png: not a readable image \(the file is empty\)"):
        bench("train", "small_ct")
    status, output = bench("train", "small_ct", "--skip-unreadable")
    assert status == 0
    names = "COVID/Covid (2).png, COVID/Covid (3).png, COVID/Covid (5).png, …; `bench check-data small_ct` says why"
    assert f"small_ct: left out 4 pictures of the part train, which cannot be used: {names}" in output
    assert "left out 1 picture of the part heldout, which cannot be used: COVID/Covid (30).png; `bench" in output
    run = ["run", "--tasks", "small_ct", "--explainers", "noise", "--metrics", "sparseness"]
    run += ["--results", data / "results", "--samples", "32"]
    assert bench(*run)[0] == 1
    status, output = bench(*run, "--skip-unreadable")
    assert status == 0
    assert "left out 1 picture of the part heldout, which cannot be used: COVID/Covid (30).png; `bench" in output
