"""Which of Lightning's strategies leave whole parameters on every rank."""

from typing import Any

SHARDING = ("FSDPStrategy", "DeepSpeedStrategy", "ModelParallelStrategy")


def shards(strategy: Any) -> bool:
    """Whether each rank holds only a part of the parameters, or of their gradients."""
    # By name: `pytorch_lightning` has a class of its own for each.
    return any(base.__name__ in SHARDING for base in type(strategy).__mro__)


def check_whole_parameters(name: str, strategy: Any) -> None:
    """Refuse a strategy under which task gradients cannot be taken.

    Args:
        name: of the callback that takes them.
        strategy: of the Trainer.
    """
    if shards(strategy):
        raise ValueError(
            f"`{name}` should have whole parameters, as it needs the gradient of each task. Found"
            f" `{type(strategy).__name__}`, which shards them. Use a weighting of the losses (the"
            ' README has a table), or a strategy that keeps whole parameters, such as `"ddp"`.'
        )
