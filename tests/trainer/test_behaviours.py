"""Lightning's own behaviours are the same under every route to weights of 1 as without a weighting.

Each behaviour runs on a plain LightningModule and on its `MultiTaskModule` twin, and returns what
it left: the state of the module, and what shows that the behaviour took effect.
"""

import gc
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch import callbacks as C
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.tuner import Tuner
from lightning.pytorch.utilities import CombinedLoader
from torch import Tensor, nn
from torch._dynamo.backends.registry import lookup_backend
from torch.optim import lr_scheduler
from torch.utils.data import DataLoader, TensorDataset

from lightning_mtl.callbacks import GradNorm, UncertaintyWeighting, UPGrad
from tests.support.toy import TASKS, ResumableLoader, toy_data, toy_loader
from tests.support.twins import (
    DOUBLE,
    WEIGHTS_OF_ONE,
    Balanced,
    Network,
    Plain,
    Rules,
    Run,
    Trunk,
    momentum,
    small_loader,
    state,
)

Outcome = dict[str, Any]
Behaviour = Callable[[Run], Outcome]

BEHAVIOURS: dict[str, Behaviour] = {}


def behaviour(function: Behaviour) -> Behaviour:
    """Add a function to those that every rule is tested with."""
    BEHAVIOURS[function.__name__.replace("_", " ")] = function
    return function


def variants(**settings: Any) -> Callable[[Callable[..., Outcome]], Callable[..., Outcome]]:
    """Add a function once for each argument, by the names given."""

    def add(function: Callable[..., Outcome]) -> Callable[..., Outcome]:
        for name, value in settings.items():
            full = f"{function.__name__}_{name}".replace("_", " ")
            BEHAVIOURS[full] = partial(function, value=value)
        return function

    return add


# Searches before the training.


class Batches(L.LightningDataModule):
    """Batches of the size that a search has found; counts how often a loader is built."""

    def __init__(self, size: int = 2, samples: int = 16) -> None:
        super().__init__()
        self.batch_size = size
        self.samples = samples
        self.built = 0

    def train_dataloader(self) -> DataLoader:
        self.built += 1
        return toy_loader(self.batch_size, self.samples)

    def val_dataloader(self) -> DataLoader:
        return toy_loader(batch_size=16, samples=16)


@variants(to_the_end={}, stopped={"early_stop_threshold": 1.01})
def lr_find(run: Run, value: dict[str, Any]) -> Outcome:
    module, trainer = run.module(), run.trainer(**DOUBLE)
    search = {"num_training": 20, "min_lr": 1e-4, "max_lr": 0.5, **value}
    found = Tuner(trainer).lr_find(module, datamodule=Batches(4, 80), **search)
    lr = module.lr
    assert lr == (found.suggestion() or 0.03)
    assert (lr == 0.03) == ("early_stop_threshold" in value)
    assert torch.equal(state(module), state(run.module()))
    trainer.fit(module, datamodule=Batches(4))
    tried = torch.tensor(found.results["loss"], dtype=torch.float64)
    return {"state": state(module), "lr": lr, "losses": tried, "steps": trainer.global_step}


@behaviour
def LearningRateFinder(run: Run) -> Outcome:
    module = run.module()
    finder = C.LearningRateFinder(1e-4, 0.5, num_training_steps=20)
    trainer = run.fit(module, finder, data=toy_loader(), max_epochs=1, **DOUBLE)
    assert module.lr == finder.optimal_lr.suggestion() != 0.03
    losses = torch.tensor(finder.optimal_lr.results["loss"], dtype=torch.float64)
    return {"state": state(module), "lr": module.lr, "losses": losses, "steps": trainer.global_step}


def exhaust(*_: Any) -> None:
    raise RuntimeError("DefaultCPUAllocator: can't allocate memory")


def with_little_memory(kind: type[Network], backward: bool) -> Network:
    """A module whose batches of more than ten fail, in the forward or in the backward pass."""

    class Small(kind):
        def task_losses(self, batch: Any) -> dict[str, Tensor]:
            losses = super().task_losses(batch)
            if len(batch[0]) > 10 and self.trainer.training:
                losses["two"].register_hook(exhaust) if backward else exhaust()
            return losses

    return Small()


