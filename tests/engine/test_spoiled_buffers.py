"""No checkpoint holds running statistics that a bad image has spoiled."""

from pathlib import Path

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint, OnExceptionCheckpoint
from torch import Tensor, nn
from torchmetrics import MeanMetric

from lightning_mtl.engine.errors import NonFiniteBufferError, NonFiniteLossError
from lightning_mtl.engine.loss_guard import check_finite_buffers
from tests.support.toy import Toy, quiet_trainer, toy_loader
from tests.support.weightings import EXAMPLES, ROUTES

NAN, INF = float("nan"), float("inf")


class Spoiled(Toy):
    """Batch norm beside the losses meets one bad image; the losses may stay finite."""

    def __init__(self, value: float, finite: bool) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(6)
        self.value = value
        self.finite = finite

    def task_losses(self, batch: list[Tensor]) -> dict[str, Tensor]:
        losses = super().task_losses(batch)
        x = batch[0].clone()
        if self.global_step == 3:
            x[0, 0] = self.value
        normed = self.norm(x)
        return losses if self.finite else losses | {"two": losses["two"] + normed.mean()}


@pytest.mark.parametrize("name", [None, *ROUTES.values()])
def test_an_ordinary_checkpoint_is_refused_though_losses_are_finite(
    name: str | None, tmp_path: Path
) -> None:
    module = Spoiled(NAN, finite=True)
    saver = ModelCheckpoint(tmp_path, every_n_train_steps=1, save_top_k=-1)
    callbacks = [saver] if name is None else [EXAMPLES[name](), saver]
    trainer = quiet_trainer(callbacks=callbacks, enable_checkpointing=True)
    with pytest.raises(NonFiniteBufferError, match=r"2 of them, first in `norm.running_mean`"):
        trainer.fit(module, toy_loader())
    assert trainer.global_step == 4
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        f"epoch=0-step={step}.ckpt" for step in (1, 2, 3)
    ]


# Lightning takes this callback for one that has saved a model before.
lightnings_warning = pytest.mark.filterwarnings("ignore:.*ckpt_path=:UserWarning")


@lightnings_warning
@pytest.mark.parametrize("value", [NAN, INF, -INF])
def test_a_checkpoint_on_an_exception_is_refused_too(value: float, tmp_path: Path) -> None:
    module = Spoiled(value, finite=False)
    saver = OnExceptionCheckpoint(tmp_path)
    with pytest.raises((NonFiniteBufferError, NonFiniteLossError)) as error:
        quiet_trainer(callbacks=[saver], enable_checkpointing=True).fit(module, toy_loader())
    chain = [error.value, error.value.__context__]
    assert {type(each) for each in chain} == {NonFiniteBufferError, NonFiniteLossError}
    assert not list(tmp_path.iterdir())


@lightnings_warning
def test_an_exception_of_another_kind_leaves_its_checkpoint(tmp_path: Path) -> None:
    module = Toy()
    module.on_before_optimizer_step = lambda optimizer: 1 / 0
    trainer = quiet_trainer(callbacks=[OnExceptionCheckpoint(tmp_path)], enable_checkpointing=True)
    with pytest.raises(ZeroDivisionError):
        trainer.fit(module, toy_loader())
    assert [path.suffix for path in tmp_path.iterdir()] == [".ckpt"]


@pytest.mark.parametrize("value", [NAN, INF, -INF])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.complex64])
def test_a_running_statistic_has_to_be_finite(value: float, dtype: torch.dtype) -> None:
    module = nn.Sequential(nn.Linear(2, 2), nn.Module())
    module[1].register_buffer("running_scale", torch.ones(3, dtype=dtype))
    check_finite_buffers(module)
    module[1].running_scale[1] = value
    with pytest.raises(NonFiniteBufferError, match=r"1 of them, first in `1.running_scale`"):
        check_finite_buffers(module)


def test_every_other_saved_buffer_has_to_be_free_of_nan() -> None:
    module = nn.Module()
    module.register_buffer("centres", torch.tensor([0.0, NAN]))
    with pytest.raises(NonFiniteBufferError, match=r"`centres`.*`persistent=False`"):
        check_finite_buffers(module)


class Meant(Toy):
    """Buffers that are not finite on purpose, and metrics without a value."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mask", torch.full((3, 3), -INF).triu(1))
        self.register_buffer("best", torch.tensor(INF))
        self.register_buffer("running_scratch", torch.tensor(NAN), persistent=False)
        self.register_buffer("count", torch.tensor(2**62))
        self.register_buffer("nothing", None)
        self.metric = MeanMetric(nan_strategy="disable")
        self.metric.persistent(True)
        self.metric.register_buffer("threshold", torch.tensor(NAN))

    def task_losses(self, batch: list[Tensor]) -> dict[str, Tensor]:
        self.metric.update(torch.tensor(NAN))
        return super().task_losses(batch)


def test_what_is_meant_to_be_infinite_is_saved(tmp_path: Path) -> None:
    module = Meant()
    saver = ModelCheckpoint(tmp_path, every_n_train_steps=1)
    trainer = quiet_trainer(callbacks=[saver], enable_checkpointing=True, max_steps=3)
    trainer.fit(module, toy_loader())
    saved = torch.load(saver.best_model_path)["state_dict"]
    assert saved["mask"].isinf().any() and saved["metric.mean_value"].isnan()
