"""The start of the command: what a table needs is imported, and no more; every command is found."""

import subprocess
import sys

import pytest
from typer.testing import CliRunner

from bench.cli import COMMANDS, HIDDEN, app


def test_a_table_waits_for_no_library_that_it_does_not_need() -> None:
    program = (
        "import sys; from bench.cli import app; app(['table', '--help'], standalone_mode=False); "
        "print(sorted({'torch', 'matplotlib', 'scipy.stats'} & set(sys.modules)))"
    )
    told = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout
    assert told.splitlines()[-1] == "[]"


def test_help_lists_every_command_but_the_hidden_ones() -> None:
    lines = CliRunner().invoke(app, ["--help"]).output.splitlines()
    listed = [line.split()[1] for line in lines if line.startswith("│ ") and line[2] not in " -"]
    assert listed == [name for name in COMMANDS if name not in HIDDEN]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(name: str) -> None:
    answer = CliRunner().invoke(app, [name, "--help"])
    assert answer.exit_code == 0
    assert f" {name} " in answer.output


def test_who_mistypes_a_command_is_told_of_the_nearest() -> None:
    answer = CliRunner().invoke(app, ["tabel"])
    assert answer.exit_code == 2
    assert "Did you mean 'table'?" in answer.output
