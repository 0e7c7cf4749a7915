"""The command `bench`: its commands, and how it ends."""

import sys
from importlib import import_module
from typing import Any, NoReturn

import typer
from rich.markup import escape
from typer.core import TyperGroup
from typer.main import get_group

from .commands.console import err
from .errors import UserError

COMMANDS = {
    "run": "run.run",
    "list": "list.list_entries",
    "data": "data.data",
    "check": "check.check",
    "check-data": "check_data.check_data",
    "figure": "figure.figure",
    "table": "table.table",
    "metrics": "metrics.metrics",
    "leaderboard": "table.table",
    "report": "report.write_report",
    "compare": "compare.compare",
    "export": "export.export",
    "merge": "merge.merge_results",
    "submit": "submit.submit",
    "verify": "verify.verify",
    "study": "study.study",
    "train": "train.train",
    "evaluate": "evaluate.evaluate",
    "concepts": "concepts.concepts",
    "profile": "profile.profile",
    "crosscheck": "crosscheck.crosscheck_command",
    "lungs": "lungs.lungs",
}
"""Name -> module of `commands` and what in it is the command: in the order in which they are listed."""

HIDDEN = ("leaderboard",)


class _Commands(TyperGroup):
    """Imports a command when it is asked for: most need torch, which takes seconds, and tables do not."""

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        # Who mistypes is told of the names that there are.
        for name in [cmd_name] if cmd_name in COMMANDS else COMMANDS:
            if name not in self.commands:
                self.add_command(_imported(name), name)
        return super().get_command(ctx, cmd_name)

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002
        return list(COMMANDS)


def _imported(name: str) -> Any:
    module_name, _, attribute = COMMANDS[name].partition(".")
    module = import_module(f".commands.{module_name}", __package__)
    command = getattr(module, attribute)
    alone = typer.Typer()
    if isinstance(command, typer.Typer):
        alone.add_typer(command, name=name)
    else:
        alone.command(name, hidden=name in HIDDEN, epilog=getattr(module, "EPILOG", None))(command)
    return get_group(alone).commands[name]


app = typer.Typer(cls=_Commands, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


@app.callback()
def _bench() -> None:
    """Heatmark: how good are explanations of image classifiers?"""


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
