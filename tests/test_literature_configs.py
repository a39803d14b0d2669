"""The configs of published set-ups run on small folders in the layouts of their data."""

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from lightning_mtl.cli import main
from tests.data import layouts

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
WRITERS = {
    "nyuv2": layouts.nyuv2_arrays,
    "nyud": layouts.nyud,
    "cityscapes": layouts.cityscapes_arrays,
    "pascal": layouts.pascal,
    "celeba": layouts.celeba,
    "multimnist": layouts.mnist,
}


def shrunk(name: str, root: Path) -> dict[str, Any]:
    """The config on the data in `root`, with a small network on small images from scratch."""
    config = yaml.safe_load((CONFIGS / f"{name}.yaml").read_text())
    network = config["model"]["init_args"]["network"]["init_args"]
    if "encoder_weights" in network:
        network.update(encoder="resnet18", encoder_weights=None, decoder="fpn", output_stride=32)
        config["data"]["init_args"]["size"] = [32, 64]
    for task in config["model"]["init_args"]["tasks"]:
        if task["class_path"] == "Edges":
            task["init_args"]["workers"] = 0
    config["data"]["init_args"].update(root=str(root), batch_size=2, num_workers=0)
    config["trainer"].update(
        max_epochs=1,
        check_val_every_n_epoch=1,
        limit_train_batches=2,
        limit_val_batches=1,
        num_sanity_val_steps=0,
        accelerator="cpu",
        enable_progress_bar=False,
        log_every_n_steps=1,
    )
    return config


@pytest.mark.parametrize("name", WRITERS)
def test_a_published_setup_trains_and_validates(tmp_path, monkeypatch, name):
    WRITERS[name](tmp_path / "data")
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(shrunk(name, tmp_path / "data")))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["lightning-mtl", "fit", "--config=config.yaml"])
    main()
    assert list(tmp_path.glob("runs/**/metrics.csv"))
    checkpoints = list(tmp_path.glob("runs/**/*.ckpt"))
    assert all(
        value.isfinite().all()
        for path in checkpoints
        for value in torch.load(path, weights_only=False)["state_dict"].values()
    )
    assert checkpoints


@pytest.mark.parametrize("name", WRITERS)
def test_the_weights_and_baselines_of_a_config_are_those_of_its_tasks(name):
    config = yaml.safe_load((CONFIGS / f"{name}.yaml").read_text())
    tasks = config["model"]["init_args"]["tasks"]
    callbacks = config["trainer"]["callbacks"]
    given = [callback.get("init_args", {}).get("weights", tasks) for callback in callbacks]
    assert all(len(weights) == len(tasks) for weights in given)
    assert len(config["model"]["init_args"].get("baselines", tasks)) == len(tasks)
