"""The short run of two overlapping digits, against the published one that it shortens."""

import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from lightning_mtl.cli import main
from lightning_mtl.compare import read_results

ROOT = Path(__file__).resolve().parents[2]
SHORT = ROOT / "docs/evidence/multimnist/multimnist.yaml"
PUBLISHED = ROOT / "configs/multimnist.yaml"


@pytest.fixture
def fit(tmp_path: Path, shared_data: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Arguments that train with the config; what it writes goes to a folder of its own."""
    monkeypatch.chdir(tmp_path)
    # LightningCLI warns about arguments of its own while those of pytest are there.
    monkeypatch.setattr(sys, "argv", ["lightning-mtl"])
    monkeypatch.setenv("LIGHTNING_MTL_MNIST", str(shared_data / "multidigit"))
    return ["fit", "--config", str(SHORT), "--trainer.enable_progress_bar=false"]


def settings(path: Path) -> dict[str, Any]:
    return yaml.safe_load(path.read_text())


def test_only_digits_length_and_schedule_differ_from_the_published_run() -> None:
    short, published = settings(SHORT), settings(PUBLISHED)
    schedules = [each["model"]["init_args"].pop("scheduler") for each in (short, published)]
    assert short["model"] == published["model"]
    assert short["data"]["init_args"].pop("digits") == "t10k"
    assert short["data"] == published["data"]
    # The learning rate falls as far, at the same places of the run.
    lengths = [each["trainer"]["max_epochs"] for each in (short, published)]
    steps = [each["init_args"]["step_size"] / n for each, n in zip(schedules, lengths, strict=True)]
    assert steps[0] == steps[1]
    assert schedules[0]["init_args"]["gamma"] == schedules[1]["init_args"]["gamma"]


def test_the_digits_train_for_an_epoch(fit: list[str]) -> None:
    short = ["--trainer.max_epochs=1", "--trainer.limit_train_batches=2"]
    main([*fit, *short, "--trainer.limit_val_batches=1"])
    results = read_results(Path("runs/multimnist/version_0"))
    assert {"val/left/accuracy", "val/right/accuracy"} <= results.keys()


@pytest.mark.slow
def test_both_digits_are_told_at_over_90_percent(fit: list[str]) -> None:
    main(fit)
    results = read_results(Path("runs/multimnist/version_0"))
    assert results["val/left/accuracy"] > 0.9
    assert results["val/right/accuracy"] > 0.9
