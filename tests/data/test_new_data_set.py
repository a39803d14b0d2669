"""What a data set costs its contributor: one file, as this one, and its line in `data/__init__`."""

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from torch.utils.data import Dataset

from lightning_mtl.checks import check_choice
from lightning_mtl.cli import main
from lightning_mtl.data.augmentation.transforms import Sample, Transform
from lightning_mtl.data.datamodule import FilesDataModule, MultiTaskDataModule
from lightning_mtl.data.reading.files import Source, check_tasks, finishing, read_array
from lightning_mtl.data.reading.splits import SPLITS, Split

# From here ...
SOURCE = Source("WALLS", "root/{train,val,test}/<name>.npy  64 x 64, metres", "Ask the mason.")


class Walls(Dataset[Sample]):
    """Grey walls and how far away they are."""

    TASKS = ("depth",)

    def __init__(
        self,
        root: str | Path | None = None,
        split: Split = "train",
        size: tuple[int, int] | None = None,
        tasks: Sequence[str] = TASKS,
        transform: Transform | None = None,
    ) -> None:
        check_choice("Walls", "split", split, SPLITS)
        self.tasks = check_tasks(tasks, self.TASKS)
        self.folder = SOURCE.root(root) / split
        self.names = SOURCE.stems(self.folder, ".npy")
        self._finish = finishing(size, transform)

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Sample:
        depth = read_array(self.folder / f"{self.names[index]}.npy", "depth", (64, 64), (0, 9))
        return self._finish({"image": torch.full((3, 64, 64), 0.5), "depth": depth[None]})


@dataclass(kw_only=True, eq=False)
class WallsDataModule(FilesDataModule):
    """Grey walls (`Walls`).

    Args:
        tasks: entries of a sample besides the image, among `Walls.TASKS`.
    """

    tasks: Sequence[str] = Walls.TASKS
    batch_size: int = 2

    def dataset(self, split: Split) -> Walls:
        """The walls of the split."""
        return Walls(self.root, split, self.size, self.tasks, self.transform(split))


# ... to here: this is all.
class UndeclaredDataModule(MultiTaskDataModule):
    """One that is written as the README shows it: without arguments of its own."""

    def dataset(self, split: Split) -> Dataset[Sample]:
        return Walls(split=split)


@pytest.fixture(autouse=True)
def walls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the walls, which is the working directory too."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["lightning-mtl"])
    monkeypatch.setenv(SOURCE.variable, str(tmp_path))
    for split in ("train", "val", "test"):
        (tmp_path / split).mkdir()
        for name in range(2):
            np.save(tmp_path / split / f"{name}.npy", np.full((64, 64), 2 + name, np.float32))
    return tmp_path


CONFIG = """
model:
  class_path: DensePrediction
  init_args:
    tasks: [{class_path: Depth}]
    network: {class_path: SharedEncoder, init_args: {encoder: resnet18, decoder: fpn}}
trainer:
  accelerator: cpu
  max_steps: 1
  logger: {class_path: CSVLogger, init_args: {save_dir: runs}}
  enable_checkpointing: false
  enable_progress_bar: false
  enable_model_summary: false
"""


@pytest.mark.parametrize("module", [WallsDataModule, UndeclaredDataModule])
def test_it_trains_from_the_command_line_and_again_from_the_saved_config(module, tmp_path):
    (tmp_path / "config.yaml").write_text(CONFIG)
    named = f"--data={module.__module__}.{module.__qualname__}"
    main(["fit", "--config=config.yaml", named, "--data.batch_size=1"])
    saved = next(tmp_path.rglob("version_0/config.yaml"))
    assert yaml.safe_load(saved.read_text())["data"]["init_args"]["batch_size"] == 1
    main(["fit", f"--config={saved}"])


def test_the_arguments_that_all_modules_share_are_there_with_their_texts(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["fit", f"--data.help={WallsDataModule.__module__}.WallsDataModule"])
    assert stop.value.code == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "entries of a sample besides the image, among `Walls.TASKS`" in shown
    if tuple(map(int, version("jsonargparse").split(".")[:2])) >= (4, 51):
        assert (
            "--data.batch_size BATCH_SIZE samples per batch and process. (type: int, def" in shown
        )
    for name in ("root", "size", "augment", "num_workers", "pin_memory", "tasks"):
        assert re.search(rf"--data\.{name}[ ,]", shown)


def test_an_argument_of_another_type_is_an_error_that_names_it(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["fit", f"--data={__name__}.WallsDataModule", "--data.batch_size=two"])
    assert stop.value.code == 2
    assert "Expected a <class 'int'>. Got value: two" in capsys.readouterr().err


def test_only_training_is_augmented_and_only_if_asked_for(walls):
    data = WallsDataModule(walls)
    assert [data.transform(split) is None for split in ("train", "val", "test")] == [
        False,
        True,
        True,
    ]
    assert WallsDataModule(walls, augment=False).transform("train") is None


def test_all_but_the_folder_goes_by_name(walls):
    assert WallsDataModule(walls).root == walls
    with pytest.raises(TypeError, match="positional"):
        WallsDataModule(walls, (8, 8))
