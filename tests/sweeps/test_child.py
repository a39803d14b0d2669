"""A run's process ends with the sweep, and all that it has started ends with it."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from lightning_mtl.sweeps.child import child, kill
from tests.sweeps import fits
from tests.sweeps.examples import comes_true, lives

PARENT = """
import sys
from pathlib import Path
from lightning_mtl.sweeps.child import child
from tests.sweeps import fits

process = child(fits.sleeps, Path("run.yaml"), Path("log.txt"), {}, 1)
process.start()
process.join()
"""


def pids(folder: Path) -> list[int]:
    """The process of a run, and the one that it has started."""
    assert comes_true((folder / "pids").exists)
    return [int(pid) for pid in (folder / "pids").read_text().split()]


def test_the_process_has_the_variables_the_threads_and_the_log_that_were_asked_for(tmp_path):
    log = tmp_path / "log.txt"
    process = child(
        fits.tells, tmp_path / "run.yaml", log, {**os.environ, "ANSWER": "42"}, threads=2
    )
    process.start()
    process.join()
    first, second = log.read_text().splitlines()
    # By these words Lightning starts the run's processes on further devices.
    assert first == f"tests.sweeps.fits ['fit', '--config', '{tmp_path / 'run.yaml'}'] 42"
    assert second == "2 threads"


def test_killing_a_run_ends_all_that_it_has_started(tmp_path):
    process = child(
        fits.sleeps, tmp_path / "run.yaml", tmp_path / "log.txt", dict(os.environ), threads=1
    )
    process.start()
    both = pids(tmp_path)
    kill(process)
    assert comes_true(lambda: not any(map(lives, both)), 5)


def test_what_a_run_leaves_behind_is_ended_too(tmp_path):
    process = child(
        fits.leaves_another, tmp_path / "run.yaml", tmp_path / "log", dict(os.environ), threads=1
    )
    process.start()
    _, other = pids(tmp_path)
    process.join()
    assert lives(other)
    kill(process)
    assert comes_true(lambda: not lives(other), 5)


def test_killing_a_process_that_was_not_started_does_nothing(tmp_path):
    kill(child(fits.tells, tmp_path / "run.yaml", tmp_path / "log.txt", {}, threads=1))


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
def test_a_run_ends_when_the_sweep_is_killed(tmp_path):
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    with subprocess.Popen([sys.executable, "-c", PARENT], cwd=tmp_path, env=environment) as parent:
        both = pids(tmp_path)
        assert all(map(lives, both))
        parent.send_signal(signal.SIGKILL)
    assert comes_true(lambda: not any(map(lives, both)), 10)
