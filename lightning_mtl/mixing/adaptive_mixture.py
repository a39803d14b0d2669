"""`AdaptiveMixture`: lets the shares of the tasks in a batch follow their gradients."""

from collections.abc import Callable, Mapping
from typing import Any

import lightning as L
import torch
from lightning.pytorch.utilities.data import extract_batch_size

from lightning_mtl.checks import check_number
from lightning_mtl.data.mixture.mixture_loader import MixtureLoader
from lightning_mtl.data.mixture.shares import floored
from lightning_mtl.distributed import from_first_rank, world_size
from lightning_mtl.linalg.mixture import updated_mixture
from lightning_mtl.mixing.mixture_estimates import Estimate, MixtureEstimates
from lightning_mtl.mixing.sample_shares import SampleShares, check_tasks
from lightning_mtl.monitors.measured_step import Measurement
from lightning_mtl.monitors.noise_monitor import GradientNoiseMonitor
from lightning_mtl.weightings.bases.weighting import Weighting


class AdaptiveMixture(L.Callback):
    r"""Draws more samples of tasks whose gradients are long, and fewer of noisy ones.

    Every T optimizer steps, the weights of a `MixtureSampler` become

        w_k <- w_k exp(ζ_1 ||g_k||² - ζ_2 σ_k² / 2b), scaled to sum to 1,

    and b_k = round(b w_k) samples of task k are in each batch that is drawn from then on. Li et
    al., "PiKE: Adaptive Data Mixing for Large-Scale Multi-Task Learning Under Low Gradient
    Conflicts", NeurIPS 2025. b counts the samples of all ranks and accumulated
    batches. ||g_k||² and σ_k² are means over what a `GradientNoiseMonitor` has measured since the
    last change, of the mean loss of the task; attach one beside it. Training data has to come from
    a `MixtureLoader`, whose state holds the weights.

    The authors train on the mean over all samples of a batch, so that a larger share is a larger
    weight as well: Σ b_k/b L_k with L_k the mean over the samples of task k, which is what
    `task_losses` should return, unscaled. These weights are applied where there is no weighting.
    Under one, it weighs the tasks, and the mixture changes only how noisy their gradients are.

    A task that was not measured since the last change keeps its weight against the others before
    they are scaled. Under the mixture, the monitor's `noise_scale` counts samples of whole batches
    of the shares at hand.

    `train/mixture/<task>` is logged at each change. Price: that of the monitor.

    Deviations: the rounding leaves each task `MixtureSampler(least=)` samples in a batch, one by
    default, as a task that is not drawn is never measured again. Squared norms are unbiased
    estimates, which may be negative for a while.

    Args:
        zeta_1: ζ_1, in units of 1 / ||g||². A step changes the mixture by a factor of
            exp(ζ_1 ||g_k||²): divide 0.1, say, by the largest squared norm that
            `train/noise/gradient_norm/<task>` shows.
        zeta_2: ζ_2, of the same units; for one of ζ_1's size, noise counts as much as signal when
            the batch is half the noise scale.
        every_n_steps: T, in optimizer steps; at least that of the monitor.
        min_weight: the smallest w_k. Without one, a task that loses for long needs as long to come
            back.

    Raises:
        ValueError: if a number is negative or T is below 1.

    Example:
        >>> from lightning_mtl.callbacks import AdaptiveMixture, GradientNoiseMonitor
        >>> mixture = AdaptiveMixture(zeta_1=0.1, zeta_2=0.1, every_n_steps=100)
        >>> trainer = L.Trainer(callbacks=[GradientNoiseMonitor(10), mixture])
    """

    def __init__(
        self, zeta_1: float, zeta_2: float, every_n_steps: int = 100, min_weight: float = 0.0
    ) -> None:
        name = type(self).__name__
        check_number(name, "zeta_1", zeta_1, 0)
        check_number(name, "zeta_2", zeta_2, 0)
        check_number(name, "every_n_steps", every_n_steps, 1)
        check_number(name, "min_weight", min_weight, 0, 1)
        self.zeta_1 = zeta_1
        self.zeta_2 = zeta_2
        self.every_n_steps = every_n_steps
        self.min_weight = min_weight
        self._estimates = MixtureEstimates()
        self._shares = SampleShares()
        self._window: list[Mapping[str, int]] = []
        self._step = 0
        self._loader: MixtureLoader | None = None
        self._monitor: GradientNoiseMonitor | None = None
        self._counter: Callable[[Any], float] = extract_batch_size

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Find the monitor, and weigh the tasks if nobody else does. Called as each stage begins.

        Raises:
            ValueError: if there is no monitor, or it measures too rarely.
        """
        if stage != "fit":
            return
        callbacks: list[L.Callback] = trainer.callbacks  # type: ignore[attr-defined]
        self._monitor = _monitor(callbacks, self.every_n_steps)
        self._monitor.listeners.append(self._listen)
        # It stays so: a checkpoint may be saved after the run has ended.
        self._monitor.resumes_exactly = True
        self._counter, self._monitor.samples_of = self._monitor.samples_of, self._samples
        if not any(isinstance(callback, Weighting) for callback in callbacks):
            self._shares.setup(trainer, pl_module, stage)

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Stop listening, and leave the module as it was. Called at the end of each stage."""
        if self._monitor is not None:
            self._monitor.listeners.remove(self._listen)
            self._monitor.samples_of = self._counter
            self._shares.teardown(trainer, pl_module, stage)
            self._monitor = None
        self._loader = None

    def on_exception(
        self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException
    ) -> None:
        """Leave both as they were: Lightning skips `teardown` after an exception."""
        self.teardown(trainer, pl_module, "fit")

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Find the loader. Called before the first step.

        Raises:
            TypeError: if the batches do not come from a `MixtureLoader`.
            ValueError: if `min_weight` is too much for its tasks.
        """
        self._step = trainer.global_step
        loader = self._find_loader(trainer)
        most = 1 / len(loader.batch_sampler.tasks)
        check_number(type(self).__name__, "min_weight", self.min_weight, 0, most)

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Hand the weights to a new loader, if there is one. Called as each epoch starts."""
        self._window = []
        before, loader = self._loader, self._find_loader(trainer)
        if before is not None and loader is not before:
            loader.batch_sampler.weights = before.batch_sampler.weights

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Note how many samples of each task a batch has. Called before its losses are computed."""
        assert self._loader is not None
        self._shares.counts = self._loader.counts
        self._window.append(self._loader.counts)

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Change the mixture where it is due. Called after each batch, before a checkpoint."""
        if trainer.global_step == self._step:
            return
        self._step = trainer.global_step
        self._window = []
        estimates = self._estimates.take() if self._step % self.every_n_steps == 0 else {}
        if estimates:
            weights = self._change(estimates, world_size() * trainer.accumulate_grad_batches)
            pl_module.log_dict({f"train/mixture/{task}": each for task, each in weights.items()})

    def state_dict(self) -> dict[str, Any]:
        """What was measured since the last change; the weights are in the loader's state."""
        return self._estimates.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with the measurements of the Trainer's checkpoint."""
        self._estimates.load_state_dict(state_dict)

    def _listen(self, measurement: Measurement) -> None:
        """Learn from a measurement. Called by the monitor."""
        check_tasks(measurement.tasks, self._window[-1])
        self._estimates.learn(measurement, self._window)

    def _samples(self, batch: Any) -> float:
        """The samples of all tasks in a batch."""
        assert self._loader is not None
        return self._loader.batch_sampler.batch_size

    def _change(self, estimates: Mapping[str, Estimate], sub_batches: int) -> dict[str, float]:
        """Set the weights of the sampler by what was measured, and return them."""
        assert self._loader is not None
        sampler = self._loader.batch_sampler
        measured = [estimates.get(task, Estimate(0.0, 0.0)) for task in sampler.tasks]
        norms, variances = torch.tensor(measured, dtype=torch.float64).unbind(1)
        weights = torch.tensor(list(sampler.weights.values()), dtype=torch.float64)
        batch_size = sampler.batch_size * sub_batches
        changed = updated_mixture(
            weights, norms, variances, batch_size, self.zeta_1, self.zeta_2
        ).clamp(min=torch.finfo(torch.float64).tiny)
        changed = changed.where(weights > 0, 0)
        shares = floored(changed.tolist(), 1.0, self.min_weight)
        # Ranks whose devices round differently would draw batches of different tasks.
        sampler.weights = dict(zip(sampler.tasks, from_first_rank(shares), strict=True))
        return sampler.weights

    def _find_loader(self, trainer: L.Trainer) -> MixtureLoader:
        loader = trainer.train_dataloader
        if not isinstance(loader, MixtureLoader):
            raise TypeError(
                f"`{type(self).__name__}` should find a `MixtureLoader` that loads the training"
                f" data. Found `{type(loader).__name__}`. Return"
                " `MixtureLoader(TaskDatasets(...), MixtureSampler(...))` of"
                " `lightning_mtl.data` from `train_dataloader`, or give it to `Trainer.fit`."
            )
        self._loader = loader
        return loader


def _monitor(callbacks: list[L.Callback], every_n_steps: int) -> GradientNoiseMonitor:
    """The monitor among the callbacks of a Trainer, which has to measure once in T steps."""
    monitors = [each for each in callbacks if isinstance(each, GradientNoiseMonitor)]
    if len(monitors) != 1:
        raise ValueError(
            "`AdaptiveMixture` should have one `GradientNoiseMonitor` beside it, whose measurements"
            f" it reads. Found {len(monitors)}. Use"
            " `Trainer(callbacks=[GradientNoiseMonitor(every_n_steps=10), AdaptiveMixture(...)])`."
        )
    if monitors[0].every_n_steps > every_n_steps:
        raise ValueError(
            "`AdaptiveMixture(every_n_steps=)` should be at least that of the monitor,"
            f" {monitors[0].every_n_steps}. Found {every_n_steps}. Raise it, or let the"
            " `GradientNoiseMonitor` measure more often."
        )
    return monitors[0]
