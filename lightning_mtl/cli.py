"""The command line: `lightning-mtl fit|validate|test|predict|compare`."""

import difflib
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import lightning as L
from jsonargparse import ArgumentParser
from lightning.pytorch.callbacks import BasePredictionWriter
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI, SaveConfigCallback

# Imported for their names: a class that is known here can be named in YAML without its module.
from lightning_mtl import callbacks, data, models, tasks
from lightning_mtl.callbacks import NetworkTable, PredictionWriter
from lightning_mtl.compare import compare
from lightning_mtl.data import MultiTaskDataModule
from lightning_mtl.module import MultiTaskModule

COMPARE = "Show the metrics of several runs side by side."


class SaveConfig(SaveConfigCallback):
    """Saves the whole config in the folder of a run, and never over a file that is there.

    Without a logger there is no such folder, only the working directory: nothing is saved then.
    """

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Save under a name that is free, called when a run starts."""
        if not trainer.loggers or self.already_saved:
            return
        # The Trainer asks the other ranks for the folder, so all of them come here.
        folder = trainer.log_dir
        if folder is None:
            return
        if trainer.is_global_zero:
            self.config_filename = _free_name(Path(folder), self.config_filename)
        super().setup(trainer, pl_module, stage)


class Parser(LightningArgumentParser):
    """A parser whose errors have a short usage, and suggest classes for an unknown name."""

    def format_usage(self) -> str:
        """The usage in one line, since a command has more options than a screen has lines."""
        if self._subcommands_action is not None:
            return super().format_usage()
        return f"usage: {self.prog}\n"

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Exit with the error, and with the class names that are similar to an unknown one."""
        super().error(message + _suggestions(message), ex)


class CommandLine(LightningCLI):
    """Lightning's command line; predictions go to disk rather than into memory."""

    def setup_parser(self, *args: Any, **kwargs: Any) -> None:
        """Add `compare` to the commands of the Trainer, called by the constructor."""
        super().setup_parser(*args, **kwargs)
        commands = self.parser._subcommands_action
        assert commands is not None
        commands.add_subcommand("compare", compare_parser(), help=COMPARE)

    def predict(self, **arguments: Any) -> None:
        """Predict, and write every batch to disk instead of keeping it in memory."""
        callbacks: list[L.Callback] = self.trainer.callbacks  # type: ignore[attr-defined]
        if not any(isinstance(callback, BasePredictionWriter) for callback in callbacks):
            callbacks.append(PredictionWriter())
        if arguments.get("return_predictions") is None:
            arguments["return_predictions"] = False
        self.trainer.predict(**arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line.

    Args:
        arguments: of the command; by default those of the process.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given[:1] == ["compare"]:
        _compare(given[1:])
        return
    _check_order(given)
    CommandLine(
        MultiTaskModule,
        MultiTaskDataModule,
        save_config_callback=SaveConfig,
        # A table of what tasks share says more than Lightning's list of submodules.
        trainer_defaults={"callbacks": [NetworkTable()], "enable_model_summary": False},
        subclass_mode_model=True,
        subclass_mode_data=True,
        auto_configure_optimizers=False,
        seed_everything_default=0,
        parser_class=Parser,
        args=None if arguments is None else given,
    )


def compare_parser() -> ArgumentParser:
    """The parser of the arguments of `lightning-mtl compare`."""
    parser = ArgumentParser(prog="lightning-mtl compare", description=COMPARE)
    parser.add_argument(
        "runs",
        nargs="+",
        help="folders of runs, or `name=folder`; runs of one name, seeds say, share a column",
    )
    parser.add_argument(
        "--metrics",
        nargs="+",
        help="what to show, such as `val/depth/RMSE`; by default the primary metric of each task",
    )
    parser.add_argument(
        "--all_metrics", action="store_true", help="show every metric that all runs have"
    )
    parser.add_argument(
        "--baselines",
        type=dict[str, float] | None,
        help="single-task results, as in '{val/depth/RMSE: 0.6}'; adds Delta_MTL over these",
    )
    for better in ("higher", "lower"):
        parser.add_argument(
            f"--{better}_is_better",
            nargs="+",
            help=f"which of the baselines are better when {better}, of metrics of your own",
        )
    return parser


def _compare(arguments: Sequence[str]) -> None:
    parsed = compare_parser().parse_args(arguments).as_dict()
    try:
        compare(**parsed)
    except (OSError, ValueError) as error:
        _stop(str(error))


def _check_order(arguments: Sequence[str]) -> None:
    """Exit if a config replaces the callbacks that an earlier one adds."""
    pairs = zip(arguments, [*arguments[1:], ""], strict=False)
    given = [
        part[9:] if part.startswith("--config=") else after
        for part, after in pairs
        if part in ("-c", "--config") or part.startswith("--config=")
    ]
    adding = ""
    for name in filter(lambda name: Path(name).is_file(), given):
        text = Path(name).read_text(encoding="utf-8")
        if adding and re.search(r"^ *callbacks:", text, re.MULTILINE):
            _stop(
                f"`--config {adding}` adds callbacks, and `--config {name}` after it replaces all"
                f" callbacks. Give them in the other order."
            )
        if re.search(r"^ *callbacks\+:", text, re.MULTILINE):
            adding = name


def _stop(message: str) -> NoReturn:
    sys.stderr.write(f"error: {message}\n")
    raise SystemExit(2)


def _free_name(folder: Path, name: str) -> str:
    """The name, with a number added if the folder already has such a file."""
    path, number = folder / name, 0
    while path.exists():
        number += 1
        path = folder / f"{Path(name).stem}_{number}{Path(name).suffix}"
    return path.name


def _suggestions(message: str) -> str:
    """One line for each unknown class name of an error message, with similar known names."""
    names = ["DensePrediction", *L.pytorch.callbacks.__all__, *L.pytorch.loggers.__all__]
    for package in (callbacks, data, models, tasks):
        names += [name for name, value in vars(package).items() if isinstance(value, type)]
    unknown = re.findall(r"Expected a dot import path string: (\w+)", message)
    lines = []
    for name in sorted(set(unknown) - set(names)):
        near = difflib.get_close_matches(name, names)
        line = f"Found no class `{name}`. Near it are: {', '.join(near)}."
        # A parser within a parser has said so already.
        if near and line not in message:
            lines.append(f"\n{line}")
    return "".join(lines)


if __name__ == "__main__":
    main()
