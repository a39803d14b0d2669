"""`lightning-mtl sweep`: what is wrong with its arguments is said in one line."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from lightning_mtl.cli import main
from lightning_mtl.command_line import sweep_work
from lightning_mtl.command_line.sweeping import sweep_parser
from tests.command_line.swept import CONFIG, ROOM


@pytest.fixture(autouse=True)
def _config(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["lightning-mtl"])
    Path("config.yaml").write_text(yaml.safe_dump(CONFIG))


def stopped(arguments, capsys):
    """The lines of the message with which a sweep ends."""
    with pytest.raises(SystemExit) as ended:
        main(["sweep", "--config", "config.yaml", "--weightings", "gradnorm", *arguments])
    assert ended.value.code == 2
    return capsys.readouterr().err.splitlines()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--seeds", "0"], "`--seeds` should be at least 1. Found 0."),
        (["--learning_rates", "1", "-1"], "`--learning_rates` should be positive factors."),
        (["--learning_rates", "nan"], "`--learning_rates` should be positive factors."),
        (["--jobs", "0"], "`--jobs` should be at least 1. Found 0."),
        (["--launcher", "local", "--nodes", "0"], "`--nodes` should be at least 1. Found 0."),
        (["--weightings", "gradnrom"], "Found `gradnrom`. Near it are: gradnorm"),
        (["--weightings", "missing.yaml"], "Found no `missing.yaml`"),
        (["--data.on_test", "true"], "Found a `SweptData`, whose validation runs on the test"),
        (["--model", f"{ROOM}.Unmeasured"], "two tasks or more"),
        (["--study", "study.db"], "`--study` should be the URL of a database"),
    ],
    ids=[
        "seeds",
        "negative rate",
        "rate not a number",
        "jobs",
        "nodes",
        "weighting",
        "weighting file",
        "test split",
        "metrics",
        "database",
    ],
)
def test_wrong_arguments_end_with_one_line(arguments, message, capsys):
    (line,) = stopped(arguments, capsys)
    assert line.startswith("error: ")
    assert message in line


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--config", "missing.yaml"], "missing.yaml"),
        (["--networks", "missing.yaml"], "missing.yaml"),
        (["--trainer.max_epoch", "1"], "max_epoch"),
        (["--launcher_settings", "gpu", "--launcher", "local"], "NAME=VALUE"),
    ],
    ids=["config file", "network file", "misspelt", "launcher settings"],
)
def test_what_is_wrong_with_a_config_is_said_as_by_fit(arguments, message, capsys):
    assert message in stopped(arguments, capsys)[-1]


def test_without_weightings_the_usage_is_shown(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["sweep", "--config", "config.yaml"])
    assert ended.value.code == 2
    assert "--weightings" in capsys.readouterr().err


def test_whoever_interrupts_a_sweep_is_told_how_it_goes_on(capsys, monkeypatch):
    def interrupt(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(sweep_work, "work", interrupt)
    (line,) = stopped(["--folder", "runs/mine"], capsys)
    assert "goes on where it stopped" in line
    assert "compare runs/mine" in line


def test_the_help_needs_no_torch():
    code = (
        "import sys; from lightning_mtl.cli import main\n"
        "try: main(['sweep', '--help'])\n"
        "finally: sys.exit('torch' in sys.modules)"
    )
    root = str(Path(__file__).parents[2])
    subprocess.run([sys.executable, "-c", code], check=True, cwd=root, capture_output=True)


def test_options_of_fit_are_handed_on():
    options, rest = sweep_parser().parse_known_args(
        ["--config", "c.yaml", "--weightings", "equal", "gradnorm", "--trainer.max_epochs=3"]
    )
    assert options.weightings == ["equal", "gradnorm"]
    assert rest == ["--config", "c.yaml", "--trainer.max_epochs=3"]
