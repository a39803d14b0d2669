"""Batches of samples that do not all have a label for every task."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from lightning_mtl.data.augmentation.modalities import MODALITIES, Modality, Unplaced

UNKNOWN = Unplaced()


def collate(
    samples: Sequence[dict[str, Tensor]], modalities: Mapping[str, Modality] = MODALITIES
) -> dict[str, Tensor | list[Tensor]]:
    """Stacks samples to a batch; entries whose modality is not `stacked` become a list.

    An entry that only some samples have is filled with its invalid value for the rest. An entry
    that none has, or that is invalid everywhere, is not in the batch, so that its task is absent
    from the step: a loss of 0 with a gradient of 0 would mislead most weightings.

    Args:
        samples: samples with any subset of the entries.
        modalities: descriptions of the entries; others are stacked and may not be missing.

    Raises:
        ValueError: if shapes or dtypes of an entry differ, or if an entry that has no invalid value
            is missing from some samples.

    >>> labelled = {"image": torch.rand(3, 2, 2), "depth": torch.ones(1, 2, 2)}
    >>> batch = collate([labelled, {"image": torch.rand(3, 2, 2)}])
    >>> batch["depth"].flatten(1)
    tensor([[1., 1., 1., 1.],
            [0., 0., 0., 0.]])
    """
    names = dict.fromkeys(name for sample in samples for name in sample)
    batch = {}
    for name in names:
        modality = modalities.get(name, UNKNOWN)
        entry = _batch(name, [sample.get(name) for sample in samples], modality)
        if not _is_empty(entry, modality.invalid):
            batch[name] = entry
    return batch


def _batch(name: str, values: list[Tensor | None], modality: Modality) -> Tensor | list[Tensor]:
    present = [value for value in values if value is not None]
    first = present[0]
    if not modality.stacked:
        empty = first.new_empty(0, *first.shape[1:])
        return [empty if value is None else value for value in values]
    for value in present:
        if value.shape != first.shape or value.dtype != first.dtype:
            raise ValueError(
                f"`{name}` should be {_describe(first)} in all samples of a batch, as in the first"
                f" one. Found {_describe(value)}. Resize the samples to one size."
            )
    if len(present) == len(values):
        return torch.stack(present)
    filler = torch.full_like(first, _filler(name, modality.invalid, len(present), len(values)))
    return torch.stack([filler if value is None else value for value in values])


def _is_empty(entry: Tensor | list[Tensor], invalid: float | None) -> bool:
    return isinstance(entry, Tensor) and invalid is not None and bool((entry == invalid).all())


def _filler(name: str, invalid: float | None, present: int, samples: int) -> float:
    if invalid is None:
        raise ValueError(
            f"`{name}` should be in all {samples} samples of a batch or in none, because it has no"
            f" invalid value that could stand for a missing one. Found it in {present}. Give it an"
            " invalid value in `modalities`."
        )
    return invalid


def _describe(value: Tensor) -> str:
    return f"{value.dtype} {tuple(value.shape)}"
