"""A run that is killed and started again gives the table of an uninterrupted one, bit for bit."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd

from leaderboard import record

PATIENCE = 120
"""Seconds to wait for a record before the test gives up."""


def start(plugin: Path, results: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", "from bench.start import main; main()", "run", "--plugins", str(plugin)]
    choice = ["--tasks", "toy", "--explainers", "noise,edges,gradient,integrated_gradients", "--samples", "64"]
    metrics = ["--metrics", "deletion,insertion_blur,rotation,pointing_game", "--results", str(results)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [*command, *choice, *metrics], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def kill_after(n_records: int, plugin: Path, results: Path) -> dict[Path, bytes]:
    """Start a run, kill it when so many records are there; those that are there then."""
    process = start(plugin, results)
    deadline = time.monotonic() + PATIENCE
    while len(list(record.records(results))) < n_records and time.monotonic() < deadline:
        time.sleep(0.002)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    return {path: path.read_bytes() for path in record.records(results)}


def test_a_killed_run_goes_on_where_it_was(write, scores, tmp_path):
    plugin = write("toy = ToyTask(64)")
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert start(plugin, whole).wait(PATIENCE) == 0
    first = kill_after(1, plugin, killed)
    second = kill_after(5, plugin, killed)
    assert 1 <= len(first) < len(second) < 8
    assert start(plugin, killed).wait(PATIENCE) == 0
    assert {path: path.read_bytes() for path in second} == second
    assert first.items() <= second.items()
    pd.testing.assert_frame_equal(scores(killed), scores(whole), check_exact=True)
