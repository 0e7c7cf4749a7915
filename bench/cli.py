"""The command `bench`: its commands, and how it ends."""

import sys
from typing import NoReturn

import typer
from rich.markup import escape

from .commands.check import check
from .commands.check_data import check_data
from .commands.compare import compare
from .commands.concepts import concepts
from .commands.console import err
from .commands.crosscheck import crosscheck_command
from .commands.data import data
from .commands.evaluate import evaluate
from .commands.export import EPILOG, export
from .commands.figure import figure
from .commands.list import list_entries
from .commands.lungs import lungs
from .commands.merge import merge_results
from .commands.metrics import metrics
from .commands.profile import profile
from .commands.report import write_report
from .commands.run import run
from .commands.study import study
from .commands.submit import submit
from .commands.table import table
from .commands.train import train
from .commands.verify import verify
from .errors import UserError

app = typer.Typer(
    help="Heatmark: how good are explanations of image classifiers?",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command()(run)
app.command("list")(list_entries)
app.command()(data)
app.command()(check)
app.command("check-data")(check_data)
app.add_typer(figure, name="figure")
app.command()(table)
app.command()(metrics)
app.command("leaderboard", hidden=True)(table)
app.command("report")(write_report)
app.command()(compare)
app.command(epilog=EPILOG)(export)
app.command("merge")(merge_results)
app.command()(submit)
app.command()(verify)
app.add_typer(study, name="study")
app.command()(train)
app.command()(evaluate)
app.command()(concepts)
app.command()(profile)
app.command("crosscheck")(crosscheck_command)
app.add_typer(lungs, name="lungs")

_INTERRUPTED = 130
"""Exit status of a command that Ctrl-C stopped, as shells have it."""


def main() -> NoReturn:
    """Run the command; what the user can mend is one line and exit status 2."""
    try:
        status = app(standalone_mode=False) or 0
        if status == _INTERRUPTED:
            err.print("bench: stopped; what was computed is kept, the same command goes on")
        sys.exit(status)
    except UserError as error:
        err.print(f"[red]bench:[/red] {escape(str(error))}", soft_wrap=True, highlight=False)
        sys.exit(2)
    except Exception as error:
        # Typer's own errors (an unknown option) know how to show themselves.
        if not hasattr(error, "show"):
            raise
        error.show()
        sys.exit(2)
