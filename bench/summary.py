"""What a run did: counts, what could not be had, and why."""

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
        if event.error is not None and event.error not in self.errors:
            self.errors.append(event.error)

    def lines(self) -> list[str]:
        """The summary, a fact a line."""
        counts = f"Cells: {self.n_computed} computed, {self.n_reused} already there, {self.n_failed} failed."
        return [
            counts,
            *(f"Replaced as stale: {count} records ({reason} changed)." for reason, count in self.stale.items()),
            *(f"FAILED {task}, {', '.join(struck)}: {reason}" for (task, reason), struck in self.failures.items()),
            *(f"Skipped {task}: {reason}" for task, reason in self.unavailable.items()),
        ]
