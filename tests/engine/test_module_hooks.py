"""A module's hooks are the user's: overriding them takes nothing away."""

from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

from lightning_mtl.callbacks import AlternatingUpdates, GradNorm
from lightning_mtl.engine.errors import NonFiniteParameterError
from lightning_mtl.engine.module_hooks import ModuleHooks
from tests.support.toy import TASKS, Toy, logged, parameters, quiet_trainer, toy_loader


class OwnHooks(Toy):
    """Overrides every hook that training runs, without `super()`, as is usual in Lightning."""

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None: ...

    def on_train_epoch_start(self) -> None: ...

    def on_after_backward(self) -> None: ...

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None: ...

    def on_fit_end(self) -> None: ...

    def configure_callbacks(self) -> list[L.Callback]:
        return []


@pytest.mark.parametrize(
    "callbacks",
    [[], [GradNorm], [AlternatingUpdates]],
    ids=["none", "GradNorm", "AlternatingUpdates"],
)
def test_hooks_of_ones_own_change_neither_the_log_nor_the_run(callbacks) -> None:
    found = []
    for module in (Toy(), OwnHooks()):
        rows = logged(module, *(kind() for kind in callbacks), max_epochs=2)
        found.append((rows, parameters(module)))
    (rows, trained), (own_rows, own_trained) = found
    assert "train/total_loss" in rows[0]
    assert own_rows == rows
    assert torch.equal(own_trained, trained)


def test_a_checkpoint_of_spoilt_parameters_is_refused_whatever_the_hooks(tmp_path: Path) -> None:
    module = OwnHooks()
    trainer = quiet_trainer(max_steps=1)
    trainer.fit(module, toy_loader())
    module.trunk[0].weight.data.fill_(float("nan"))
    with pytest.raises(NonFiniteParameterError, match="trunk"):
        trainer.save_checkpoint(tmp_path / "spoilt.ckpt")


def test_a_run_after_one_that_broke_off_within_a_window_starts_a_new_window() -> None:
    class Breaking(OwnHooks):
        def task_losses(self, batch: Any) -> dict[str, torch.Tensor]:
            if self.breaks and self.trainer.fit_loop.batch_idx == 2:
                raise RuntimeError("no more")
            return super().task_losses(batch)

    module = Breaking()
    module.breaks = True
    with pytest.raises(RuntimeError, match="no more"):
        quiet_trainer(accumulate_grad_batches=4).fit(module, toy_loader())
    module.breaks = False
    start = Toy()
    module.load_state_dict(start.state_dict())
    rows = logged(module, accumulate_grad_batches=4, max_steps=1)
    assert rows[-1] == logged(start, accumulate_grad_batches=4, max_steps=1)[-1]


def test_checkpoints_are_chosen_by_the_log_of_the_step_that_they_hold(tmp_path: Path) -> None:
    saver = ModelCheckpoint(
        tmp_path, "best", "train/total_loss", every_n_train_steps=1, enable_version_counter=False
    )
    trainer = quiet_trainer(callbacks=[saver], enable_checkpointing=True, max_steps=1)
    trainer.fit(Toy(), toy_loader())
    assert float(saver.best_model_score) == float(trainer.callback_metrics["train/total_loss"])


def test_a_trainer_has_it_once() -> None:
    trainer = quiet_trainer(max_steps=1)
    trainer.fit(Toy(), toy_loader())
    trainer.fit_loop.epoch_loop.max_steps = 2
    trainer.fit(Toy(), toy_loader())
    assert [type(callback) for callback in trainer.callbacks].count(ModuleHooks) == 1


def test_an_optimizer_that_evaluates_a_batch_again_logs_one_evaluation() -> None:
    def last_losses(module: Toy, row: dict[str, float]) -> None:
        losses = [row[f"train/loss/{task}"] for task in TASKS]
        assert row["train/total_loss"] == pytest.approx(sum(losses), rel=1e-5)
        assert row["train/weighted_loss"] == pytest.approx(sum(losses), rel=1e-5)

    module = Toy()
    module.configure_optimizers = lambda: torch.optim.LBFGS(module.parameters(), max_iter=4)
    for row in logged(module, max_steps=3):
        last_losses(module, row)


def test_a_trainer_may_go_on_with_a_module_of_another_kind() -> None:
    class Plain(L.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(1, 1)

        def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
            return self.layer(torch.ones(1, 1)).sum()

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), lr=0.1)

    trainer = quiet_trainer(max_epochs=1)
    trainer.fit(Toy(), toy_loader())
    trainer.fit_loop.max_epochs = 2
    plain = Plain()
    start = parameters(plain)
    trainer.fit(plain, toy_loader())
    assert not torch.equal(parameters(plain), start)
