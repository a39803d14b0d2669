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
        arguments: what follows `fit`.

    Raises:
        SystemExit: if something is wrong with them, after a message.
    """
    printed = io.StringIO()
    try:
        with contextlib.redirect_stdout(printed):
            run_command(["fit", *arguments, "--print_config"])
    except SystemExit as ended:
        if ended.code:
            raise
    return dict(yaml.safe_load(printed.getvalue()))
