"""Augmentation of a whole sample that keeps picture, labels and geometry in agreement.

A random transform draws from torch's generator (which Lightning seeds in every worker), makes a
`View` and moves every entry of the sample by it, as `modalities` declares. Samples may have any
subset of the entries.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import torch
from torch import Tensor
from torchvision.transforms import v2

from lightning_mtl.checks import check_number
from lightning_mtl.data.augmentation.modalities import MODALITIES, Modality, change_view
from lightning_mtl.data.augmentation.views import flip, resize, rotation, zoom

Sample: TypeAlias = dict[str, Tensor]
Transform: TypeAlias = Callable[[Sample], Sample]


class Compose:
    """Applies several transforms, one after the other.

    Args:
        transforms: those to apply, in order.
    """

    def __init__(self, transforms: Sequence[Transform]) -> None:
        self.transforms = transforms

    def __call__(self, sample: Sample) -> Sample:
        """The sample after the last transform."""
        for transform in self.transforms:
            sample = transform(sample)
        return sample


class RandomHorizontalFlip:
    """Mirrors a sample left to right with some probability; n_x becomes -n_x.

    Classes and keypoints that tell left from right are not exchanged.

    Args:
        probability: probability of a flip.
        modalities: how each entry moves.
    """

    def __init__(
        self, probability: float = 0.5, modalities: Mapping[str, Modality] = MODALITIES
    ) -> None:
        check_number("RandomHorizontalFlip", "probability", probability, 0, 1)
        self.probability = probability
        self.modalities = modalities

    def __call__(self, sample: Sample) -> Sample:
        """The sample or its mirror image."""
        if torch.rand(()) >= self.probability:
            return sample
        return change_view(sample, flip(image_size(sample)), self.modalities)


class RandomZoom:
    """Cuts a random window and enlarges it to the size of the image: depth / s, disparity · s.

    Args:
        scales: least and largest zoom s; below 1 the image shrinks and its surroundings become
            invalid.
        tilt_normals: whether to turn the normals as depth / s implies; published code does not.
        modalities: how each entry moves.
    """

    def __init__(
        self,
        scales: tuple[float, float] = (1.0, 1.5),
        tilt_normals: bool = False,
        modalities: Mapping[str, Modality] = MODALITIES,
    ) -> None:
        if not 0 < scales[0] <= scales[1]:
            raise ValueError(f"`scales` should be positive and in order. Found {tuple(scales)}.")
        self.scales = scales
        self.tilt_normals = tilt_normals
        self.modalities = modalities

    def __call__(self, sample: Sample) -> Sample:
        """The sample in a random window; zoom and position are uniform."""
        scale = _uniform(*self.scales)
        place = (_uniform(0, 1), _uniform(0, 1))
        view = zoom(image_size(sample), scale, place, self.tilt_normals)
        return change_view(sample, view, self.modalities)


class RandomRotation:
    """Rotates a sample in the image plane about its centre, by a random angle.

    Args:
        degrees: largest angle in either direction.
        modalities: how each entry moves.
    """

    def __init__(
        self, degrees: float = 10.0, modalities: Mapping[str, Modality] = MODALITIES
    ) -> None:
        check_number("RandomRotation", "degrees", degrees, 0)
        self.degrees = degrees
        self.modalities = modalities

    def __call__(self, sample: Sample) -> Sample:
        """The rotated sample; the angle is uniform."""
        view = rotation(image_size(sample), _uniform(-self.degrees, self.degrees))
        return change_view(sample, view, self.modalities)


class Resize:
    """Resizes a sample to a fixed size.

    Depths and disparities keep their values, in whatever unit the data set has.

    Args:
        size: new height and width.
        modalities: how each entry moves.
    """

    def __init__(
        self, size: tuple[int, int], modalities: Mapping[str, Modality] = MODALITIES
    ) -> None:
        if min(size) < 1:
            raise ValueError(f"`size` should be positive. Found {tuple(size)}.")
        self.size = size
        self.modalities = modalities

    def __call__(self, sample: Sample) -> Sample:
        """The sample at the new size."""
        return change_view(sample, resize(image_size(sample), self.size), self.modalities)


class ColorJitter:
    """Changes brightness, contrast, saturation and hue of the image at random, and no label.

    Args:
        brightness: b; factors are drawn from 1 - b to 1 + b.
        contrast: c; factors are drawn from 1 - c to 1 + c.
        saturation: s; factors are drawn from 1 - s to 1 + s.
        hue: h, at most 0.5; shifts are drawn from -h to h.
    """

    def __init__(
        self,
        brightness: float = 0.2,
        contrast: float = 0.2,
        saturation: float = 0.2,
        hue: float = 0.02,
    ) -> None:
        self._jitter = v2.ColorJitter(brightness, contrast, saturation, hue)

    def __call__(self, sample: Sample) -> Sample:
        """The sample with an image of changed colours."""
        return {**sample, "image": self._jitter(sample["image"])}


def image_size(sample: Sample) -> tuple[int, int]:
    """Height and width of the image of a sample."""
    height, width = sample["image"].shape[-2:]
    return height, width


def _uniform(low: float, high: float) -> float:
    return low + (high - low) * float(torch.rand(()))
