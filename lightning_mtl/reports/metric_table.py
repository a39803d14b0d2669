"""The callback that prints a table of metrics at the end of a run."""

import lightning as L
from lightning.pytorch.utilities import rank_zero_info
from rich.table import Table

from lightning_mtl.dense_prediction import DensePrediction
from lightning_mtl.engine.terminal import show_last
from lightning_mtl.evaluation.hooks import EvaluationHooks
from lightning_mtl.evaluation.results import directions_of
from lightning_mtl.reports.trivial_predictor import Results, trivial_results

BETTER = {True: " (higher is better)", False: " (lower is better)", None: ""}


class MetricTable(L.Callback):
    """Shows the last validation metrics when training ends, or is interrupted.

    These are all values that were logged as `val/<task>/<metric>`, by `MultiTaskModule` or in a
    `validation_step` of your own. With a `DensePrediction`, those of a trivial predictor stand
    beside them. It has one prediction for all pixels: the most frequent class, the mean depth, the
    mean normal of the training set. A network that does not beat it has learned nothing. It is
    computed from the batches of the run: those of all ranks, as many as `limit_train_batches` and
    `limit_val_batches` leave.

    Args:
        trivial: whether to compute the trivial predictor; it reads the training and the validation
            set once more.
    """

    def __init__(self, trivial: bool = True) -> None:
        self.trivial = trivial

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Show the table. Called when training ends."""
        trivial: Results = {}
        if self.trivial and isinstance(pl_module, DensePrediction) and _logged(trainer):
            # The ranks measure it together: all of them come here.
            trivial = trivial_results(trainer, pl_module.tasks)
        self._show(trainer, pl_module, trivial)

    def on_exception(
        self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException
    ) -> None:
        """Show what there is, without the trivial predictor. Called when a run is interrupted."""
        if isinstance(exception, KeyboardInterrupt) and _logged(trainer):
            self._show(trainer, pl_module, {})

    def _show(self, trainer: L.Trainer, pl_module: L.LightningModule, trivial: Results) -> None:
        if not trainer.is_global_zero:
            return
        values = _logged(trainer)
        if not values:
            rank_zero_info(
                "MetricTable: nothing was logged as `val/<task>/<metric>`, so there is no table."
                " Give the Trainer validation data, and the module `task_metrics`."
            )
            return
        directions = _directions(trainer, pl_module)
        columns = ["task", "metric", "trained", *(["trivial"] if trivial else [])]
        table = Table(title="Validation", title_justify="left")
        for column in columns:
            table.add_column(column, justify="left" if column in ("task", "metric") else "right")
        for task, named in values.items():
            for name, value in named.items():
                better = BETTER[directions.get(task, {}).get(name)]
                cells = [task, f"{name}{better}", f"{value:.4g}"]
                table.add_row(*cells, *([_formatted(trivial, task, name)] if trivial else []))
            table.add_section()
        delta = trainer.callback_metrics.get("val/delta_mtl")
        if delta is not None:
            table.add_row("all", "delta_mtl (%)", f"{float(delta):+.2f}")
        show_last(trainer, table)


def _logged(trainer: L.Trainer) -> dict[str, dict[str, float]]:
    """The value of each metric of each task that was logged in validation."""
    values: dict[str, dict[str, float]] = {}
    for key, value in trainer.callback_metrics.items():
        stage, _, rest = key.partition("/")
        task, _, name = rest.partition("/")
        if stage == "val" and name and task != "loss":
            values.setdefault(task, {})[name] = float(value)
    return values


def _directions(trainer: L.Trainer, module: L.LightningModule) -> dict[str, dict[str, bool | None]]:
    """Whether higher is better, for the metrics of each task that the module names."""
    hooks = EvaluationHooks.find(trainer, module)
    if hooks is None or "val" not in hooks.evaluations:
        return {}
    metrics = hooks.evaluations["val"].metrics
    return {task: directions_of(metric) for task, metric in metrics.items()}


def _formatted(results: Results, task: str, name: str) -> str:
    value = results.get(task, {}).get(name)
    return "" if value is None else f"{float(value):.4g}"
