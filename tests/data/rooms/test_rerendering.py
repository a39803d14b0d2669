"""Transforming a frame equals rendering the transformed scene."""

import numpy as np
import pytest
import torch
from torch import Tensor

from lightning_mtl.data.augmentation.transforms import RandomHorizontalFlip, RandomZoom
from lightning_mtl.data.rooms.rendering import render
from lightning_mtl.data.rooms.scene import Camera, Scene
from lightning_mtl.data.rooms.scene_sampling import sample_scene

SIZE = (48, 63)
NAMES = ("image", "segmentation", "depth", "normals")
SAMPLES = [sample_scene(np.random.default_rng(seed), SIZE, (3, 7)) for seed in range(6)]
every_sample = pytest.mark.parametrize(("scene", "camera"), SAMPLES)


def frame(scene: Scene, camera: Camera) -> dict[str, Tensor]:
    return {k: torch.from_numpy(v) for k, v in render(scene, camera, SIZE, NAMES).items()}


@every_sample
def test_a_flipped_frame_is_the_frame_of_the_mirrored_scene(scene: Scene, camera: Camera) -> None:
    flipped = RandomHorizontalFlip(1.0)(frame(scene, camera))
    mirrored = frame(scene.mirrored(), camera.mirrored())
    for name in NAMES:
        torch.testing.assert_close(flipped[name], mirrored[name], atol=2e-5, rtol=1e-5)


@every_sample
def test_a_zoomed_frame_is_the_frame_of_a_longer_lens(scene: Scene, camera: Camera) -> None:
    """The zoom keeps the camera and divides depth by s instead: the same picture, nearer.

    Magnified three times, the middle one of three pixels looks along the ray of the one that it
    came from: there the frames must agree exactly.
    """
    zoomed = centred(RandomZoom((3.0, 3.0)), frame(scene, camera))
    expected = frame(scene, camera.zoomed(3))
    middle = (..., slice(1, None, 3), slice(1, None, 3))
    torch.testing.assert_close(zoomed["depth"][middle] * 3, expected["depth"][middle])
    assert torch.equal(zoomed["segmentation"][middle], expected["segmentation"][middle])
    torch.testing.assert_close(
        zoomed["normals"][middle], expected["normals"][middle], atol=1e-5, rtol=0
    )


@every_sample
def test_tilted_normals_are_those_of_the_nearer_points(scene: Scene, camera: Camera) -> None:
    """Z -> Z / s tilts a plane's normal to (n_x, n_y, s n_z), as its back-projected points say."""
    zoom = RandomZoom((3.0, 3.0), tilt_normals=True)
    zoomed = centred(zoom, frame(scene, camera))
    normals = centred(RandomZoom((3.0, 3.0)), frame(scene, camera))["normals"]
    tilted = normals * torch.tensor([1.0, 1.0, 3.0])[:, None, None]
    tilted = tilted / tilted.square().sum(0, keepdim=True).sqrt()
    inside = flat(normals)
    torch.testing.assert_close(zoomed["normals"][:, inside], tilted[:, inside], atol=1e-5, rtol=0)


def centred(zoom: RandomZoom, sample: dict[str, Tensor]) -> dict[str, Tensor]:
    """The zoom about the middle of the frame."""
    draws = iter([torch.tensor(0.0), torch.tensor(0.5), torch.tensor(0.5)])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "lightning_mtl.data.augmentation.transforms._uniform",
            lambda low, high: float(low + (high - low) * float(next(draws))),
        )
        return zoom(sample)


def flat(normals: Tensor) -> Tensor:
    """Pixels whose 5x5 neighbourhood has one normal."""
    most = torch.nn.functional.max_pool2d(normals[None], 5, 1, 2)
    least = -torch.nn.functional.max_pool2d(-normals[None], 5, 1, 2)
    return ((most - least) < 1e-4).all(1)[0]
