"""All modalities of a frame are one scene, seen from one place."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from lightning_mtl.data.rooms.rendering import CLASSES, KEYPOINTS, RENDERERS, render
from lightning_mtl.data.rooms.scene import Camera, Scene
from lightning_mtl.data.rooms.scene_sampling import sample_scene
from lightning_mtl.data.rooms.shading import visible_surfaces

SIZE = (48, 64)
ALL = tuple(RENDERERS)
SAMPLES = [sample_scene(np.random.default_rng(seed), SIZE, (3, 7)) for seed in range(8)]

every_sample = pytest.mark.parametrize(("scene", "camera"), SAMPLES)


def without(scene: Scene, *kinds: str) -> Scene:
    """The scene without its boxes, its spheres, or both."""
    kind = np.array(["room"] * 6 + ["box"] * scene.num_boxes + ["sphere"] * scene.num_spheres)
    kept = ~np.isin(kind, kinds)
    instances = {name: getattr(scene, name)[kept] for name in ("waves", "patterns", "colours")}
    scene = replace(scene, **instances)
    if "box" in kinds:
        names = ("box_centers", "box_axes", "box_halves")
        scene = replace(scene, **{name: getattr(scene, name)[:1] for name in names})
    if "sphere" in kinds:
        names = ("sphere_centers", "sphere_radii")
        scene = replace(scene, **{name: getattr(scene, name)[:0] for name in names})
    return scene


def placed(center: tuple[float, float, float], radius: float, behind: bool) -> tuple[Scene, Camera]:
    """A room seen level, a ball ahead, and a second one behind it."""
    return Scene(
        box_centers=np.zeros((1, 3)),
        box_axes=np.eye(3)[None],
        box_halves=np.array([[2.0, 1, 5]]),
        sphere_centers=np.array([center, [0.0, 0, 4]])[: 1 + behind],
        sphere_radii=np.array([radius, 0.2])[: 1 + behind],
        waves=np.zeros((8, 2, 4)),
        patterns=np.zeros((8, 5)),
        colours=np.full((8, 2, 3), 0.5),
        light=np.array([0.0, -0.9, 0]),
        lamp=np.ones(3),
        ambient=np.full(3, 0.3),
    ), Camera(np.zeros(3), np.eye(3), 50.0)


def back_projected(camera: Camera, depth: np.ndarray) -> np.ndarray:
    """Points (H, W, 3) in camera coordinates, from the depth and the intrinsics alone."""
    rows, columns = np.indices(depth.shape[1:])
    pixels = np.stack([columns, rows, np.ones_like(rows)], axis=-1)
    return depth[0, ..., None] * (pixels @ np.linalg.inv(camera.intrinsics(depth.shape[1:])).T)


@every_sample
def test_back_projected_planes_are_flat_and_have_the_rendered_normal(scene, camera):
    frame = render(scene, camera, SIZE, ("depth", "normals"))
    points = back_projected(camera, frame["depth"])
    facets = visible_surfaces(scene, camera, SIZE).hits.facet.reshape(SIZE)
    checked = 0
    for facet in np.unique(facets[facets >= 0]):
        here = facets == facet
        normals = frame["normals"][:, here]
        np.testing.assert_array_equal(normals, normals[:, :1].repeat(here.sum(), axis=1))
        offsets = points[here] @ normals[:, 0]
        np.testing.assert_allclose(offsets, offsets[0], atol=2e-5)
        checked += here.sum()
    assert checked > 0.5 * facets.size


@every_sample
def test_finite_differences_of_the_points_give_the_rendered_normals(scene, camera):
    frame = render(scene, camera, SIZE, ("depth", "normals"))
    points = back_projected(camera, frame["depth"])
    facets = visible_surfaces(scene, camera, SIZE).hits.facet.reshape(SIZE)
    middle, right, below = facets[:-1, :-1], facets[:-1, 1:], facets[1:, :-1]
    inside = (middle >= 0) & (middle == right) & (middle == below)
    across = points[:-1, 1:] - points[:-1, :-1]
    along = points[1:, :-1] - points[:-1, :-1]
    # Right cross down points forwards, so the normal towards the camera is down cross right.
    normals = np.cross(along, across)[inside]
    normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
    expected = np.moveaxis(frame["normals"], 0, -1)[:-1, :-1][inside]
    assert inside.mean() > 0.5
    assert np.einsum("pi,pi->p", normals, expected).min() > 0.9999


def test_back_projected_spheres_are_round_and_have_radial_normals():
    checked = 0
    for scene, camera in SAMPLES:
        frame = render(scene, camera, SIZE, ("depth", "normals"))
        points = back_projected(camera, frame["depth"])
        instance = visible_surfaces(scene, camera, SIZE).hits.instance.reshape(SIZE)
        centers = camera.to_camera(scene.sphere_centers)
        for sphere, radius in enumerate(scene.sphere_radii):
            here = instance == 6 + scene.num_boxes + sphere
            offsets = points[here] - centers[sphere]
            np.testing.assert_allclose(np.linalg.norm(offsets, axis=1), radius, atol=2e-5)
            normals = np.moveaxis(frame["normals"], 0, -1)[here]
            np.testing.assert_allclose(normals, offsets / radius, atol=2e-4)
            checked += here.sum()
    assert checked > 100


@every_sample
def test_normals_are_unit_vectors_towards_the_camera(scene, camera):
    normals = render(scene, camera, SIZE, ("normals",))["normals"]
    rays = camera.rays(SIZE).reshape(3, *SIZE)
    np.testing.assert_allclose(np.linalg.norm(normals, axis=0), 1, atol=1e-4)
    assert ((normals * rays).sum(axis=0) < 0).all()


@every_sample
def test_classes_follow_from_the_normals_in_the_world(scene, camera):
    frame = render(scene, camera, SIZE, ("segmentation", "normals"))
    vertical = np.einsum("i,ihw->hw", camera.rotation[1], frame["normals"])
    expected = {"floor": -1, "ceiling": 1, "wall": 0}
    for name, value in expected.items():
        here = frame["segmentation"] == CLASSES.index(name)
        np.testing.assert_allclose(vertical[here], value, atol=1e-6)


def test_every_class_and_no_other_occurs():
    found = [render(*sample, SIZE, ("segmentation",))["segmentation"] for sample in SAMPLES]
    assert set(np.unique(found)) == set(range(len(CLASSES)))


@every_sample
@pytest.mark.parametrize("name", ALL)
def test_the_mirrored_scene_renders_as_the_mirrored_frame(scene, camera, name):
    frame = render(scene, camera, SIZE, (name,))[name]
    mirrored = render(scene.mirrored(), camera.mirrored(), SIZE, (name,))[name]
    flipped = frame[..., ::-1].copy()
    if name == "normals":
        flipped[0] *= -1
    np.testing.assert_allclose(mirrored, flipped, atol=1e-5)


def assert_magnified(close_up: np.ndarray, overview: np.ndarray) -> None:
    """With odd sizes and a zoom of 3, every third pixel of the close-up is one of the overview."""
    np.testing.assert_allclose(close_up[..., 1::3, 1::3], overview[..., 11:22, 15:30], atol=1e-5)


@pytest.mark.parametrize("name", ["image", "segmentation", "depth", "normals"])
def test_zooming_magnifies_the_frame_about_its_centre(name):
    for scene, camera in SAMPLES[:4]:
        overview, close_up = (
            render(scene, view, (33, 45), (name,))[name] for view in (camera, camera.zoomed(3))
        )
        assert_magnified(close_up, overview)


def test_zooming_magnifies_the_blobs_of_keypoints():
    scene, camera = placed((0.1, -0.05, 2), 0.3, False)
    overview, close_up = (
        render(scene, view, (33, 45), ("keypoints",))["keypoints"]
        for view in (camera, camera.zoomed(3))
    )
    assert close_up.max() > 0.9
    assert_magnified(close_up, overview)


@every_sample
def test_edges_are_the_nearer_pixels_along_the_boundaries_of_instances(scene, camera):
    hits = visible_surfaces(scene, camera, SIZE).hits
    instance, depth = hits.instance.reshape(SIZE), hits.distance.reshape(SIZE)
    expected = np.zeros(SIZE)
    for row, column in product(range(SIZE[0]), range(SIZE[1])):
        for i, j in ((row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)):
            if 0 <= i < SIZE[0] and 0 <= j < SIZE[1]:
                differs = instance[i, j] != instance[row, column]
                expected[row, column] += differs and depth[row, column] <= depth[i, j]
    edges = render(scene, camera, SIZE, ("edges",))["edges"]
    np.testing.assert_array_equal(edges, expected > 0)
    assert 0 < edges.mean() < 0.3


def test_objects_cast_shadows_on_the_room_that_leave_the_ambient_light():
    shares = []
    for scene, camera in SAMPLES:
        room = visible_surfaces(scene, camera, SIZE).hits.instance.reshape(SIZE) < 6
        empty, dark = without(scene, "box", "sphere"), replace(scene, lamp=np.zeros(3))
        image, unshadowed, unlit = (
            render(s, camera, SIZE, ("image",))["image"][:, room] for s in (scene, empty, dark)
        )
        shadow = (image != unshadowed).any(axis=0)
        np.testing.assert_allclose(image[:, shadow], unlit[:, shadow], atol=1e-6)
        assert (image <= unshadowed).all()
        shares.append(shadow.mean())
    assert 0.01 < np.mean(shares) < 0.5


@pytest.mark.parametrize("kinds", [("box",), ("sphere",), ("box", "sphere")])
def test_scenes_without_some_kind_of_object_render_the_rest(kinds):
    scene, camera = SAMPLES[0]
    classes = set(np.unique(render(scene, camera, SIZE, ("segmentation",))["segmentation"]))
    assert {3, 4} <= classes
    frame = render(without(scene, *kinds), camera, SIZE, ALL)
    left = classes - {CLASSES.index(kind) for kind in kinds}
    assert left <= set(np.unique(frame["segmentation"])) <= left | {0, 1, 2}
    channels = [any(kind in kinds for kind in name.split()) for name in KEYPOINTS]
    assert not frame["keypoints"][channels].any()


def test_a_keypoint_peaks_where_the_centre_projects_to():
    heatmaps = render(*placed((0.5, -0.25, 2.5), 0.3, False), (41, 61), ("keypoints",))["keypoints"]
    assert heatmaps.shape == (len(KEYPOINTS), 41, 61)
    assert heatmaps[0, 20 - 5, 30 + 10] == 1
    # One standard deviation is 0.02 focal lengths: one pixel here.
    np.testing.assert_allclose(heatmaps[0, 15, 41], np.exp(-0.5), rtol=1e-6)
    assert not heatmaps[1:].any()


def test_a_hidden_keypoint_leaves_no_trace():
    size = (41, 61)
    alone = render(*placed((0, 0, 2), 0.3, False), size, ("keypoints",))["keypoints"]
    behind = render(*placed((0, 0, 2), 0.3, True), size, ("keypoints",))["keypoints"]
    aside = render(*placed((1, 0, 2), 0.3, True), size, ("keypoints",))["keypoints"]
    np.testing.assert_array_equal(behind, alone)
    assert alone[0, 20, 30] == aside[0, 20, 30] == 1


def test_a_keypoint_outside_the_image_leaves_no_trace():
    # The ball reaches into the image, its centre does not.
    frame = render(*placed((1.3, 0, 2), 0.4, False), (41, 61), ("keypoints", "segmentation"))
    assert (frame["segmentation"] == CLASSES.index("sphere")).any()
    assert not frame["keypoints"].any()


def test_a_lone_box_shows_its_seven_visible_corners_and_its_centre():
    ball, _ = placed((0, 0, 2), 0.3, False)
    turn = np.array([[1, 0, -1], [0, np.sqrt(2), 0], [1, 0, 1]]) / np.sqrt(2)
    scene = replace(
        ball,
        box_centers=np.array([[0.0, 0, 0], [0, 0.5, 3]]),
        box_axes=np.stack([np.eye(3), turn]),
        box_halves=np.array([[2.0, 1, 5], [0.4, 0.4, 0.4]]),
        sphere_centers=np.zeros((0, 3)),
        sphere_radii=np.zeros(0),
    )
    camera = Camera(np.zeros(3), np.eye(3), 200.0)
    heatmaps = render(scene, camera, (151, 151), ("keypoints",))["keypoints"]
    inner = heatmaps[:, 1:-1, 1:-1]
    peaks = np.ones_like(inner, dtype=bool)
    for rows, columns in product((0, 1, 2), repeat=2):
        if (rows, columns) != (1, 1):
            peaks &= inner > heatmaps[:, rows : rows + 149, columns : columns + 149]
    assert peaks.sum(axis=(1, 2)).tolist() == [0, 1, 4, 3]


@every_sample
def test_images_are_float32_in_the_unit_range_and_not_flat(scene, camera):
    image = render(scene, camera, SIZE, ("image",))["image"]
    assert image.dtype == np.float32
    assert image.min() >= 0
    assert image.max() <= 1
    assert image.std() > 0.03


def test_only_what_is_asked_for_is_rendered():
    assert render(*SAMPLES[0], SIZE, ("depth",)).keys() == {"depth"}
