"""The parser of `fit`, `validate`, `test` and `predict`."""

import argparse
from typing import Any, NoReturn

from jsonargparse import DefaultHelpFormatter
from lightning.pytorch.cli import LightningArgumentParser

from lightning_mtl.command_line.commands import PROGRAM, main_parser
from lightning_mtl.command_line.suggestions import suggestions


class HelpFormatter(argparse.RawDescriptionHelpFormatter, DefaultHelpFormatter):
    """Leaves the lines of the description as they are."""


class Parser(LightningArgumentParser):
    """A parser whose errors name the file and near names, and whose help says how to get more."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, formatter_class=HelpFormatter, **{"prog": PROGRAM, **settings})
        self.allow_abbrev = False
        self._file = ""

    def format_usage(self) -> str:
        """The usage in one line, since a command has more options than a screen has lines."""
        if self._subcommands_action is not None:
            return main_parser().format_usage()
        return f"usage: {self.prog} --config FILE [options]\n".replace(" [options]", "", 1)

    def format_help(self, *args: Any, **settings: Any) -> str:
        """The help of the command line or of one command, without the usage of many lines."""
        if self._subcommands_action is not None:
            return main_parser().format_help()
        usage, found, rest = (
            super().format_help(*args, **settings).partition(f"\n\n{self.description}")
        )
        return f"{self.format_usage()}{(found + rest)[1:]}" if found else usage

    def parse_path(self, cfg_path: Any, *args: Any, **settings: Any) -> Any:
        """Parse a config, and remember its name for errors in it."""
        outer, self._file = self._file, str(cfg_path)
        parsed = super().parse_path(cfg_path, *args, **settings)
        self._file = outer
        return parsed

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Exit with the error, the file it is in, and names near an unknown one."""
        where = f"in `{self._file}`: " if self._file else ""
        super().error(where + message + suggestions(message, self._options()), ex)

    def _options(self) -> list[str]:
        """The options of all commands, without dashes."""
        action: Any = self._subcommands_action
        parsers = [self] if action is None else action.choices.values()
        names = [name for parser in parsers for name in parser._option_string_actions]
        return sorted({name.lstrip("-") for name in names})
