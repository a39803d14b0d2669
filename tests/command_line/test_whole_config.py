"""The config of a run with all its defaults, as a dictionary."""

import sys

import pytest

from lightning_mtl.command_line.whole_config import whole_config

MODULE = "--model=tests.command_line.swept.Swept"
DATA = "--data=tests.command_line.swept.SweptData"


@pytest.fixture(autouse=True)
def _program(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["lightning-mtl"])


def test_the_config_has_what_was_given_and_all_defaults(capsys):
    found = whole_config([MODULE, DATA, "--trainer.max_epochs=3", "--weighting=GradNorm"])
    assert found["model"]["init_args"] == {"lr": 0.01, "fails": False, "patience": 0.0}
    assert found["data"]["init_args"]["batch_size"] == 16
    assert found["trainer"]["max_epochs"] == 3
    assert found["weighting"]["class_path"].endswith("GradNorm")
    assert found["seed_everything"] == 0
    assert not capsys.readouterr().out


def test_wrong_arguments_end_with_their_message(capsys):
    with pytest.raises(SystemExit) as stopped:
        whole_config([MODULE, DATA, "--model.lrr=1"])
    assert stopped.value.code == 2
    assert "lrr" in capsys.readouterr().err
