"""The scripts and configs behind the figures of the documentation."""

import runpy
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
import yaml

from lightning_mtl.cli import main
from lightning_mtl.data import FoldersDataModule
from lightning_mtl.data.datasets.mosd import MOSD

ROOT = Path(__file__).resolve().parents[2]
EVIDENCE = ROOT / "docs" / "evidence"
SMALL = [
    "--trainer.max_epochs=1",
    "--trainer.check_val_every_n_epoch=1",
    "--trainer.limit_train_batches=2",
    "--trainer.limit_val_batches=1",
    "--trainer.logger=false",
    "--trainer.enable_checkpointing=false",
    "--trainer.enable_progress_bar=false",
    "--trainer.accelerator=cpu",
]


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["lightning-mtl"])


def script(name: str) -> Mapping:
    return runpy.run_path(str(EVIDENCE / name))


def test_every_point_of_the_grid_is_another_weighting(tmp_path: Path) -> None:
    script("grid.py")["write"](tmp_path, ["a", "b", "c"], [1.0, 3.0, 9.0])
    files = sorted(tmp_path.glob("*.yaml"))
    assert len(files) == 27
    assert len({file.read_text() for file in files}) == 27
    chosen = yaml.safe_load((tmp_path / "w_1_3_9.yaml").read_text())["weighting"]
    assert chosen["class_path"] == "FixedWeighting"
    assert chosen["init_args"]["weights"] == {"a": 0.3333, "b": 1.0, "c": 3.0}


def test_small_rooms_train(capsys: pytest.CaptureFixture[str]) -> None:
    quickstart, small = ROOT / "configs" / "quickstart.yaml", EVIDENCE / "rooms" / "rooms.yaml"
    main(["fit", "--config", str(quickstart), "--config", str(small), *SMALL])
    assert "segmentation" in capsys.readouterr().out


def test_small_frames_are_those_of_the_data_set_and_train(shared_data: Path) -> None:
    """Three frames of each split: all of them take a while."""
    names = {"train": 3, "val": 3}
    written = script("mosd/small_frames.py")
    size, pixels = written["SIZE"], written["pixels"]
    originals = {}
    for split, count in names.items():
        frames = MOSD(shared_data / "mosd", split, size, val_fraction=0.2, cache=False)
        # In the order in which pictures of a folder are read.
        frames.names = sorted(frames.names[:count])
        originals[split] = [frames[index] for index in range(count)]
        written["save"](Path("runs/small_mosd") / split, frames.names, originals[split])
    assert set(pixels(originals["val"][0])) == {"images", "segmentation", "depth", "normals"}
    data = FoldersDataModule(
        "runs/small_mosd",
        size=size,
        entries={"segmentation": "classes", "depth": "depth_16bit", "normals": "normals_8bit"},
        augment=False,
    )
    data.setup("fit")
    for read, original in zip(data.val_dataloader().dataset, originals["val"], strict=True):
        assert torch.equal(read["segmentation"], original["segmentation"])
        torch.testing.assert_close(read["depth"], original["depth"], atol=6e-4, rtol=0)
        known = original["normals"].norm(dim=0) > 0
        assert torch.equal(read["normals"].norm(dim=0) > 0, known)
        cosine = (read["normals"] * original["normals"]).sum(0)[known]
        assert cosine.min() > 0.999
    config = str(EVIDENCE / "mosd" / "mosd.yaml")
    main(["fit", "--config", config, *SMALL, "--data.init_args.batch_size=2"])
