"""`bench check`: explainers held to the contract, on narrow networks of the usual architectures."""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich import box
from rich.markup import escape
from rich.table import Table

from explainers.base import Explainer

from .. import environment
from ..catalog import catalog, matching, select
from ..contract.checks import CHECKS
from ..contract.examine import Outcome, examine
from ..contract.networks import NETWORKS, named
from ..contract.trial import Case
from ..errors import UserError
from .console import Device, Plugins, out, progress_bar

Outcomes = Mapping[tuple[str, str], Outcome]
"""(explainer, network) -> what was found."""


def check(
    what: Annotated[
        list[str] | None,
        typer.Argument(help="Names or * patterns of explainers, or your own .py file; default: all."),
    ] = None,
    networks: Annotated[str, typer.Option(help="Names or * patterns, comma-separated; default: all.")] = "*",
    device: Device = "auto",
    plugins: Plugins = None,
) -> None:
    """Check that explainers keep the contract: map, batch, traces, exceptions, target, model, precision, …

    Exit status 1: something failed. Where an explainer is not applicable, the reason is told.
    """
    place = environment.device_of(device)
    explainers = _explainers(what or ["*"], plugins or [])
    chosen = matching(NETWORKS, networks, "network", f"there are {', '.join(NETWORKS)}")
    outcomes, seconds = _examined(explainers, [name for name in NETWORKS if name in chosen], place)
    out.print(_table(outcomes, seconds))
    for line in _lines(outcomes, place):
        out.print(escape(line), soft_wrap=True, highlight=False)
    if any(outcome.failures for outcome in outcomes.values()):
        raise typer.Exit(1)


def _explainers(what: Sequence[str], plugins: Sequence[Path]) -> dict[str, Explainer]:
    """Those that are named, and all of the files that are.

    Raises:
        UserError: a name chooses none, or a file has none.
    """
    files = [Path(name) for name in what if name.endswith(".py")]
    names = ",".join(name for name in what if not name.endswith(".py"))
    chosen = select(catalog(plugins).explainers, names, "explainer")
    for file in files:
        others = catalog([plugin for plugin in plugins if plugin != file]).explainers
        own = {name: one for name, one in catalog([*plugins, file]).explainers.items() if name not in others}
        if not own:
            raise UserError(
                f"{file} has no explainer of its own: write an instance of a subclass of explainers.base.Explainer at "
                "the top level of the file, its name without a leading underscore"
            )
        chosen |= own
    return chosen


def _examined(
    explainers: Mapping[str, Explainer], networks: Sequence[str], device: torch.device
) -> tuple[Outcomes, dict[str, float]]:
    """What was found, and the seconds that each explainer took."""
    outcomes: dict[tuple[str, str], Outcome] = {}
    seconds = dict.fromkeys(explainers, 0.0)
    with progress_bar() as bar, environment.computing_exactly():
        step = bar.add_task("", total=len(networks) * len(explainers))
        for network in networks:
            case = Case(network, partial(named, network), device=device)
            for name, explainer in explainers.items():
                bar.update(step, description=f"{network}: {name}")
                began = time.perf_counter()
                outcomes[name, network] = examine(explainer, case)
                seconds[name] += time.perf_counter() - began
                bar.advance(step)
    return outcomes, seconds


def _table(outcomes: Outcomes, seconds: Mapping[str, float]) -> Table:
    networks = list(dict.fromkeys(network for _, network in outcomes))
    table = Table(
        title="Contract",
        box=box.SIMPLE_HEAD,
        title_justify="left",
        caption_justify="left",
        collapse_padding=True,
        pad_edge=False,
        caption="✓ kept   ✗ broken: which checks   – not applicable",
    )
    table.add_column("explainer", no_wrap=True)
    for network in networks:
        table.add_column(network, overflow="fold")
    table.add_column("s", justify="right", no_wrap=True)
    for name, total in seconds.items():
        table.add_row(escape(name), *(_cell(outcomes[name, network]) for network in networks), f"{total:.0f}")
    return table


def _cell(outcome: Outcome) -> str:
    if outcome.failures:
        return f"[red]✗ {', '.join(outcome.failures)}[/red]"
    return "✓" if outcome.inapplicable is None else "–"


def _lines(outcomes: Outcomes, device: torch.device) -> Iterator[str]:
    """Each failure; each reason of inapplicability once; what was checked and what could not be."""
    for (name, network), outcome in outcomes.items():
        yield from (f"FAILED {name}, {network}: {check}: {why}" for check, why in outcome.failures.items())
    reasons: dict[str, list[tuple[str, str]]] = {}
    for pair, outcome in outcomes.items():
        if outcome.inapplicable is not None:
            reasons.setdefault(outcome.inapplicable, []).append(pair)
    for reason, pairs in reasons.items():
        yield f"– {_each(name for name, _ in pairs)}: {reason} ({_each(network for _, network in pairs)})"
    cuda = "cuda" if device.type == "cuda" else "not cuda, which needs a CUDA device"
    yield f"Checked on {device}: {', '.join(CHECKS)}; {cuda}."


def _each(names: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(names))
