"""Rows worked on by all processors: numpy lets go of the interpreter while it computes."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache

_N_AT_ONCE = 1 << 16
"""So many numbers of a matrix are worked on at a time: they stay in the processor's cache."""


def in_parts(work: Callable[[slice], None], n_rows: int, n_columns: int) -> None:
    """Call `work` with slices that together are all rows of a matrix, in no particular order.

    `work` does not call this function itself: threads that wait for each other would wait forever.
    """
    step = max(1, _N_AT_ONCE // max(n_columns, 1))
    parts = [slice(start, start + step) for start in range(0, n_rows, step)]
    if len(parts) > 1:
        list(_threads().map(work, parts))
    elif parts:
        work(parts[0])


@lru_cache(maxsize=1)
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(min(4, os.cpu_count() or 1))


# A process that is forked off has no threads of its own.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_threads.cache_clear)
