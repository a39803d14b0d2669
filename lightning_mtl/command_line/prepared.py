"""What a `fit` would train, without training it: the module, the data and the whole config."""

import contextlib
import io
from collections.abc import Sequence
from typing import Any

import yaml

from lightning_mtl.command_line.lightning_commands import CommandLine, run_command


class Prepared(CommandLine):
    """A command line whose `fit` does nothing: its module, data and Trainer are ready."""

    def fit(self, **arguments: Any) -> None:
        """No-op, called by the constructor instead of the Trainer's."""


def prepared(arguments: Sequence[str]) -> CommandLine:
    """The command line of `lightning-mtl fit` with these arguments, before it trains.

    Args:
        arguments: what follows `fit`.
    """
    return run_command(["fit", *arguments], Prepared)


def whole_config(arguments: Sequence[str]) -> dict[str, Any]:
    """The config of `lightning-mtl fit` with these arguments, with all defaults.

    Args:
        arguments: what follows `fit`, which are right.
    """
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.suppress(SystemExit):
        run_command(["fit", *arguments, "--print_config"])
    return dict(yaml.safe_load(printed.getvalue()))
