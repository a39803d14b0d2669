"""`lightning-mtl compare`."""

from collections.abc import Sequence
from pathlib import Path

from jsonargparse import ArgumentParser

from lightning_mtl.command_line.commands import COMMANDS, PROGRAM, stop


def comparison_parser() -> ArgumentParser:
    """The parser of the arguments of `lightning-mtl compare`."""
    parser = ArgumentParser(prog=f"{PROGRAM} compare", description=COMMANDS["compare"])
    parser.add_argument(
        "runs",
        nargs="+",
        help="folders of runs, or `name=folder`; runs of one name, seeds say, share a column;"
        " the folder of a sweep stands for all of its runs, and alone shows its whole answer",
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
    parser.add_argument(
        "--report",
        type=Path,
        help="folder for a report with intervals, differences and pictures, as of a sweep",
    )
    return parser


def run_comparison(arguments: Sequence[str]) -> None:
    """Show the table, or exit with a message that says what is wrong with the runs."""
    parsed = comparison_parser().parse_args(arguments).as_dict()
    # Imported late: help and wrong arguments need no torch.
    from lightning_mtl.command_line.reporting import show_comparison

    try:
        show_comparison(**parsed)
    except (OSError, ValueError) as error:
        stop(str(error))
