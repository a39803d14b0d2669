"""The config files of a command line: what is wrong with their form or their order."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from jsonargparse import get_loader

from lightning_mtl.command_line.commands import stop

MAPPINGS = ("trainer", "init_args", "dict_kwargs")
"""Keys whose values are names and values, wherever they stand."""


def given_configs(arguments: Sequence[str]) -> list[Path]:
    """The config files that exist, in the order in which they are given."""
    pairs = zip(arguments, [*arguments[1:], ""], strict=False)
    given = [
        part.partition("=")[2] if part.startswith("--config=") else after
        for part, after in pairs
        if part in ("-c", "--config") or part.startswith("--config=")
    ]
    return [Path(name) for name in given if Path(name).is_file()]


def check_configs(arguments: Sequence[str]) -> None:
    """Exit if a config is malformed, or replaces the callbacks that an earlier one adds."""
    adding: Path | None = None
    for path in given_configs(arguments):
        settings = _checked(path)
        trainer = settings.get("trainer") or {}
        if adding is not None and "callbacks" in trainer:
            stop(
                f"`--config {adding}` adds callbacks, and `--config {path}` after it replaces all"
                " callbacks. Give them in the other order."
            )
        if "callbacks+" in trainer:
            adding = path


def replaced_callbacks(arguments: Sequence[str]) -> str:
    """A line about callbacks of configs that `--trainer.callbacks` drops; empty if it drops none.

    Args:
        arguments: of the command, whose configs are well-formed.
    """
    places = [
        place
        for place, part in enumerate(arguments)
        if part == "--trainer.callbacks" or part.startswith("--trainer.callbacks=")
    ]
    before = given_configs(arguments[: places[0]]) if places else []
    names = [name for path in before for name in _callbacks(_checked(path))]
    if not names:
        return ""
    return (
        f"`--trainer.callbacks` replaces the callbacks of the config: {', '.join(names)} will not"
        " run. To keep them, add another by `--trainer.callbacks+=NAME`, or choose a weighting by"
        " `--weighting NAME`."
    )


def _checked(path: Path) -> dict[str, Any]:
    try:
        settings = get_loader("yaml")(path.read_text(encoding="utf-8"))
    except Exception as error:  # noqa: BLE001 - which errors there are depends on the YAML library
        stop(f"`{path}` should be YAML. Found {type(error).__name__}: {error}")
    if not isinstance(settings, dict):
        stop(f"`{path}` should hold names and values, such as `model: ...`. {_found(settings)}.")
    for key, expected, value in _faults(settings):
        stop(f"`{path}`: `{key}` should be {expected}. {_found(value)}.")
    return settings


def _faults(value: Any, key: str = "") -> Iterator[tuple[str, str, Any]]:
    """Keys with values of the wrong form: the key, what belongs there, and the value."""
    if isinstance(value, list):
        for index, part in enumerate(value):
            yield from _faults(part, f"{key}[{index}]")
    if not isinstance(value, dict):
        return
    for name, part in value.items():
        where = f"{key}.{name}" if key else str(name)
        if not isinstance(name, str):
            yield where, "text, as every name is", name
        elif name in MAPPINGS and not isinstance(part, dict | None):
            yield where, "names and values, as in `name: value`", part
        elif name == "class_path" and not isinstance(part, str):
            yield where, "the name of a class", part
        else:
            yield from _faults(part, where)


def _found(value: Any) -> str:
    kind = {list: "a list", dict: "names and values", type(None): "nothing"}
    return f"Found {kind.get(type(value), f'`{value}`')}"


def _callbacks(settings: dict[str, Any]) -> list[str]:
    """The class names of the callbacks that a config has."""
    trainer = settings.get("trainer") or {}
    found = [trainer.get("callbacks"), trainer.get("callbacks+")]
    callbacks = [
        part for value in found for part in (value if isinstance(value, list) else [value])
    ]
    paths = [part.get("class_path") if isinstance(part, dict) else part for part in callbacks]
    return [path.rpartition(".")[2] for path in paths if isinstance(path, str)]
