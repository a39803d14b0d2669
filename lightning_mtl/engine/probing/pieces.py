"""What a rank holds of each parameter, by how a strategy spreads parameters over ranks."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor, nn

from lightning_mtl.engine.gradients import real


class Piece(NamedTuple):
    """The part of a parameter that this rank holds.

    Attributes:
        opened: a context that gives the numbers of the part: real, to be changed in place, in the
            parameter's memory but with a version counter of their own, as a graph may be alive.
        local: takes from numbers of `shape` those that belong to the part.
        shape: of the random numbers to draw for it; `None` for the shape of the part.
        stream: which random numbers it draws: parts that draw for themselves differ in it.
        parts: into how many parts the parameter is split. Several ranks may hold the same one.
        copied: the copy of the numbers from which the part is restored; `None` where another rank
            keeps it.
    """

    opened: Callable[[], AbstractContextManager[Tensor]]
    local: Callable[[Tensor], Tensor] = lambda numbers: numbers
    shape: Sequence[int] | None = None
    stream: int = 0
    parts: int = 1
    copied: Callable[[Tensor], Tensor | None] = Tensor.clone


def pieces_of(model: nn.Module, module: nn.Module, names: Sequence[str]) -> list[Piece]:
    """The pieces of these parameters on this rank. Called after `release_gathered`.

    Args:
        model: `module` as the strategy has wrapped it.
        module: the `MultiTaskModule`.
        names: in `module.named_parameters()`.
    """
    units = _flat_units(model)
    parameters = dict(module.named_parameters())
    pieces = []
    for name in names:
        unit = units.get(module.get_submodule(name.rpartition(".")[0]))
        # The outermost unit is gathered from the start of `training_step` to its end.
        if unit is not None and unit is not model:
            _check_released(unit)
        pieces.append(_piece(parameters[name], unit))
    return pieces


def release_gathered(model: nn.Module) -> None:
    """Let go of parameters that FSDP2 has gathered, which would hide a change of their parts."""
    if _is_distributed():
        from torch.distributed.fsdp import FSDPModule

        for part in model.modules():
            if isinstance(part, FSDPModule):
                part.reshard()


def _piece(parameter: Tensor, unit: Any) -> Piece:
    if hasattr(parameter, "ds_id"):
        return _partitioned(parameter)
    if unit is not None and isinstance(parameter, nn.Parameter):
        return _flat(parameter, unit)
    if hasattr(parameter, "placements"):
        return _sharded(parameter)
    return _whole(parameter)


def _whole(parameter: Tensor) -> Piece:
    """Every rank holds all of it: on one device, under DDP and DeepSpeed's stages 1 and 2.

    So it is too in a unit of FSDP1 whose forward pass is running: its parameters are then views of
    a flat parameter that has been gathered.
    """
    return Piece(_always(real(parameter.data)))


def _sharded(parameter: Any) -> Piece:
    """FSDP2 and tensor parallelism: a `DTensor`, of which the local tensor is the part."""
    from torch.distributed.tensor import DTensor, Replicate

    mesh, placements = parameter.device_mesh, parameter.placements

    def local(numbers: Tensor) -> Tensor:
        everywhere = [Replicate()] * mesh.ndim
        whole = DTensor.from_local(numbers, mesh, everywhere, run_check=False)
        return whole.redistribute(placements=placements).to_local()

    numbers = real(parameter.detach().to_local().data)
    sizes = zip(mesh.mesh.shape, placements, strict=True)
    parts = [size for size, placement in sizes if not placement.is_replicate()]
    shape = (*parameter.shape, *numbers.shape[parameter.ndim :])
    return Piece(_always(numbers), local, shape, parts=_product(parts))


def _flat(parameter: Tensor, unit: Any) -> Piece:
    """FSDP1: a run of the parameter's numbers, which may be empty, or all of them.

    Where it lies in the parameter is not public, so that each part draws its own random numbers.
    """
    group = unit.process_group
    whole = unit.sharding_strategy.name == "NO_SHARD"
    index, parts = (0, 1) if whole else (group.rank(), group.size())
    return Piece(_always(real(parameter.data)), stream=index, parts=parts)


def _check_released(unit: Any) -> None:
    """Refuse units of FSDP1 that stay gathered after a forward pass, and would be out of date."""
    strategy = unit.sharding_strategy.name
    if strategy not in ("FULL_SHARD", "HYBRID_SHARD", "NO_SHARD"):
        raise ValueError(
            '`FSDPStrategy(sharding_strategy=)` should be "FULL_SHARD", "HYBRID_SHARD" or'
            f' "NO_SHARD" for probes. Found "{strategy}", which keeps gathered parameters between'
            " two forward passes. Use one of these, or `ModelParallelStrategy`."
        )


def _partitioned(parameter: Any) -> Piece:
    """DeepSpeed's stage 3: gathered for as long as it is changed; the first rank's change counts.

    That rank keeps a copy of the whole parameter, in the host's memory.
    """
    from deepspeed.zero import GatheredParameters

    @contextmanager
    def opened() -> Iterator[Tensor]:
        with GatheredParameters([parameter], modifier_rank=0):
            yield real(parameter.data)

    def copied(numbers: Tensor) -> Tensor | None:
        first = not _is_distributed() or dist.get_rank() == 0
        return numbers.to("cpu", copy=True) if first else None

    return Piece(opened, copied=copied)


def _always(numbers: Tensor) -> Callable[[], AbstractContextManager[Tensor]]:
    """Opens numbers that are there at any time."""
    return lambda: nullcontext(numbers)


def _flat_units(model: nn.Module) -> dict[nn.Module, Any]:
    """For every module the innermost unit of FSDP1 around it, if there is one."""
    if not _is_distributed():
        return {}
    from torch.distributed.fsdp import FullyShardedDataParallel

    units = (part for part in model.modules() if isinstance(part, FullyShardedDataParallel))
    # Outer units come before inner ones.
    return {part: unit for unit in units for part in unit.modules()}


def _is_distributed() -> bool:
    return dist.is_available() and dist.is_initialized()


def _product(sizes: Sequence[int]) -> int:
    return int(torch.Size(sizes).numel())
