"""Which tasks are present, where a test plays the part of the engine."""

from collections.abc import Sequence

from lightning_mtl.callbacks import Weighting


def set_present(weighting: Weighting, present: Sequence[int]) -> None:
    """From here on the weighting is asked about these tasks, as within `memory.of(present)`."""
    weighting.memory._present = list(present)
