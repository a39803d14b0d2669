"""The command line, apart from the configs, which test_configs.py runs."""

import sys
from pathlib import Path

import pytest

from lightning_mtl.cli import main


@pytest.fixture(autouse=True)
def _own_command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["lightning-mtl"])


def two_runs(folder: Path) -> list[str]:
    paths = []
    for name, loss in (("a", 0.5), ("b", 0.25)):
        path = folder / name / "version_0"
        path.mkdir(parents=True)
        (path / "metrics.csv").write_text(f"step,val/depth/RMSE\n1,{loss}\n")
        paths.append(f"{name}={path}")
    return paths


def test_runs_are_compared_as_the_readme_says(tmp_path, capsys):
    main(["compare", *two_runs(tmp_path)])
    shown = capsys.readouterr().out
    assert "0.5" in shown
    assert "0.25" in shown


def test_runs_are_compared_against_baselines_given_as_options(tmp_path, capsys):
    main(["compare", *two_runs(tmp_path), "--baselines", "{val/depth/RMSE: 1.0}"])
    shown = capsys.readouterr().out
    assert "delta_mtl" in shown
    assert " 50 " in shown
    assert " 75 " in shown


def test_arguments_of_the_process_are_the_default(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["lightning-mtl", "compare", *two_runs(tmp_path)])
    main()
    assert "0.25" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["compare"], "runs"),
        (["fit", "--model", "Dense"], "Dense"),
        (["train"], "train"),
    ],
)
def test_arguments_that_make_no_sense_end_with_a_message(arguments, message, capsys):
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("name", ["DensePrediction", "RoomsDataModule"])
def test_classes_go_by_their_short_names(name, capsys):
    option = "--model" if name == "DensePrediction" else "--data"
    with pytest.raises(SystemExit) as stop:
        main(["fit", f"{option}.help={name}"])
    assert stop.value.code == 0
    assert name in capsys.readouterr().out
