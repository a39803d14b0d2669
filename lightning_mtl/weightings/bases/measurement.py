"""The keyword arguments that all Gramian rules share, for the type checker and the command line."""

from typing import TYPE_CHECKING, Any, TypedDict

if TYPE_CHECKING:
    from typing_extensions import Unpack as Unpack
else:

    class Unpack:
        """At run time, any keyword arguments.

        The command line then reads their defaults and texts off `GramianWeighting`, to which the
        rules pass them on. Of a `TypedDict` it would know neither, and saved configs would lack
        what is not given.
        """

        def __class_getitem__(cls, keywords: type) -> Any:
            return Any


class Measurement(TypedDict, total=False):
    """Where and how often gradients are measured; `GramianWeighting` says more of each."""

    gradients: str
    every_n_steps: int
    layer: str | None
    weight_heads: bool
    metric: str
    sketch_rows: int
    probe_decay: float
