"""The monitor: it changes nothing, and its numbers are those of a literal twin."""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader

from lightning_mtl.callbacks import (
    MGDA,
    AlternatingUpdates,
    FixedWeighting,
    GradientNoiseMonitor,
    GradNorm,
    MaxGNR,
    Weighting,
)
from lightning_mtl.engine.window import Window
from lightning_mtl.monitors.measured_step import MeasuredStep
from lightning_mtl.monitors.noise_averages import Noise, noise_between_sub_batches
from tests.support.alternating_toy import TwoTrunks
from tests.support.ddp_noise import monitored, two_ranks
from tests.support.toy import TASKS, PartlyLabelled, Toy, parameters, quiet_trainer, toy_loader

WEIGHTINGS: dict[str, Callable[[], list[Weighting]]] = {
    "none": list,
    "GradNorm": lambda: [GradNorm()],
    "MGDA": lambda: [MGDA()],
    "MGDA(features)": lambda: [MGDA(gradients="features")],
    "MaxGNR": lambda: [MaxGNR(warmup_steps=3)],
    "AlternatingUpdates": lambda: [AlternatingUpdates()],
}
INTERVALS = {
    *("gnr_low", "gnr_high", "conflicts"),
    *("expected_cosine", "expected_cosine_low", "expected_cosine_high"),
}
STEPS = 22
WEIGHTS = dict(zip(TASKS, (0.5, 2.0, 1.0), strict=True))


class Restless(Toy):
    """With dropout and batch norm, whose randomness and statistics another pass would disturb."""

    def __init__(self) -> None:
        super().__init__(torch.optim.Adam, lr=0.01)
        self.trunk = nn.Sequential(
            nn.Linear(6, 16), nn.BatchNorm1d(16), nn.Dropout(0.3), nn.Tanh(), nn.Linear(16, 8)
        )


def trained(name: str, monitors: list[L.Callback], accumulate: int, folder: Path) -> list[Tensor]:
    torch.manual_seed(0)
    module = Restless()
    callbacks = [*WEIGHTINGS[name](), *monitors]
    trainer = quiet_trainer(
        callbacks=callbacks,
        max_epochs=STEPS,
        max_steps=STEPS,
        accumulate_grad_batches=accumulate,
        default_root_dir=folder,
    )
    trainer.fit(module, toy_loader())
    assert trainer.global_step == STEPS
    return [value.clone() for value in module.state_dict().values()]


# Alternating updates take whole batches.
ACCUMULATED = [(name, 4) for name in WEIGHTINGS if name != "AlternatingUpdates"]


@pytest.mark.parametrize(("name", "accumulate"), [*((n, 1) for n in WEIGHTINGS), *ACCUMULATED])
def test_on_or_off_the_run_is_the_same_to_the_bit(
    name: str, accumulate: int, tmp_path: Path
) -> None:
    without = trained(name, [], accumulate, tmp_path)
    monitor = GradientNoiseMonitor(every_n_steps=7)
    measured = trained(name, [monitor], accumulate, tmp_path)
    assert monitor.history["step"] == [0, 7, 14, 21]
    assert all(torch.equal(a, b) for a, b in zip(measured, without, strict=True))


class Twin(L.Callback):
    """Keeps the Jacobian (K, P) of the trunk for every micro-batch of every optimizer step."""

    def __init__(self) -> None:
        self.steps: dict[int, list[Tensor]] = {}

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx) -> None:
        with torch.enable_grad():
            losses = pl_module.task_losses(batch)
            rows = [
                torch.autograd.grad(losses[task], pl_module.trunk.parameters(), retain_graph=True)
                for task in TASKS
            ]
        flat = torch.stack([torch.cat([part.flatten() for part in row]) for row in rows])
        self.steps.setdefault(trainer.global_step, []).append(flat.double())


def bias_corrected(values: Sequence[Tensor], decay: float) -> Tensor:
    powers = [decay ** (len(values) - 1 - index) for index in range(len(values))]
    return sum(p * v for p, v in zip(powers, values, strict=True)) / sum(powers)


