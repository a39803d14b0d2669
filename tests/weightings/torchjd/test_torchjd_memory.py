"""What an object of TorchJD remembers: saved to the bit, for one set of tasks, of one class."""

import io
from collections import deque
from pathlib import Path

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor

from lightning_mtl.callbacks import TorchJDWeighting
from lightning_mtl.weightings.torchjd.torchjd_memory import move
from tests.support.jacobians import random_jacobian
from tests.support.presence import set_present
from tests.support.torchjd_objects import OBJECTS, STATEFUL, build, jd, not_dpp
from tests.support.toy import ResumableLoader, Toy, parameters, quiet_trainer

torchjd = pytest.importorskip("torchjd")


def steps(weighting: TorchJDWeighting, seeds: range, present: list[int] | None = None) -> Tensor:
    """The directions of several steps, of all tasks or of some of `a`, `b`, `c`."""
    weighting.tasks = ("a", "b", "c")
    set_present(weighting, present or [0, 1, 2])
    k = len(present or [0, 1, 2])
    return torch.stack(
        [weighting.combine(torch.ones(k), random_jacobian(k, 9, seed).float()) for seed in seeds]
    )


@pytest.mark.parametrize("name", OBJECTS)
def test_the_objects_with_a_state_are_known(name: str) -> None:
    parts = build(name).modules()
    assert (name in STATEFUL) == any(isinstance(part, torchjd.Stateful) for part in parts)


def through_a_file(state: dict) -> dict:
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


@pytest.mark.peer("T8", "T9")
@not_dpp
@pytest.mark.parametrize("name", OBJECTS)
@pytest.mark.parametrize("before", [0, 1, 3])
def test_a_saved_state_continues_to_the_bit(name: str, before: int) -> None:
    """T8, T9: what TorchJD itself refuses to load, and its random numbers."""
    whole, resumed = TorchJDWeighting(build(name)), TorchJDWeighting(build(name))
    if before:
        steps(whole, range(before))
    resumed.load_state_dict(through_a_file(whole.state_dict()))
    torch.rand(5)
    assert torch.equal(steps(resumed, range(3, 7)), steps(whole, range(3, 7)))


@not_dpp
@pytest.mark.parametrize("name", STATEFUL)
def test_a_resumed_run_equals_an_uninterrupted_one(name: str, tmp_path: Path) -> None:
    def train(ckpt_path: Path | None = None) -> Tensor:
        module = Toy()
        saver = ModelCheckpoint(
            tmp_path, filename="middle", every_n_train_steps=5, enable_version_counter=False
        )
        callbacks = [TorchJDWeighting(build(name)), saver]
        trainer = quiet_trainer(callbacks=callbacks, max_steps=8, enable_checkpointing=True)
        trainer.fit(module, ResumableLoader(), ckpt_path=ckpt_path)
        return parameters(module)

    straight = train()
    assert torch.equal(train(tmp_path / "middle.ckpt"), straight)


@not_dpp
@pytest.mark.parametrize("name", OBJECTS)
def test_a_saved_state_does_not_move_on(name: str) -> None:
    weighting = TorchJDWeighting(build(name))
    steps(weighting, range(3))
    saved = weighting.state_dict()
    before = through_a_file(saved)
    steps(weighting, range(3, 6))
    after = through_a_file(saved)
    assert str(before) == str(after)


def test_a_state_is_loaded_more_than_once() -> None:
    """The second time, what was learnt since the first is undone."""
    weighting = TorchJDWeighting(jd.ExcessMTL())
    steps(weighting, range(3))
    saved = weighting.state_dict()
    first = steps(weighting, range(3, 6))
    weighting.load_state_dict(saved)
    assert torch.equal(steps(weighting, range(3, 6)), first)


def test_arguments_of_the_resumed_run_hold() -> None:
    for saved, resumed, argument, value in (
        (jd.TrimmedMean(1), jd.TrimmedMean(0), "trim_number", 0),
        (jd.GradVac(beta=0.5), jd.GradVac(beta=0.1), "beta", 0.1),
        (jd.SDMGradWeighting(lambda_=0.3), jd.SDMGradWeighting(lambda_=0.6), "lambda_", 0.6),
        (jd.ExcessMTL(1.0, 3), jd.ExcessMTL(0.5, 4), "n_warmup_steps", 4),
    ):
        before = TorchJDWeighting(saved)
        steps(before, range(2))
        TorchJDWeighting(resumed).load_state_dict(before.state_dict())
        assert getattr(resumed, argument) == value


def test_a_mode_of_the_module_is_no_state() -> None:
    saved = TorchJDWeighting(jd.MGDA()).state_dict()["torchjd"]
    assert saved == {"": {"class": "MGDA", "values": {}, "arrays": {}, "unsaved": {}}}


@pytest.mark.parametrize(
    ("saved", "found", "message"),
    [
        ("GradVac", "NashMTL", "should have `GradVac`, as in the checkpoint. Found `NashMTL`"),
        ("MGDA", "UPGrad", "should have `MGDA`, as in the checkpoint. Found `UPGrad`"),
        ("PCD", "PCDWeighting", "should have `PCD`, as in the checkpoint. Found `PCDWeighting`"),
    ],
    ids=["GradVac-NashMTL", "MGDA-UPGrad", "PCD-PCDWeighting"],
)
def test_the_state_of_another_class_is_refused(saved: str, found: str, message: str) -> None:
    state = TorchJDWeighting(build(saved)).state_dict()
    weighting = TorchJDWeighting(build(found))
    with pytest.raises(ValueError, match=message):
        weighting.load_state_dict(state)


