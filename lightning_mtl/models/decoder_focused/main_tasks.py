"""The tasks that get a final prediction."""

from collections.abc import Iterable, Sequence

__all__ = ["main_tasks"]


def main_tasks(owner: str, tasks: Iterable[str], main: Sequence[str] | None) -> list[str]:
    """The tasks with a final prediction, in the order of all tasks.

    Args:
        owner: the network, for the message.
        tasks: all of its tasks.
        main: names of those with a final prediction; `None` is all of them.

    Raises:
        ValueError: if there is none, or a name is not that of a task.
    """
    tasks = list(tasks)
    chosen = tasks if main is None else list(main)
    if not chosen or not set(chosen) <= set(tasks):
        raise ValueError(
            f"`{owner}(main=)` should be one or more of the tasks {', '.join(tasks)}. Found"
            f" {chosen}. Name tasks of `channels`, or leave it out for all of them."
        )
    return [task for task in tasks if task in chosen]
