"""Runs of a few steps that are built as `fit` builds its run."""

from collections.abc import Sequence
from copy import deepcopy
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import (
    BasePredictionWriter,
    Checkpoint,
    DeviceStatsMonitor,
    EarlyStopping,
    LearningRateMonitor,
    ModelSummary,
    ProgressBar,
    ThroughputMonitor,
    Timer,
)
from lightning.pytorch.cli import ArgsType, LightningArgumentParser

from lightning_mtl.callbacks import (
    GradientNoiseMonitor,
    MetricTable,
    NetworkTable,
    PredictionGrid,
    Weighting,
)
from lightning_mtl.command_line.commands import stop
from lightning_mtl.command_line.config_files import check_configs
from lightning_mtl.command_line.lightning_commands import CommandLine
from lightning_mtl.command_line.parser import Parser
from lightning_mtl.data import MultiTaskDataModule
from lightning_mtl.module import MultiTaskModule

WATCHERS = (
    BasePredictionWriter,
    Checkpoint,
    DeviceStatsMonitor,
    EarlyStopping,
    GradientNoiseMonitor,
    LearningRateMonitor,
    MetricTable,
    ModelSummary,
    NetworkTable,
    PredictionGrid,
    ProgressBar,
    ThroughputMonitor,
    Timer,
)
"""Callbacks that write, draw or stop a run; a short run goes without them."""

QUIET: dict[str, Any] = {
    "logger": False,
    "enable_checkpointing": False,
    "enable_model_summary": False,
    "fast_dev_run": False,
    "num_sanity_val_steps": 0,
    "max_epochs": -1,
    "min_epochs": None,
    "min_steps": None,
    "max_time": None,
    "profiler": None,
    "barebones": False,
}
"""What every short run sets in the Trainer."""


class ShortRuns(CommandLine):
    """The command line of `fit`, which builds modules and Trainers and runs none of them.

    Args:
        arguments: those of `fit`.
    """

    def __init__(self, arguments: Sequence[str]) -> None:
        super().__init__(
            MultiTaskModule,
            MultiTaskDataModule,
            save_config_callback=None,
            subclass_mode_model=True,
            subclass_mode_data=True,
            auto_configure_optimizers=False,
            seed_everything_default=0,
            parser_class=Parser,
            args=["fit", *arguments],
        )

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Parse the arguments, called by the constructor."""
        assert isinstance(args, list)
        self.arguments = args
        check_configs(self.arguments)
        # Lightning's own method warns of arguments that are not those of the process.
        self.config = parser.parse_args(args)

    def before_instantiate_classes(self) -> None:
        """Refuse a checkpoint, called by the constructor."""
        if self._get(self.config, "ckpt_path") is not None:
            stop(
                "A short run should start anew. Found `--ckpt_path`. Leave it out, and give a"
                " network its parameters by its own arguments."
            )

    def instantiate_classes(self) -> None:
        """No-op: every run builds its own objects, by `build`."""

    def _run_subcommand(self, subcommand: str) -> None:
        """No-op: whoever asks for a short run says when."""

    def build(self) -> tuple[MultiTaskModule, Any]:
        """A new module and new data, from the seed; what the next Trainers get is new as well."""
        seed = self._get(self.config, "seed_everything")
        if seed is not False:
            L.seed_everything(seed, workers=True, verbose=False)
        self.config_init = self.parser.instantiate_classes(self.config)
        self.datamodule = self._get(self.config_init, "data")
        self.model = self._get(self.config_init, "model")
        assert isinstance(self.model, MultiTaskModule)
        return self.model, self.datamodule

    def weighting(self) -> Weighting | None:
        """A copy of the weighting that `fit` would train with."""
        settings = self.config_init[self.subcommand]
        if "weighting" in settings:
            return deepcopy(settings.weighting)
        given = (each for each in self._callbacks() if isinstance(each, Weighting))
        return deepcopy(next(given, None))

    def make_trainer(self, callbacks: Sequence[L.Callback], **settings: Any) -> L.Trainer:
        """A Trainer as that of `fit`, with its callbacks that change the training, for a short run.

        Args:
            callbacks: others, in front of those. A weighting is among them or there is none.
            **settings: in place of those of the config.
        """
        given = dict(self._get(self.config_init, "trainer"))
        kept = [each for each in self._callbacks() if not isinstance(each, (Weighting, *WATCHERS))]
        # One batch, for what is logged there: schedules may ask for it.
        validated = (
            min(given["limit_val_batches"] or 1, 1) if given["limit_val_batches"] != 0 else 0
        )
        chosen = given | QUIET | {"limit_val_batches": validated} | settings
        return self.trainer_class(**(chosen | {"callbacks": [*callbacks, *deepcopy(kept)]}))

    def validator(self) -> L.Trainer:
        """A Trainer that validates as the one of `fit` does, without a progress bar."""
        batches = self._get(self.config_init, "trainer").limit_val_batches
        return self.make_trainer(
            [], limit_val_batches=batches, enable_progress_bar=False, max_epochs=1
        )

    def length(self) -> dict[str, Any]:
        """The settings by which the run of `fit` ends, for a Trainer that is stopped earlier."""
        given = self._get(self.config_init, "trainer")
        return {name: given[name] for name in ("max_epochs", "max_steps")}

    def _callbacks(self) -> list[L.Callback]:
        given = self._get(self.config_init, "trainer").callbacks
        return [given] if isinstance(given, L.Callback) else list(given or [])
