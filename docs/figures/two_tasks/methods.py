"""The weightings that the figure shows, each with the arguments that it gets."""

import inspect
from collections.abc import Mapping
from typing import Any

from lightning_mtl.callbacks import Weighting
from lightning_mtl.catalogue import weightings
from two_tasks.landscape import SCALES, TASKS

ARGUMENTS: Mapping[str, Mapping[str, Any]] = {
    "DynamicTaskPriority": {"indicators": {task: f"val/{task}" for task in TASKS}},
    "FixedWeighting": {
        "weights": {task: 1 / scale for task, scale in zip(TASKS, SCALES, strict=True)}
    },
}
"""Arguments of those that cannot do without: a metric of each task, and weights that even scales
out. All others have their defaults."""

LEFT_OUT = ("TorchJDWeighting",)
"""Not shown: it applies whatever rule of another package it is given, and has none of its own."""


def shown_weightings() -> list[type[Weighting]]:
    """The weightings of the figure by name, those that need only the losses first."""
    return [kind for kind in weightings() if kind.__name__ not in LEFT_OUT]


def make(kind: type[Weighting]) -> Weighting:
    """A new weighting with its default arguments, and a fixed seed if it draws numbers."""
    arguments = dict(ARGUMENTS.get(kind.__name__, {}))
    if "seed" in inspect.signature(kind).parameters:
        arguments["seed"] = 0
    return kind(**arguments)
