"""Adam on one number per task, with the moments in a `TaskState`."""

from jaxtyping import Float
from torch import Tensor

from lightning_mtl.state import TaskState


def adam(
    state: TaskState,
    gradient: Float[Tensor, " k"],
    lr: float,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
) -> Float[Tensor, " k"]:
    """The step of Adam (Kingma & Ba, ICLR 2015, Algorithm 1), to be subtracted.

    Not `torch.optim.Adam`, because the numbers of absent tasks must not move, and because the
    moments then lie in the weighting's own checkpoint. Each task counts its own steps.
    """
    beta1, beta2 = betas
    steps = state.read("adam_steps", gradient) + 1
    mean = beta1 * state.read("adam_mean", gradient) + (1 - beta1) * gradient
    square = beta2 * state.read("adam_square", gradient) + (1 - beta2) * gradient.square()
    state.write("adam_steps", steps)
    state.write("adam_mean", mean)
    state.write("adam_square", square)
    corrected = (square / (1 - beta2**steps)).sqrt()
    return lr * mean / (1 - beta1**steps) / (corrected + eps)