@variants(power=("power", False), binsearch=("binsearch", True))
def scale_batch_size(run: Run, value: tuple[str, bool]) -> Outcome:
    mode, backward = value
    module, data = with_little_memory(run.module, backward), Batches(samples=36)
    trainer = run.trainer(max_epochs=1)
    search = {"mode": mode, "steps_per_trial": 2, "max_trials": 4, "init_val": 4}
    size = Tuner(trainer).scale_batch_size(module, datamodule=data, **search)
    assert torch.equal(state(module), state(run.module()))
    assert size == data.batch_size == {"power": 8, "binsearch": 9}[mode]
    trainer.fit(module, datamodule=data)
    return {"state": state(module), "size": size, "steps": trainer.global_step}


@behaviour
def BatchSizeFinder(run: Run) -> Outcome:
    module, data = with_little_memory(run.module, backward=True), Batches(samples=36)
    finder = C.BatchSizeFinder(steps_per_trial=2, max_trials=4, init_val=4)
    trainer = run.trainer(finder, max_epochs=1)
    trainer.fit(module, datamodule=data)
    assert finder.optimal_batch_size == data.batch_size == 8
    return {"state": state(module), "size": data.batch_size, "steps": trainer.global_step}


# Averages of weights.


@variants(plain=False, normed=True)
def StochasticWeightAveraging(run: Run, value: bool) -> Outcome:
    module = run.module(norm=value)
    averaging = C.StochasticWeightAveraging(0.01, swa_epoch_start=1)
    trainer = run.fit(module, averaging, max_epochs=4, **DOUBLE)
    assert int(averaging.n_averaged) == 4
    averaged = nn.utils.parameters_to_vector(averaging._average_model.parameters())
    assert torch.equal(averaged, nn.utils.parameters_to_vector(module.parameters()))
    return {"state": state(module), "steps": trainer.global_step}


# `WeightAveraging` is part of Lightning from 2.6 on.
if hasattr(C, "WeightAveraging"):

    @variants(
        mean=lambda: C.WeightAveraging(),
        moving=lambda: C.EMAWeightAveraging(decay=0.9, update_starting_at_step=2),
    )
    def WeightAveraging(run: Run, value: Callable[[], L.Callback]) -> Outcome:
        module, averaging = run.module(norm=True), value()
        trainer = run.fit(module, averaging)
        averaged = averaging._average_model.module
        assert torch.equal(state(averaged), state(module))
        unaveraged = run.module(norm=True)
        run.fit(unaveraged)
        assert not torch.allclose(state(unaveraged), state(module), atol=1e-4)
        return {"state": state(module), "steps": trainer.global_step}


# Parts that train later, or less.


@variants(plain=False, normed=True)
def BackboneFinetuning(run: Run, value: bool) -> Outcome:
    module = run.module(norm=value)
    before = module.trunk[0].weight.detach().clone()
    frozen: list[bool] = []
    tuning = C.BackboneFinetuning(unfreeze_backbone_at_epoch=1, backbone_initial_lr=0.01)
    look = C.LambdaCallback(
        on_train_epoch_end=lambda *_: frozen.append(torch.equal(before, module.trunk[0].weight))
    )
    trainer = run.fit(module, tuning, look, max_epochs=3)
    assert frozen == [True, False, False]
    rates = [group["lr"] for group in trainer.optimizers[0].param_groups]
    return {"state": state(module), "rates": rates}


class LayerByLayer(C.BaseFinetuning):
    """Thaws the trunk from its end to its start."""

    def freeze_before_training(self, pl_module: L.LightningModule) -> None:
        self.freeze(pl_module.trunk)

    def finetune_function(self, pl_module, epoch: int, optimizer) -> None:
        layers = {1: pl_module.trunk[3], 2: pl_module.trunk[:3]}
        if epoch in layers:
            self.unfreeze_and_add_param_group(layers[epoch], optimizer, lr=0.02)


