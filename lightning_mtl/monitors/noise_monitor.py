"""`GradientNoiseMonitor`: how strong, how noisy and how much at odds the tasks' gradients are."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import lightning as L
import torch
from lightning.pytorch.utilities.data import extract_batch_size
from matplotlib.figure import Figure
from torch import Tensor

from lightning_mtl.checks import check_choice, check_number
from lightning_mtl.distributed import (
    from_first_rank,
    sum_gradients_over_ranks,
    sum_over_ranks,
    world_size,
)
from lightning_mtl.engine.coming import Coming
from lightning_mtl.engine.gradients import Gradients, accumulation_dtype, add, gramian
from lightning_mtl.engine.micro_batch import MicroBatch
from lightning_mtl.engine.sketching.watched_pass import WatchedPass
from lightning_mtl.engine.strategies import check_whole_parameters
from lightning_mtl.engine.transfers import to_device, to_host
from lightning_mtl.engine.window import Window, select_block
from lightning_mtl.linalg.gradient_noise import cosines
from lightning_mtl.module import MultiTaskModule
from lightning_mtl.monitors.cosine_chart import cosine_figure, expected_cosine_figure
from lightning_mtl.monitors.measured_step import MeasuredStep, Measurement
from lightning_mtl.monitors.noise_averages import NoiseAverages
from lightning_mtl.monitors.noise_report import (
    report_cosines,
    report_ratio_intervals,
    report_step,
)
from lightning_mtl.monitors.recent_noise import RecentNoise
from lightning_mtl.monitors.run_pictures import NOTHING, history_picture, remember, show

PAIRS = 15
"""Of at most this many pairs each expected cosine is logged by default: of six tasks."""


class GradientNoiseMonitor(L.Callback):
    r"""Measures the gradients of the tasks on the shared parameters, under any weighting or none.

    Independent sub-batches, the micro-batches of all ranks in an accumulation window, tell noise
    from signal (see `lightning_mtl.linalg.gradient_noise`). Where there is only one, it is compared
    with the previous measured step. Numerators and denominators are averaged over
    measurements before they are divided. The run itself is not changed: the same parameters to the
    bit.

    Logged under `train/noise/`, in the next row that the loggers write, for each task unless said
    otherwise:

    * `gradient_norm/<task>`: ||g_k|| of the step, biased upwards by its noise;
    * `gnr/<task>`: gradient-to-noise ratio at the applied weights, as
      `lightning_mtl.linalg.gradient_noise.gradient_to_noise` has it. A weighting that maximises it
      logs its own estimate as `train/gnr/<task>`: over every step that it solves, where its
      `gradients=` measures and at the weights that it finds;
    * `gnr_low/<task>`, `gnr_high/<task>`: its 95 % interval, from 0 on if there may be no signal;
    * `itgn/<task>`: ||Σ_{j≠k} w_j g_j|| / ||w_k g_k||, the others' pull against the task's own;
    * `noise_scale/<task>`: tr Σ_k / |G_k|² in samples, the critical batch size of McCandlish et al.
      (arXiv 1812.06162, 2018);
    * `cosine/<a>/<b>`, `similarity/<a>/<b>`: cosine and magnitude similarity of each pair, and
      `conflict_rate`, the share of pairs with a negative cosine: all of the gradients of this one
      step. Noise that tasks do not share pulls cosines towards zero, and noise that they share can
      pull them either way; the sign of small ones is a coin toss;
    * `expected_cosine/<a>/<b>`, `expected_cosine_low/<a>/<b>`, `expected_cosine_high/<a>/<b>`: the
      cosine of the *expected* gradients of each pair, averaged over measurements like the GNR and
      without the bias of noise, and its 95 % interval;
    * `conflicts`: how many pairs are in conflict, which is said only where an interval lies below
      zero; for this, the intervals are so wide that they hold for all pairs together (Bonferroni).

    The cosines, `similarity`, `conflicts`, `conflict_rate` and `itgn` take two tasks: with one they
    are neither logged nor drawn. Intervals take several measurements: they begin with the fifth, or
    with the twelfth where a step is compared with the previous one, since such measurements depend
    on each other. A `decay` below 0.8, or there 0.9, forgets too fast for any. They cover 95 %
    within two percentage points while there is signal; where noise drowns it, cosines are left open
    on one side or on both, up to 1 and down to -1 (see `lightning_mtl.monitors.error_bars`).

    In the folder of the log, `pictures/cosines.png` is drawn at the end of every epoch that
    measured something, with intervals as soon as there are any, and `pictures/noise.png`, GNR with
    its intervals and weights over the run, when training ends. Both are drawn too where it is
    interrupted or fails, and both go to TensorBoard.

    Where groups of tasks take turns, each group's pass is a step of its own, and only the tasks of
    the last group are compared.

    Price: at a measured step the heads' inputs and K trunk backward passes more, and a second copy
    of K P gradients if there is only one sub-batch. One host sync, of all numbers together, and
    a few milliseconds on the host for the intervals.

    Args:
        every_n_steps: how often to measure, in optimizer steps.
        decay: of the averages over measurements. Intervals look at the latest 100 at most, so that
            above 0.955 they narrow no further.
        gradients: `"shared"`: exact. `"sketch"`: random projections of the gradients of linear
            layers and convolutions, unbiased, without weight gradients and their memory. They are
            drawn anew at each measurement, or once for all where a step is compared with the
            previous one.
        sketch_rows: how many rows a projection has.
        pairs: whether the expected cosine of every pair is logged with its interval. By default,
            where there are at most 15 pairs. The picture has all of them in any case.

    Attributes:
        averages: of signal and noise, over measurements.
        recent: the measurements that the intervals come from, a hundred of each task at most.
        history: what the pictures show of the run.
        listeners: called with every `Measurement`, finite or not, before it is averaged.
        samples_of: counts the samples of a batch; by default as Lightning does.
        resumes_exactly: whether a checkpoint also holds the gradients of the last measured step,
            K P numbers, where the next one is compared with it. A run whose training depends on the
            measurements needs them; without them a resumed run lacks its first comparison.
    """

    def __init__(
        self,
        every_n_steps: int = 50,
        decay: float = 0.9,
        gradients: Literal["shared", "sketch"] = "shared",
        sketch_rows: int = 16,
        pairs: bool | None = None,
    ) -> None:
        check_choice(type(self).__name__, "gradients", gradients, ["shared", "sketch"])
        check_number(type(self).__name__, "sketch_rows", sketch_rows, 1)
        if every_n_steps < 1 or not 0 <= decay < 1:
            raise ValueError(
                "`GradientNoiseMonitor` should have `every_n_steps` of at least 1 and `decay` in"
                f" [0, 1). Found {every_n_steps} and {decay}. Use 1 to measure at every step, and 0"
                " not to average."
            )
        self.every_n_steps = every_n_steps
        self.averages = NoiseAverages(decay)
        self.recent = RecentNoise(decay)
        self.pairs = pairs
        self.history: dict[str, list[float]] = {}
        self.listeners: list[Callable[[Measurement], None]] = []
        self.samples_of: Callable[[Any], float] = extract_batch_size
        self.resumes_exactly = False
        self._samples = 0.0
        self._rows: dict[int, Gradients] = {}
        self._products: Tensor | None = None
        self._measured = 0
        self.gradients = gradients
        self._pass = WatchedPass(sketch_rows)
        self._seed: int | None = None
        self._inputs: Sequence[Tensor] = ()
        self._identity: list[str] = []
        self._previous: dict[tuple[int, ...], list[Gradients]] = {}
        self._cosines: Callable[[], Figure] | None = None
        self._folder: Path | None = None

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Start observing the module's steps. Called as each stage begins."""
        if not isinstance(pl_module, MultiTaskModule):
            raise TypeError(
                "`GradientNoiseMonitor` should be attached to a `MultiTaskModule`. Found"
                f" `{type(pl_module).__name__}`. Derive it from `lightning_mtl.MultiTaskModule` and"
                " move its losses to `task_losses`."
            )
        check_whole_parameters(type(self).__name__, trainer.strategy)
        if stage == "fit":
            pl_module._multi_task.observers.append(self)

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Stop observing the module's steps. Called at the end of each stage."""
        self._pass.release()
        if isinstance(pl_module, MultiTaskModule) and self in pl_module._multi_task.observers:
            pl_module._multi_task.observers.remove(self)

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Ask for the folder of the pictures. Called when training starts."""
        # The Trainer asks the other ranks. All of them are here; where one fails, they are not.
        self._folder = Path(trainer.log_dir or trainer.default_root_dir) / "pictures"

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Count the samples of the batch where the step will be measured."""
        # Counting may fail on an exotic batch, so it is left alone where nothing is measured.
        if trainer.global_step % self.every_n_steps == 0:
            self._samples = float(self.samples_of(batch))

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Forget what an interrupted epoch had accumulated. Called as each epoch starts."""
        self._forget()

    def prepare(self, coming: Coming) -> Sequence[Tensor]:
        """Watch the layers that are to be sketched. Called before losses are computed."""
        self._pass.release()
        number = coming.module.trainer.global_step
        if self.gradients != "sketch" or number % self.every_n_steps:
            return ()
        if self._seed is None:
            self._seed = from_first_rank(torch.initial_seed()) % 2**31
        compares = coming.alone and world_size() == 1
        return self._pass.begin(coming, self._seed if compares else self._seed + number)

    def observe(self, micro_batch: MicroBatch) -> None:
        """Differentiate one micro-batch's tasks on the side. Called before its backward pass."""
        shared = micro_batch.partition.shared
        if micro_batch.global_step % self.every_n_steps or not shared:
            return
        inputs, identity = self._pass.inputs(micro_batch)
        if self._identity != identity:
            # More turned out to be shared: what was measured before has other parameters.
            self._forget()
            self._identity, self._previous = identity, {}
        self._inputs = inputs
        rows: list[Gradients] = []
        # A group of tasks whose turn it is may be absent from this rank.
        if micro_batch.local:
            rows = micro_batch.differentiate_heads_unscaled().rows(inputs, keep_graph=True)
        self._pass.pause()
        for task, row in zip(micro_batch.local, rows, strict=True):
            self._rows[task] = add(self._rows.get(task), row)
        self._measured += 1
        if micro_batch.alone and world_size() == 1:
            # The products within the only sub-batch are those of the sums.
            return
        size, dtype = len(micro_batch.partition.tasks), accumulation_dtype(shared[0])
        products = shared[0].new_zeros(size, size, dtype=dtype)
        if rows:
            products = micro_batch.scatter_to_all_tasks(gramian(rows)).to(products)
        self._products = products if self._products is None else self._products + products

    def conclude(self, micro_batch: MicroBatch) -> dict[str, Tensor]:
        """Turn what was measured of the window into numbers to log. Called at its end."""
        window, tasks = micro_batch.window, micro_batch.partition.tasks
        if not self._measured or self._measured != window.length or not window.present:
            self._forget()
            return {}
        count = window.length * world_size()
        measured = self._bring(window, self._sums(micro_batch), count)
        self._forget()
        # A task that some sub-batch lacks says nothing about the noise between sub-batches.
        everywhere = [k for k, batches in enumerate(measured.presence) if batches == count]
        if not everywhere:
            return {}
        measured = measured.of(everywhere)
        indices = [window.present[k] for k in everywhere]
        noise = measured.noise(count, self._samples)
        names, number = [tasks[task] for task in indices], micro_batch.global_step
        for listener in self.listeners:
            listener(Measurement(number, names, measured, noise, count, self._samples))
        # One overflow would stay in the averages for the rest of the run.
        if noise is not None and noise.is_finite:
            self.averages.learn(len(tasks), indices, noise)
            self.recent.learn(len(tasks), indices, noise, count)
        return self._report(indices, names, measured, number)

    def _forget(self) -> None:
        self._inputs = ()
        self._rows, self._products, self._measured = {}, None, 0

    def _sums(self, micro_batch: MicroBatch) -> list[Gradients]:
        """The gradients of the window's tasks, summed over ranks; zeros of those absent here."""
        present = micro_batch.window.present
        lacks = any(task not in self._rows for task in present)
        absent = [torch.zeros_like(each) for each in self._inputs] if lacks else []
        return [sum_gradients_over_ranks(self._rows.get(task, absent)) for task in present]

    def _bring(self, window: Window, sums: list[Gradients], count: int) -> MeasuredStep:
        """All numbers of a measurement, brought to the host in one copy.

        Args:
            window: that was measured.
            sums: of the gradients of its tasks.
            count: how many sub-batches there are; one is compared with the previous measured step.
        """
        present = tuple(window.present)
        weights = torch.stack([window.applied[task] for task in present])
        if count > 1:
            assert self._products is not None
            within = select_block(sum_over_ranks(self._products), present)
            parts = [gramian(sums) / count**2, within / count, weights, window.presence]
            mean, inside, applied, presence = to_host(*parts)
            return MeasuredStep(mean, inside, None, applied, presence.tolist())
        # Those of a checkpoint come from the host.
        previous = [
            [to_device(each, like.device) for each, like in zip(row, rows, strict=True)]
            for row, rows in zip(self._previous.get(present, []), sums, strict=False)
        ]
        # Groups of tasks that take turns are kept side by side; never two gradients of a task.
        others = (key for key in self._previous if not set(key) & set(present))
        self._previous = {key: self._previous[key] for key in others} | {present: sums}
        # One matrix has the products within this step, between the two, and within the other.
        products = gramian([*sums, *previous])
        products, applied, presence = to_host(products, weights, window.presence)
        size = len(sums)
        mean, earlier = products[:size, :size], None
        if previous:
            earlier = torch.stack([products[:size, size:], products[size:, size:]])
        return MeasuredStep(mean, mean, earlier, applied, presence.tolist())

    def _report(
        self, tasks: list[int], names: list[str], measured: MeasuredStep, number: int
    ) -> dict[str, Tensor]:
        """The numbers to log; keeps those of the pictures."""
        report = report_step(names, measured, self.averages.read(tasks))
        ratios = self.recent.noise_ratios(tasks, measured.weights)
        if ratios is not None and f"gnr/{names[0]}" in report:
            report |= report_ratio_intervals(names, report, ratios)
        found = self.recent.cosines(tasks, names)
        if found is not None:
            few = math.comb(len(tasks), 2) <= PAIRS
            report |= report_cosines(found, few if self.pairs is None else self.pairs)
            self._cosines = partial(expected_cosine_figure, found)
        elif len(tasks) > 1:
            self._cosines = partial(cosine_figure, cosines(measured.mean).tolist(), names)
        kinds = {
            kind: {task: float(report.get(f"{kind}/{task}", NOTHING)) for task in names}
            for kind in ("gnr", "gnr_low", "gnr_high")
        }
        weights = dict(zip(names, measured.weights.tolist(), strict=True))
        remember(self.history, number, {**kinds, "weight": weights})
        return {f"noise/{name}": value for name, value in report.items()}

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Draw the cosines of the last measurement. Called at the end of each training epoch."""
        self._draw_cosines(trainer)

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Draw GNR and weights over the run. Called when training ends."""
        self._draw_history(trainer)
        self._folder = None

    def on_exception(
        self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException
    ) -> None:
        """Draw what has been measured. Called where training is interrupted or fails."""
        self._pass.release()
        self._draw_cosines(trainer)
        self._draw_history(trainer)
        self._folder = None

    def _draw_cosines(self, trainer: L.Trainer) -> None:
        if self._cosines is not None and self._folder is not None:
            show(self._cosines(), "cosines", self._folder, trainer)

    def _draw_history(self, trainer: L.Trainer) -> None:
        figure = history_picture(self.history)
        if figure is not None and self._folder is not None:
            show(figure, "noise", self._folder, trainer)

    def state_dict(self) -> dict[str, Any]:
        """Averages, recent measurements and history; gradients only where `resumes_exactly`."""
        state: dict[str, Any] = {
            "averages": dict(self.averages.tensors),
            "recent": self.recent.state_dict(),
            "history": dict(self.history),
        }
        if self.resumes_exactly:
            state["previous"] = {"identity": self._identity, "gradients": dict(self._previous)}
            state["seed"] = self._seed
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore averages, recent measurements and history from the Trainer's checkpoint."""
        self.averages.tensors = dict(state_dict["averages"])
        # A checkpoint of an earlier version has averages only.
        self.recent.load_state_dict(state_dict.get("recent", {}))
        self.history = dict(state_dict["history"])
        if self.resumes_exactly and "previous" in state_dict:
            self._identity = list(state_dict["previous"]["identity"])
            self._previous = dict(state_dict["previous"]["gradients"])
            self._seed = state_dict["seed"]
