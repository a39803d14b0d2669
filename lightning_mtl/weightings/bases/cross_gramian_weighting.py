"""The base of the rules on products of gradients of different sub-batches."""

from typing import ClassVar

from lightning_mtl.engine.places.all_shared import AllShared
from lightning_mtl.engine.places.cross_gramian import CrossGramian
from lightning_mtl.engine.places.place import Place, RowPlace
from lightning_mtl.engine.places.shared_layer import SharedLayer
from lightning_mtl.engine.places.sketched import Sketched
from lightning_mtl.weightings.bases.gramian_weighting import GramianWeighting
from lightning_mtl.weightings.bases.measurement import Measurement, Unpack


class CrossGramianWeighting(GramianWeighting):
    """A weighting whose G is the mean of J_r J_sᵀ over different sub-batches r ≠ s.

    Sub-batches are the micro-batches of an accumulation window and the shares of the ranks. Their
    noise is independent, so that G has no bias from it; but it need not be positive semi-definite.
    With a single sub-batch, G is its Gramian.

    Not with `gradients="features"`: there every sample has a gradient of its own, so that gradients
    of different sub-batches have no products.

    Args:
        measurement: where and how often gradients are measured, see `GramianWeighting`.
    """

    places: ClassVar[dict[str, type[Place]]] = {
        "shared": AllShared,
        "last_layer": SharedLayer,
        "sketch": Sketched,
    }
    takes_probes: ClassVar[bool] = False

    def __init__(self, **measurement: Unpack[Measurement]) -> None:
        if measurement.get("gradients") == "features":
            raise ValueError(
                f"`{type(self).__name__}(gradients=)` should be a place where gradients of"
                ' different sub-batches have products. Found "features", where every sample has a'
                ' gradient of its own. Use `"shared"` or `"last_layer"`.'
            )
        super().__init__(**measurement)

    def _make_place(self) -> Place:
        place = super()._make_place()
        assert isinstance(place, RowPlace)
        return CrossGramian(place)
