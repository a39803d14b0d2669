"""Files that are written whole or not at all."""

import os
from pathlib import Path


def write_whole(path: Path, text: str) -> None:
    """Write a file so that whoever reads it at any time finds the old text or the new one.

    Args:
        path: of the file; its folder is made if it is missing.
        text: all of it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Two processes may write the same file at the same time.
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    beside.write_text(text, encoding="utf-8")
    beside.replace(path)
