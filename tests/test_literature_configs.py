"""The configs of published set-ups run on small folders in the layouts of their data."""

import csv
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from lightning.pytorch.cli import LightningCLI

from lightning_mtl import DensePrediction, MultiTaskModule
from lightning_mtl.cli import main
from lightning_mtl.data import CelebA
from tests.support import layouts

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
WRITERS = {
    "nyuv2": layouts.nyuv2_arrays,
    "nyud": layouts.nyud,
    "cityscapes": layouts.cityscapes_arrays,
    "pascal": layouts.pascal,
    "celeba": layouts.celeba,
    "multimnist": layouts.mnist,
}
# CelebA's has 40 tasks, which take as long as all others together.
CELEBA = pytest.param("celeba", marks=pytest.mark.slow)
CASES = [CELEBA if name == "celeba" else name for name in WRITERS]
BEST_EPOCH_IS_KEPT = ("celeba", "multimnist")


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
        max_epochs=3 if name in BEST_EPOCH_IS_KEPT else 1,
        check_val_every_n_epoch=1,
        limit_train_batches=2,
        limit_val_batches=1,
        num_sanity_val_steps=0,
        accelerator="cpu",
        enable_progress_bar=False,
        log_every_n_steps=1,
    )
    return config


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Callable[[str], Path]:
    """Gives the folder in which a config was run; each config is run once."""

    @cache
    def run(name: str) -> Path:
        folder = tmp_path_factory.mktemp(name)
        WRITERS[name](folder / "data")
        (folder / "config.yaml").write_text(yaml.safe_dump(shrunk(name, folder / "data")))
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(folder)
            patch.setattr(sys, "argv", ["lightning-mtl", "fit", "--config=config.yaml"])
            main()
        return folder

    return run


@pytest.mark.parametrize("name", CASES)
def test_a_published_setup_trains_and_validates(trained, name):
    folder = trained(name)
    assert list(folder.glob("runs/**/metrics.csv"))
    checkpoints = list(folder.glob("runs/**/*.ckpt"))
    assert all(
        value.isfinite().all()
        for path in checkpoints
        for value in torch.load(path, weights_only=False)["state_dict"].values()
    )
    assert checkpoints


@pytest.mark.parametrize("name", [CELEBA, "multimnist"])
def test_the_best_epoch_is_kept_where_the_paper_reports_it(trained, name):
    folder = trained(name)
    with next(folder.glob("runs/**/metrics.csv")).open() as file:
        rows = [row for row in csv.DictReader(file) if row["val/total_loss"]]
    best = min(rows, key=lambda row: float(row["val/total_loss"]))
    (kept,) = folder.glob("runs/**/*.ckpt")
    assert len(rows) == 3
    assert kept.name.startswith(f"epoch={best['epoch']}-")


# name: channels of each task, size of images, encoder stages that predictions come from, stride.
NETWORKS = {
    "nyuv2": ({"segmentation": 13, "depth": 1, "normals": 3}, "Bottleneck", 8),
    "nyud": ({"segmentation": 40, "depth": 1}, "Bottleneck", 8),
    "cityscapes": ({"segmentation": 7, "disparity": 1}, "Bottleneck", 8),
    "pascal": (
        {"segmentation": 21, "human_parts": 7, "saliency": 1, "normals": 3, "edges": 1},
        "BasicBlock",
        8,
    ),
    "celeba": (dict.fromkeys(CelebA.ATTRIBUTES, 1), "VGGEncoder", None),
    "multimnist": ({"left": 10, "right": 10}, "LeNet", None),
}


def instantiated(name: str) -> DensePrediction:
    """The module as the config says, but without weights, which would be downloaded."""
    config = yaml.safe_load((CONFIGS / f"{name}.yaml").read_text())
    network = config["model"]["init_args"]["network"]["init_args"]
    if "encoder_weights" in network:
        network["encoder_weights"] = None
    cli = LightningCLI(
        MultiTaskModule,
        subclass_mode_model=True,
        auto_configure_optimizers=False,
        trainer_defaults={"logger": False, "accelerator": "cpu"},
        args={"model": config["model"]},
        run=False,
    )
    return cli.model


@pytest.mark.parametrize("name", CASES)
def test_the_network_of_a_config_is_the_one_of_the_paper(monkeypatch, name):
    monkeypatch.setattr(sys, "argv", ["lightning-mtl"])
    module = instantiated(name).eval()
    channels, block, stride = NETWORKS[name]
    assert {type(part).__name__ for part in module.network.modules()} >= {block}
    size = 28 if name == "multimnist" else 64
    image = torch.rand(2, 3, size, size)
    with torch.no_grad():
        found = {task: tuple(value.shape) for task, value in module(image).items()}
    pixels = () if stride is None else (size, size)
    assert found == {task: (2, count, *pixels) for task, count in channels.items()}
    if stride is not None:
        assert module.network.encoder(image)[-1].shape[-1] == size // stride
        assert {type(decoder).__name__ for decoder in module.network.decoders.values()} == {
            "DeepLabV3Decoder"
        }
        assert all(head.kernel_size == (1, 1) for head in module.network.heads.values())


@pytest.mark.parametrize("name", WRITERS)
def test_the_weights_and_baselines_of_a_config_are_those_of_its_tasks(name):
    config = yaml.safe_load((CONFIGS / f"{name}.yaml").read_text())
    names = set(NETWORKS[name][0])
    given = [callback.get("init_args", {}) for callback in config["trainer"]["callbacks"]]
    mappings = [settings["weights"] for settings in given if "weights" in settings]
    if "baselines" in config["model"]["init_args"]:
        mappings.append(config["model"]["init_args"]["baselines"])
    assert len(mappings) == {"pascal": 2, "nyud": 1}.get(name, 0)
    assert all(set(mapping) == names for mapping in mappings)
