"""Errors that a training step may end with; part of the interface."""

from collections.abc import Sequence


class NonFiniteLossError(ValueError):
    """A task loss was NaN or infinite."""

    def __init__(self, losses: dict[str, float], step: int) -> None:
        found = ", ".join(f"`{task}` = {loss}" for task, loss in losses.items())
        super().__init__(
            f"The task losses of step {step} should be finite. Found {found}. Nothing after this"
            " step can be trusted. Look at the labels and the learning rate; in float16, try"
            " `precision='bf16-mixed'`."
        )


class NegativeLossError(ValueError):
    """A task loss was negative under a weighting that needs positive ones."""

    def __init__(self, weighting: str, losses: dict[str, float], step: int) -> None:
        found = ", ".join(f"`{task}` = {loss}" for task, loss in losses.items())
        super().__init__(
            f"`{weighting}` should have positive losses, as it takes their logarithms or ratios."
            f" Found {found} in step {step}. Add a constant to such a loss, or use a weighting that"
            " takes losses of any sign."
        )


class NonFiniteGradientError(ValueError):
    """A task gradient was NaN or infinite although its loss was finite."""

    def __init__(self, tasks: Sequence[str], step: int) -> None:
        super().__init__(
            f"The task gradients of step {step} should be finite. Found NaN or infinity in those of"
            f" {', '.join(f'`{task}`' for task in tasks) or 'several tasks'}. On a CPU no parameter"
            " has been changed by this step. `Trainer(detect_anomaly=True)` names the operation."
        )


class SparseGradientError(ValueError):
    """A task gradient was sparse where inner products of gradients are needed."""

    def __init__(self, name: str | None, shape: Sequence[int]) -> None:
        parameter = "a parameter" if name is None else f"`{name}`"
        super().__init__(
            "Parameters whose task gradients are compared or combined should have dense gradients."
            f" Found a sparse gradient of {parameter}, of shape {tuple(shape)}. Build the embedding"
            " with `sparse=False`, keep it out of `shared_parameters()`, or use a weighting of the"
            " losses."
        )


class CompiledBackwardError(RuntimeError):
    """A compiled part of the network can't be differentiated more than once."""

    def __init__(self) -> None:
        super().__init__(
            "A compiled network should keep the buffers of its backward pass, which runs once for"
            " each task. Found one that gives them away in the first pass: it was compiled for a"
            " plain run, and came from a cache, perhaps of an earlier process. Set"
            " `torch._inductor.config.force_disable_caches = True` and call"
            " `torch.compiler.reset()`, before anything is compiled. Leave"
            " `torch._functorch.config.donated_buffer` as it is: setting it to False lets code from"
            " the cache run again with buffers that have been overwritten."
        )


class NonFiniteParameterError(ValueError):
    """A parameter was NaN or infinite when a checkpoint was to be written."""

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__(
            f"A checkpoint should hold finite parameters. Found NaN or infinity in {len(names)} of"
            f" them, first in `{names[0]}`; nothing was saved. A gradient must have been infinite"
            " although all losses were finite: `Trainer(detect_anomaly=True)` names the operation."
        )


class NonFiniteBufferError(ValueError):
    """A buffer was NaN, or a running statistic infinite, when a checkpoint was to be written."""

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__(
            "A checkpoint should hold finite buffers. Found NaN, or an infinite running statistic,"
            f" in {len(names)} of them, first in `{names[0]}`; nothing was saved. A forward pass"
            " must have met NaN or infinity, even if its losses were finite: look at the inputs of"
            " the last steps. Register a buffer in which NaN has a meaning with `persistent=False`."
        )
