"""The names of the commands and what they do, known without importing torch."""

import argparse
import sys
from typing import NoReturn

from lightning_mtl.version import __version__

PROGRAM = "lightning-mtl"

COMMANDS = {
    "fit": "Train a network, and validate it as often as the config says.",
    "validate": "Compute the metrics of a checkpoint on the validation split.",
    "test": "Compute the metrics of a checkpoint on the test split.",
    "predict": "Write the predictions of a checkpoint to files.",
    "compare": "Show the metrics of several runs side by side.",
    "sweep": "Find the method for your tasks: train many, with several seeds, and write a report.",
    "doctor": "Train a few hundred steps, and say what is wrong between the tasks.",
    "tune": "Find fixed weights in one short run, and write them as a config.",
}

START = f"""\
to begin with:
  {PROGRAM} fit --config configs/quickstart.yaml
  {PROGRAM} COMMAND --help                        the arguments of a command"""

HELP = f"""\
{{text}}

help on a class and on configs:
  {PROGRAM} {{command}} --model.help DensePrediction       arguments of a class
  {PROGRAM} {{command}} --weighting.help GradNorm          arguments of a weighting
  {PROGRAM} {{command}} --trainer.callbacks.help MetricTable
  {PROGRAM} {{command}} --data.help RoomsDataModule
  {PROGRAM} {{command}} --config FILE ... --print_config   the config, with all defaults"""


def main_parser() -> argparse.ArgumentParser:
    """The parser of `lightning-mtl` itself: its help, its version and the names of the commands."""
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description="Multi-task learning with PyTorch Lightning.",
        epilog=START,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"{PROGRAM} {__version__}")
    commands = parser.add_subparsers(title="commands", dest="command", required=True)
    for name, text in COMMANDS.items():
        commands.add_parser(name, help=text)
    return parser


def stop(message: str) -> NoReturn:
    """Exit with one message and no traceback."""
    sys.stderr.write(f"error: {message}\n")
    raise SystemExit(2)
