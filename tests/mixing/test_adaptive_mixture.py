"""The mixture under a Trainer: what it becomes, how it weighs the tasks, and how it resumes."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor

from lightning_mtl.callbacks import AdaptiveMixture, EqualWeighting, GradientNoiseMonitor
from lightning_mtl.data import MixtureLoader
from tests.support.mixed import Linear, adaptive, mixed_loader
from tests.support.toy import Log, Toy, quiet_trainer, toy_loader


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The monitor draws pictures where the run is."""
    monkeypatch.chdir(tmp_path)


def fit(loader: MixtureLoader, callbacks: list, **settings: Any) -> Linear:
    module = Linear()
    quiet_trainer(callbacks=callbacks, **settings).fit(module, loader)
    return module


def log_ratio(loader: MixtureLoader) -> float:
    """By how much the weight of the first task has grown against that of the second."""
    weights = loader.batch_sampler.weights
    return math.log(weights["one"] / weights["two"])


def test_the_steeper_task_gains_as_the_formula_says() -> None:
    loader = mixed_loader(norms=(1.0, 0.25), batches=10)
    fit(loader, adaptive(zeta_1=0.3, steps=2), accumulate_grad_batches=2)
    # 10 batches are 5 steps, of which the second and the fourth change the mixture.
    assert log_ratio(loader) == pytest.approx(2 * 0.3 * (1.0 - 0.25), rel=1e-3)
    assert loader.batch_sampler.counts == {"one": 5, "two": 3}