@behaviour
def BaseFinetuning(run: Run) -> Outcome:
    module = run.module()
    trainer = run.fit(module, LayerByLayer(), max_epochs=4)
    groups = [len(group["params"]) for group in trainer.optimizers[0].param_groups]
    assert groups == [6, 2, 4]
    return {"state": state(module)}


@variants(
    all_parameters={"use_global_unstructured": True},
    each_parameter={"use_global_unstructured": False},
    whole_rows={
        "pruning_fn": "ln_structured",
        "use_global_unstructured": False,
        "pruning_dim": 0,
        "pruning_norm": 2,
        "parameter_names": ["weight"],
    },
)
def ModelPruning(run: Run, value: dict[str, Any]) -> Outcome:
    module = run.module()
    layers = [module.trunk[0], module.trunk[3], *module.heads.values()]
    settings = {"pruning_fn": "l1_unstructured", "parameter_names": ["weight"], **value}
    pruning = C.ModelPruning(
        parameters_to_prune=[(layer, "weight") for layer in layers],
        amount=0.25,
        use_lottery_ticket_hypothesis=False,
        **settings,
    )
    run.fit(module, pruning, max_epochs=3)
    zeros = torch.cat([(layer.weight == 0).flatten() for layer in layers])
    assert 0.3 < zeros.double().mean() < 0.7
    assert not hasattr(module.trunk[0], "weight_mask")
    return {"state": state(module), "zeros": zeros.tolist()}


@behaviour
def ModelPruning_resumed(run: Run) -> Outcome:
    def fit(ckpt_path: Any = None) -> Network:
        module = run.module()
        pruning = C.ModelPruning(
            "l1_unstructured", amount=0.25, use_lottery_ticket_hypothesis=False
        )
        saver = C.ModelCheckpoint(
            run.folder, "{epoch}", save_top_k=-1, enable_version_counter=False
        )
        trainer = run.trainer(pruning, saver, max_epochs=4, enable_checkpointing=True)
        trainer.fit(module, ResumableLoader(small_loader()), small_loader(), ckpt_path=ckpt_path)
        return module

    fit()
    module = fit(run.folder / "epoch=1.ckpt")
    zeros = (module.trunk[0].weight == 0).flatten()
    assert zeros.any()
    return {"state": state(module), "zeros": zeros.tolist()}


# The end of the training, and its start.


@variants(validated="val/loss", trained="train/total_loss")
def EarlyStopping(run: Run, value: str) -> Outcome:
    module = run.module()
    stopping = C.EarlyStopping(value, min_delta=0.3, patience=1, check_on_train_epoch_end=True)
    trainer = run.fit(module, stopping, max_epochs=20)
    assert 1 < trainer.current_epoch < 20
    return {
        "state": state(module),
        "epoch": stopping.stopped_epoch,
        "best": stopping.best_score,
    }


@variants(epoch="last.ckpt", step="step=6.ckpt")
def ModelCheckpoint(run: Run, value: str) -> Outcome:
    def fit(max_epochs: int, ckpt_path: Any = None) -> tuple[Network, L.Trainer]:
        module = run.module(norm=True, lr=0.01)
        common = {"dirpath": run.folder, "enable_version_counter": False}
        savers = [
            C.ModelCheckpoint(**common, filename="{epoch}", save_top_k=-1, save_last=True),
            C.ModelCheckpoint(**common, filename="best", monitor="val/loss"),
            C.ModelCheckpoint(**common, filename="{step}", every_n_train_steps=2, save_top_k=-1),
        ]
        trainer = run.trainer(*savers, max_epochs=max_epochs, enable_checkpointing=True)
        loader = ResumableLoader(small_loader())
        trainer.fit(module, loader, small_loader(), ckpt_path=ckpt_path)
        return module, trainer

    straight, _ = fit(4)
    fit(2)
    resumed, trainer = fit(4, run.folder / value)
    assert torch.equal(state(straight), state(resumed))
    assert trainer.global_step == 16
    best = trainer.checkpoint_callbacks[1].best_model_score
    loaded = run.module(norm=True)
    saved = torch.load(run.folder / "last.ckpt", weights_only=True)["state_dict"]
    loaded.load_state_dict(saved)
    assert torch.equal(state(loaded), state(resumed))
    return {"state": state(resumed), "best": best}


