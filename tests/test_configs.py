"""Every config of the package trains through the command line, on tiny settings."""

import sys
from pathlib import Path

import pytest
import torch
import yaml

from lightning_mtl import data
from lightning_mtl.cli import main
from lightning_mtl.compare import compare, read_results

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
# One of each kind, and what fails in others' code; the slow tests train with all for longer.
FEW = [
    CONFIGS / "weightings" / f"{name}.yaml"
    for name in ("aligned_mtl", "alternating", "famo", "gradnorm", "mgda", "moco", "torchjd")
]

TINY = """
data:
  init_args: {batch_size: 4}
trainer:
  max_epochs: 1
  limit_train_batches: 2
  limit_val_batches: 1
  limit_test_batches: 1
  limit_predict_batches: 1
  check_val_every_n_epoch: 1
  enable_progress_bar: false
  enable_model_summary: false
  log_every_n_steps: 1
  accelerator: cpu
"""


@pytest.fixture(autouse=True)
def _own_command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """LightningCLI warns about arguments of its own while those of pytest are there."""
    monkeypatch.setattr(sys, "argv", ["lightning-mtl"])


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Arguments that make any config small; whatever it writes goes to a folder of its own."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.yaml").write_text(TINY)
    return ["--config", str(tmp_path / "tiny.yaml")]


ROOMS = ["--data.init_args.size=[32,32]", "--data.init_args.train_length=8"]
# What a run leaves out if its checkpoint is of no interest, nor its network's size.
LIGHT = [
    "--trainer.enable_checkpointing=false",
    "--trainer.num_sanity_val_steps=0",
    "--model.init_args.network.init_args.encoder=mobilenet_v2",
]


def run(command: str, *configs: Path, tiny: list[str], extra: list[str] | None = None) -> None:
    named = [part for config in configs for part in ("--config", str(config))]
    main([command, *named, *tiny, *(extra or [])])