def expected(measured: Sequence[Sequence[Tensor]], decay: float, samples: int) -> dict[str, float]:
    """Everything that the monitor logs at the last measured step, one sum at a time."""
    signals, noises, traces = [], [], []
    last = torch.stack(list(measured[-1])).mean(0)
    if len(measured[0]) > 1:
        groups, shrink = [list(parts) for parts in measured], len(measured[0])
    else:
        pairs = pairwise(measured)
        groups, shrink = [[before[0], now[0]] for before, now in pairs], 1
    for parts in groups:
        count = len(parts)
        pairs = [(r, s) for r in range(count) for s in range(count) if r != s]
        signals.append(sum(parts[r] @ parts[s].T for r, s in pairs) / len(pairs))
        mean = sum(parts) / count
        covariance = sum((p - mean) @ (p - mean).T for p in parts) / (count - 1)
        noises.append(covariance / shrink)
        traces.append(samples * covariance.diagonal())
    signal, noise, trace = (bias_corrected(v, decay) for v in (signals, noises, traces))
    weights = torch.tensor([WEIGHTS[task] for task in TASKS], dtype=torch.float64)
    positive = []
    for matrix in (signal, noise):
        values, vectors = torch.linalg.eigh(matrix)
        positive.append(vectors @ torch.diag(values.clamp(min=0)) @ vectors.T)
    report, conflicts = {}, 0
    for i, task in enumerate(TASKS):
        others = sum(weights[j] * last[j] for j in range(3) if j != i)
        report[f"gradient_norm/{task}"] = last[i].norm()
        report[f"itgn/{task}"] = others.norm() / (weights[i] * last[i]).norm()
        report[f"noise_scale/{task}"] = trace[i] / signal[i, i].clamp(min=0)
        pull = weights.clone()
        pull[i] = 0
        power = weights @ positive[1] @ weights + pull @ positive[0] @ pull
        report[f"gnr/{task}"] = weights[i] ** 2 * positive[0][i, i] / power
        for j in range(i):
            a, b = last[j].norm(), last[i].norm()
            cosine = last[j] @ last[i] / (a * b)
            conflicts += float(cosine) < 0
            report[f"cosine/{TASKS[j]}/{task}"] = cosine
            report[f"similarity/{TASKS[j]}/{task}"] = 2 * a * b / (a**2 + b**2)
    report["conflict_rate"] = conflicts / 3
    return {f"train/noise/{name}": float(value) for name, value in report.items()}


@pytest.mark.parametrize(("accumulate", "batch_size"), [(1, 4), (4, 4), (2, 8)])
@pytest.mark.parametrize("every", [1, 2])
def test_the_logged_numbers_are_those_of_the_literal_twin(
    every: int, accumulate: int, batch_size: int, tmp_path: Path
) -> None:
    twin, monitor = Twin(), GradientNoiseMonitor(every_n_steps=every, decay=0.8)
    trainer = quiet_trainer(
        callbacks=[FixedWeighting(WEIGHTS), monitor, twin],
        max_epochs=2,
        accumulate_grad_batches=accumulate,
        default_root_dir=tmp_path,
    )
    trainer.fit(Toy(), toy_loader(batch_size))
    measured = [parts for step, parts in twin.steps.items() if step % every == 0]
    wanted = expected(measured, decay=0.8, samples=batch_size)
    logged = {k: float(v) for k, v in trainer.logged_metrics.items() if "/noise/" in k}
    logged = {k: value for k, value in logged.items() if k.split("/")[2] not in INTERVALS}
    assert logged == pytest.approx(wanted, rel=2e-3)


def test_two_ranks_as_parts_equal_two_micro_batches_as_parts() -> None:
    ranks = two_ranks()
    batches = monitored(devices=1, batch_size=4, accumulate=2)
    assert ranks["logged"] == pytest.approx(batches["logged"], rel=1e-3)
    for name, average in batches["averages"].items():
        torch.testing.assert_close(ranks["averages"][name], average, rtol=1e-3, atol=1e-7)


def test_several_ranks_draw_pictures_once() -> None:
    assert two_ranks()["pictures"] == ["cosines.png", "noise.png"]


def test_groups_that_take_turns_each_have_their_noise_measured(tmp_path: Path) -> None:
    monitor = GradientNoiseMonitor(every_n_steps=2)
    trainer = quiet_trainer(
        callbacks=[AlternatingUpdates(group_size=2), monitor], default_root_dir=tmp_path
    )
    # Small steps: a step that overshoots turns the gradient around, and no signal is left.
    trainer.fit(Toy(lr=1e-4), toy_loader())
    for task in TASKS:
        assert float(trainer.logged_metrics[f"train/noise/gnr/{task}"]) > 0
        assert float(trainer.logged_metrics[f"train/noise/noise_scale/{task}"]) > 0
        assert len(monitor.history[f"gnr/{task}"]) == 10
    assert monitor.history["step"] == list(range(0, 20, 2))


