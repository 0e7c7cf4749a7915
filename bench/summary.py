"""What a run did: counts, what could not be had, and why."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from .runner import Event


@dataclass
class Summary:
    """Collects the events of a run."""

    unavailable: dict[str, str] = field(default_factory=dict)
    """Task -> why it cannot run here."""
    ran: list[str] = field(default_factory=list)
    failures: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    """(task, reason) -> the explainers and metrics that it struck, each once."""
    errors: list[BaseException] = field(default_factory=list)
    stale: dict[str, int] = field(default_factory=dict)
    """What had changed -> number of records that were replaced for it."""
    n_computed: int = 0
    n_reused: int = 0
    n_failed: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    """By explainer, from its maps to its scores."""
    times: dict[str, float] = field(default_factory=dict)
    """By what they went into: explaining, and the families of metrics."""

    def add(self, event: Event) -> None:
        """Count a finished step."""
        self.n_computed += event.n_computed
        self.n_reused += event.n_reused
        self.n_failed += len(event.failures)
        if event.stale is not None:
            self.stale[event.stale] = self.stale.get(event.stale, 0) + 1
        for metric, reason in event.failures.items():
            struck = self.failures.setdefault((event.task, reason), [])
            name = event.explainer if reason.startswith("explainer: ") else f"{event.explainer} by {metric}"
            if reason.startswith("task: "):
                name = f"shard {event.shard}"
            if name not in struck:
                struck.append(name)
        for what, seconds in event.times.items():
            self.times[what] = self.times.get(what, 0.0) + seconds
            self.seconds[event.explainer] = self.seconds.get(event.explainer, 0.0) + seconds
        if event.error is not None and event.error not in self.errors:
            self.errors.append(event.error)

    def lines(self) -> list[str]:
        """The summary, a fact a line."""
        counts = f"Cells: {self.n_computed} computed, {self.n_reused} already there, {self.n_failed} failed."
        return [
            counts,
            *([f"Time: {_longest_first(self.times)}."] if self.n_computed else []),
            *([f"Time by explainer: {_longest_first(self.seconds)}."] if self.n_computed else []),
            *(f"Replaced as stale: {count} records ({reason} changed)." for reason, count in self.stale.items()),
            *(f"FAILED {task}, {', '.join(struck)}: {reason}" for (task, reason), struck in self.failures.items()),
            *(f"Skipped {task}: {reason}" for task, reason in self.unavailable.items()),
        ]


def _longest_first(seconds: Mapping[str, float]) -> str:
    longest = sorted(seconds.items(), key=lambda item: -item[1])
    return ", ".join(f"{what} {duration(took)}" for what, took in longest)


def duration(seconds: float) -> str:
    """
    >>> [duration(seconds) for seconds in (0.04, 7.6, 75, 4000)]
    ['0.0 s', '7.6 s', '1 min 15 s', '66 min 40 s']
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    return f"{int(seconds) // 60} min {int(seconds) % 60} s"
