"""Every network has a config of a few lines, which trains behind one with fitting tasks."""

import sys
from pathlib import Path

import pytest
import yaml

from lightning_mtl import models
from lightning_mtl.cli import main
from lightning_mtl.models import DenseNetwork, MultiTaskNetwork
from tests.support import layouts

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
FILES = sorted((CONFIGS / "networks").glob("*.yaml"))
SMALL = [
    "--trainer.accelerator=cpu",
    "--trainer.max_epochs=1",
    "--trainer.limit_train_batches=2",
    "--trainer.limit_val_batches=1",
    "--trainer.num_sanity_val_steps=0",
    "--trainer.enable_progress_bar=false",
    "--trainer.log_every_n_steps=1",
    "--data.init_args.batch_size=2",
]
ROOMS = [
    "--data.init_args.size=[64,64]",
    "--data.init_args.train_length=4",
    "--trainer.enable_checkpointing=false",
]
WHOLE = ("PooledEncoder", "MMoE", "CGC", "PLE", "DSelectK", "LearningToBranch")
"""Networks for facts about a whole input."""


def network_of(path: Path) -> str:
    return yaml.safe_load(path.read_text())["model"]["init_args"]["network"]["class_path"]


def test_every_network_has_a_config() -> None:
    kinds = [getattr(models, name) for name in models.__all__]
    bases = ("DeeplySupervisedNetwork", "DenseNetwork", "MultiTaskNetwork", "LeNet")
    expected = {k.__name__ for k in kinds if issubclass(k, MultiTaskNetwork)} - set(bases)
    assert {network_of(path) for path in FILES} == expected
    # LeNet is the network of its paper's config.
    assert "class_path: LeNet" in (CONFIGS / "multimnist.yaml").read_text()


def test_networks_of_whole_inputs_are_those_that_are_not_dense() -> None:
    named = {network_of(path) for path in FILES}
    others = {name for name in named if not issubclass(getattr(models, name), DenseNetwork)}
    assert others | {"PooledEncoder"} == set(WHOLE)


def trains(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """What is shown while the command line trains with the config."""
    monkeypatch.chdir(tmp_path)
    base, extra = CONFIGS / "quickstart.yaml", ROOMS
    if network_of(path) in WHOLE:
        base, folder = CONFIGS / "multimnist.yaml", tmp_path / "digits"
        folder.mkdir()
        layouts.mnist(folder)
        extra = [f"--data.init_args.root={folder}"]
    arguments = ["fit", f"--config={base}", f"--config={path}", *SMALL, *extra]
    monkeypatch.setattr(sys, "argv", ["lightning-mtl", *arguments])
    main()
    rows = next(tmp_path.glob("runs/**/metrics.csv")).read_text()
    assert "val/loss/" in rows
    return rows


@pytest.mark.parametrize("name", ["mti_net", "ple"])
def test_a_config_trains_behind_another(
    name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    trains(CONFIGS / "networks" / f"{name}.yaml", tmp_path, monkeypatch)
    assert "multiply-adds" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_config_trains(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = trains(path, tmp_path, monkeypatch)
    assert "nan" not in rows.lower().replace("val/normals", "")
