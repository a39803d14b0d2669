"""The command line: `lightning-mtl fit|validate|test|predict|compare`."""

import sys
from collections.abc import Sequence

from jsonargparse import ArgumentParser
from lightning.pytorch.cli import LightningCLI

# Imported for their names: a class that is known here can be named in YAML without its module.
import lightning_mtl.callbacks
import lightning_mtl.data
import lightning_mtl.models
import lightning_mtl.tasks  # noqa: F401
from lightning_mtl.compare import compare
from lightning_mtl.data import MultiTaskDataModule
from lightning_mtl.module import MultiTaskModule


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line.

    Args:
        arguments: of the command; by default those of the process.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given[:1] == ["compare"]:
        _compare(given[1:])
        return
    LightningCLI(
        MultiTaskModule,
        MultiTaskDataModule,
        subclass_mode_model=True,
        subclass_mode_data=True,
        auto_configure_optimizers=False,
        seed_everything_default=0,
        save_config_kwargs={"overwrite": True},
        args=None if arguments is None else given,
    )


def _compare(arguments: Sequence[str]) -> None:
    parser = ArgumentParser(prog="lightning-mtl compare", description="Show runs side by side.")
    parser.add_argument("runs", nargs="+", help="folders of runs, or `name=folder`")
    parser.add_function_arguments(compare, skip={"runs"})
    compare(**parser.parse_args(arguments).as_dict())
