"""`lightning-mtl doctor` as people call it."""

import json
import sys
from pathlib import Path

import pytest
import yaml

from lightning_mtl.command_line.doctoring import run_doctor

CONFIG = {
    "model": {"class_path": "tests.diagnosis.patients.Opposed"},
    "data": {"class_path": "tests.diagnosis.patients.PatientData"},
    "trainer": {
        "accelerator": "cpu",
        "max_epochs": 1,
        "enable_progress_bar": False,
        "callbacks": [
            {"class_path": "MetricTable"},
            {"class_path": "ModelCheckpoint"},
            {"class_path": "EarlyStopping", "init_args": {"monitor": "val/one/x"}},
            {"class_path": "LearningRateMonitor"},
        ],
    },
}


@pytest.fixture(autouse=True)
def config(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["lightning-mtl"])
    monkeypatch.setenv("COLUMNS", "80")
    path = Path("config.yaml")
    path.write_text(yaml.safe_dump(CONFIG))
    return path


def test_the_patient_is_examined_and_nothing_but_the_report_is_written(capsys):
    run_doctor(["--config=config.yaml", "--steps", "60", "--rounds", "0", "--out", "report"])
    text = " ".join(capsys.readouterr().out.split())
    assert "`one` and `two` are in conflict" in text
    assert "Examined 60 steps of 32 samples" in text
    found = json.loads(Path("report/doctor.json").read_text())
    assert [finding["kind"] for finding in found["findings"]] == ["conflict"]
    assert "in conflict" in Path("report/doctor.md").read_text()
    written = {str(path) for path in Path().rglob("*") if path.is_file()}
    assert written == {"config.yaml", "report/doctor.json", "report/doctor.md"}


def test_a_report_that_is_there_is_kept():
    for _ in range(2):
        run_doctor(["--config=config.yaml", "--steps=5", "--rounds=0", "--out=report"])
    assert len(list(Path("report").iterdir())) == 4


def test_options_of_fit_and_the_weighting_of_the_run_count(capsys):
    arguments = ["--config=config.yaml", "--steps=40", "--rounds=0", "--out=report"]
    healthy = ["--model=tests.diagnosis.patients.Healthy", "--model.lr=1e-6"]
    weighting = ["--weighting=FixedWeighting", "--weighting.weights={one: 100, two: 1}"]
    run_doctor([*arguments, *healthy, *weighting])
    found = json.loads(Path("report/doctor.json").read_text())
    assert found["findings"][0]["kind"] == "dominated"
    assert "`one` dominates" in capsys.readouterr().out


def test_prices_are_shown(capsys):
    run_doctor(["--config=config.yaml", "--steps=10", "--rounds=1"])
    assert "time of a step" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--steps=0"], "at least 1"),
        (["--ckpt_path=last.ckpt"], "should start anew"),
        (["--trainer.max_epoch=3"], "max_epoch"),
    ],
    ids=["no steps", "checkpoint", "unknown option"],
)
def test_wrong_arguments_end_with_a_message(arguments, message, capsys):
    with pytest.raises(SystemExit) as stopped:
        run_doctor(["--config=config.yaml", *arguments])
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err
