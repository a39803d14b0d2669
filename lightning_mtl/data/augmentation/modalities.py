"""How each entry of a sample behaves when the view changes, and what marks it as invalid.

`MODALITIES` is the only place that names the entries: transforms and `collate` look them up there.
A data set with further entries extends it, ``{**MODALITIES, "roughness": Labels()}``, and gives the
result as `modalities` to its transforms and to its data module, or to `collate`.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from lightning_mtl.data.augmentation.views import View
from lightning_mtl.data.geometry import unit


@dataclass(frozen=True, kw_only=True)
class Modality(ABC):
    """Describes one entry of a sample: how it is transformed, filled and batched.

    Attributes:
        invalid: the value of an element without information; `None` if the entry cannot express it.
        stacked: whether a batch holds one tensor; otherwise a list, for shapes that differ.
    """

    invalid: float | None = None
    stacked: bool = True

    @abstractmethod
    def in_view(self, value: Tensor, view: View) -> Tensor:
        """The entry as the new view shows it; called by `change_view`."""


class Picture(Modality):
    """Intensities `(C, H, W)`: interpolated, black where uncovered."""

    def in_view(self, value: Float[Tensor, "C H W"], view: View) -> Float[Tensor, "C H2 W2"]:
        """The picture, resampled by the view."""
        return view.warp(value, True, 0.0)


@dataclass(frozen=True, kw_only=True)
class Labels(Modality):
    """Class indices or flags `(..., H, W)`: never mixed, `invalid` where uncovered."""

    invalid: float = 255

    def in_view(self, value: Shaped[Tensor, "*C H W"], view: View) -> Shaped[Tensor, "*C H2 W2"]:
        """The labels of the nearest pixels, in the same dtype."""
        channels = value.reshape(-1, *value.shape[-2:]).to(torch.float32)
        warped = view.warp(channels, False, self.invalid)
        return warped.reshape(*value.shape[:-2], *warped.shape[-2:]).to(value.dtype)


@dataclass(frozen=True, kw_only=True)
class Distance(Modality):
    """Values `(C, H, W)` that go with the `power` of the z-depth: never mixed, 0 = invalid."""

    invalid: float = 0
    power: int = 1

    def in_view(self, value: Float[Tensor, "C H W"], view: View) -> Float[Tensor, "C H2 W2"]:
        """The values, first scaled and then resampled, so that filled-in values are not scaled."""
        return view.warp(value * view.points[2, 2] ** self.power, False, self.invalid)


@dataclass(frozen=True, kw_only=True)
class Directions(Modality):
    """Unit camera vectors `(3, H, W)`: interpolated over valid pixels, zero = invalid."""

    invalid: float = 0

    def in_view(self, value: Float[Tensor, "3 H W"], view: View) -> Float[Tensor, "3 H2 W2"]:
        """The vectors, turned, resampled and scaled back to unit length.

        An invalid pixel adds the zero vector to the interpolation, so it bends no neighbour. A
        pixel of the result is valid if at least half of its weight comes from valid pixels.
        """
        valid = (value != 0).any(0, keepdim=True).to(value)
        moved = torch.einsum("ij,jhw->ihw", view.directions.to(value), value)
        warped = view.warp(torch.cat([unit(moved), valid]), True, 0.0)
        return torch.where(warped[3:] >= 0.5, unit(warped[:3]), 0)


class CameraMatrix(Modality):
    """Intrinsics K `(3, 3)`: K' = A K M⁻¹ projects the moved points to the moved pixels."""

    def in_view(self, value: Float[Tensor, "3 3"], view: View) -> Float[Tensor, "3 3"]:
        """The camera matrix of the new view."""
        moved = view.pixels.to(value) @ value @ torch.linalg.inv(view.points.to(value))
        return moved / moved[2, 2]


class Unplaced(Modality):
    """Facts about the whole image: the same in every view."""

    def in_view(self, value: Tensor, view: View) -> Tensor:
        """The entry as it is: no view changes it."""
        return value


MODALITIES: Mapping[str, Modality] = {
    "image": Picture(),
    "segmentation": Labels(),
    "human_parts": Labels(),
    "saliency": Labels(),
    "edges": Labels(),
    "annotators": Labels(stacked=False),
    "depth": Distance(),
    "disparity": Distance(power=-1),
    "normals": Directions(),
    "keypoints": Picture(),
    "attributes": Unplaced(),
    "left": Unplaced(invalid=255),
    "right": Unplaced(invalid=255),
    "intrinsics": CameraMatrix(),
}


def change_view(
    sample: Mapping[str, Tensor], view: View, modalities: Mapping[str, Modality]
) -> dict[str, Tensor]:
    """The sample as the new view shows it, entry by entry.

    Raises:
        ValueError: if the sample has an entry that `modalities` does not describe.
    """
    unknown = sample.keys() - modalities.keys()
    if unknown:
        raise ValueError(
            f"Every entry of a sample should be one of {sorted(modalities)}, whose modalities say"
            f" how they move. Found {sorted(unknown)}. Describe it in `modalities`."
        )
    return {name: modalities[name].in_view(value, view) for name, value in sample.items()}
