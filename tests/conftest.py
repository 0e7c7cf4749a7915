"""For all tests."""

import os
from collections.abc import Iterator
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

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


@pytest.fixture(scope="session")
def showcase(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    """The module `tests/showcase.py`; its `folder` is the results folder that it describes."""
    spec = spec_from_file_location("showcase", Path(__file__).with_name("showcase.py"))
    assert spec
    assert spec.loader
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    module.folder = tmp_path_factory.mktemp("showcase")
    module.fill(module.folder)
    return module
