"""What is known of a batch before its losses are computed."""

from typing import Any, NamedTuple

import torch

from lightning_mtl.engine.shared_parameters import Partition


class Coming(NamedTuple):
    """A batch whose losses are about to be computed.

    Attributes:
        module: the `MultiTaskModule`.
        batch: on the device.
        partition: of the module's parameters; `None` in the first step of a run that goes on with
            no other.
        alone: whether it makes an optimizer step by itself.
    """

    module: Any
    batch: Any
    partition: Partition | None
    alone: bool

    @property
    def device(self) -> torch.device:
        """The device of the module."""
        return self.module.device
