"""`lightning-mtl tune` as people call it, and the run that follows."""

import sys
from pathlib import Path

import pytest
import yaml
from lightning import Trainer

from lightning_mtl.cli import main
from lightning_mtl.command_line.tuning import run_tuning, steps_of_each, tuning_parser

CONFIG = {
    "model": {"class_path": "tests.diagnosis.patients.Dominated"},
    "data": {"class_path": "tests.diagnosis.patients.PatientData", "init_args": {"length": 640}},
    "trainer": {
        "accelerator": "cpu",
        "max_epochs": 5,
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "callbacks": [{"class_path": "EqualWeighting"}],
    },
}


@pytest.fixture(autouse=True)
def config(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["lightning-mtl"])
    monkeypatch.setenv("COLUMNS", "80")
    Path("config.yaml").write_text(yaml.safe_dump(CONFIG))


def weights(path: str = "tuned.yaml") -> dict[str, float]:
    return yaml.safe_load(Path(path).read_text())["weighting"]["init_args"]["weights"]


def test_a_fifth_of_the_run_gives_a_config_that_fit_takes(capsys, monkeypatch):
    run_tuning(["--config=config.yaml"])
    assert "gradients of 20 steps" in capsys.readouterr().out
    assert weights()["two"] > 10 * weights()["one"]
    assert sum(weights().values()) == pytest.approx(2, rel=1e-3)
    fitted: list[Trainer] = []
    monkeypatch.setattr(Trainer, "fit", lambda trainer, *args, **rest: fitted.append(trainer))
    main(["fit", "--config=config.yaml", "--config=tuned.yaml"])
    (given,) = (each.given for each in fitted[0].callbacks if hasattr(each, "given"))
    assert given == weights()


def test_the_weighting_of_the_config_does_not_change_the_result():
    run_tuning(["--config=config.yaml", "--steps=20"])
    run_tuning(["--config=config.yaml", "--config=tuned.yaml", "--steps=20", "--out=again.yaml"])
    assert weights("again.yaml") == weights()


def test_random_weights_share_the_budget_and_the_best_is_written_if_asked(capsys):
    run_tuning(
        ["--config=config.yaml", "--steps=20", "--random=2", "--out_random=random.yaml"],
    )
    text = capsys.readouterr().out
    assert "after 5 steps each" in text
    for name in ("equal", "even gradients", "random 1", "random 2"):
        assert name in text
    assert sum(weights("random.yaml").values()) == pytest.approx(2, rel=1e-3)


def test_the_budget_is_divided_among_all_candidates():
    assert steps_of_each(100, 8) == 10
    assert steps_of_each(3, 8) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--out=config.yaml"], "should be a new file"),
        (["--out_random=best.yaml"], "should go with `--random`"),
        (["--steps=0"], "at least 1"),
        (["--model=tests.diagnosis.patients.Unlabelled", "--steps=9"], "should be trained"),
    ],
    ids=["existing file", "no random weights", "no steps", "dead task"],
)
def test_what_cannot_be_done_ends_with_a_message(arguments, message, capsys):
    with pytest.raises(SystemExit) as stopped:
        run_tuning(["--config=config.yaml", *arguments])
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err


def test_the_help_needs_no_config():
    assert "--random" in tuning_parser().format_help()
