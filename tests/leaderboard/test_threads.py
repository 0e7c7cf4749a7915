"""Rows in parts: each once, whatever the shape; an error is not lost."""

import numpy as np
import pytest

from leaderboard.threads import in_parts


@pytest.mark.parametrize("shape", [(0, 7), (7, 0), (1, 1_000_000), (1000, 1000)])
def test_every_row_is_worked_on_once(shape: tuple[int, int]) -> None:
    times = np.zeros(shape[0], dtype=int)

    def work(part: slice) -> None:
        times[part] += 1

    in_parts(work, *shape)
    assert (times == 1).all()


def test_an_error_in_a_thread_is_raised() -> None:
    def work(part: slice) -> None:
        raise ZeroDivisionError(part)

    with pytest.raises(ZeroDivisionError):
        in_parts(work, 1000, 1000)
