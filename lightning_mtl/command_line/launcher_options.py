"""The options of `sweep` that say who executes it, known without torch."""

import argparse


def launcher_parser() -> argparse.ArgumentParser:
    """The parser of what says who executes a sweep; its workers are given all other arguments."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    add = parser.add_argument
    add(
        "--launcher",
        choices=("local", "slurm"),
        help="submit workers by submitit, which the extra `cluster` installs",
    )
    add("--nodes", type=int, default=1, help="workers that are submitted (default 1)")
    add(
        "--launcher_settings",
        nargs="+",
        default=[],
        metavar="NAME=VALUE",
        help="of submitit, such as slurm_partition=gpu gpus_per_node=4 timeout_min=720; by default"
        " a worker is ended after a day",
    )
    return parser
