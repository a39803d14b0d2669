"""`lightning-mtl sweep`."""

import argparse
import math
from collections.abc import Sequence
from pathlib import Path

from lightning_mtl.command_line.commands import COMMANDS, PROGRAM, stop
from lightning_mtl.command_line.launcher_options import launcher_parser
from lightning_mtl.import_order import import_lightning

EPILOG = f"""\
All other options are those of `{PROGRAM} fit`, such as --config and --trainer.max_epochs.

  {PROGRAM} sweep --config C --weightings equal gradnorm maxgnr --seeds 5

Started again with the same folder, a sweep goes on where it stopped, also after a crash. Several
processes, on machines that share the folder, may work on one sweep at the same time:
  {PROGRAM} sweep ... --folder F --study postgresql://HOST/DATABASE"""


def sweep_parser() -> argparse.ArgumentParser:
    """The parser of what `sweep` takes besides the options of `fit`."""
    parser = argparse.ArgumentParser(
        prog=f"{PROGRAM} sweep",
        description=COMMANDS["sweep"],
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        parents=[launcher_parser()],
    )
    add = parser.add_argument
    add(
        "--weightings",
        nargs="+",
        required=True,
        metavar="NAME",
        help="names such as equal or gradnorm, separated by spaces or commas, or config files with"
        " a `weighting:`; equal weights are always among them",
    )
    add(
        "--networks",
        nargs="+",
        default=[],
        metavar="FILE",
        help="config files of networks, on which every weighting is tried too",
    )
    add("--seeds", type=int, default=5, help="runs by which each method is judged (default 5)")
    add(
        "--learning_rates",
        nargs="+",
        type=float,
        default=[0.5, 1.0, 2.0],
        metavar="FACTOR",
        help="factors of the config's learning rate of which every method keeps the best"
        " (default 0.5 1 2)",
    )
    add("--learning_rate", metavar="KEY", help="key of the learning rate, if it is not found")
    add(
        "--no_grid",
        action="store_true",
        help="leave out scalarisation, fixed weights chosen from a grid that favours each task",
    )
    add(
        "--folder",
        type=Path,
        default=Path("runs/sweep"),
        help="of the sweep: its plan, runs and report (default runs/sweep)",
    )
    add("--study", metavar="URL", help="database of Optuna (default: a SQLite file in the folder)")
    add("--jobs", type=int, help="runs side by side (default: one for each GPU, or each two cores)")
    add("--keep_checkpoints", action="store_true", help="let every run write its checkpoints")
    add("--retry_failed", action="store_true", help="run again what had failed")
    return parser


def run_sweep(arguments: Sequence[str]) -> None:
    """Plan a sweep, work on it and write its report, or exit with what is wrong with it."""
    options, rest = sweep_parser().parse_known_args(list(arguments))
    if options.seeds < 1:
        stop(f"`--seeds` should be at least 1. Found {options.seeds}.")
    if not all(0 < rate < math.inf for rate in options.learning_rates):
        stop(f"`--learning_rates` should be positive factors. Found {options.learning_rates}.")
    if options.jobs is not None and options.jobs < 1:
        stop(f"`--jobs` should be at least 1. Found {options.jobs}.")
    if options.nodes < 1:
        stop(f"`--nodes` should be at least 1. Found {options.nodes}.")
    # Imported late: help and wrong arguments need no torch.
    import_lightning()
    from lightning_mtl.command_line.sweep_work import launch_workers, work

    try:
        if options.launcher is None:
            work(options, rest)
        else:
            launch_workers(options, list(arguments))
    except (OSError, ValueError, ModuleNotFoundError) as error:
        stop(str(error))
    except KeyboardInterrupt:
        stop(
            "The sweep was interrupted. Start it again by the same command: it goes on where it"
            f" stopped. `{PROGRAM} compare {options.folder}` shows what it has found so far."
        )