def test_the_quick_start_trains_validates_tests_and_predicts(
    tiny: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = CONFIGS / "quickstart.yaml"
    run("fit", config, tiny=tiny, extra=ROOMS)
    shown = capsys.readouterr().out
    assert "trivial" in shown
    assert "mIoU" in shown
    folder = tmp_path / "runs" / "quickstart" / "version_0"
    assert (folder / "pictures" / "epoch_001.png").stat().st_size > 1000
    checkpoint = next((folder / "checkpoints").glob("*.ckpt"))
    trained = (folder / "metrics.csv").read_text()
    hparams = yaml.safe_load((folder / "hparams.yaml").read_text())
    assert hparams == yaml.safe_load((folder / "config.yaml").read_text())
    for command in ("validate", "predict"):
        run(command, config, tiny=tiny, extra=[*ROOMS, f"--ckpt_path={checkpoint}"])
    # The way back from a checkpoint that `DensePrediction` documents.
    for _ in range(2):
        main(["test", f"--config={folder / 'config.yaml'}", f"--ckpt_path={checkpoint}"])
    assert (folder / "metrics.csv").read_text() == trained
    assert [path.name for path in folder.parent.iterdir()] == ["version_0"]
    for part in ("validate/metrics.csv", "test/metrics.csv", "test_1/config.yaml", "predictions"):
        assert (folder / part).exists()
    assert read_results(folder).keys() >= {"val/depth/RMSE", "test/depth/RMSE"}


@pytest.mark.peer("L2")
@pytest.mark.parametrize("overlay", FEW, ids=lambda path: path.stem)
def test_weightings_of_every_kind_train_the_quick_start(overlay: Path, tiny: list[str]) -> None:
    if overlay.stem == "torchjd":
        pytest.importorskip("torchjd", reason="the extra `torchjd` is optional")
    run("fit", CONFIGS / "quickstart.yaml", overlay, tiny=tiny, extra=[*ROOMS, *LIGHT])


def test_noise_is_drawn_over_a_run(tiny: list[str], tmp_path: Path) -> None:
    noise = (CONFIGS / "noise.yaml").read_text()
    assert noise.count("every_n_steps: 8") == 1
    often = tmp_path / "often.yaml"
    often.write_text(noise.replace("every_n_steps: 8", "every_n_steps: 1"))
    run("fit", CONFIGS / "quickstart.yaml", often, tiny=tiny, extra=[*ROOMS, *LIGHT])
    pictures = tmp_path / "runs" / "quickstart" / "version_0" / "pictures"
    assert {"noise.png", "cosines.png"} <= {path.name for path in pictures.iterdir()}


# Said by the compiler of itself.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
def test_the_fast_config_follows_any_other(tiny: list[str], tmp_path: Path) -> None:
    configs = CONFIGS / "quickstart.yaml", CONFIGS / "weightings" / "mgda.yaml"
    small = ["--model.init_args.network=tests.support.small_network.SmallNetwork"]
    eager = ["--model.init_args.compile={backend: eager}", "--data.init_args.num_workers=1"]
    run(
        "fit", *configs, CONFIGS / "gpu.yaml", tiny=tiny, extra=[*ROOMS, *LIGHT[:2], *small, *eager]
    )
    saved = yaml.safe_load((tmp_path / "runs/quickstart/version_0/config.yaml").read_text())
    model, data_module = saved["model"]["init_args"], saved["data"]["init_args"]
    assert model["channels_last"] and model["fused"]
    assert data_module["prefetch_factor"] == 4
    assert saved["trainer"]["precision"] == "bf16-mixed"


@pytest.mark.slow
def test_mosd_trains(tiny: list[str], shared_data: Path) -> None:
    small = [f"--data.init_args.root={shared_data / 'mosd'}", "--data.init_args.size=[32,32]"]
    # Not cached: a few frames are read instead of all, since each costs a third of a second.
    few = ["--data.init_args.cache=false", "--data.init_args.batch_size=2"]
    run("fit", CONFIGS / "mosd.yaml", tiny=tiny, extra=[*small, *few, *LIGHT[:2]])


def test_the_printed_config_is_complete(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["fit", "--config", str(CONFIGS / "quickstart.yaml"), "--print_config"]
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 0
    assert "class_path: lightning_mtl.DensePrediction" in capsys.readouterr().out


def written(folder: Path, rows: str) -> str:
    folder.mkdir(parents=True)
    (folder / "metrics.csv").write_text(rows)
    return str(folder)


def test_runs_are_compared_with_spread_and_delta(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    head = "step,val/depth/RMSE,val/segmentation/mIoU\n"
    one = written(tmp_path / "a", head + "1,2.0,0.1\n2,0.9,0.5\n")
    two = written(tmp_path / "b", head + "2,1.1,0.7\n")
    compare(
        [f"equal={one}", f"equal={two}"],
        baselines={"val/depth/RMSE": 1.0, "val/segmentation/mIoU": 0.5},
    )
    shown = "".join(capsys.readouterr().out.split())
    assert "1±0.14" in shown
    assert "0.6±0.14" in shown
    # Deltas: (+10 + 0) / 2 = 5 and (-10 + 40) / 2 = 15.
    assert "10±7.1" in shown


def test_a_folder_without_a_run_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"metrics\.csv"):
        compare([str(tmp_path)])


def test_the_seed_of_the_config_is_the_one_of_the_run_and_is_saved(
    tiny: list[str], tmp_path: Path
) -> None:
    torch.manual_seed(123)
    untrained = ["--seed_everything=7", "--trainer.max_epochs=0"]
    run("fit", CONFIGS / "quickstart.yaml", tiny=tiny, extra=[*ROOMS, *LIGHT, *untrained])
    saved = yaml.safe_load((tmp_path / "runs/quickstart/version_0/config.yaml").read_text())
    assert saved["seed_everything"] == torch.initial_seed() == 7


@pytest.mark.parametrize("name", ["quickstart", "mosd"])
def test_names_of_classes_are_those_of_the_data(name: str) -> None:
    config = yaml.safe_load((CONFIGS / f"{name}.yaml").read_text())
    (names,) = (
        task["init_args"]["class_names"]
        for task in config["model"]["init_args"]["tasks"]
        if task["class_path"] == "Segmentation"
    )
    assert tuple(names) == getattr(data, config["data"]["class_path"]).CLASSES
