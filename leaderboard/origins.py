"""Where records come from: what their provenance says, gathered so that what is the same everywhere is said once."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field

from .record import Record

SHARED = ("seed", "versions", "device")
"""Of a record's provenance: what a run has in common."""


@dataclass
class TaskOrigin:
    """Where the records of a task come from."""

    settings: set[str] = field(default_factory=set)
    weights: set[str] = field(default_factory=set)
    shards: set[str] = field(default_factory=set)
    samples: dict[str, str] = field(default_factory=dict)
    """Sample -> fingerprint of its content."""

    @property
    def data(self) -> str:
        """The fingerprint of all samples together."""
        content = "".join(f"{name}\0{print_}\0" for name, print_ in sorted(self.samples.items()))
        return hashlib.blake2b(content.encode(), digest_size=8).hexdigest()


@dataclass
class Origins:
    """Where all records come from; sets of one member where all say the same."""

    n_records: int = 0
    seconds: float = 0.0
    """Of all records together."""
    n_forwarded: int = 0
    """Images."""
    run: dict[str, set[str]] = field(default_factory=dict)
    """`commit` and `SHARED` -> what the records say."""
    tasks: dict[str, TaskOrigin] = field(default_factory=dict)
    explainers: dict[str, set[str]] = field(default_factory=dict)
    """Explainer -> its settings and the fingerprint of its code."""
    metrics: dict[str, set[str]] = field(default_factory=dict)
    """Metric -> its settings and the fingerprint of its code."""


def origins(records: Iterable[Record]) -> Origins:
    """What the provenance of the records says."""
    found = Origins()
    for one in records:
        found.n_records += 1
        found.seconds += float(one.origin.get("seconds", 0))
        found.n_forwarded += int(one.origin.get("images", 0))
        said = {key: one.provenance[key] for key in SHARED if key in one.provenance}
        if "commit" in one.origin:
            said["commit"] = one.origin["commit"]
        for key, value in said.items():
            found.run.setdefault(key, set()).add(value)
        task = found.tasks.setdefault(one.task, TaskOrigin())
        task.shards.add(one.shard)
        task.samples.update(one.samples)
        for key, values in (("task", task.settings), ("weights", task.weights)):
            if one.provenance.get(key):
                values.add(one.provenance[key])
        if "explainer" in one.provenance:
            found.explainers.setdefault(one.explainer, set()).add(one.provenance["explainer"])
        for metric, cell in one.cells.items():
            found.metrics.setdefault(metric, set()).add(cell.settings)
    return found