@behaviour
def OnExceptionCheckpoint(run: Run) -> Outcome:
    def breaking(at: int) -> Network:
        module = run.module()
        losses = module.task_losses

        def task_losses(batch: Any) -> dict[str, Tensor]:
            if module.trainer.global_step == at and module.trainer.training:
                raise ArithmeticError("in the middle")
            return losses(batch)

        module.task_losses = task_losses
        return module

    saver = C.OnExceptionCheckpoint(run.folder)
    with pytest.raises(ArithmeticError):
        data = ResumableLoader(small_loader())
        run.fit(breaking(6), saver, data=data, enable_checkpointing=True)
    saved = torch.load(saver.ckpt_path, weights_only=True)
    assert saved["global_step"] == 6
    module, trainer = run.module(), run.trainer()
    data = ResumableLoader(small_loader())
    trainer.fit(module, data, small_loader(), ckpt_path=saver.ckpt_path)
    return {"state": state(module), "steps": trainer.global_step}


@variants(same_trainer=True, new_trainer=False)
def KeyboardInterrupt_and_fit(run: Run, value: bool) -> Outcome:
    module = run.module()

    def interrupt(trainer: L.Trainer, *_: Any) -> None:
        if trainer.global_step == 3:
            raise KeyboardInterrupt

    stop = C.LambdaCallback(on_after_backward=interrupt)
    trainer = run.trainer(stop, accumulate_grad_batches=2, max_epochs=3)
    with pytest.raises(SystemExit):
        trainer.fit(module, small_loader(), small_loader())
    assert trainer.interrupted
    trainer.callbacks.remove(stop)
    if not value:
        trainer = run.trainer()
    trainer.fit(module, small_loader(), small_loader())
    return {"state": state(module), "steps": trainer.global_step}


@behaviour
def two_fits(run: Run) -> Outcome:
    module, trainer = run.module(), run.trainer(max_epochs=1)
    trainer.fit(module, small_loader(), small_loader())
    first = state(module)
    trainer.fit_loop.max_epochs = 3
    trainer.fit(module, small_loader(), small_loader())
    assert trainer.global_step == 12
    assert not torch.equal(first, state(module))
    return {"state": state(module)}


@behaviour
def evaluation_between_two_fits(run: Run) -> Outcome:
    module, trainer = run.module(norm=True), run.trainer(max_epochs=1, **DOUBLE)
    trainer.fit(module, small_loader(), small_loader())
    first = state(module)
    (validated,) = trainer.validate(module, small_loader())
    (tested,) = trainer.test(module, small_loader())
    predicted = torch.cat(trainer.predict(module, small_loader()))
    assert torch.equal(first, state(module))
    trainer.fit_loop.max_epochs = 3
    trainer.fit(module, small_loader(), small_loader())
    losses = torch.tensor([validated["val/loss"], tested["test/loss"]])
    return {"state": state(module), "losses": losses, "predicted": predicted}


@behaviour
def Timer(run: Run) -> Outcome:
    module, timer = run.module(), C.Timer(duration={"hours": 1})
    trainer = run.fit(module, timer)
    assert timer.time_elapsed("train") > 0
    return {"state": state(module), "steps": trainer.global_step}


class Clock(C.Timer):
    """A clock that shows how many batches it has seen."""

    batches = 0

    def time_elapsed(self, stage: Any = "train") -> float:
        return float(self.batches)

    def on_train_batch_end(self, trainer, *args: Any, **kwargs: Any) -> None:
        self.batches += 1
        super().on_train_batch_end(trainer, *args, **kwargs)


@behaviour
def Timer_that_stops(run: Run) -> Outcome:
    module = run.module()
    trainer = run.fit(module, Clock({"seconds": 5}, interval="step"))
    assert trainer.global_step == 5
    return {"state": state(module), "steps": trainer.global_step}


# Learning rates.


def scheduled(make: Callable[..., Any], **config: Any) -> Callable[[Network], dict[str, Any]]:
    def recipe(module: Network) -> dict[str, Any]:
        optimizer = momentum(module)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": make(module, optimizer), **config},
        }

    return recipe


