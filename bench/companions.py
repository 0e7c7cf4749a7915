"""A task's companions: a few of its samples, drawn by the task and the seed alone, with which scores are compared.

The draw touches no other random number. Whatever the task has is drawn from, so that a run of few samples, of another
shard or of other batches meets the same companions.
"""

import hashlib
import random
from collections.abc import Callable
from functools import cache, cached_property

from metrics.base import Decisions, Metric
from tasks.base import Batch, Sample, Task, balanced_order, collate

from .catalog import settings_of
from .environment import sample_fingerprints

N_COMPANIONS = 16
N_CANDIDATES = 4 * N_COMPANIONS
"""So many samples are read, and of these some chosen that are spread over the classes."""


class Companions:
    """The companions of a task: read when somebody asks for them first, and then kept.

    Args:
        task: Whose samples they are.
        name: The task's public name, which takes part in the seed.
        seed: The run's.
    """

    def __init__(self, task: Task, name: str, seed: int) -> None:
        self._task, self._name, self._seed = task, name, seed

    def decided(self, decide: Callable[[Batch], Decisions]) -> Callable[[], Decisions]:
        """What answers the decisions about them: made at the first call, the same object at every other."""
        return cache(lambda: decide(self.batch))

    def settings_of(self, metric: Metric) -> str:
        """`catalog.settings_of`, and of a metric that compares with the companions which they are: scores rest on them.

        Where they cannot be had, that: whoever asks for them meets the error.
        """
        return (
            f"{settings_of(metric)} companions {self._fingerprint}" if metric.needs_companions else settings_of(metric)
        )

    @cached_property
    def batch(self) -> Batch:
        """At most `N_COMPANIONS` samples, one of each class in turn.

        Raises:
            Exception: whatever the task raises; ValueError: the images have several sizes.
        """
        samples = self._task.samples()
        generator = random.Random(f"{self._seed}/{self._name}/companions")
        candidates = [
            samples[index] for index in generator.sample(range(len(samples)), min(N_CANDIDATES, len(samples)))
        ]
        order = balanced_order([_kind(sample) for sample in candidates])
        return collate([candidates[index] for index in order[:N_COMPANIONS]])

    @cached_property
    def _fingerprint(self) -> str:
        try:
            contents = sample_fingerprints(self.batch)
        except Exception:  # noqa: BLE001  # a task is a plugin; the cells that need the companions tell what it raises
            return "that cannot be had"
        return hashlib.blake2b(repr(sorted(contents.items())).encode(), digest_size=8).hexdigest()


def _kind(sample: Sample) -> tuple[int, ...]:
    """What a sample is an instance of: its class; of several labels, the target, and whether it is there."""
    if sample.label.ndim == 0:
        return (int(sample.label),)
    if sample.target is None:
        return tuple(sample.label.tolist())
    return sample.target, int(sample.label[sample.target])
