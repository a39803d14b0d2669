"""Frames of NYUv2's videos, which have no segmentation, beside the labelled ones in training."""

from collections.abc import Callable
from pathlib import Path

import lightning as L
import pytest
import torch
from torch import Tensor

from lightning_mtl import DensePrediction
from lightning_mtl.callbacks import DWA, MGDA, GradNorm
from lightning_mtl.data import NYUv2ArraysDataModule, NYUv2DataModule
from lightning_mtl.data.datamodule import MultiTaskDataModule
from lightning_mtl.tasks import Depth, Normals, Segmentation
from tests.support import layouts
from tests.support.toy import quiet_trainer
from tests.test_dense_prediction import NETWORK

SIZE = (32, 64)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Labelled frames and frames of videos in both layouts; the latter lack the segmentation."""
    root = tmp_path_factory.mktemp("mixed")
    layouts.nyuv2(root / "official")
    for number in range(1, 5):
        path = root / f"official/normals/{number:06d}.png"
        layouts.save(path, layouts.encoded_normals(480, 640))
    layouts.nyuv2_frames(root / "videos")
    for name in ("labelled_arrays", "video_arrays"):
        layouts.nyuv2_arrays(root / name)
    for path in (root / "video_arrays/train/label").iterdir():
        path.unlink()
    return root


def official(root: Path, batch_size: int) -> MultiTaskDataModule:
    return NYUv2DataModule(
        root / "official",
        num_classes=13,
        size=SIZE,
        normals=root / "official/normals",  # to compute them takes longer than the training
        extra_root=root / "videos",
        batch_size=batch_size,
    )


def arrays(root: Path, batch_size: int) -> MultiTaskDataModule:
    return NYUv2ArraysDataModule(
        root / "labelled_arrays",
        size=SIZE,
        extra_root=root / "video_arrays",
        batch_size=batch_size,
    )


class Recorded(DensePrediction):
    """Keeps what it lost, and how far each step moved the head of the segmentation."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        tasks = [Segmentation(13), Depth(), Normals()]
        super().__init__(tasks, NETWORK, optimizer=lambda p: torch.optim.SGD(p, lr=0.01))
        self.lost: list[dict[str, float]] = []
        self.moved: list[float] = []

    def task_losses(self, batch: dict[str, Tensor]) -> dict[str, tuple[Tensor, Tensor]]:
        losses = super().task_losses(batch)
        self.lost.append({name: loss.item() for name, (loss, _) in losses.items()})
        return losses

    def head(self) -> Tensor:
        found = [p for name, p in self.named_parameters() if "heads.segmentation" in name]
        return torch.cat([parameter.detach().flatten() for parameter in found])


class Movement(L.Callback):
    """Measures the steps."""

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: Recorded, *_: object) -> None:
        self.before = pl_module.head()

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Recorded, *_: object) -> None:
        pl_module.moved.append(float((pl_module.head() - self.before).abs().max()))


every_weighting = pytest.mark.parametrize("weighting", [None, DWA, GradNorm, MGDA])


def trained(data: MultiTaskDataModule, weighting: Callable | None) -> Recorded:
    callbacks = [Movement(), *([weighting()] if weighting else [])]
    trainer = quiet_trainer(callbacks=callbacks, num_sanity_val_steps=0)
    module = Recorded()
    trainer.fit(module, data)
    assert all(parameter.isfinite().all() for parameter in module.parameters())
    for task in ("segmentation", "depth", "normals"):
        assert f"val/{task}/{module.tasks[task].primary_metric}" in trainer.callback_metrics
    return module


@every_weighting
@pytest.mark.parametrize("make", [official, arrays])
def test_steps_of_video_frames_train_the_other_tasks_and_leave_the_segmentation(
    folder, make, weighting
):
    module = trained(make(folder, batch_size=1), weighting)
    labelled = ["segmentation" in losses for losses in module.lost]
    assert sorted(labelled) == [False] * 3 + [True] * 3
    assert all({"depth", "normals"} <= losses.keys() for losses in module.lost)
    assert [moved > 0 for moved in module.moved] == labelled


def test_in_a_mixed_batch_the_loss_is_that_of_the_labelled_frames(folder):
    data = official(folder, batch_size=6)
    data.setup("fit")
    batch = next(iter(data.train_dataloader()))
    labelled = (batch["segmentation"] != 255).flatten(1).any(1)
    assert labelled.sum() == 3
    module = Recorded().eval()
    alone = {name: values[labelled] for name, values in batch.items()}
    expected, count = module.task_losses(alone)["segmentation"]
    loss, of_labelled = module.task_losses(batch)["segmentation"]
    torch.testing.assert_close(loss, expected)
    assert of_labelled == count