def halved(module: Network, optimizer: Any) -> Any:
    return lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.5)


def one_cycle(module: Network, optimizer: Any) -> Any:
    steps = int(module.trainer.estimated_stepping_batches)
    return lr_scheduler.OneCycleLR(optimizer, max_lr=0.1, total_steps=steps)


def on_plateau(module: Network, optimizer: Any) -> Any:
    return lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.1, patience=0, threshold=0.5)


@variants(
    by_step=scheduled(halved, interval="step"),
    by_epoch=scheduled(halved, interval="epoch"),
    every_third_step=scheduled(halved, interval="step", frequency=3),
    OneCycleLR=scheduled(one_cycle, interval="step"),
    ReduceLROnPlateau=scheduled(on_plateau, monitor="val/loss"),
    plateau_of_training=scheduled(on_plateau, monitor="train/total_loss", interval="step"),
)
def scheduler(run: Run, value: Any) -> Outcome:
    module = run.module(value)
    monitor = C.LearningRateMonitor()
    rates: list[float] = []
    look = C.LambdaCallback(
        on_train_batch_start=lambda trainer, *_: rates.append(
            trainer.optimizers[0].param_groups[0]["lr"]
        )
    )
    run.fit(module, monitor, look, max_epochs=3, logger=CSVLogger(run.folder))
    assert len(set(rates)) > 1
    return {"state": state(module), "rates": torch.tensor(rates)}


# Steps of the optimizer.


@variants(
    norm={"gradient_clip_val": 0.1},
    value={"gradient_clip_val": 0.01, "gradient_clip_algorithm": "value"},
)
def clipped_by(run: Run, value: dict[str, Any]) -> Outcome:
    module, sizes = run.module(), []
    order = torch.inf if "gradient_clip_algorithm" in value else 2

    def look(*_: Any) -> None:
        gradients = torch.cat([parameter.grad.flatten() for parameter in module.parameters()])
        sizes.append(float(torch.linalg.vector_norm(gradients, order)))

    run.fit(module, C.LambdaCallback(on_train_batch_end=look), **value)
    assert max(sizes) == pytest.approx(value["gradient_clip_val"], rel=1e-3)
    return {"state": state(module)}


@variants(
    steps={"accumulate_grad_batches": 3},
    clipped={"accumulate_grad_batches": 2, "gradient_clip_val": 0.1},
)
def accumulated(run: Run, value: dict[str, Any]) -> Outcome:
    module = run.module()
    trainer = run.fit(module, **value)
    assert trainer.global_step == 4
    return {"state": state(module)}


@behaviour
def GradientAccumulationScheduler(run: Run) -> Outcome:
    module = run.module()
    scheduler = C.GradientAccumulationScheduler({0: 1, 1: 2, 2: 4})
    trainer = run.fit(module, scheduler, max_epochs=3)
    assert trainer.global_step == 4 + 2 + 1
    return {"state": state(module)}


@behaviour
def LBFGS(run: Run) -> Outcome:
    evaluations = []

    def recipe(module: Network) -> torch.optim.Optimizer:
        return torch.optim.LBFGS(module.parameters(), lr=0.1, max_iter=3)

    module = run.module(recipe)
    losses = module.task_losses
    module.task_losses = lambda batch: evaluations.append(1) or losses(batch)
    trainer = run.fit(module, **DOUBLE)
    assert trainer.global_step == 8
    assert len(evaluations) > 16
    return {"state": state(module), "evaluations": len(evaluations)}


# How the Trainer runs.


@variants(
    profiler_simple=(12, {"profiler": "simple"}),
    profiler_advanced=(12, {"profiler": "advanced"}),
    half_of_the_batches=(6, {"limit_train_batches": 0.5}),
    overfit_batches=(6, {"overfit_batches": 2}),
    fast_dev_run=(1, {"fast_dev_run": True}),
    without_inference_mode=(12, {"inference_mode": False}),
    barebones=(12, {"barebones": True}),
    reloaded=(12, {"reload_dataloaders_every_n_epochs": 1}),
)
def setting(run: Run, value: tuple[int, dict[str, Any]]) -> Outcome:
    module, data = run.module(), Batches(4)
    steps, settings = value
    trainer = run.trainer(max_epochs=3, **settings)
    trainer.fit(module, datamodule=data)
    assert trainer.global_step == steps
    assert data.built == (3 if "reload_dataloaders_every_n_epochs" in settings else 1)
    return {"state": state(module)}


