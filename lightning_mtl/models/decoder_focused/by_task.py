"""One module per task, called with one map per task."""

from collections.abc import Mapping

from jaxtyping import Float
from torch import Tensor, nn

__all__ = ["ByTask"]


class ByTask(nn.ModuleDict):
    """Modules of the tasks, each for the map of its task."""

    def forward(
        self, maps: Mapping[str, Float[Tensor, "N C h w"]]
    ) -> dict[str, Float[Tensor, "N K h w"]]:
        """What each module makes of the map of its task."""
        return {task: module(maps[task]) for task, module in self.items()}
