"""Names near a misspelt class or argument of an error message."""

import difflib
import inspect
import re
from collections.abc import Iterable
from importlib import import_module

import lightning as L

# A class that is imported here can be named in YAML without its module.
from lightning_mtl import callbacks, data, models, tasks

CLASS = re.compile(r"Expected a dot import path string: (\w+)")
ARGUMENT = re.compile(r"Option '([\w.]+)' is not accepted")
OPTION = re.compile(r"(?:[Uu]nrecognized arguments: --|does not accept option ')([\w.]+)")
OWNER = re.compile(r"class_path[ =]'([\w.]+)'")


def suggestions(message: str, options: Iterable[str]) -> str:
    """One line for each unknown name of an error message that has similar known names.

    Args:
        message: of the parser.
        options: of the command, without dashes.
    """
    lines = [_near("class", name, class_names()) for name in _unknown(CLASS, message)]
    arguments = _arguments(OWNER.findall(message))
    lines += [_near("argument", name, arguments) for name in _unknown(ARGUMENT, message)]
    lines += [_near("option", name, options) for name in _unknown(OPTION, message)]
    # A parser within a parser has said so already.
    return "".join(f"\n{line}" for line in lines if line and line not in message)


def class_names() -> list[str]:
    """The classes that go by their short names."""
    names = ["DensePrediction", *L.pytorch.callbacks.__all__, *L.pytorch.loggers.__all__]
    for package in (callbacks, data, models, tasks):
        names += [name for name, value in vars(package).items() if isinstance(value, type)]
    return names


def _unknown(pattern: re.Pattern[str], message: str) -> list[str]:
    return sorted(set(pattern.findall(message)))


def _near(kind: str, name: str, names: Iterable[str]) -> str:
    names = list(names)
    near = [] if name in names else difflib.get_close_matches(name, names)
    return f"Found no {kind} `{name}`. Near it are: {', '.join(near)}." if near else ""


def _arguments(class_paths: Iterable[str]) -> list[str]:
    """The arguments of those classes that exist, including those of their bases."""
    arguments: dict[str, None] = {}
    for path in class_paths:
        module, _, name = path.rpartition(".")
        try:
            kind = getattr(import_module(module), name)
        except (ImportError, AttributeError, ValueError):
            continue  # The message is about this path.
        constructors = [vars(base).get("__init__") for base in inspect.getmro(kind)]
        for constructor in filter(callable, constructors):
            arguments |= dict.fromkeys(inspect.signature(constructor).parameters)
    return [name for name in arguments if name not in ("self", "args", "kwargs")]
