"""Tasks that are not trained at all, and why."""

from lightning_mtl.diagnosis.record import Record
from lightning_mtl.diagnosis.wording import number, percent

RARE = 0.05
"""A task with labels in fewer batches than this is dead."""

FEWEST = 5
"""How many losses have to be equal before they are taken to be constant."""


def dead_tasks(record: Record) -> dict[str, str]:
    """The reason for each task that is not trained; one whose numbers broke is not among them."""
    broken = {event.task for event in record.events}
    reasons = {task: _reason(record, task) for task in record.tasks if task not in broken}
    return {task: reason for task, reason in reasons.items() if reason}


def _reason(record: Record, task: str) -> str:
    """Why a task is dead; empty for one that is alive."""
    present = float(record.losses.presence[record.tasks.index(task)])
    losses = record.losses.of(task)
    if present < RARE:
        return f"it has labels in {percent(present)} of the batches"
    if len(losses) >= FEWEST and (losses == losses[0]).all():
        return f"its loss is exactly {number(float(losses[0]))} in every batch"
    if record.shared and _never_pulls(record, task):
        return "its loss changes, but no gradient of it reaches the shared parameters"
    return ""


def _never_pulls(record: Record, task: str) -> bool:
    """Whether all measured gradients of a task are zero, and there are some."""
    measured = [each for each in record.measurements if task in each.tasks]
    squares = [float(each.measured.mean.diagonal()[each.tasks.index(task)]) for each in measured]
    return bool(squares) and max(squares) == 0
