"""Every task of a choice run, with a bar that tells how far it is; and how it is run."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import typer

from .. import environment
from ..catalog import Catalog, catalog
from ..runner import Event, Settings, n_steps, run_task
from ..summary import Summary
from .console import Data, Device, Plugins, Results, progress_bar, use_data


@dataclass(frozen=True)
class Running:
    """Where, with what and how it is run."""

    batch_size: Annotated[int, typer.Option(min=1, help="Images explained at a time.")] = 16
    device: Device = "auto"
    seed: Annotated[int, typer.Option(help="Of all that is random.")] = 0
    results: Results = Path("results")
    data: Data = None
    plugins: Plugins = None

    def catalog(self) -> Catalog:
        """What there is, and the data where it is looked for from now on."""
        use_data(self.data)
        return catalog(self.plugins or ())

    def settings(self, n_samples: int) -> Settings:
        """Of a run of at most so many samples a task."""
        device = environment.device_of(self.device)
        return Settings(self.results, device, n_samples, self.batch_size, self.seed)


AS_USUAL = Running()


def run_all(chosen: Catalog, settings: Settings, doing: str = "") -> Summary:
    """Run every task that can run here; `doing` stands before what the bar tells."""
    environment.compute_exactly()
    summary = Summary()
    runnable = {}
    for name, task in chosen.tasks.items():
        reason = task.unavailable()
        if reason is None:
            runnable[name] = task
        else:
            summary.unavailable[name] = reason
    with progress_bar() as bar:
        step = bar.add_task("", total=None)
        totals = {name: n_steps(task, len(chosen.explainers), settings.n_samples) for name, task in runnable.items()}
        bar.update(step, total=sum(totals.values()))

        def report(event: Event) -> None:
            if event.ended:
                summary.add(event)
                bar.advance(step, int(event.counted))
            else:
                bar.update(step, description=f"{doing}{event.task} {event.shard}: {event.explainer}")

        for name, task in runnable.items():
            run_task(name, task, replace(chosen, tasks={name: task}), settings, report)
            summary.ran.append(name)
    return summary
