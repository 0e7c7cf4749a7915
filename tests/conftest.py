"""For all tests."""

import os
from collections.abc import Iterator

import pytest
import torch


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> Iterator[None]:
    """Networks as small as these only wait for their threads, the more so where other work runs."""
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(n_threads)


@pytest.fixture(autouse=True)
def _data_folder_of_the_session() -> Iterator[None]:
    """The command's `--data DIR` sets a variable of the process: the next test has the session's again."""
    before = os.environ.get("BENCH_DATA")
    yield
    os.environ.pop("BENCH_DATA", None)
    if before is not None:
        os.environ["BENCH_DATA"] = before
