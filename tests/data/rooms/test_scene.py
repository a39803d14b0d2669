"""Cameras and scenes."""

import numpy as np
import pytest

from lightning_mtl.data.rooms.scene import Camera, Scene
from lightning_mtl.data.rooms.scene_sampling import sample_scene

SIZE = (30, 40)


@pytest.fixture
def sampled() -> tuple[Scene, Camera]:
    return sample_scene(np.random.default_rng(3), SIZE, (4, 6))


def test_the_intrinsics_take_each_ray_to_its_pixel(sampled):
    camera = sampled[1]
    pixels = camera.intrinsics(SIZE) @ camera.rays(SIZE)
    rows, columns = np.indices(SIZE).reshape(2, -1)
    np.testing.assert_allclose(pixels, [columns, rows, np.ones(rows.size)], atol=1e-5)


def test_the_optical_axis_meets_the_middle_of_the_image(sampled):
    rays = sampled[1].rays((5, 7)).reshape(3, 5, 7)
    assert rays[:, 2, 3].tolist() == [0, 0, 1]


def test_the_camera_sits_at_its_own_origin_and_its_axes_are_orthonormal(sampled):
    camera = sampled[1]
    np.testing.assert_array_equal(camera.to_camera(camera.position), 0)
    np.testing.assert_allclose(camera.rotation @ camera.rotation.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(camera.rotation) == pytest.approx(1)


def test_mirroring_twice_changes_nothing(sampled):
    for thing in sampled:
        for name, value in vars(thing.mirrored().mirrored()).items():
            np.testing.assert_array_equal(value, getattr(thing, name))


def test_box_axes_stay_right_handed_in_the_mirror(sampled):
    np.testing.assert_allclose(np.linalg.det(sampled[0].mirrored().box_axes), 1)


def test_the_first_four_corners_of_a_box_are_the_upper_ones(sampled):
    scene = sampled[0]
    assert scene.num_boxes > 0
    height = scene.box_corners()[..., 1] - scene.box_centers[1:, None, 1]
    assert (height[:, :4] < 0).all()
    assert (height[:, 4:] > 0).all()


def test_corners_lie_at_the_half_diagonal_from_the_centre(sampled):
    scene = sampled[0]
    distance = np.linalg.norm(scene.box_corners() - scene.box_centers[1:, None], axis=-1)
    diagonal = np.linalg.norm(scene.box_halves[1:], axis=-1)
    np.testing.assert_allclose(distance, np.repeat(diagonal[:, None], 8, axis=1))
