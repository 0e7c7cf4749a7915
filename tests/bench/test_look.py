"""Every command that draws takes the same options of look; options that several commands share are said once."""

from dataclasses import dataclass
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from bench.commands.options import unfolded
from leaderboard.style import Style

DRAWN = {
    "figure samples": "--out",
    "figure phantoms": "--out",
    "figure grid --tasks x": "--out",
    "figure cd": "--out",
    "figure pareto": "--out",
    "figure ranks": "--out",
    "figure strengths": "--out",
    "figure curves": "--out",
    "figure agreement": "--out",
    "study accuracy": "",
    "study augmentation": "",
    "study composites": "",
    "study shortcut": "",
    "concepts x": "--out",
    "compare x y": "--pictures",
    "evaluate x": "",
    "metrics --reliability": "--figure",
}
"""Command -> its option that names the picture; none, where the endings are the command's."""
SIGNED = ("figure grid", "figure agreement", "concepts", "compare", "metrics")


@pytest.mark.parametrize("command", DRAWN)
def test_how_a_picture_looks_can_be_asked_for_wherever_one_is_drawn(bench, tmp_path, command):
    words, picture = command.split(), DRAWN[command]
    told = bench(*words, "--help").out
    for option in ("--width", "--font", "--font-size", "--dpi"):
        assert f" {option} " in told
    assert ("--colours" in told) == command.startswith(SIGNED)
    wrong = [(("--font", "Dejavu Serf"), "no font is called 'Dejavu Serf' here: did you mean DejaVu Serif")]
    if command.startswith(SIGNED):
        wrong.append((("--colours", "RdBu_t"), "no colour map is called 'RdBu_t' here: did you mean RdBu_"))
    if picture:
        wrong.append(((picture, tmp_path / "x.doc"), f"{picture} {tmp_path / 'x.doc'}: give it the ending .png, .pdf"))
    needed = ("--out", tmp_path / "x.png") if picture == "--out" else ()
    for options, complaint in wrong:
        answer = bench(*words, *needed, *options)
        assert (answer.status, answer.err.count("\n")) == (2, 1), answer.err
        assert complaint in answer.err
    assert not list(tmp_path.glob("x.*"))


def test_the_options_of_look_are_the_fields_of_the_style():
    from bench.commands.drawing import SignedLook

    assert SignedLook(85, "DejaVu Serif", 9, 200, "PuOr_r").style() == Style(85, "DejaVu Serif", 9, "PuOr_r", 200)
    assert SignedLook().style() == Style()


@dataclass(frozen=True)
class Size:
    wide: Annotated[int, typer.Option("--wide", "-w", min=1, help="How wide.")] = 3
    high: float | None = None


FLAT = Size(wide=9)


def _app() -> typer.Typer:
    app = typer.Typer()

    @app.command()
    @unfolded
    def tall(name: str, size: Size = Size(), loud: bool = False) -> None:
        """Say a size."""
        typer.echo(f"{name} {size} {loud}")

    @app.command()
    @unfolded
    def flat(size: Size = FLAT) -> None:
        typer.echo(f"{size}")

    return app


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("tall x", "x Size(wide=3, high=None) False"),
        ("tall --high 2.5 x -w 4 --loud", "x Size(wide=4, high=2.5) True"),
        ("flat", "Size(wide=9, high=None)"),
        ("flat --high 1", "Size(wide=9, high=1.0)"),
    ],
)
def test_the_fields_of_a_parameter_are_options_and_its_default_says_theirs(arguments, said):
    answer = CliRunner().invoke(_app(), arguments.split())
    assert (answer.exit_code, answer.output.strip()) == (0, said)


def test_the_fields_keep_their_help_and_limits():
    told = CliRunner().invoke(_app(), ["tall", "--help"], env={"COLUMNS": "120"}).output
    assert "Say a size." in told
    assert "How wide." in told
    assert "--size" not in told
    assert CliRunner().invoke(_app(), ["tall", "x", "--wide", "0"]).exit_code == 2
