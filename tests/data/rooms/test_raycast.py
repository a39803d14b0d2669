"""Closed-form ray casting against the definition of what is cast at."""

from dataclasses import replace

import numpy as np
import pytest

from lightning_mtl.data.rooms.raycast import facet_normals, first_objects, first_surfaces
from lightning_mtl.data.rooms.scene import Camera, Scene
from lightning_mtl.data.rooms.scene_sampling import sample_scene

SIZE = (15, 20)
ORIGIN = np.zeros(3)


def cube_and_ball(box_yaw: float = 0.0) -> Scene:
    """A room 4 wide, 2 high and 10 long around the origin; a unit cube and a ball ahead."""
    cos, sin = np.cos(box_yaw), np.sin(box_yaw)
    turn = np.array([[cos, 0, -sin], [0, 1, 0], [sin, 0, cos]])
    return Scene(
        box_centers=np.array([[0.0, 0, 0], [0, 0.5, 3]]),
        box_axes=np.stack([np.eye(3), turn]),
        box_halves=np.array([[2.0, 1, 5], [0.5, 0.5, 0.5]]),
        sphere_centers=np.array([[1.0, 0, 2]]),
        sphere_radii=np.array([0.25]),
        waves=np.zeros((8, 2, 4)),
        patterns=np.zeros((8, 5)),
        colours=np.full((8, 2, 3), 0.5),
        light=np.array([0.0, -0.9, 0]),
        lamp=np.ones(3),
        ambient=np.full(3, 0.3),
    )


def slow_first_surface(scene: Scene, ray: np.ndarray) -> tuple[float, int]:
    """Tries each face of each box as a plane, and each sphere as a quadratic equation."""
    found = []
    for box in range(len(scene.box_centers)):
        for axis in range(3):
            for side in (-1, 1):
                normal = scene.box_axes[box, axis]
                through = scene.box_centers[box] + side * scene.box_halves[box, axis] * normal
                distance = normal @ through / (normal @ ray)
                local = scene.box_axes[box] @ (distance * ray - scene.box_centers[box])
                others = np.delete(np.abs(local) <= scene.box_halves[box] + 1e-9, axis)
                if distance > 0 and others.all():
                    instance = 2 * axis + (side > 0) if box == 0 else 5 + box
                    found.append((distance, int(instance)))
    for sphere, (center, radius) in enumerate(
        zip(scene.sphere_centers, scene.sphere_radii, strict=True)
    ):
        roots = np.roots([ray @ ray, -2 * ray @ center, center @ center - radius**2])
        if np.isreal(roots).all() and roots.min() > 0:
            found.append((roots.min(), 6 + scene.num_boxes + sphere))
    return min(found)


@pytest.mark.parametrize("seed", range(6))
def test_hits_agree_with_trying_every_surface(seed):
    scene, camera = sample_scene(np.random.default_rng(seed), SIZE, (4, 7))
    seen, rays = scene.seen_from(camera), camera.rays(SIZE)
    hits = first_surfaces(seen, ORIGIN, rays)
    slow = [slow_first_surface(seen, ray) for ray in rays.T.astype(np.float64)]
    distance, instance = np.array(slow).T
    np.testing.assert_allclose(hits.distance, distance, rtol=2e-5)
    np.testing.assert_array_equal(hits.instance, instance)


