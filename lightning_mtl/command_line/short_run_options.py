"""The options that commands of short runs have beside those of `fit`, known without torch."""

from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Callable

from lightning_mtl.command_line.commands import COMMANDS, PROGRAM


def short_run_parser(command: str) -> ArgumentParser:
    """A parser of the options that such a command adds to those of `fit`.

    Args:
        command: its name.
    """
    return ArgumentParser(
        prog=f"{PROGRAM} {command}",
        usage=f"{PROGRAM} {command} --config FILE [options]",
        description=COMMANDS.get(command),
        epilog=f"The options of `{PROGRAM} fit` may be given as well: --config, --weighting,"
        " --model, --data, --trainer, --seed_everything and those below them.",
        allow_abbrev=False,
    )


def at_least(least: int) -> Callable[[str], int]:
    """What turns text into a whole number that is not below this one.

    Args:
        least: the smallest number that is allowed.
    """

    def convert(text: str) -> int:
        value = int(text)
        if value < least:
            raise ArgumentTypeError(f"should be at least {least}. Found {value}.")
        return value

    return convert