@pytest.mark.parametrize(("size", "pairs"), [(1, 0), (2, 1)])
def test_what_takes_two_tasks_is_neither_logged_nor_drawn_where_one_steps_alone(
    size: int, pairs: int, tmp_path: Path
) -> None:
    monitor = GradientNoiseMonitor(every_n_steps=2)
    callbacks = [AlternatingUpdates(group_size=size), monitor]
    trainer = quiet_trainer(callbacks=callbacks, default_root_dir=tmp_path)
    trainer.fit(Toy(), toy_loader())
    kinds = [name.split("/")[2] for name in trainer.logged_metrics if "/noise/" in name]
    assert kinds.count("gradient_norm") == 3
    assert kinds.count("cosine") == kinds.count("similarity") == pairs
    assert kinds.count("conflict_rate") == pairs
    assert kinds.count("itgn") == 2 * pairs
    assert (tmp_path / "pictures" / "noise.png").is_file()
    assert (tmp_path / "pictures" / "cosines.png").is_file() == bool(pairs)


@pytest.mark.parametrize("name", ["none", "MGDA", "AlternatingUpdates"])
@pytest.mark.parametrize("kind", [PartlyLabelled, TwoTrunks])
def test_absent_tasks_and_growing_trunks_are_measured_as_far_as_they_go(
    name: str, kind: type[Toy], tmp_path: Path
) -> None:
    def fitted(monitors: list[L.Callback]) -> Tensor:
        module = kind()
        callbacks = [*WEIGHTINGS[name](), *monitors]
        trainer = quiet_trainer(callbacks=callbacks, max_epochs=2, default_root_dir=tmp_path)
        trainer.fit(module, toy_loader())
        return parameters(module)

    monitor = GradientNoiseMonitor(every_n_steps=1)
    assert torch.equal(fitted([monitor]), fitted([]))
    curves = [values for key, values in monitor.history.items() if key.startswith("gnr/")]
    assert len(curves) == 3
    assert all(any(not math.isnan(value) for value in values) for values in curves)


def test_numbers_of_other_tasks_are_not_logged_in_their_place() -> None:
    """Two sets of tasks of one size: the averages of one say nothing of the other."""
    monitor = GradientNoiseMonitor()
    rows = {task: [torch.randn(5)] for task in range(3)}

    def measure(tasks: list[int]) -> dict[str, Tensor]:
        window = Window()
        window.batches.update(tasks)
        window.applied = {task: torch.ones(()) for task in tasks}
        window._ranks = torch.ones(3)
        monitor._products = torch.zeros(3, 3, dtype=torch.float64)
        measured = monitor._bring(window, [rows[task] for task in tasks], 1)
        noise = measured.noise(1, samples=1.0)
        if noise is not None:
            monitor.averages.learn(3, tasks, noise)
        return monitor._report(tasks, [TASKS[task] for task in tasks], measured, 0)

    assert not any("gnr" in key for key in measure([0, 2]))
    assert any("gnr/three" in key for key in measure([0, 2]))
    assert not any("gnr" in key for key in measure([0, 1]))


def test_the_averages_and_the_history_are_in_the_checkpoint(tmp_path: Path) -> None:
    monitor = GradientNoiseMonitor(every_n_steps=2)
    trainer = quiet_trainer(callbacks=[monitor], default_root_dir=tmp_path)
    trainer.fit(Toy(), toy_loader())
    trainer.save_checkpoint(tmp_path / "end.ckpt")
    other = GradientNoiseMonitor(every_n_steps=2)
    trainer = quiet_trainer(callbacks=[other], default_root_dir=tmp_path, max_epochs=2)
    trainer.fit(Toy(), toy_loader(), ckpt_path=tmp_path / "end.ckpt")
    assert other.history["step"] == list(range(0, 40, 2))
    assert other.history["gnr/one"][1:10] == monitor.history["gnr/one"][1:]


