"""`lightning-mtl fit`, `validate`, `test` and `predict`: Lightning's command line, extended."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import BasePredictionWriter
from lightning.pytorch.cli import ArgsType, LightningArgumentParser, LightningCLI

from lightning_mtl.callbacks import NetworkTable, PredictionWriter, Weighting
from lightning_mtl.command_line.checkpoints import check_checkpoint, run_folder
from lightning_mtl.command_line.commands import COMMANDS, HELP
from lightning_mtl.command_line.config_files import (
    check_configs,
    given_configs,
    replaced_callbacks,
)
from lightning_mtl.command_line.parser import Parser
from lightning_mtl.command_line.run_files import (
    SaveConfig,
    free_path,
    loggers_of_run,
    share_folder,
)
from lightning_mtl.data import MultiTaskDataModule
from lightning_mtl.module import MultiTaskModule


class CommandLine(LightningCLI):
    """Lightning's command line, with one weighting beside the callbacks and one folder for a run.

    Predictions go to disk rather than into memory.
    """

    arguments: Sequence[str]
    subcommand: str
    run: Path | None = None

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add `--weighting`, called by the constructor."""
        parser.add_argument(
            "--weighting",
            type=Weighting | None,
            # Not given is not the same as null.
            default=argparse.SUPPRESS,
            help="the weighting of the run, in place of that in `trainer.callbacks` if there is"
            " one; null removes it",
        )

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Parse the arguments, after a look at the configs; called by the constructor."""
        self.arguments = sys.argv[1:] if args is None else list(args)
        check_configs(self.arguments)
        if isinstance(args, list):
            # Lightning's own method warns of arguments that are not those of the process.
            self.config = parser.parse_args(args)
        else:
            super().parse_arguments(parser, args)
        if line := replaced_callbacks(self.arguments):
            sys.stderr.write(f"{line}\n")

    def before_instantiate_classes(self) -> None:
        """Check the checkpoint and find the folder of its run, called by the constructor."""
        settings = self.config[self.subcommand]
        given = any(part.partition("=")[0] == "--ckpt_path" for part in self.arguments)
        check_checkpoint(self.subcommand, settings, given_configs(self.arguments), given)
        if self.subcommand != "fit":
            self.run = run_folder(settings.ckpt_path)
        if self.run is not None:
            self.save_config_kwargs["folder"] = free_path(self.run / self.subcommand)

    def instantiate_trainer(self, **arguments: Any) -> L.Trainer:
        """The Trainer, with the weighting and the loggers of the run; called by the constructor."""
        settings = self.config_init[self.subcommand]
        if "weighting" in settings:
            arguments["callbacks"] = with_weighting(settings.trainer.callbacks, settings.weighting)
        if self.run is not None:
            folder = self.save_config_kwargs["folder"]
            arguments["logger"] = loggers_of_run(settings.trainer.logger, self.run, folder)
        trainer = super().instantiate_trainer(**arguments)
        share_folder(trainer.loggers)
        return trainer

    def predict(self, **arguments: Any) -> None:
        """Predict, and write every batch to disk instead of keeping it in memory."""
        present: list[L.Callback] = self.trainer.callbacks  # type: ignore[attr-defined]
        if not any(isinstance(callback, BasePredictionWriter) for callback in present):
            present.append(PredictionWriter())
        if arguments.get("return_predictions") is None:
            arguments["return_predictions"] = False
        self.trainer.predict(**arguments)


def with_weighting(
    callbacks: L.Callback | list[L.Callback] | None, weighting: Weighting | None
) -> list[L.Callback]:
    """The callbacks with that weighting in place of any other; with none for `None`."""
    listed = [callbacks] if isinstance(callbacks, L.Callback) else callbacks or []
    others = [callback for callback in listed if not isinstance(callback, Weighting)]
    # In front, so that monitors see the weights of the step.
    return others if weighting is None else [weighting, *others]


def run_command(arguments: list[str] | None, kind: type[CommandLine] = CommandLine) -> CommandLine:
    """Run a command of the Trainer.

    Args:
        arguments: its name and what follows; by default those of the process.
        kind: of command line, one that does something else with what it has parsed.

    Returns:
        The command line, with its module, data and Trainer.
    """
    return kind(
        MultiTaskModule,
        MultiTaskDataModule,
        save_config_callback=SaveConfig,
        # A table of what tasks share says more than Lightning's list of submodules.
        trainer_defaults={"callbacks": [NetworkTable()], "enable_model_summary": False},
        subclass_mode_model=True,
        subclass_mode_data=True,
        auto_configure_optimizers=False,
        seed_everything_default=0,
        parser_kwargs={
            name: {"description": HELP.format(text=text, command=name)}
            for name, text in COMMANDS.items()
            if name in LightningCLI.subcommands()
        },
        parser_class=Parser,
        args=arguments,
    )
