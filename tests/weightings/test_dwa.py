"""DWA against the authors' formula on epoch means, and its memory."""

from pathlib import Path

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor

from lightning_mtl.callbacks import DWA
from tests.support.toy import Toy, parameters, quiet_trainer, toy_loader


def literal(means: list[list[float]], temperature: float) -> list[float]:
    """Eq. 7: the weights of the epoch that follows `means`, of all epochs so far."""
    tasks = len(means[0]) if means else 2
    if len(means) < 2:
        return [1.0] * tasks
    rates = [last / before for last, before in zip(means[-1], means[-2], strict=True)]
    powers = [torch.tensor(rate / temperature).exp() for rate in rates]
    return [float(tasks * power / sum(powers)) for power in powers]


@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_weights_follow_the_ratio_of_the_last_two_epoch_means(temperature):
    weighting = DWA(temperature)
    means: list[list[float]] = []
    for _ in range(5):
        epoch = torch.rand(7, 2) + 0.1
        for losses in epoch:
            expected = literal(means, temperature)
            assert weighting.weights(losses).tolist() == pytest.approx(expected, rel=1e-5)
            weighting.update(losses)
        weighting.end_epoch()
        means.append(epoch.mean(0).tolist())


def test_weights_sum_to_k_and_favour_the_task_that_falls_slowly():
    weighting = DWA()
    for losses in ([1.0, 1.0, 1.0], [0.9, 0.5, 0.1]):
        weighting.update(torch.tensor(losses))
        weighting.end_epoch()
    weights = weighting.weights(torch.ones(3))
    assert float(weights.sum()) == pytest.approx(3.0)
    assert weights.tolist() == sorted(weights.tolist(), reverse=True)


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_the_scale_of_a_loss_does_not_matter(scale):
    plain, scaled = DWA(), DWA()
    for _ in range(3):
        losses = torch.rand(2) + 0.1
        plain.update(losses)
        scaled.update(losses * torch.tensor([1.0, scale]))
        plain.end_epoch()
        scaled.end_epoch()
    torch.testing.assert_close(plain.weights(torch.ones(2)), scaled.weights(torch.ones(2)))


def test_means_run_over_the_steps_in_which_a_task_was_present():
    weighting = DWA()
    weighting.tasks = ("a", "b")
    for present, losses in ([[0, 1], [1.0, 4.0]], [[1], [8.0]]):
        with weighting.memory.of(present):
            weighting.update(torch.tensor(losses))
    weighting.end_epoch()
    assert weighting.memory.tensors["last"].tolist() == [1.0, 6.0]


def test_a_task_that_misses_an_epoch_keeps_its_history():
    weighting = DWA()
    weighting.tasks = ("a", "b")
    for present in ([0, 1], [0, 1], [0]):
        with weighting.memory.of(present):
            weighting.update(torch.rand(len(present)) + 1)
        before = {key: value.clone() for key, value in weighting.memory.tensors.items()}
        weighting.end_epoch()
    after = weighting.memory.tensors
    assert after["last"][1] == before["last"][1]
    assert after["before_last"][1] == before["before_last"][1]
    assert after["before_last"][0] == before["last"][0]


class Validated(Toy):
    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        self.log("val/loss", sum(self.task_losses(batch).values()))


def test_a_run_resumed_from_the_end_of_a_validation_goes_on_exactly(tmp_path: Path):
    """Such a checkpoint is written before the training epoch has ended."""

    def fit(epochs: int, ckpt_path: Path | None = None) -> Tensor:
        module = Validated(torch.optim.Adam, lr=0.01)
        saver = ModelCheckpoint(
            tmp_path,
            "epoch{epoch}",
            monitor="val/loss",
            save_top_k=-1,
            auto_insert_metric_name=False,
        )
        trainer = quiet_trainer(
            callbacks=[DWA(), saver],
            max_epochs=epochs,
            enable_checkpointing=True,
            num_sanity_val_steps=0,
        )
        trainer.fit(module, toy_loader(), toy_loader(), ckpt_path=ckpt_path)
        return parameters(module)

    straight = fit(5)
    saved = tmp_path / "epoch2.ckpt"
    assert torch.equal(fit(5, saved), straight)
