"""The README is true: its code runs, its commands and files exist, its table is current."""

import re
from importlib.metadata import entry_points, metadata
from pathlib import Path

import pytest
import torch
from lightning import Trainer

from lightning_mtl.catalogue import renewed

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


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


def test_there_are_exactly_two_commands_to_set_up() -> None:
    installs = [line for code in blocks("bash") for line in code.splitlines() if "pip" in line]
    assert installs == [
        "pip install -e . && lightning-mtl fit --config configs/quickstart.yaml",
        "pip install -e '.[test]' && pytest",
    ]
    assert "test" in metadata("lightning_mtl").get_all("Provides-Extra")
    assert "lightning-mtl" in entry_points(group="console_scripts").names


@pytest.mark.parametrize("file", sorted(set(re.findall(r"(?:configs|notebooks)/[\w/.]+", README))))
def test_files_that_it_names_exist(file: str) -> None:
    assert (ROOT / file).is_file()


def test_the_table_of_weightings_is_that_of_the_classes() -> None:
    assert renewed(README) == README, "run `python -m lightning_mtl.catalogue README.md`"
