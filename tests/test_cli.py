"""The command line, apart from the configs, which test_configs.py runs."""

import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from lightning import Trainer

from lightning_mtl.cli import main
from lightning_mtl.command_line.commands import COMMANDS
from lightning_mtl.import_order import LIGHTNING

PREDICT = Trainer.predict


@pytest.fixture(autouse=True)
def _own_command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["lightning-mtl"])


def two_runs(folder: Path) -> list[str]:
    paths = []
    for name, loss in (("a", 0.5), ("b", 0.25)):
        path = folder / name / "version_0"
        path.mkdir(parents=True)
        (path / "metrics.csv").write_text(f"step,val/depth/RMSE,val/depth/abs_err\n1,{loss},1\n")
        paths.append(f"{name}={path}")
    return paths


@pytest.mark.parametrize("metrics", [["val/depth/RMSE"], ["val/depth/RMSE", "val/depth/abs_err"]])
def test_one_metric_or_several_may_be_named(tmp_path, capsys, metrics):
    main(["compare", *two_runs(tmp_path), "--metrics", *metrics])
    shown = capsys.readouterr().out
    assert all(metric in shown for metric in metrics)
    assert shown.count("val/") == len(metrics)


def test_all_metrics_may_be_shown(tmp_path, capsys):
    main(["compare", *two_runs(tmp_path)])
    assert "abs_err" not in capsys.readouterr().out
    main(["compare", *two_runs(tmp_path / "again"), "--all_metrics"])
    assert "abs_err" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "`nowhere` should be the folder of a run"),
        (["{a}", "--metrics", "val/x"], "metrics ['val/x']. Found in all of them"),
        (["{a}", "--baselines", "{val/depth/RMSE: 0}"], "positive and finite"),
    ],
    ids=["no such run", "no such metric", "a baseline of zero"],
)
def test_a_wrong_comparison_is_one_line_and_no_traceback(tmp_path, capsys, arguments, message):
    first = two_runs(tmp_path)[0]
    with pytest.raises(SystemExit) as stop:
        main(["compare", *(first if part == "{a}" else part for part in arguments)])
    assert stop.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert message in line


def test_the_help_and_the_error_without_a_command_name_all_commands(capsys):
    for arguments, code in ((["--help"], 0), ([], 2)):
        with pytest.raises(SystemExit) as stop:
            main(arguments)
        assert stop.value.code == code
        shown = "".join(capsys.readouterr())
        assert "{" + ",".join(COMMANDS) + "}" in shown


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        (["--trainer.callbacks=GradNrom"], "GradNorm"),
        (["--trainer.callbacks=EarlyStoping"], "EarlyStopping"),
        (["--data=RoomDataModule"], "RoomsDataModule"),
        (["--model=DensPrediction"], "DensePrediction"),
        (["--model=DensePrediction", "--model.network=SharedEncodr"], "SharedEncoder"),
    ],
)
def test_a_misspelt_class_is_answered_with_the_nearest_names(arguments, meant, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["fit", *arguments])
    assert stop.value.code == 2
    shown = capsys.readouterr().err
    assert shown.count(f"Near it are: {meant}") == 1
    assert len(shown.splitlines()) < 40


@pytest.mark.parametrize(
    "style",
    ["--config={}", "--config {}", "-c {}"],
    ids=["with an equals sign", "with a space", "in short"],
)
def test_a_config_that_would_drop_the_monitor_before_it_is_refused(style, capsys):
    configs = Path(__file__).resolve().parents[1] / "configs"
    given = [configs / "noise.yaml", configs / "quickstart.yaml"]
    with pytest.raises(SystemExit) as stop:
        main(["fit", *" ".join(style.format(path) for path in given).split()])
    assert stop.value.code == 2
    assert "quickstart.yaml` after it replaces all callbacks" in capsys.readouterr().err


ROOMS = """
model:
  class_path: DensePrediction
  init_args:
    tasks: [{class_path: Depth}]
    network: {class_path: SharedEncoder, init_args: {decoder: fpn}}
data:
  class_path: RoomsDataModule
  init_args: {size: [32, 32], train_length: 2, val_length: 2, batch_size: 2}
trainer:
  accelerator: cpu
  max_steps: 1
  logger: false
  enable_checkpointing: false
  enable_progress_bar: false
  enable_model_summary: false
# a comment
"""


