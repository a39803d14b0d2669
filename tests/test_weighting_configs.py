"""Every weighting has a config of a few lines, which trains beside the quickstart's."""

import sys
from pathlib import Path

import pytest
import yaml

from lightning_mtl.catalogue import weightings
from lightning_mtl.cli import main

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
FILES = sorted((CONFIGS / "weightings").glob("*.yaml"))
SMALL = [
    "--trainer.accelerator=cpu",
    "--trainer.max_epochs=1",
    "--trainer.limit_train_batches=20",
    "--trainer.limit_val_batches=1",
    "--trainer.enable_progress_bar=false",
    "--data.init_args.size=[32,32]",
    "--data.init_args.batch_size=2",
    "--data.init_args.train_length=40",
    "--data.init_args.val_length=2",
]


def named(path: Path) -> str:
    settings = yaml.safe_load(path.read_text())
    assert list(settings) == ["weighting"]
    return settings["weighting"]["class_path"]


def test_every_weighting_has_one_config_and_others_of_it_extend_its_name() -> None:
    found: dict[str, list[str]] = {}
    for path in FILES:
        found.setdefault(named(path), []).append(path.stem)
    assert sorted(found) == sorted(kind.__name__ for kind in weightings())
    for first, *others in found.values():
        assert all(other.startswith(f"{first}_") for other in others)


@pytest.mark.slow
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_config_trains_twenty_steps_on_the_rooms(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if path.stem == "torchjd":
        pytest.importorskip("torchjd")
    monkeypatch.chdir(tmp_path)
    quickstart = CONFIGS / "quickstart.yaml"
    arguments = ["fit", f"--config={quickstart}", f"--config={path}", *SMALL]
    monkeypatch.setattr(sys, "argv", ["lightning-mtl", *arguments])
    main()
    rows = next(tmp_path.glob("runs/**/metrics.csv")).read_text().splitlines()
    assert "val/segmentation/mIoU" in rows[0]
    assert "nan" not in "\n".join(rows).lower()
