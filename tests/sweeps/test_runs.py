"""A run is a process, and what it leaves is read from its folder."""

import threading
import time

import pytest
import yaml

from lightning_mtl.sweeps.configs import run_config
from lightning_mtl.sweeps.queue import RunFailed
from lightning_mtl.sweeps.runs import Stopped, train
from tests.sweeps import fits
from tests.sweeps.examples import RATE, comes_true, config, lives


def trained(folder, fit, stop=None):
    made = run_config(config(), folder, "SomeWeighting", 0, RATE, 2.0)
    return train(made, folder, fit, {}, 1, stop or threading.Event())


def test_a_run_leaves_its_config_and_its_metrics(tmp_path):
    found = trained(tmp_path / "run", fits.writes)
    assert found["metrics"] == {"val/high/accuracy": 1.0, "val/low/error": 1.0}
    assert found["seconds"] > 0
    # There is no meter of costs in a run that does not train.
    assert found["step_seconds"] is None
    written = yaml.safe_load((tmp_path / "run" / "run.yaml").read_text())
    assert written["model"]["init_args"]["lr"] == 0.2


def test_what_an_earlier_attempt_left_is_deleted(tmp_path):
    (tmp_path / "log" / "old").mkdir(parents=True)
    (tmp_path / "log" / "old" / "metrics.csv").write_text("val/high/accuracy\n0.5\n")
    assert trained(tmp_path, fits.writes)["metrics"]["val/high/accuracy"] == 1.0


def test_a_run_that_fails_says_how_its_log_ends(tmp_path):
    with pytest.raises(RunFailed, match=r"exit code 1\. Its log ends: .*this cannot be trained"):
        trained(tmp_path / "run", fits.breaks)


@pytest.mark.parametrize(
    ("fit", "message"),
    [(fits.tells, "with a `metrics.csv`"), (fits.validates_nothing, "It validated nothing")],
    ids=["no log", "no validation"],
)
def test_a_run_without_validation_has_failed(tmp_path, fit, message):
    with pytest.raises(RunFailed, match=message):
        trained(tmp_path / "run", fit)


def test_a_run_is_stopped_within_seconds_with_all_that_it_has_started(tmp_path):
    stop, stopped = threading.Event(), []

    def run() -> None:
        with pytest.raises(Stopped):
            trained(tmp_path / "run", fits.sleeps, stop)
        stopped.append(time.monotonic())

    worker = threading.Thread(target=run)
    worker.start()
    assert comes_true((tmp_path / "run" / "pids").exists)
    both = [int(pid) for pid in (tmp_path / "run" / "pids").read_text().split()]
    begun = time.monotonic()
    stop.set()
    worker.join()
    assert stopped[0] - begun < 3
    assert comes_true(lambda: not any(map(lives, both)), 5)
