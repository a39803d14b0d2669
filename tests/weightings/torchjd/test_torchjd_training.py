"""Every object of TorchJD trains the toy; weights are logged wherever there are any."""

from typing import Any

import pytest
import torch

from lightning_mtl.callbacks import TorchJDWeighting
from lightning_mtl.engine.jacobian import JacobianSum
from lightning_mtl.engine.window import Window
from tests.support.torchjd_objects import OBJECTS, WITHOUT_WEIGHTS, build, jd, not_dpp
from tests.support.toy import TASKS, PartlyLabelled, Toy, parameters, quiet_trainer, toy_loader
from tests.test_family import Witness


@not_dpp
@pytest.mark.parametrize("name", OBJECTS)
def test_an_object_trains_with_finite_parameters(name: str) -> None:
    module = Toy()
    before = parameters(module)
    trainer = quiet_trainer(max_steps=3, callbacks=[TorchJDWeighting(build(name))])
    trainer.fit(module, toy_loader())
    assert torch.isfinite(parameters(module)).all()
    assert not torch.equal(parameters(module), before)
    assert set(module.task_weights) == (set() if name in WITHOUT_WEIGHTS else set(TASKS))


@not_dpp
@pytest.mark.parametrize("name", [name for name in OBJECTS if name not in WITHOUT_WEIGHTS])
def test_logged_weights_reproduce_the_applied_gradient(name: str) -> None:
    witness = Witness(absent_is_zero=False)
    callbacks = [TorchJDWeighting(build(name)), witness]
    quiet_trainer(max_steps=6, callbacks=callbacks).fit(Toy(), toy_loader())
    assert witness.worst < 1e-5


@pytest.mark.peer("T16")
def test_a_gramian_rule_joins_no_jacobian(monkeypatch: pytest.MonkeyPatch) -> None:
    """T16: rows are kept as they come; only an object that asks for J pays for one matrix."""
    joined = []

    def counted(self: JacobianSum, window: Window, take: Any = JacobianSum.take) -> Any:
        joined.append(window)
        return take(self, window)

    monkeypatch.setattr(JacobianSum, "take", counted)
    for name, times in (("GradVac", 0), ("MGDAWeighting", 0), ("MoDoWeighting", 0), ("ConFIG", 3)):
        joined.clear()
        callbacks = [TorchJDWeighting(build(name))]
        quiet_trainer(max_steps=3, callbacks=callbacks).fit(Toy(), toy_loader())
        assert len(joined) == times


@pytest.mark.parametrize("accumulate", [1, 4])
@pytest.mark.parametrize("name", ["ExcessMTL", "GradVac", "MoDoWeighting", "PCD", "GradDrop"])
def test_tasks_may_be_absent(name: str, accumulate: int) -> None:
    module = PartlyLabelled()
    trainer = quiet_trainer(
        callbacks=[TorchJDWeighting(build(name))], accumulate_grad_batches=accumulate
    )
    trainer.fit(module, toy_loader())
    assert torch.isfinite(parameters(module)).all()


def test_absent_tasks_of_a_rule_for_all_are_named_in_training() -> None:
    callbacks = [TorchJDWeighting(jd.TrimmedMean(1))]
    with pytest.raises(ValueError, match=r"`TrimmedMean` of TorchJD should accept . of 3 tasks, `"):
        quiet_trainer(callbacks=callbacks).fit(PartlyLabelled(), toy_loader())
