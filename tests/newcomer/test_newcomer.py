"""Somebody's first run on data of their own, as short as it should be."""

import logging
import re
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from lightning_mtl.cli import main
from lightning_mtl.data import SyntheticRooms

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
DATA_PAGE = (ROOT / "docs" / "tables" / "data.md").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")
SIZES = ((96, 64), (80, 60), (60, 90), (128, 72), (64, 64))
ARGUMENTS = ["--config", str(HERE / "photos.yaml"), "--trainer.enable_progress_bar", "false"]


def lines(*files: str) -> int:
    return sum(1 for file in files for line in (HERE / file).read_text().splitlines() if line)


def test_they_write_few_lines():
    assert lines("table.py") <= 40
    assert lines("photos.yaml") <= 50


def test_the_documentation_shows_their_config():
    (block,) = re.findall(r"```yaml\n(.*?)```", DATA_PAGE, re.DOTALL)
    config = yaml.safe_load((HERE / "photos.yaml").read_text())
    assert {"seed_everything": 0, **yaml.safe_load(block)} == config


def write_table() -> None:
    """Five inputs, three numbers and two classes; 15 % of the labels are missing."""
    generator = np.random.default_rng(0)
    inputs = generator.normal(size=(1000, 5))
    outputs = np.tanh(inputs @ generator.normal(size=(5, 10)))
    classes = outputs[:, 3:6].argmax(1), outputs[:, 6:].argmax(1)
    labels = np.column_stack([outputs[:, :3] * [1, 10, 0.1], *classes])
    labels[generator.random(labels.shape) < 0.15] = np.nan
    rows = np.column_stack([inputs, labels])
    text = "\n".join(",".join("" if np.isnan(x) else f"{x:.5g}" for x in row) for row in rows)
    Path("table.csv").write_text(f"a,b,c,d,e,price,age,weight,colour,grade\n{text}\n")


@pytest.mark.filterwarnings("ignore:.*there is no last checkpoint available.*:UserWarning")
def test_a_table_with_missing_labels_is_trained_balanced_monitored_validated_and_resumed(
    tmp_path, monkeypatch, capsys, caplog
):
    monkeypatch.chdir(tmp_path)
    # Other tests may have left it quieter.
    caplog.set_level(logging.INFO, logger="lightning.pytorch")
    write_table()
    code = (HERE / "table.py").read_text()
    assert "max_epochs=10" in code
    exec(compile(code.replace("max_epochs=10", "max_epochs=2"), "table.py", "exec"), {})
    capsys.readouterr()
    names = runpy.run_path(str(HERE / "table.py"))
    assert "Restored all states from the checkpoint" in caplog.text
    trainer = names["trainer"]
    logged = trainer.callback_metrics
    assert logged["val/colour/MulticlassAccuracy"] > 0.8
    assert logged["val/price/MeanAbsoluteError"] < 0.3
    assert "train/weight/price" in logged
    assert "grade" in capsys.readouterr().out
    run = Path(trainer.log_dir)
    assert (run / "pictures" / "noise.png").exists()


@pytest.mark.slow
def test_folders_of_images_are_trained_on_and_photos_predicted(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["lightning-mtl"])
    rooms = SyntheticRooms(20, size=(64, 96), seed=0)
    for folder in ("root/images", "root/segmentation", "root/depth", "photos"):
        Path(folder).mkdir(parents=True)
    for index in range(len(rooms)):
        frame, size = rooms[index], SIZES[index % len(SIZES)]
        image = Image.fromarray((frame["image"] * 255).byte().permute(1, 2, 0).numpy())
        if index >= 10:
            image.resize(size).save(f"photos/holiday {index}.jpg")
            continue
        image.resize(size).save(f"root/images/{index}.jpg")
        classes = Image.fromarray((frame["segmentation"] > 2).byte().numpy())
        classes.resize(size, Image.Resampling.NEAREST).save(f"root/segmentation/{index}.png")
        millimetres = Image.fromarray((frame["depth"][0] * 1000).numpy().astype(np.uint16))
        millimetres.resize(size, Image.Resampling.NEAREST).save(f"root/depth/{index}.png")
    main(["fit", *ARGUMENTS])
    assert "log_RMSE" in capsys.readouterr().out
    run = "lightning_logs/version_0"
    (checkpoint,) = Path(run, "checkpoints").glob("*.ckpt")
    (command,) = re.findall(r"^lightning-mtl (predict .*)", README, re.MULTILINE)
    main(command.replace("<run>", run).replace("<file>", checkpoint.name).split())
    for index in range(10, 20):
        size = SIZES[index % len(SIZES)]
        for task in ("segmentation", "depth"):
            file = f"{run}/predictions/holiday {index}_{task}.png"
            with Image.open(file) as picture:
                assert picture.size == size
