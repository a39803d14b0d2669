"""The README is true: its code runs, its commands and files exist, its table is current."""

import re
import sys
from importlib.metadata import entry_points, metadata
from pathlib import Path

import pytest
import torch
import yaml
from lightning import Trainer

from lightning_mtl import DensePrediction, data, tasks
from lightning_mtl.catalogue import renewed
from lightning_mtl.cli import main
from lightning_mtl.compare import group_runs
from lightning_mtl.data import MultiTaskDataModule
from lightning_mtl.tasks import Depth
from tests.support.toy import quiet_trainer
from tests.test_configs import ROOMS, TINY
from tests.test_dense_prediction import NETWORK

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


@pytest.mark.peer("L18")
def test_the_examples_run_one_after_the_other(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    for code in blocks("python"):
        exec(compile(code, "README.md", "exec"), names)
    model = names["model"]
    assert set(model.task_weights) == {"quadrant", "distance"}
    with torch.no_grad():
        losses = model.task_losses(names["data"].tensors)
    assert losses["quadrant"] < 0.5
    assert losses["distance"] < 0.1
    assert isinstance(names["trainer"], Trainer)
    names["trainer"].fit(model, names["DataLoader"](names["data"], batch_size=256))
    assert sum(model.task_weights.values()) == pytest.approx(2.0)


def test_an_own_weighting_equalises_lengths() -> None:
    names = {"L": __import__("lightning")}
    code = next(code for code in blocks("python") if "EqualLength" in code)
    exec(compile(code.partition("\n\n\ntrainer")[0], "README.md", "exec"), names)
    jacobian = torch.tensor([[3.0, 4.0], [0.0, 1.0], [0.1, 0.0]])
    weights = names["EqualLength"]().weights(torch.ones(3), jacobian @ jacobian.T)
    lengths = (weights[:, None] * jacobian).norm(dim=1)
    torch.testing.assert_close(lengths, lengths[:1].expand(3))


def test_data_of_ones_own_trains_a_ready_made_module() -> None:
    names = {"torch": torch}
    (code,) = (code for code in blocks("python") if "MyData" in code)
    exec(compile(code, "README.md", "exec"), names)
    module = DensePrediction([Depth()], network=NETWORK)
    trainer = quiet_trainer(num_sanity_val_steps=0)
    trainer.fit(module, names["MyData"](batch_size=2))
    assert trainer.global_step == 2
    assert "val/depth/RMSE" in trainer.callback_metrics


def rows_of(name: str) -> list[str]:
    """The rows of tables that start with a list of names with this one among them."""
    rows = [line.split("|")[1:-1] for line in README.splitlines() if line.startswith("| `")]
    return ["|".join(cells) for cells in rows if f"`{name}`" in cells[0]]


@pytest.mark.parametrize("name", [name for name in tasks.__all__ if name != "Task"])
def test_every_task_has_a_row_about_its_target(name: str) -> None:
    assert len(rows_of(name)) == 1


MODULES = [name for name in data.__all__ if name.endswith("DataModule")]


@pytest.mark.parametrize("name", MODULES)
def test_every_data_module_has_a_row_with_its_variable(name: str) -> None:
    kind = getattr(data, name)
    if kind is MultiTaskDataModule:
        return
    (row,) = rows_of(name)
    assert re.findall(r"LIGHTNING_MTL_\w+", row) == re.findall(
        r"LIGHTNING_MTL_\w+", kind.__doc__ or ""
    )
    for config in re.findall(r"configs/\w+\.yaml", row):
        given = yaml.safe_load((ROOT / config).read_text())
        assert given["data"]["class_path"] == name


def test_every_variable_of_the_package_is_named() -> None:
    package = (ROOT / "lightning_mtl").rglob("*.py")
    found = {
        name
        for path in package
        for name in re.findall(r"`(LIGHTNING_MTL_\w+[A-Z0-9])`", path.read_text("utf-8"))
    }
    assert len(found) > 10
    assert found <= set(re.findall(r"LIGHTNING_MTL_\w+", README))


def commands(start: str) -> list[list[str]]:
    """The arguments of the commands of the README that start so, in their order."""
    lines = [line for code in blocks("bash") for line in code.splitlines()]
    return [
        part.split()[1:]
        for line in lines
        for part in line.split(" && ")
        if part.startswith(f"lightning-mtl {start}")
    ]


def test_the_comparison_names_the_runs_that_the_commands_before_it_make(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["lightning-mtl"])
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    (tmp_path / "tiny.yaml").write_text(TINY)
    for arguments in commands("fit"):
        main([*arguments, "--config", "tiny.yaml", *ROOMS])
    (compared,) = commands("compare equal")
    capsys.readouterr()
    main(compared)
    assert "val/segmentation/mIoU" in capsys.readouterr().out
    assert list(group_runs(compared[1:])) == ["equal", "gradnorm"]
    for run in compared[1:]:
        name, _, folder = run.partition("=")
        version = Path(folder).name
        config = (tmp_path / "runs" / "quickstart" / version / "config.yaml").read_text()
        assert ("GradNorm" in config) == (name == "gradnorm")


SHORT = {
    "doctor": ["--steps", "6", "--rounds", "0"],
    "tune": ["--steps", "6"],
    "sweep": ["--seeds", "1", "--learning_rates", "1", "--no_grid", "--jobs", "2"],
}
"""What makes the commands that choose a weighting end within seconds."""


@pytest.mark.parametrize(
    "command", ["doctor", "tune", pytest.param("sweep", marks=pytest.mark.slow)]
)
def test_the_commands_that_choose_a_weighting_run(
    command: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    (tmp_path / "tiny.yaml").write_text(TINY)
    (arguments,) = commands(command)
    main([*arguments, "--config", "tiny.yaml", *ROOMS, *SHORT[command]])
    shown = capsys.readouterr().out
    assert "depth" in shown
    if command == "tune":
        assert "weighting" in yaml.safe_load((tmp_path / "tuned.yaml").read_text())
    if command == "sweep":
        assert (tmp_path / "runs" / "sweep" / "report" / "report.html").is_file()
        main(["compare", "runs/sweep"])
        assert "gradnorm" in capsys.readouterr().out


def test_there_are_exactly_two_commands_to_set_up() -> None:
    installs = [line for code in blocks("bash") for line in code.splitlines() if "pip" in line]
    assert installs == [
        "pip install -e . && lightning-mtl fit --config configs/quickstart.yaml",
        "pip install -e '.[test]' && pytest -n 2 --dist loadfile",
    ]
    assert "test" in metadata("lightning_mtl").get_all("Provides-Extra")
    assert "lightning-mtl" in entry_points(group="console_scripts").names


@pytest.mark.peer("L18")
@pytest.mark.parametrize("file", sorted(set(re.findall(r"(?:configs|notebooks)/[\w/.]+", README))))
def test_files_that_it_names_exist(file: str) -> None:
    assert (ROOT / file).is_file()


def test_the_table_of_weightings_is_that_of_the_classes() -> None:
    assert renewed(README) == README, "run `python -m lightning_mtl.catalogue README.md`"
