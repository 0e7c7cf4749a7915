"""Every task of a choice run, with a bar that tells how far it is."""

from dataclasses import replace

from .. import environment
from ..catalog import Catalog
from ..runner import Event, Settings, n_steps, run_task
from ..summary import Summary
from .console import progress_bar


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
                bar.advance(step)
            else:
                bar.update(step, description=f"{doing}{event.task} {event.shard}: {event.explainer}")

        for name, task in runnable.items():
            run_task(name, task, replace(chosen, tasks={name: task}), settings, report)
            summary.ran.append(name)
    return summary
