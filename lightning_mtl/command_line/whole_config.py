"""The whole config of a `fit`, as `--print_config` shows it."""

import contextlib
import io
from collections.abc import Sequence
from typing import Any

import yaml

from lightning_mtl.command_line.lightning_commands import run_command


def whole_config(arguments: Sequence[str]) -> dict[str, Any]:
    """The config of `lightning-mtl fit` with these arguments, with all defaults.

    Args:
        arguments: what follows `fit`, which have been parsed without an error.
    """
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.suppress(SystemExit):
        run_command(["fit", *arguments, "--print_config"])
    return dict(yaml.safe_load(printed.getvalue()))