def test_the_state_of_another_inner_class_is_refused() -> None:
    inner = {"GradVac": jd.GradVacWeighting, "PCD": jd.PCDWeighting, "MGDA": jd.MGDAWeighting}

    def wrapped(name: str) -> TorchJDWeighting:
        return TorchJDWeighting(jd.CRMOGMWeighting(inner[name]()))

    with pytest.raises(
        ValueError, match=r"GradVacWeighting` as its `weighting`, as in .*Found `PCDW"
    ):
        wrapped("PCD").load_state_dict(wrapped("GradVac").state_dict())
    with pytest.raises(ValueError, match=r"have nothing as its `weighting`, as in .*Found `PCDW"):
        wrapped("PCD").load_state_dict(wrapped("MGDA").state_dict())


def test_what_can_neither_be_saved_nor_made_anew_is_refused_by_name() -> None:
    class Queued(jd.Aggregator):
        queue: deque | None = None

        def forward(self, matrix: Tensor, /) -> Tensor:
            self.queue = self.queue or deque()
            self.queue.append(matrix)
            return sum(self.queue).sum(0)

    weighting = TorchJDWeighting(Queued())
    steps(weighting, range(2))
    with pytest.raises(ValueError, match=r"`Queued.queue` of TorchJD should be .*Found a `deque`"):
        TorchJDWeighting(Queued()).load_state_dict(weighting.state_dict())


@pytest.mark.parametrize("name", [name for name in STATEFUL if name != "NashMTL"])
def test_another_set_of_tasks_starts_anew(name: str) -> None:
    """Not only another number: the sums of `b` are nothing to `c`."""
    changed, fresh = TorchJDWeighting(build(name)), TorchJDWeighting(build(name))
    steps(changed, range(5), present=[0, 1])
    fresh.memory.load_state_dict(changed.memory.state_dict())  # the same random numbers
    found = steps(changed, range(5, 8), present=[0, 2])
    assert torch.equal(found, steps(fresh, range(5, 8), present=[0, 2]))


def test_a_resumed_run_notices_another_set_of_tasks() -> None:
    whole, resumed = TorchJDWeighting(jd.ExcessMTL()), TorchJDWeighting(jd.ExcessMTL())
    steps(whole, range(5), present=[0, 1])
    resumed.load_state_dict(through_a_file(whole.state_dict()))
    fresh = steps(TorchJDWeighting(jd.ExcessMTL()), range(5, 8), present=[0, 2])
    assert torch.equal(steps(resumed, range(5, 8), present=[0, 2]), fresh)


@not_dpp
@pytest.mark.parametrize("name", ["Constant", "Krum", "NashMTL", "TrimmedMean"])
def test_an_object_for_all_tasks_names_those_that_are_there(name: str) -> None:
    weighting = TorchJDWeighting(build(name))
    steps(weighting, range(2))
    message = rf"`{name}` of TorchJD should accept 2 of 3 tasks, `a`, `c`. Found .*every task"
    with pytest.raises(ValueError, match=message):
        steps(weighting, range(2), present=[0, 2])


def test_first_weights_for_all_tasks_name_those_that_are_there() -> None:
    inner = jd.CRMOGMWeighting(jd.MGDAWeighting(), initial_weights=torch.ones(3))
    with pytest.raises(
        ValueError, match=r"`CRMOGMWeighting` .* 2 of 3 tasks, `b`, `c`. Found that it failed: "
    ):
        steps(TorchJDWeighting(inner), range(2), present=[1, 2])


def test_arguments_for_more_tasks_than_there_are_say_so() -> None:
    with pytest.raises(ValueError, match=r"accept 3 of 3 tasks.*Check the arguments of `Krum`"):
        steps(TorchJDWeighting(jd.Krum(n_byzantine=1)), range(1))
    with pytest.raises(
        ValueError,
        match=r"`Krum` of TorchJD should accept 3 tasks. Found .* Check the arguments of `Krum`",
    ):
        TorchJDWeighting(jd.Krum(1)).combine(torch.ones(3), random_jacobian(3, 9))


def test_plain_tensors_and_noted_devices_move_too() -> None:
    weighting = jd.ExcessMTLWeighting()
    weighting(random_jacobian(3, 9))
    constant = jd.Constant(torch.ones(3))
    meta = torch.device("meta")
    move(weighting, meta)
    move(constant, meta)
    assert weighting._state_key[-1] == weighting._sq_grad_sum.device == meta
    assert constant.weighting.weights.device == meta


def test_fixed_weights_follow_the_dtype() -> None:
    rows = random_jacobian(3, 9)
    found = TorchJDWeighting(build("Constant")).combine(torch.ones(3), rows)
    torch.testing.assert_close(found, torch.tensor([0.5, 2.0, 1.0]).double() @ rows)
