"""What `DensePrediction` does for networks that predict several times, add to losses or anneal."""

import sys
from functools import partial
from pathlib import Path

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from lightning_mtl import DensePrediction
from lightning_mtl.callbacks import MGDA
from lightning_mtl.cli import main
from lightning_mtl.data import MultiTaskDataModule
from lightning_mtl.models import PLE, DSelectK, MTINet, MultiTaskNetwork, TableFeatures
from lightning_mtl.tasks import Attributes, Depth, Normals, Regression, Segmentation
from tests.support.toy import ResumableLoader, quiet_trainer
from tests.test_dense_prediction import rooms

NETWORK = partial(MTINet, encoder="tu-test_resnet", widths=(8, 8, 8, 8))


def deep() -> DensePrediction:
    torch.manual_seed(0)
    return DensePrediction([Segmentation(5), Depth()], network=NETWORK)


def test_the_loss_of_a_task_is_the_sum_over_all_of_its_predictions() -> None:
    module, batch = deep().eval(), next(iter(rooms(2)))
    predictions = module.network.supervised(batch["image"])
    losses = module.task_losses(batch)
    assert set(losses) == {"segmentation", "depth"}
    for name, (loss, count) in losses.items():
        task = module.tasks[name]
        assert len(predictions[name]) == 5
        expected = sum(task.loss(prediction, batch[name]) for prediction in predictions[name])
        torch.testing.assert_close(loss, expected)
        assert count == task.count(batch[name])


def test_validation_looks_at_the_last_prediction() -> None:
    module, batch = deep(), next(iter(rooms(2)))
    (logged,) = quiet_trainer().validate(module, rooms(2), verbose=False)
    with torch.no_grad():
        last = module.eval()(batch["image"])["depth"]
    expected = module.tasks["depth"].loss(last, batch["depth"])
    assert logged["val/loss/depth"] == pytest.approx(float(expected), rel=1e-4)


def test_a_weighting_sees_one_loss_per_task() -> None:
    module = deep()
    quiet_trainer(max_steps=1, limit_val_batches=1, callbacks=[MGDA()]).fit(
        module, rooms(2), rooms(2)
    )
    assert set(module.task_weights) == {"segmentation", "depth"}


def test_rgb_and_depth_are_one_input_of_four_channels() -> None:
    frames = [
        {**frame, "image": torch.cat([frame["image"], frame["depth"] / 10])}
        for frame in rooms(2).dataset
    ]
    module = DensePrediction([Segmentation(5), Normals()], network=partial(NETWORK, in_channels=4))
    trainer = quiet_trainer(max_steps=1, limit_val_batches=1)
    loader = DataLoader([{k: v for k, v in f.items() if k != "depth"} for f in frames], 2)
    trainer.fit(module, loader, loader)
    assert "val/segmentation/mIoU" in trainer.callback_metrics


class Annealed(MultiTaskNetwork):
    """A network that writes down how far the training is."""

    def __init__(self, channels: dict[str, int]) -> None:
        super().__init__()
        self.heads = nn.ModuleDict({task: nn.Conv2d(3, n, 1) for task, n in channels.items()})
        self.progress: list[float] = []

    def forward(self, inputs: Tensor) -> dict[str, Tensor]:
        return {task: head(inputs) for task, head in self.heads.items()}

    def start_epoch(self, progress: float) -> None:
        self.progress.append(progress)


def annealed() -> DensePrediction:
    return DensePrediction([Depth()], network=Annealed)


def test_a_network_is_told_how_far_the_training_is() -> None:
    module = annealed()
    quiet_trainer(max_epochs=4, limit_val_batches=1).fit(module, rooms(4), rooms(2))
    assert sorted(set(module.network.progress)) == [0.25, 0.5, 0.75, 1.0]
    module = annealed()
    quiet_trainer(max_epochs=-1, max_steps=3, limit_val_batches=1).fit(module, rooms(4), rooms(2))
    assert set(module.network.progress) == {1.0}


