"""The keyword arguments that all Gramian rules share, for the type checker and the command line."""

from lightning_mtl.weightings.bases.common import Common
from lightning_mtl.weightings.bases.common import Unpack as Unpack


class Measurement(Common, total=False):
    """Where and how often gradients are measured; `GramianWeighting` says more of each."""

    gradients: str
    every_n_steps: int
    layer: str | None
    weight_heads: bool
    metric: str
    sketch_rows: int
    probe_decay: float
