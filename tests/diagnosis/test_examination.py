"""Watching a run: nothing of it is changed, and everything is kept."""

import copy

import pytest
import torch

from lightning_mtl.callbacks import FAMO, FixedWeighting
from lightning_mtl.diagnosis.examination import Examination, examine
from tests.diagnosis.patients import (
    Absent,
    Broken,
    Burst,
    Healthy,
    PatientData,
    Uncounted,
    make_trainer,
)

STEPS = 12


def examined(module, callbacks=(), **settings):
    settings = {"max_steps": STEPS} | settings
    torch.manual_seed(0)
    return examine(make_trainer, module, PatientData(), callbacks=callbacks, **settings)


def test_the_parameters_are_those_of_an_unwatched_run_to_the_bit():
    watched, alone = Healthy(), Healthy()
    examined(watched)
    torch.manual_seed(0)
    make_trainer([], max_steps=STEPS).fit(alone, PatientData())
    for one, other in zip(watched.parameters(), alone.parameters(), strict=True):
        assert torch.equal(one, other)


def test_losses_and_gradients_of_every_step_are_kept():
    record = examined(Healthy())
    assert record.steps == STEPS
    assert record.tasks == ("one", "two")
    assert record.losses.values.shape == (STEPS, 2)
    assert [each.step for each in record.measurements] == list(range(STEPS))
    assert record.shared == 8 * 16 + 16
    assert not record.events


def test_kept_losses_are_those_of_the_batches():
    module, data = Healthy(), PatientData()
    twin = copy.deepcopy(module)
    torch.manual_seed(0)
    record = examine(make_trainer, module, data, max_steps=1)
    batch = next(iter(data.train_dataloader()))
    expected = [loss.item() for loss in twin.task_losses(batch).values()]
    assert record.losses.values[0] == pytest.approx(expected)


def test_the_first_of_several_evaluations_of_a_batch_counts():
    assert examined(Healthy(), [FAMO()]).losses.values.shape == (STEPS, 2)


def test_micro_batches_of_a_step_are_rows_of_their_own():
    record = examined(Healthy(), accumulate_grad_batches=3, max_steps=4)
    assert record.steps == 4
    assert record.losses.values.shape == (12, 2)
    assert [each.sub_batches for each in record.measurements] == [3] * 4


def test_weights_are_kept_as_applied():
    record = examined(Healthy(), [FixedWeighting({"one": 3.0, "two": 0.5})])
    assert record.measurements[-1].measured.weights.tolist() == [3.0, 0.5]


def test_a_task_without_labels_has_no_losses():
    for kind in (Absent, Uncounted):
        assert examined(kind()).losses.presence.tolist() == [1, 0]


@pytest.mark.parametrize(("kind", "where"), [(Broken, "loss"), (Burst, "gradient")])
def test_what_is_not_finite_is_kept_with_its_step_and_raises_nothing(kind, where):
    module = kind()
    (event,) = examined(module).events
    assert event == ("two", 5, where)
    assert "task_losses" not in vars(module)


def test_other_errors_of_a_run_are_raised():
    class Wrong(Healthy):
        def task_losses(self, batch):
            raise ValueError("no such column")

    with pytest.raises(ValueError, match="no such column"):
        examined(Wrong())


def test_the_module_is_left_as_it_was():
    module = Healthy()
    examined(module)
    assert "task_losses" not in vars(module)
    assert module._multi_task.observers == []


def test_nothing_is_drawn(tmp_path):
    trainer = make_trainer([Examination()], max_steps=3, default_root_dir=tmp_path)
    trainer.fit(Healthy(), PatientData())
    assert not list(tmp_path.rglob("*.png"))