def test_a_run_that_resumes_within_an_epoch_knows_how_far_it_is(tmp_path: Path) -> None:
    def trained(ckpt_path: Path | None = None) -> list[float]:
        module = annealed()
        saver = ModelCheckpoint(tmp_path, filename="middle", every_n_train_steps=3, save_top_k=1)
        trainer = quiet_trainer(
            max_epochs=2, limit_val_batches=1, callbacks=[saver], enable_checkpointing=True
        )
        trainer.fit(module, ResumableLoader(rooms(4)), rooms(2), ckpt_path=ckpt_path)
        return module.network.progress

    assert sorted(set(trained())) == [0.5, 1.0]
    assert set(trained(tmp_path / "middle.ckpt")) == {1.0}


class Clicks(Dataset):
    """Rows of two numbers and a code; clicks and ratings follow from them."""

    def __len__(self) -> int:
        return 64

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(index)
        numbers = torch.randn(2, generator=generator)
        code = torch.randint(4, (1,), generator=generator)
        score = numbers[0] + code.float() - 1.5
        return {
            "table": torch.cat([numbers, code.float()]),
            "click": (score > 0).float(),
            "rating": score * numbers[1:2],
        }


class ClicksDataModule(MultiTaskDataModule):
    def dataset(self, split: str) -> Clicks:
        return Clicks()


def test_a_table_of_features_is_learned_by_a_mixture_of_experts() -> None:
    torch.manual_seed(0)
    module = DensePrediction(
        [Attributes(1, name="click"), Regression("rating")],
        network=lambda channels: PLE(channels, TableFeatures(numeric=2, categories=[4])),
        optimizer=lambda parameters: torch.optim.Adam(parameters, lr=0.01),
        input="table",
    )
    trainer = quiet_trainer(max_epochs=20, limit_val_batches=1)
    trainer.fit(module, ClicksDataModule(batch_size=16))
    assert float(trainer.callback_metrics["val/loss/click"]) < 0.3
    assert float(trainer.callback_metrics["val/loss/rating"]) < 0.5


TABLE = """
model:
  class_path: DensePrediction
  init_args:
    input: table
    tasks:
      - {class_path: Attributes, init_args: {num_attributes: 1, name: click}}
      - {class_path: Regression, init_args: {name: rating}}
    network:
      class_path: PLE
      init_args:
        backbone: {class_path: TableFeatures, init_args: {numeric: 2, categories: [4]}}
trainer:
  accelerator: cpu
  max_epochs: 1
  logger: false
  enable_checkpointing: false
  enable_progress_bar: false
  callbacks: [{class_path: GradNorm}, {class_path: MetricTable}]
"""


def test_a_table_of_features_is_trained_from_yaml(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["lightning-mtl"])
    Path("table.yaml").write_text(TABLE)
    main(["fit", "--config=table.yaml", f"--data={__name__}.ClicksDataModule"])
    shown = capsys.readouterr().out
    assert "for one input of 3" in shown
    assert "trivial" in shown


def test_what_a_network_adds_to_a_loss_is_trained() -> None:
    torch.manual_seed(0)
    module = DensePrediction(
        [Regression("rating")],
        network=lambda channels: DSelectK(channels, in_features=3, entropy=10.0),
        input="table",
    )
    batch = {"table": torch.rand(4, 3), "rating": torch.rand(4, 1)}
    loss, _ = module.task_losses(batch)["rating"]
    plain = module.tasks["rating"].loss(module.network(batch["table"])["rating"], batch["rating"])
    assert loss.item() > plain.item() + 1


def test_the_entry_that_is_the_input_is_no_name_of_a_task() -> None:
    with pytest.raises(ValueError, match=r'not be "table"\. Found \'table\''):
        DensePrediction([Depth(name="table")], network=Annealed, input="table")
    assert isinstance(DensePrediction([Depth()], network=Annealed), L.LightningModule)
