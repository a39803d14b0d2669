"""A sweep from its start to its report, also if it is killed in between."""

import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

from lightning_mtl.cli import main
from lightning_mtl.command_line.sweep_work import launch_workers, worker_slots
from lightning_mtl.command_line.sweeping import sweep_parser
from lightning_mtl.distributed import usable_cores
from tests.command_line.swept import CONFIG
from tests.sweeps.examples import comes_true, lives

ROOT = Path(__file__).resolve().parents[2]
SMALL = ["--config=config.yaml", "--folder=sweep", "--no_grid", "--jobs=2", "--learning_rates=1"]


@pytest.fixture(autouse=True)
def _config(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["lightning-mtl"])
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("COLUMNS", "120")
    Path("config.yaml").write_text(yaml.safe_dump(CONFIG))


def swept(capsys, *arguments, weightings="gradnorm", seeds=1):
    """How many runs a sweep planned, and how many it has executed so far."""
    main(["sweep", *SMALL, f"--seeds={seeds}", f"--weightings={weightings}", *arguments])
    return numbers(capsys.readouterr().out)


def numbers(text):
    found = re.search(r"(\d+) runs were planned, and (\d+) were executed in all", text)
    assert found is not None, text
    return int(found[1]), int(found[2])


def command(*arguments, seeds=1):
    return [
        sys.executable,
        "-m",
        "lightning_mtl.cli",
        "sweep",
        *SMALL,
        f"--seeds={seeds}",
        *arguments,
    ]


def finished():
    return {path: path.stat().st_mtime_ns for path in Path("sweep").rglob("outcome.json")}


def test_one_command_trains_all_runs_and_writes_the_report(capsys):
    assert swept(capsys) == (4, 4)
    report = Path("sweep/report")
    assert {path.name for path in report.iterdir()} >= {
        "report.html",
        "answer.md",
        "answer.csv",
        "answer.json",
    }
    assert {path.parent.name for path in Path("sweep/runs").glob("*/seed_0")} == {
        "single-distance",
        "single-height",
        "equal",
        "gradnorm",
    }
    before = finished()
    assert len(before) == 4
    # Started again there is nothing to do.
    assert swept(capsys) == (4, 4)
    assert finished() == before
    with pytest.raises(SystemExit):
        swept(capsys, "--trainer.max_epochs=3")
    assert "should have the same config" in capsys.readouterr().err


@pytest.mark.slow
def test_a_sweep_chooses_from_learning_rates_and_weights(capsys):
    rates = ["--learning_rates", "1", "2"]
    main(
        [
            "sweep",
            *[each for each in SMALL if each != "--no_grid"],
            "--seeds=2",
            *rates,
            "--weightings=gradnorm",
        ]
    )
    # Two rates for four methods and for two points of the grid, and two seeds of all five.
    planned = 2 * 4 + 4 + 2 * 5
    assert numbers(capsys.readouterr().out) == (planned, planned)


@pytest.mark.slow
def test_more_seeds_and_methods_execute_only_the_new_runs(capsys):
    assert swept(capsys) == (4, 4)
    before = finished()
    assert swept(capsys, weightings="gradnorm,maxgnr", seeds=2) == (10, 10)
    assert before.items() <= finished().items()


@pytest.mark.slow
def test_what_failed_is_told_and_tried_again_only_if_asked(capsys):
    arguments = ["--trainer.callbacks=tests.command_line.swept.FailsOnce"]
    assert swept(capsys, *arguments) == (4, 4)
    assert "gradnorm/seed_0: " in Path("sweep/report/answer.md").read_text()
    assert swept(capsys, *arguments) == (4, 4)
    assert swept(capsys, *arguments, "--retry_failed") == (4, 5)
    assert "gradnorm/seed_0: " not in Path("sweep/report/answer.md").read_text()


