"""The history of a measured run, and how its pictures reach disk and TensorBoard."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import lightning as L
from lightning.pytorch.loggers import TensorBoardLogger
from matplotlib.figure import Figure

from lightning_mtl.monitors.charts import history_figure, pixels, save

NOTHING = float("nan")


def remember(
    history: dict[str, list[float]], step: int, values: Mapping[str, Mapping[str, float]]
) -> None:
    """Append the numbers of some tasks to a history, in place.

    Args:
        history: `step`, and a curve under `<kind>/<task>` that may be shorter.
        step: the number of the optimizer step.
        values: the number of each task, by kind.
    """
    steps = history.setdefault("step", [])
    # Groups of tasks that take turns share a step.
    if not steps or steps[-1] != step:
        steps.append(float(step))
    for kind, numbers in values.items():
        for task, value in numbers.items():
            curve = history.setdefault(f"{kind}/{task}", [])
            curve += [NOTHING] * (len(steps) - 1 - len(curve)) + [value]


def history_picture(history: Mapping[str, Sequence[float]]) -> Figure | None:
    """GNR and weights over the run; `None` where fewer than two steps were measured."""
    steps = history.get("step", [])
    if len(steps) < 2:
        return None
    curves: dict[str, dict[str, list[float]]] = {}
    for name, values in history.items():
        kind, _, task = name.partition("/")
        padded = [*values, *[NOTHING] * (len(steps) - len(values))]
        curves.setdefault(kind, {})[task] = padded
    lows, highs = curves.get("gnr_low", {}), curves.get("gnr_high", {})
    bands = {task: (lows[task], highs[task]) for task in lows if task in highs}
    return history_figure(steps, curves["gnr"], curves["weight"], bands)


def show(figure: Figure, name: str, folder: Path, trainer: L.Trainer) -> None:
    """Write a picture into a folder and to TensorBoard, on the first rank only."""
    if not trainer.is_global_zero:
        return
    save(figure, folder / f"{name}.png")
    for logger in trainer.loggers:
        if isinstance(logger, TensorBoardLogger):
            logger.experiment.add_image(
                f"train/{name}", pixels(figure), trainer.global_step, dataformats="HWC"
            )
