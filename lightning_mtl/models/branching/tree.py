"""`Tree`, the tree that a network has learned."""

from dataclasses import dataclass

__all__ = ["Tree"]


@dataclass(frozen=True)
class Tree:
    """Which node of a layer takes its input from which node of the layer before.

    Attributes:
        parents: for each layer after the first, the parent of each of its nodes.
        tasks: the node of the last layer that each task takes.

    Example:
        >>> tree = Tree(parents=[[0, 0], [1, 0, 0]], tasks={"click": 0, "rating": 2})
        >>> tree.path("click"), tree.path("rating")
        ([0, 1, 0], [0, 0, 2])
        >>> tree.used
        [[0], [0, 1], [0, 2]]
    """

    parents: list[list[int]]
    tasks: dict[str, int]

    def path(self, task: str) -> list[int]:
        """The nodes that lead to a task, one of each layer."""
        path = [self.tasks[task]]
        for layer in reversed(self.parents):
            path.append(layer[path[-1]])
        return path[::-1]

    @property
    def used(self) -> list[list[int]]:
        """For each layer, the nodes that lead to some task."""
        paths = (self.path(task) for task in self.tasks)
        return [sorted(set(layer)) for layer in zip(*paths, strict=True)]