@behaviour
def setting_deterministic(run: Run) -> Outcome:
    module, before = run.module(), torch.are_deterministic_algorithms_enabled()
    try:
        run.fit(module, deterministic=True)
        assert torch.are_deterministic_algorithms_enabled()
    finally:
        torch.use_deterministic_algorithms(before)
    return {"state": state(module)}


@behaviour
def setting_detect_anomaly(run: Run) -> Outcome:
    module, looks = run.module(), []
    look = C.LambdaCallback(on_after_backward=lambda *_: looks.append(torch.is_anomaly_enabled()))
    run.fit(module, look, detect_anomaly=True)
    assert looks == [True] * 8
    return {"state": state(module)}


@variants(double="64-true", half="bf16-true", mixed="bf16-mixed")
def precision(run: Run, value: str) -> Outcome:
    module = run.module()
    run.fit(module, precision=value)
    dtypes = {"64-true": torch.float64, "bf16-true": torch.bfloat16, "bf16-mixed": torch.float32}
    assert {parameter.dtype for parameter in module.parameters()} == {dtypes[value]}
    return {"state": state(module)}


@variants(eager="eager", aot_eager="aot_eager")
def compiled(run: Run, value: str) -> Outcome:
    module, calls = run.module(), []

    def compiler(graph: Any, inputs: Any) -> Any:
        calls.append(graph)
        return lookup_backend(value)(graph, inputs)

    torch.compiler.reset()
    module.trunk.__class__ = Trunk
    module.trunk.compile(backend=compiler)
    for head in module.heads.values():
        head.compile(backend=compiler)
    run.fit(module)
    assert calls
    return {"state": state(module)}


# Where batches come from.


def loader_of(task: str, samples: int) -> DataLoader:
    x, *targets = toy_data(samples).tensors
    return DataLoader(TensorDataset(x, targets[TASKS.index(task)]), batch_size=4)


def loaders() -> dict[str, DataLoader]:
    return {task: loader_of(task, 8 + 4 * k) for k, task in enumerate(TASKS)}


@variants(min_size=(4, "min_size"), max_size=(8, "max_size"), max_size_cycle=(8, "max_size_cycle"))
def CombinedLoader_by(run: Run, value: tuple[int, Any]) -> Outcome:
    steps, mode = value
    module = run.module()
    trainer = run.fit(module, data=CombinedLoader(loaders(), mode))
    assert trainer.global_step == steps
    return {"state": state(module)}


class OneAfterTheOther:
    """A batch of one task at a time, as `mode="sequential"`, which Lightning trains on no model."""

    def __init__(self) -> None:
        self.loader = CombinedLoader(loaders(), "sequential")

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for batch, _, index in self.loader:
            yield {TASKS[index]: batch}


@behaviour
def CombinedLoader_sequential(run: Run) -> Outcome:
    module = run.module()
    with pytest.raises(ValueError, match=r'does not support the `CombinedLoader\(mode="sequential'):
        run.fit(run.module(), data=CombinedLoader(loaders(), "sequential"))
    trainer = run.fit(module, data=OneAfterTheOther())
    assert trainer.global_step == 2 * (2 + 3 + 4)
    return {"state": state(module)}


@behaviour
def several_validation_loaders(run: Run) -> Outcome:
    module, trainer = run.module(), run.trainer()
    trainer.fit(module, small_loader(), [small_loader(), toy_loader(8, 8)])
    losses = [trainer.callback_metrics[f"val/loss/dataloader_idx_{k}"] for k in (0, 1)]
    assert losses[0] != losses[1]
    return {"state": state(module), "losses": torch.stack(losses)}


# What is watched.


