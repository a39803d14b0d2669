"""Which tasks there are, and which of them are present."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager


class Presence:
    """The tasks of a weighting, and those that the current step has.

    Attributes:
        tasks: the names of all tasks; empty until the first training step.
    """

    def __init__(self) -> None:
        self.tasks: tuple[str, ...] = ()
        self._present: list[int] | None = None

    @contextmanager
    def of(self, present: Sequence[int]) -> Iterator[None]:
        """Read and write the entries of these tasks only, given by their indices."""
        before, self._present = self._present, list(present)
        try:
            yield
        finally:
            self._present = before

    def present(self, count: int) -> list[int]:
        """The indices of the present tasks: all of them outside of `of`.

        Args:
            count: how many tasks are present.
        """
        return list(range(count)) if self._present is None else list(self._present)

    def num_tasks(self, count: int) -> int:
        """How many tasks there are, present or absent; `count` outside of `of`."""
        return count if self._present is None else len(self.tasks)

    def names(self, count: int) -> list[str]:
        """The names of the present tasks; their indices before the first training step.

        Args:
            count: how many tasks are present.
        """
        return [self.tasks[k] if self.tasks else str(k) for k in self.present(count)]