def descendants(pid):
    """A process and all that it has started, directly or not."""
    text = subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True).stdout
    parents = {int(each): int(parent) for each, parent in map(str.split, text.splitlines())}
    found = {pid}
    while more := {each for each, parent in parents.items() if parent in found} - found:
        found |= more
    return found


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
def test_a_sweep_that_was_killed_goes_on_without_repeating_what_had_finished(capsys):
    slow = ["--weightings=gradnorm,maxgnr", "--model.patience=0.3"]
    log = Path("log.txt")
    with log.open("w") as file, subprocess.Popen(command(*slow, seeds=2), stdout=file) as sweep:
        assert comes_true(lambda: len(finished()) >= 3, 300)
        everything = descendants(sweep.pid)
        sweep.send_signal(signal.SIGKILL)
    assert comes_true(lambda: not any(map(lives, everything)), 20)
    before = finished()
    assert 3 <= len(before) < 10
    planned, executed = swept(capsys, "--model.patience=0.3", weightings="gradnorm,maxgnr", seeds=2)
    assert planned == 10
    assert len(finished()) == planned
    assert before.items() <= finished().items()
    # Two runs at most were at work.
    assert planned <= executed <= planned + 2


@pytest.mark.slow
def test_two_commands_at_the_same_time_share_one_sweep():
    both = [
        subprocess.Popen(
            command("--weightings=gradnorm,maxgnr", seeds=3), stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    texts = [process.communicate()[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    # The one that ends first cannot end before the last run has.
    assert [numbers(text) for text in texts] == [(15, 15), (15, 15)]
    executed = [re.findall(r"^\d+/15 (\S+):", text, re.MULTILINE) for text in texts]
    assert all(executed)
    assert len({*executed[0], *executed[1]}) == len(executed[0]) + len(executed[1]) == 15


@pytest.mark.slow
def test_runs_may_have_several_processes_each():
    subprocess.run(
        command(
            "--weightings=equal",
            "--jobs=1",
            "--trainer.devices=2",
            "--trainer.strategy=ddp",
        ),
        check=True,
        timeout=400,
    )
    assert len(finished()) == 3
    for log in Path("sweep").rglob("log.txt"):
        assert "MEMBER: 2/2" in log.read_text()


@pytest.mark.slow
def test_workers_that_are_submitted_share_the_sweep(capsys):
    main(["sweep", *SMALL, "--seeds=2", "--weightings=gradnorm", "--launcher=local", "--nodes=2"])
    assert len(finished()) == 8
    assert swept(capsys, seeds=2) == (8, 8)


def test_workers_are_given_all_arguments_but_those_of_the_launcher(monkeypatch):
    found = []
    monkeypatch.setattr(
        "lightning_mtl.command_line.sweep_work.launch", lambda *given: found.extend(given)
    )
    arguments = ["--config", "c.yaml", "--launcher=slurm", "--weightings", "equal", "--nodes", "3"]
    arguments += ["--launcher_settings", "slurm_partition=gpu", "timeout_min=720", "--seeds", "2"]
    launch_workers(sweep_parser().parse_known_args(arguments)[0], arguments)
    assert found == [
        "slurm",
        ["--config", "c.yaml", "--weightings", "equal", "--seeds", "2"],
        Path("runs/sweep"),
        3,
        {"slurm_partition": "gpu", "timeout_min": 720},
    ]


@pytest.mark.parametrize(
    ("devices", "jobs", "numbers"),
    [(0, 3, [None] * 3), (1, 2, [None] * 2), (2, None, [0, 1]), (2, 3, [0, 1, 0])],
    ids=["no GPU", "one GPU", "a run on each", "shared GPUs"],
)
def test_every_run_has_a_gpu_and_its_share_of_the_cores(monkeypatch, devices, jobs, numbers):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: devices)
    slots = worker_slots(jobs)
    assert [slot.device for slot in slots] == numbers
    assert all(slot.threads == max(1, usable_cores() // len(slots)) for slot in slots)


def test_without_a_gpu_two_cores_are_one_run(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert len(worker_slots(None)) == max(1, usable_cores() // 2)
