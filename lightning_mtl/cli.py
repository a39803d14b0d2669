"""The command line: `lightning-mtl fit|validate|test|predict|compare`."""

import sys
from collections.abc import Sequence

from jsonargparse import auto_cli
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
        auto_cli(compare, args=given[1:], as_positional=True)
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