def test_the_facet_hit_is_the_plane_that_the_point_lies_on():
    scene, camera = sample_scene(np.random.default_rng(0), SIZE, (5, 7))
    seen, rays = scene.seen_from(camera), camera.rays(SIZE)
    hits = first_surfaces(seen, ORIGIN, rays)
    flat = hits.facet >= 0
    box, face = np.divmod(hits.facet[flat], 6)
    points = (rays * hits.distance).T[flat]
    local = np.einsum("pij,pj->pi", seen.box_axes[box], points - seen.box_centers[box])
    along = local[np.arange(len(box)), face // 2]
    expected = np.where(face % 2, 1, -1) * seen.box_halves[box, face // 2]
    np.testing.assert_allclose(along, expected, atol=1e-5)


def test_rays_parallel_to_the_walls_meet_what_lies_ahead():
    rays = np.array([[0, 0, 1], [0, 0.125, 1], [0, -1, 0], [1, 0, 2], [-1, 0, 0]], dtype=np.float32)
    hits = first_surfaces(cube_and_ball(), ORIGIN, rays.T)
    ball = 1 - 0.25 / np.sqrt(5)
    np.testing.assert_allclose(hits.distance, [2.5, 2.5, 1, ball, 2], rtol=1e-6)
    assert hits.instance.tolist() == [6, 6, 2, 7, 0]
    assert hits.facet.tolist() == [10, 10, 2, -1, 0]


def test_a_turned_cube_is_met_at_its_edge():
    ray = np.array([[0.0], [0.1], [1]], dtype=np.float32)
    hits = first_surfaces(cube_and_ball(box_yaw=np.pi / 4), ORIGIN, ray)
    np.testing.assert_allclose(hits.distance, 3 - np.sqrt(0.5), rtol=1e-6)


def test_without_the_room_a_ray_may_meet_nothing():
    ray = np.array([[0.0], [-0.5], [1]], dtype=np.float32)
    hits = first_objects(cube_and_ball(), ORIGIN, ray)
    assert np.isinf(hits.distance).all()
    assert hits.instance.tolist() == [-1]
    assert hits.facet.tolist() == [-1]


def test_nothing_behind_the_origin_is_met():
    backwards = -Camera(ORIGIN, np.eye(3), 16.0).rays(SIZE)
    assert (first_objects(cube_and_ball(), ORIGIN, backwards).instance == -1).all()


def test_a_shelf_is_met_from_within_its_bounding_sphere_but_not_behind_the_origin():
    scene = cube_and_ball()
    halves = np.array([[2.0, 1, 5], [0.1, 0.1, 3]])
    shelf = replace(scene, box_halves=halves, box_centers=np.array([[0.0, 0, 0], [0.5, 0, -2.5]]))
    # To the side where most of the shelf lies behind, past its end, and away from it.
    rays = np.array([[1, 0, 0.25], [0.5, 0, 2], [-1, 0, 0]], dtype=np.float32)
    hits = first_objects(shelf, ORIGIN, rays.T)
    np.testing.assert_allclose(hits.distance, [0.4, np.inf, np.inf], rtol=1e-6)
    assert hits.instance.tolist() == [6, -1, -1]


def test_the_length_of_a_ray_only_scales_its_distance():
    rays = Camera(ORIGIN, np.eye(3), 16.0).rays(SIZE)
    once, twice = (first_surfaces(cube_and_ball(0.3), ORIGIN, k * rays) for k in (1, 2))
    np.testing.assert_array_equal(once.instance, twice.instance)
    np.testing.assert_allclose(once.distance, 2 * twice.distance, rtol=1e-5)


def test_an_empty_room_is_all_walls():
    scene = cube_and_ball()
    empty = replace(
        scene,
        box_centers=scene.box_centers[:1],
        box_axes=scene.box_axes[:1],
        box_halves=scene.box_halves[:1],
        sphere_centers=scene.sphere_centers[:0],
        sphere_radii=scene.sphere_radii[:0],
    )
    hits = first_surfaces(empty, ORIGIN, Camera(ORIGIN, np.eye(3), 16.0).rays(SIZE))
    assert (hits.facet == hits.instance).all()
    assert set(hits.instance) == {0, 1, 2, 3, 5}


def test_facets_of_the_room_face_inwards_and_those_of_boxes_outwards():
    normals = facet_normals(cube_and_ball())
    assert normals[:6].tolist() == [
        [1, 0, 0],
        [-1, 0, 0],
        [0, 1, 0],
        [0, -1, 0],
        [0, 0, 1],
        [0, 0, -1],
    ]
    np.testing.assert_array_equal(normals[6:], -normals[:6])