def test_pictures_are_written_and_sent_to_tensorboard(tmp_path: Path) -> None:
    logger = L.pytorch.loggers.TensorBoardLogger(tmp_path)
    sent: dict[str, tuple[int, ...]] = {}
    logger.experiment.add_image = lambda name, picture, *_, **__: sent.update({name: picture.shape})
    monitor = GradientNoiseMonitor(every_n_steps=5)
    trainer = quiet_trainer(callbacks=[monitor], logger=logger)
    trainer.fit(Toy(), toy_loader())
    folder = Path(logger.log_dir) / "pictures"
    sizes = {}
    for path in folder.glob("*.png"):
        with Image.open(path) as picture:
            sizes[path.stem] = picture.size
    assert set(sizes) == {"cosines", "noise"}
    assert sent == {f"train/{name}": (height, width, 3) for name, (width, height) in sizes.items()}


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError], ids=["Ctrl-C", "error"])
def test_a_run_that_breaks_off_is_drawn_too(
    tmp_path: Path, error: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken(Toy):
        def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
            if batch_idx == 9:
                # Not every rank may be here, and the Trainer would ask all of them for the folder.
                monkeypatch.setattr(L.Trainer, "log_dir", property(lambda _: pytest.fail("asked")))
                raise error

    monitor = GradientNoiseMonitor(every_n_steps=2)
    trainer = quiet_trainer(callbacks=[monitor], default_root_dir=tmp_path)
    with pytest.raises(SystemExit if error is KeyboardInterrupt else error):
        trainer.fit(Broken(), toy_loader())
    names = sorted(path.name for path in (tmp_path / "pictures").iterdir())
    assert names == ["cosines.png", "noise.png"]
    assert monitor.history["step"] == [0, 2, 4, 6, 8]


def test_nothing_is_drawn_where_nothing_was_measured(tmp_path: Path) -> None:
    class Alone(Toy):
        task_names = ("one",)

        def task_losses(self, batch: Any) -> dict[str, Tensor]:
            return {"one": super().task_losses(batch)["one"]}

    monitor = GradientNoiseMonitor(every_n_steps=1)
    quiet_trainer(callbacks=[monitor], default_root_dir=tmp_path).fit(Alone(), toy_loader())
    assert monitor.history == {}
    assert list(tmp_path.rglob("*.png")) == []


def test_it_needs_a_multi_task_module() -> None:
    class Plain(L.LightningModule):
        def training_step(self, batch: Any) -> None: ...

        def configure_optimizers(self) -> None: ...

    with pytest.raises(TypeError, match=r"to a `MultiTaskModule`. Found `Plain`.*task_losses"):
        quiet_trainer(callbacks=[GradientNoiseMonitor()]).fit(
            Plain(), DataLoader(torch.zeros(4, 1))
        )


@pytest.mark.parametrize(
    "settings", [{"every_n_steps": 0}, {"decay": 1.0}], ids=["every_n_steps", "decay"]
)
def test_wrong_arguments_are_named(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="should have `every_n_steps` of at least 1 and `decay`"):
        GradientNoiseMonitor(**settings)


def test_listeners_receive_every_measurement_as_it_was_made() -> None:
    monitor, heard = GradientNoiseMonitor(every_n_steps=2), []
    monitor.listeners.append(heard.append)
    trainer = quiet_trainer(callbacks=[monitor], max_epochs=1)
    trainer.fit(Toy(), toy_loader(batch_size=8))
    assert [each.step for each in heard] == list(range(0, trainer.global_step, 2))
    assert heard[0].noise is None
    last = heard[-1]
    assert (last.tasks, last.sub_batches, last.samples) == (list(TASKS), 1, 8)
    assert last.measured.mean.shape == last.noise.signal.shape == (3, 3)
    norm = trainer.callback_metrics[f"train/noise/gradient_norm/{TASKS[0]}"]
    assert float(last.measured.mean[0, 0].sqrt()) == pytest.approx(float(norm))


@pytest.mark.parametrize(
    ("settings", "kinds"),
    [
        ({}, INTERVALS),
        ({"pairs": False}, {"gnr_low", "gnr_high", "conflicts"}),
        ({"decay": 0.5}, set()),
    ],
    ids=["default", "no pairs", "forgetful"],
)
def test_intervals_are_logged_from_the_fifth_measurement_on(
    settings: dict[str, Any], kinds: set[str], tmp_path: Path
) -> None:
    monitor = GradientNoiseMonitor(every_n_steps=1, **settings)
    trainer = quiet_trainer(
        callbacks=[monitor], accumulate_grad_batches=2, default_root_dir=tmp_path
    )
    trainer.fit(Toy(lr=1e-4), toy_loader())
    logged = [name.split("/")[2] for name in trainer.logged_metrics if "/noise/" in name]
    assert set(logged) & INTERVALS == kinds
    known = [not math.isnan(low) for low in monitor.history[f"gnr_low/{TASKS[0]}"]]
    assert known == [bool(kinds) and step >= 4 for step in range(10)]


def test_logged_values_lie_in_their_intervals_and_in_the_history(tmp_path: Path) -> None:
    monitor = GradientNoiseMonitor(every_n_steps=1)
    trainer = quiet_trainer(callbacks=[monitor], default_root_dir=tmp_path)
    trainer.fit(Toy(lr=1e-4), toy_loader())
    logged = {k.removeprefix("train/noise/"): float(v) for k, v in trainer.logged_metrics.items()}
    for task in TASKS:
        low, value, high = (logged[f"{kind}/{task}"] for kind in ("gnr_low", "gnr", "gnr_high"))
        assert 0 <= low <= value <= high < math.inf
        assert monitor.history[f"gnr_low/{task}"][-1] == pytest.approx(low)
        assert monitor.history[f"gnr_high/{task}"][-1] == pytest.approx(high)
        assert math.isnan(monitor.history[f"gnr_low/{task}"][1])
    kinds = ("expected_cosine_low", "expected_cosine", "expected_cosine_high")
    low, value, high = (logged[f"{kind}/one/two"] for kind in kinds)
    assert -1 <= low <= value <= high <= 1
    assert 0 <= logged["conflicts"] <= 3


def test_many_tasks_have_few_keys_unless_all_pairs_are_wanted() -> None:
    many = [f"task {k}" for k in range(7)]
    noise = Noise(torch.eye(7) + 0.1, torch.eye(7), torch.ones(7))
    measured = MeasuredStep(torch.eye(7), torch.eye(7), None, torch.ones(7), [1.0] * 7)
    for pairs, count in ((None, 0), (True, 3 * 21)):
        monitor = GradientNoiseMonitor(pairs=pairs)
        for step in range(6):
            monitor.averages.learn(7, list(range(7)), noise)
            monitor.recent.learn(7, list(range(7)), noise, 4)
            report = monitor._report(list(range(7)), many, measured, step)
        assert sum("expected_cosine" in name for name in report) == count
        assert float(report["noise/conflicts"]) == 0


def test_a_resumed_run_has_the_intervals_of_an_unbroken_one(tmp_path: Path) -> None:
    def fitted(epochs: int, **options: Any) -> tuple[GradientNoiseMonitor, L.Trainer]:
        monitor = GradientNoiseMonitor(every_n_steps=1)
        trainer = quiet_trainer(
            callbacks=[monitor],
            max_epochs=epochs,
            accumulate_grad_batches=2,
            default_root_dir=tmp_path,
        )
        trainer.fit(Toy(), toy_loader(), **options)
        return monitor, trainer

    _, trainer = fitted(1)
    trainer.save_checkpoint(tmp_path / "middle.ckpt")
    resumed, _ = fitted(2, ckpt_path=tmp_path / "middle.ckpt")
    unbroken, _ = fitted(2)
    assert len(resumed.history["step"]) == 20
    for name, values in unbroken.history.items():
        assert resumed.history[name] == pytest.approx(values, nan_ok=True, rel=1e-6)
    for name, values in unbroken.recent.state_dict().items():
        torch.testing.assert_close(resumed.recent.state_dict()[name], values)


def test_an_overflow_in_one_step_does_not_stay_in_the_averages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[Noise] = []

    def noise(self: MeasuredStep, count: int, samples: float) -> Noise:
        found = noise_between_sub_batches(self.mean, self.within, count, samples)
        measured.append(found)
        return found._replace(signal=found.signal * math.inf) if len(measured) == 3 else found

    monkeypatch.setattr(MeasuredStep, "noise", noise)
    monitor = GradientNoiseMonitor(every_n_steps=1)
    quiet_trainer(
        callbacks=[monitor],
        max_epochs=2,
        accumulate_grad_batches=2,
        default_root_dir=tmp_path,
    ).fit(Toy(), toy_loader())
    assert len(measured) > 10
    for task in TASKS:
        assert all(map(math.isfinite, monitor.history[f"gnr/{task}"]))
    assert all(each.isfinite().all() for each in monitor.averages.tensors.values())
    assert len(monitor.recent.products.signal) == len(measured) - 1
