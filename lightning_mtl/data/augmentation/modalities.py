"""How each entry of a sample behaves when the view changes, and what marks it as invalid.

`MODALITIES` is the one place that says so: transforms and `collate` look it up, and neither knows a
name. A data set with further entries extends it, ``{**MODALITIES, "roughness": Labels()}``, and
gives that as `modalities` to its transforms and to its data module, or to `collate`.
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
    """One entry of a sample.

    Attributes:
        invalid: The value of an element without information; `None` if the entry cannot express it.
        stacked: Whether a batch holds one tensor; otherwise a list, for shapes that differ.
    """

    invalid: float | None = None
    stacked: bool = True

    @abstractmethod
    def seen(self, value: Tensor, view: View) -> Tensor:
        """The entry after the change of the view."""


class Picture(Modality):
    """Intensities `(C, H, W)`: interpolated, black where uncovered."""

    def seen(self, value: Float[Tensor, "C H W"], view: View) -> Float[Tensor, "C H2 W2"]:
        """The warped picture."""
        return view.warp(value, True, 0.0)


@dataclass(frozen=True, kw_only=True)
class Labels(Modality):
    """Class indices or flags `(..., H, W)`: never mixed, `invalid` where uncovered."""

    invalid: float = 255

    def seen(self, value: Shaped[Tensor, "*C H W"], view: View) -> Shaped[Tensor, "*C H2 W2"]:
        """The warped labels, with the dtype kept."""
        channels = value.reshape(-1, *value.shape[-2:]).to(torch.float32)
        warped = view.warp(channels, False, self.invalid)
        return warped.reshape(*value.shape[:-2], *warped.shape[-2:]).to(value.dtype)


@dataclass(frozen=True, kw_only=True)
class Distance(Modality):
    """Values `(C, H, W)` that go with the `power` of the z-depth: never mixed, 0 = invalid."""

    invalid: float = 0
    power: int = 1

    def seen(self, value: Float[Tensor, "C H W"], view: View) -> Float[Tensor, "C H2 W2"]:
        """The values, scaled before any invalid value is filled in, and warped."""
        return view.warp(value * view.points[2, 2] ** self.power, False, self.invalid)


@dataclass(frozen=True, kw_only=True)
class Directions(Modality):
    """Unit camera vectors `(3, H, W)`: interpolated over valid pixels, zero = invalid."""

    invalid: float = 0

    def seen(self, value: Float[Tensor, "3 H W"], view: View) -> Float[Tensor, "3 H2 W2"]:
        """The warped unit vectors.

        An invalid pixel adds the zero vector, so it bends no neighbour; a pixel that is invalid by
        more than half stays so.
        """
        valid = (value != 0).any(0, keepdim=True).to(value)
        moved = torch.einsum("ij,jhw->ihw", view.directions.to(value), value)
        warped = view.warp(torch.cat([unit(moved), valid]), True, 0.0)
        return torch.where(warped[3:] >= 0.5, unit(warped[:3]), 0)


class CameraMatrix(Modality):
    """Intrinsics K `(3, 3)`: K' = A K M⁻¹ projects the moved points to the moved pixels."""

    def seen(self, value: Float[Tensor, "3 3"], view: View) -> Float[Tensor, "3 3"]:
        """The camera matrix of the new view."""
        moved = view.pixels.to(value) @ value @ torch.linalg.inv(view.points.to(value))
        return moved / moved[2, 2]


class Unplaced(Modality):
    """Facts about the whole image: the same in every view."""

    def seen(self, value: Tensor, view: View) -> Tensor:
        """The entry itself."""
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
    """Every entry of a sample, seen from the new view.

    Raises:
        ValueError: If the sample has an entry that `modalities` does not describe.
    """
    unknown = sample.keys() - modalities.keys()
    if unknown:
        raise ValueError(
            f"Every entry of a sample should be one of {sorted(modalities)}, whose modalities say"
            f" how they move. Found {sorted(unknown)}. Describe it in `modalities`."
        )
    return {name: modalities[name].seen(value, view) for name, value in sample.items()}