@behaviour
def DeviceStatsMonitor(run: Run) -> Outcome:
    module, logger = run.module(), CSVLogger(run.folder)
    run.fit(module, C.DeviceStatsMonitor(cpu_stats=True), logger=logger, log_every_n_steps=1)
    assert any("DeviceStatsMonitor" in key for key in logger.experiment.metrics_keys)
    return {"state": state(module)}


@behaviour
def RichProgressBar(run: Run) -> Outcome:
    module, bar = run.module(), C.RichProgressBar()
    trainer = run.fit(module, bar, enable_progress_bar=True)
    assert trainer.progress_bar_callback is bar
    # A plain module of the twins logs its total itself.
    assert {"total", "train/total_loss"} & trainer.progress_bar_metrics.keys()
    return {"state": state(module)}


# The tests.


# Compiles the backward pass too.
COMPILED_TWICE = {"compiled aot eager"}
pytestmark = [
    # `BackboneFinetuning` keeps batch norm trainable, and finds it again when it thaws the rest.
    pytest.mark.filterwarnings("ignore:The provided params to be frozen already exist"),
    # `OnExceptionCheckpoint` makes each `fit` look for a checkpoint of an earlier run.
    pytest.mark.filterwarnings(r"ignore:`.fit\(ckpt_path=None\)` was called without a model"),
    pytest.mark.filterwarnings(r"ignore:.*there is no last checkpoint available"),
    # Said of weights that change under L-BFGS.
    pytest.mark.filterwarnings("ignore:.*as those of one function"),
    # Said by the compiler of itself.
    pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf"),
]

# bfloat16 has eight bits, and sums of gradients are rounded in another order.
COARSE = {"precision half": 0.02, "precision mixed": 1e-2}


def cases(rules: Iterable[str], slow: Sequence[str]) -> list[Any]:
    """Rules times behaviours; those rules that share their route with another one are slow."""
    return [
        pytest.param(
            rule, name, marks=pytest.mark.slow if rule in slow or name in COMPILED_TWICE else ()
        )
        for rule in rules
        for name in BEHAVIOURS
    ]


@pytest.fixture(autouse=True)
def _little_garbage() -> Iterator[None]:
    """Searches for a batch size collect garbage before each trial: that of one test only."""
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Outcome]:
    """Runs a behaviour on the plain module, once."""

    @cache
    def outcome(name: str) -> Outcome:
        return BEHAVIOURS[name](Run(Plain, list, tmp_path_factory.mktemp("plain")))

    return outcome


@pytest.mark.parametrize(("rule", "name"), cases(WEIGHTS_OF_ONE, slow=["losses"]))
def test_weights_of_one_are_plain_training(
    rule: str, name: str, plain: Callable[[str], Outcome], tmp_path: Path
) -> None:
    expected = plain(name)
    found = BEHAVIOURS[name](Run(Balanced, WEIGHTS_OF_ONE[rule], tmp_path))
    assert found.keys() == expected.keys()
    for key in expected:
        torch.testing.assert_close(
            found[key], expected[key], atol=COARSE.get(name, 1e-6), rtol=0, msg=key
        )


LEARNING: dict[str, Rules] = {
    "UncertaintyWeighting": lambda: [UncertaintyWeighting()],
    "GradNorm": lambda: [GradNorm()],
    "UPGrad": lambda: [UPGrad()],
}
# Weights of one task alone are 1 where they sum to K or none conflicts; those of a first step too.
ALIKE = {
    ("GradNorm", "setting fast dev run"),
    ("GradNorm", "CombinedLoader sequential"),
    ("UPGrad", "CombinedLoader sequential"),
}


@pytest.mark.parametrize(("rule", "name"), cases(LEARNING, slow=["GradNorm", "UPGrad"]))
def test_rules_balance_under_it(
    rule: str, name: str, plain: Callable[[str], Outcome], tmp_path: Path
) -> None:
    found = BEHAVIOURS[name](Run(Balanced, LEARNING[rule], tmp_path))["state"]
    assert found.isfinite().all()
    alike = torch.allclose(found, plain(name)["state"], atol=1e-5, rtol=0)
    assert alike == ((rule, name) in ALIKE)