@pytest.fixture
def config(tmp_path, monkeypatch) -> Path:
    """A config in the working directory, by the name that Lightning would write."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "config.yaml"
    path.write_text(ROOMS)
    return path


def test_a_run_without_a_logger_writes_no_config_and_leaves_the_users_own_alone(config):
    main(["fit", "--config", "config.yaml"])
    assert config.read_text() == ROOMS
    assert [path.name for path in config.parent.glob("*.yaml")] == ["config.yaml"]


@pytest.mark.filterwarnings("ignore:Experiment logs directory")
def test_a_logger_in_the_working_directory_saves_the_config_under_a_name_that_is_free(config):
    options = "{class_path: CSVLogger, init_args: {save_dir: ., name: '', version: ''}}"
    for _ in range(2):
        main(["fit", "--config", "config.yaml", f"--trainer.logger={options}"])
    assert config.read_text() == ROOMS
    found = sorted(path.name for path in config.parent.glob("*.yaml"))
    assert [name for name in found if name.startswith("config")] == [
        "config.yaml",
        "config_1.yaml",
        "config_2.yaml",
    ]
    assert "class_path: lightning_mtl.DensePrediction" in Path("config_1.yaml").read_text()


def test_predictions_are_written_and_not_kept(config, monkeypatch):
    kept = []

    def predict(trainer: Trainer, *args: Any, **arguments: Any) -> None:
        kept.append(PREDICT(trainer, *args, **arguments))

    monkeypatch.setattr(Trainer, "predict", predict)
    two = ["--data.init_args.batch_size=1", "--trainer.limit_predict_batches=2"]
    main(["predict", "--config", "config.yaml", "--ckpt_path=null", *two])
    assert kept == [None]
    found = sorted(path.name for path in Path("predictions").glob("*_depth.png"))
    assert found == ["000000_depth.png", "000001_depth.png"]


def test_a_writer_of_the_config_is_the_only_one(config):
    writer = "--trainer.callbacks={class_path: PredictionWriter, init_args: {panel: false}}"
    few = ["--trainer.limit_predict_batches=1", "--ckpt_path=null"]
    main(["predict", "--config", "config.yaml", writer, *few])
    found = [path.name for path in Path("predictions").iterdir()]
    assert found
    assert not [name for name in found if name.endswith("_panel.png")]


def test_runs_are_compared_against_baselines_given_as_options(tmp_path, capsys):
    main(["compare", *two_runs(tmp_path), "--baselines", "{val/depth/RMSE: 1.0}"])
    shown = capsys.readouterr().out
    assert "delta_mtl" in shown
    assert " 50 " in shown
    assert " 75 " in shown


def test_the_module_runs_as_the_command_does(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["lightning-mtl", "compare", "nowhere"])
    monkeypatch.delitem(sys.modules, "lightning_mtl.cli")
    with pytest.raises(SystemExit) as stop:
        runpy.run_module("lightning_mtl.cli", run_name="__main__", alter_sys=True)
    assert stop.value.code == 2
    assert "`nowhere` should be the folder of a run" in capsys.readouterr().err


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


ORDER = """
import contextlib, importlib, inspect, sys
from lightning_mtl.cli import main
for name in {first}:
    importlib.import_module(name)
with contextlib.suppress(SystemExit):
    main({arguments})
import lightning as L
print(inspect.signature(L.Trainer).parameters["limit_val_batches"].annotation)
"""
MISSING = ["--config", "missing.yaml"]


@pytest.mark.parametrize(
    ("first", "arguments"),
    [
        ([], ["fit", *MISSING]),
        ([], ["doctor", *MISSING]),
        ([], ["tune", *MISSING]),
        ([], ["sweep", "--weightings", "dwa", *MISSING]),
        ([LIGHTNING, "lightning_mtl.command_line.sweep_work"], ["fit", *MISSING]),
    ],
    ids=["fit", "doctor", "tune", "sweep", "a run of a sweep"],
)
def test_one_batch_is_never_read_as_all_batches(first, arguments):
    """The parser takes the first type that fits, 1.0 for 1 if that is the float."""
    script = ORDER.format(first=first, arguments=arguments)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip().endswith("[int, float, NoneType]"), done
