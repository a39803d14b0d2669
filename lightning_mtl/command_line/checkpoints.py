"""The checkpoint that a command starts from, and those that it could have been given."""

import difflib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from jsonargparse import Namespace

from lightning_mtl.command_line.commands import PROGRAM, stop

SHOWN = 5
"""How many checkpoints a message names."""

RESUMABLE = ("best", "last", "hpc")
"""Words of the Trainer for checkpoints of the run at hand, which only `fit` has."""


def check_checkpoint(
    command: str, settings: Namespace, configs: Iterable[Path], given: bool
) -> None:
    """Exit if a command would run with random weights unasked, or from a file that is not there.

    Args:
        command: such as `test`.
        settings: the parsed arguments of the command.
        configs: its config files.
        given: whether `--ckpt_path` is on the command line, where `null` means random weights.
    """
    path = settings.get("ckpt_path")
    if path is None:
        if command != "fit" and not given:
            stop(_missing(command, found_checkpoints(settings, configs)))
    elif not (_is_elsewhere(path) or Path(path).exists() or (command, path) in _RESUMED):
        stop(_unknown(path, found_checkpoints(settings, configs)))


def found_checkpoints(settings: Namespace, configs: Iterable[Path]) -> list[Path]:
    """The checkpoints beside the configs, of the loggers' runs and of `ModelCheckpoint`'s folder.

    Returns:
        Files, the newest first.
    """
    folders = [config.parent / "checkpoints" for config in configs]
    trainer = settings.trainer
    for root in _logger_folders(trainer):
        folders += [root / "checkpoints", *root.glob("*/checkpoints")]
    for part in _parts(trainer.get("callbacks")):
        if isinstance(part, Namespace) and (folder := part.get("init_args.dirpath")):
            folders.append(Path(folder))
    files = {path for folder in folders for path in folder.glob("*.ckpt")}
    return sorted(files, key=lambda path: (-path.stat().st_mtime, str(path)))


def run_folder(ckpt_path: str | None) -> Path | None:
    """The folder of the run that a checkpoint is from; `None` if it lies elsewhere."""
    path = Path(ckpt_path or "")
    return path.parents[1] if path.exists() and path.parent.name == "checkpoints" else None


_RESUMED = {("fit", word) for word in RESUMABLE}


def _logger_folders(trainer: Namespace) -> Iterator[Path]:
    """Where the loggers make a folder for each run."""
    for part in _parts(trainer.get("logger")):
        if isinstance(part, Namespace) and (folder := part.get("init_args.save_dir")):
            yield Path(folder) / (part.get("init_args.name") or "")
        elif part in (None, True):
            yield Path(trainer.get("default_root_dir") or ".") / "lightning_logs"


def _parts(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _is_elsewhere(path: str) -> bool:
    """Whether a checkpoint is in a registry or on a remote file system."""
    return "://" in path or path.startswith("registry")


def _missing(command: str, found: list[Path]) -> str:
    listed = f" The newest are:{_lines(found)}\n" if found else " No run of this config has one. "
    return (
        f"`{PROGRAM} {command}` needs a checkpoint: give `--ckpt_path <file>`.{listed}To use"
        " random weights on purpose, give `--ckpt_path null`."
    )


def _unknown(path: str, found: list[Path]) -> str:
    beside = Path(path).parent.glob("*.ckpt")
    names = {str(other): other for other in [*found, *beside]}
    near = [names[name] for name in difflib.get_close_matches(path, names, SHOWN)] or found
    listed = f" Near it are:{_lines(near)}" if near else ""
    return f"`--ckpt_path` should be the file of a checkpoint. Found no `{path}`.{listed}"


def _lines(paths: list[Path]) -> str:
    return "".join(f"\n  {path}" for path in paths[:SHOWN])
