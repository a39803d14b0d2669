"""Which parameters the graph of a step reaches."""

from collections.abc import Collection, Sequence

from jaxtyping import Float
from torch import Tensor
from torch.nn import Parameter


class Usage:
    """The trainable parameters that one step's graph reaches, and those that it does not.

    Args:
        every: all parameters, frozen or not, in the order of the module.
        trainable: those of them that are trained.
        leaves: of the graph.

    Attributes:
        used: the trainable parameters among the leaves.
        unused: the others that are trainable, which the step leaves without a gradient.
    """

    def __init__(
        self,
        every: Sequence[Parameter],
        trainable: Sequence[Parameter],
        leaves: Collection[Tensor],
    ) -> None:
        self.used: set[Tensor] = {parameter for parameter in trainable if parameter in leaves}
        self.unused = [parameter for parameter in trainable if parameter not in self.used]
        self._flags = [float(parameter in self.used) for parameter in every]
        self._tensor: Float[Tensor, " parameters"] | None = None

    def on_device(self, like: Tensor) -> Float[Tensor, " parameters"]:
        """Ones for the used parameters, zeros for all others; copied to the device once.

        Args:
            like: a tensor of the device and dtype that it should have.
        """
        if self._tensor is None:
            self._tensor = like.new_tensor(self._flags)
        return self._tensor.to(like)
