"""Lightning comes first: what was imported before it decides how its arguments are read.

Python keeps one object for all spellings of a union such as `int | float | None`, with the order of
whoever named it first in the process. rich, among others, names the floats first. The command line
then reads `--trainer.limit_val_batches 1` as 1.0, which is all batches rather than one.
"""

from importlib import import_module

LIGHTNING = "lightning.pytorch"


def import_lightning() -> None:
    """Import Lightning. Called by commands that train before they import anything else for it."""
    import_module(LIGHTNING)