@pytest.mark.parametrize("accumulate", [1, 4], ids=["between steps", "between batches"])
def test_the_noisier_task_loses_as_the_formula_says_whatever_its_share(accumulate: int) -> None:
    weights = {"one": 3.0, "two": 1.0}
    loader = mixed_loader(
        variances=(4.0, 40.0), batch_size=16, batches=160, weights=weights, seed=5
    )
    module = Linear(lr=0.0)
    callbacks = adaptive(zeta_2=0.2, steps=160 // accumulate)
    quiet_trainer(callbacks=callbacks, accumulate_grad_batches=accumulate).fit(module, loader)
    expected = 0.2 * (40.0 - 4.0) / (2 * 16 * accumulate)
    assert log_ratio(loader) - math.log(3) == pytest.approx(expected, rel=0.15)


def test_a_step_follows_the_mean_over_all_samples_of_the_batch() -> None:
    loader = mixed_loader(norms=(1.0, 3.0), variances=(1.0, 1.0), weights={"one": 3, "two": 1})
    module = fit(loader, adaptive(), max_steps=1)
    (batch,) = module.seen
    together = torch.cat([batch["one"], batch["two"]])
    assert [len(part) for part in batch.values()] == [6, 2]
    torch.testing.assert_close(module.shared.detach(), -0.1 * together.mean(0))
    assert {k: float(v) for k, v in module.task_weights.items()} == {"one": 0.75, "two": 0.25}


def test_a_weighting_weighs_the_tasks_itself() -> None:
    loader = mixed_loader(norms=(1.0, 3.0), weights={"one": 3, "two": 1})
    module = fit(loader, [*adaptive(), EqualWeighting()], max_steps=1)
    (batch,) = module.seen
    torch.testing.assert_close(
        module.shared.detach(), -0.1 * (batch["one"].mean(0) + batch["two"].mean(0))
    )


def test_the_mixture_is_logged_and_the_module_is_left_as_it_was() -> None:
    log, (monitor, mixture) = Log(), adaptive(zeta_1=0.3, steps=2)
    loader = mixed_loader(norms=(1.0, 0.25))
    module = fit(loader, [monitor, mixture, log], max_steps=4)
    logged = {name: value for row in log.rows for name, value in row.items()}
    assert logged["train/mixture/one"] + logged["train/mixture/two"] == pytest.approx(1)
    assert logged["train/mixture/one"] > 0.5
    assert monitor.listeners == []
    assert type(module._multi_task.balancer).__name__ == "PlainSum"


def test_a_task_does_not_fall_below_the_smallest_weight() -> None:
    loader = mixed_loader((9.0, 0.1), (1.0, 1.0), batches=4)
    fit(loader, [GradientNoiseMonitor(1), AdaptiveMixture(5.0, 0.0, 2, min_weight=0.2)])
    assert loader.batch_sampler.weights == pytest.approx({"one": 0.8, "two": 0.2})


def resumed(
    folder: Path, workers: int, accumulated: int, checkpoint: Path | None = None
) -> tuple[Linear, Any]:
    loader = mixed_loader((1.0, 0.2), (3.0, 1.0), batches=6 * accumulated, workers=workers)
    saving = ModelCheckpoint(folder, "{step}", save_top_k=-1, every_n_train_steps=1)
    trainer = quiet_trainer(
        callbacks=[*adaptive(0.6, 0.1, steps=2), saving],
        max_epochs=2,
        accumulate_grad_batches=accumulated,
        enable_checkpointing=True,
    )
    module = Linear()
    trainer.fit(module, loader, ckpt_path=checkpoint)
    return module, loader.batch_sampler.state_dict()


@pytest.mark.parametrize("accumulated", [1, 2])
@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_a_resumed_run_mixes_as_the_uninterrupted_one(
    tmp_path: Path, workers: int, accumulated: int
) -> None:
    whole, expected = resumed(tmp_path / "whole", workers, accumulated)
    assert len({len(batch["one"]) for batch in whole.seen}) > 1
    for step in (3, 8):
        checkpoint = tmp_path / "whole" / f"step={step}.ckpt"
        module, state = resumed(tmp_path / f"from {step}", workers, accumulated, checkpoint)
        assert state == expected
        assert torch.equal(module.shared, whole.shared)
        assert [batch["one"].tolist() for batch in module.seen] == [
            batch["one"].tolist() for batch in whole.seen[accumulated * step :]
        ]


def test_without_a_monitor_there_is_nothing_to_follow() -> None:
    with pytest.raises(ValueError, match=r"should have one `GradientNoiseMonitor`.*Found 0"):
        fit(mixed_loader(), [AdaptiveMixture(0.1, 0.1)])


def test_a_monitor_that_measures_too_rarely_is_an_error() -> None:
    callbacks = [GradientNoiseMonitor(50), AdaptiveMixture(0.1, 0.1, every_n_steps=20)]
    with pytest.raises(ValueError, match=r"at least that of the monitor, 50. Found 20"):
        fit(mixed_loader(), callbacks)


def test_other_loaders_are_an_error() -> None:
    with pytest.raises(TypeError, match=r"should find a `MixtureLoader`.*Found `DataLoader`"):
        quiet_trainer(callbacks=adaptive()).fit(Toy(), toy_loader())


class Renamed(Linear):
    """Tasks of other names than their data sets."""

    task_names = ("three", "two")

    def task_losses(self, batch: Any) -> dict[str, Tensor]:
        losses = super().task_losses(batch)
        return {"three": losses["one"], "two": losses["two"]}


@pytest.mark.parametrize("weighting", [[], [EqualWeighting()]], ids=["none", "with"])
def test_tasks_that_the_sampler_does_not_know_are_an_error(weighting: list) -> None:
    trainer = quiet_trainer(callbacks=[*adaptive(), *weighting])
    with pytest.raises(ValueError, match=r"should find a loss only .*losses of \['three'\]"):
        trainer.fit(Renamed(), mixed_loader())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((-1.0, 0.0), r"zeta_1=\)` should be at least 0"),
        ((0.0, -1.0), r"zeta_2=\)` should be at least 0"),
        ((0.0, math.nan), r"zeta_2=\)` should be at least 0"),
        ((0.0, 0.0, 0), r"every_n_steps=\)` should be at least 1"),
        ((0.0, 0.0, 1, 1.5), r"min_weight=\)` should be from 0 to 1"),
    ],
    ids=["zeta_1", "zeta_2", "nan", "steps", "weight"],
)
def test_arguments_that_make_no_sense_are_errors(arguments: tuple, message: str) -> None:
    with pytest.raises(ValueError, match=rf"`AdaptiveMixture\({message}"):
        AdaptiveMixture(*arguments)


def test_a_smallest_weight_that_the_tasks_cannot_have_together_is_an_error() -> None:
    callbacks = [GradientNoiseMonitor(1), AdaptiveMixture(0.1, 0.1, min_weight=0.6)]
    with pytest.raises(ValueError, match=r"min_weight=\)` should be from 0 to 0.5. Found 0.6"):
        fit(mixed_loader(), callbacks)
