"""One forward pass whose weight gradients are sketched, if they can be."""

from collections.abc import Sequence

import torch
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor

from lightning_mtl.distributed import max_over_ranks, world_size
from lightning_mtl.engine.coming import Coming
from lightning_mtl.engine.micro_batch import MicroBatch
from lightning_mtl.engine.sketching.sketch import Sketch


class WatchedPass:
    """Sketches the shared parameters as they were known before a forward pass.

    Args:
        rows: s, how many rows a sketch has.
    """

    def __init__(self, rows: int) -> None:
        self._rows = rows
        self._sketch: Sketch | None = None
        self._shared: Sequence[Tensor] = ()
        self._warned = False

    def begin(self, coming: Coming, seed: int) -> Sequence[Tensor]:
        """Watch the layers of the trunk; the leaves that the graph will hold beside parameters.

        Args:
            coming: whose losses are about to be computed.
            seed: of the sketch, the same on all ranks.
        """
        self.release()
        partition = coming.partition
        if partition is None or not partition.shared:
            # What is shared is not known yet: this pass is exact.
            return ()
        self._shared = partition.shared
        self._sketch = Sketch(coming.module, partition.shared, self._rows, seed)
        self._sketch.install()
        leaves = self._sketch.leaves
        if not leaves:
            self._warn()
        return leaves

    def _warn(self) -> None:
        """Tell once that nothing can be sketched, and why that may be."""
        if not self._warned:
            self._warned = True
            rank_zero_warn(
                "A sketch should find shared linear layers or convolutions whose weights have more"
                f" than {self._rows} numbers for each output. Found none outside of compiled"
                " modules, which call no hooks, so that all gradients are exact, at the price of"
                ' `gradients="shared"`. Leave the trunk uncompiled, take fewer `sketch_rows`, or'
                ' use `gradients="shared"`.'
            )

    def inputs(self, micro_batch: MicroBatch) -> tuple[Sequence[Tensor], list[str]]:
        """What to differentiate with respect to, and what averages of that belong to.

        Called after the forward pass, with the micro-batch that it has given.
        """
        partition, sketch = micro_batch.partition, self._sketch
        # A graph that has shown more parameters to be shared has no sketch of these.
        if sketch is None or [*map(id, self._shared)] != [*map(id, partition.shared)]:
            return partition.shared, partition.identity(partition.shared)
        sketch.settle(micro_batch.roots, micro_batch.reach.owners)
        _agree(sketch, partition.shared)
        return sketch.inputs, sketch.identity()

    def pause(self) -> None:
        """Compute no more gradients of the leaves. Called before the pass that trains."""
        if self._sketch is not None:
            self._sketch.pause()

    def release(self) -> None:
        """Leave the layers as they were. Called after the last backward pass."""
        sketch, self._sketch = self._sketch, None
        if sketch is not None:
            sketch.remove()


def _agree(sketch: Sketch, shared: Sequence[Tensor]) -> None:
    """Sketch only what all ranks sketch; with several ranks, that waits for the device."""
    if world_size() == 1:
        return
    here = set(sketch.exact)
    flags = torch.tensor([float(parameter in here) for parameter in shared])
    anywhere = max_over_ranks(flags.to(shared[0].device)).tolist()
    sketch.keep_exact([p for p, flag in zip(shared, anywhere, strict=True) if flag])
