"""Random rooms are furnished as promised."""

from itertools import combinations

import numpy as np
import pytest

from lightning_mtl.data.rooms.scene import Scene
from lightning_mtl.data.rooms.scene_sampling import sample_scene

SIZE = (24, 32)
SCENES = [sample_scene(np.random.default_rng(seed), SIZE, (3, 7)) for seed in range(150)]


def objects(scene: Scene) -> tuple[np.ndarray, np.ndarray]:
    """Centres on the floor, and the radii of circles around the objects."""
    boxes = np.hypot(*scene.box_halves[1:, ::2].T)
    centers = np.concatenate([scene.box_centers[1:], scene.sphere_centers])[:, ::2]
    return centers, np.concatenate([boxes, scene.sphere_radii])


def test_the_same_generator_gives_the_same_room():
    scenes = [sample_scene(np.random.default_rng(7), SIZE, (3, 7)) for _ in range(2)]
    for first, second in zip(*scenes, strict=True):
        for name, value in vars(first).items():
            np.testing.assert_array_equal(value, getattr(second, name))


def test_no_object_touches_another():
    for scene, _ in SCENES:
        centers, radii = objects(scene)
        for i, j in combinations(range(len(radii)), 2):
            assert np.hypot(*(centers[i] - centers[j])) > radii[i] + radii[j]


def test_objects_stay_inside_the_room():
    for scene, _ in SCENES:
        points = scene.box_corners().reshape(-1, 3)
        for sign in (-1, 1):
            reach = sign * scene.sphere_radii[:, None]
            points = np.concatenate([points, scene.sphere_centers + reach])
        offset = np.abs(points - scene.box_centers[0])
        assert (offset <= scene.box_halves[0] + 1e-9).all()


def test_the_camera_is_inside_the_room_and_half_a_metre_from_every_object():
    for scene, camera in SCENES:
        assert (np.abs(camera.position - scene.box_centers[0]) < scene.box_halves[0]).all()
        centers, radii = objects(scene)
        assert (np.hypot(*(centers - camera.position[::2]).T) > radii + 0.5).all()


def test_the_lamp_hangs_above_every_object():
    for scene, _ in SCENES:
        assert scene.light[1] > -2 * scene.box_halves[0, 1]
        tops = np.concatenate([scene.box_corners()[..., 1].ravel(), scene.sphere_centers[:, 1]])
        assert (tops > scene.light[1]).all()


@pytest.mark.parametrize("bounds", [(1, 1), (2, 3), (5, 5)])
def test_rooms_hold_one_to_the_largest_number_of_objects(bounds):
    counts = []
    for seed in range(40):
        scene, _ = sample_scene(np.random.default_rng(seed), SIZE, bounds)
        counts.append(scene.num_boxes + scene.num_spheres)
    assert min(counts) >= 1
    assert max(counts) == bounds[1]


def test_boxes_and_spheres_are_both_common():
    boxes = sum(scene.num_boxes for scene, _ in SCENES)
    spheres = sum(scene.num_spheres for scene, _ in SCENES)
    assert 0.25 < spheres / (boxes + spheres) < 0.6


def test_colours_of_instances_do_not_depend_on_their_class():
    colours = np.concatenate([scene.colours.mean(axis=1) for scene, _ in SCENES])
    is_object = np.concatenate([np.arange(len(scene.colours)) >= 6 for scene, _ in SCENES])
    difference = colours[is_object].mean(axis=0) - colours[~is_object].mean(axis=0)
    assert (np.abs(difference) < 0.05).all()


@pytest.mark.parametrize("size", [(1, 1), (1, 64), (64, 1)])
def test_even_the_oddest_picture_gets_a_room(size):
    scene, _ = sample_scene(np.random.default_rng(0), size, (1, 3))
    assert scene.num_boxes + scene.num_spheres >= 1
