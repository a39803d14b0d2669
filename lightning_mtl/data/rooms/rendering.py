"""Pictures of a scene: the image and its labels, all from one ray casting."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Float, Int

from lightning_mtl.data.rooms.raycast import first_objects
from lightning_mtl.data.rooms.scene import ROOM_FACES, Camera, Scene
from lightning_mtl.data.rooms.shading import BEFORE, VisibleSurfaces, image, visible_surfaces

CLASSES = ("floor", "ceiling", "wall", "box", "sphere")
ROOM_CLASSES = (2, 2, 1, 0, 2, 2)
KEYPOINTS = ("sphere centre", "box centre", "upper box corner", "lower box corner")
# Of the focal length: a blob covers the same angle at every resolution and zoom.
KEYPOINT_SIGMA = 0.02


def segmentation(surfaces: VisibleSurfaces) -> Int[np.ndarray, "H W"]:
    """The class of each pixel, an index of `CLASSES`."""
    boxes, spheres = surfaces.scene.num_boxes, surfaces.scene.num_spheres
    classes = np.array([*ROOM_CLASSES, *[3] * boxes, *[4] * spheres], dtype=np.int64)
    return classes[surfaces.hits.instance].reshape(surfaces.size)


def depth(surfaces: VisibleSurfaces) -> Float[np.ndarray, "1 H W"]:
    """The depth along the optical axis in metres."""
    return surfaces.hits.distance.reshape(1, *surfaces.size)


def normals(surfaces: VisibleSurfaces) -> Float[np.ndarray, "3 H W"]:
    """Unit normals in camera coordinates, towards the camera."""
    return surfaces.normals.reshape(3, *surfaces.size)


def edges(surfaces: VisibleSurfaces) -> Float[np.ndarray, "H W"]:
    """Boundaries of instances: 1 where a pixel borders on another instance and is the nearer one.

    Neighbours are left, right, above and below, so mirroring commutes. The contour of an object
    lies on the object; the creases of the room count, the edges between faces of a box do not.
    """
    instance, distance = (values.reshape(surfaces.size) for values in surfaces.hits[1::-1])
    edge = np.zeros(surfaces.size, dtype=bool)
    for axis in (0, 1):
        here = (slice(None),) * axis + (slice(None, -1),)
        there = (slice(None),) * axis + (slice(1, None),)
        differ = instance[here] != instance[there]
        edge[here] |= differ & (distance[here] <= distance[there])
        edge[there] |= differ & (distance[there] <= distance[here])
    return edge.astype(np.float32)


def keypoints(surfaces: VisibleSurfaces) -> Float[np.ndarray, "4 H W"]:
    """A heatmap for each of `KEYPOINTS`: the maximum of Gaussians of peak 1 at the visible ones.

    A centre is visible if the ray to it meets its own object first, a corner if nothing lies before
    it; both only inside the image. The standard deviation is `KEYPOINT_SIGMA` focal lengths. No
    channel is a left or a right one, so mirroring does not permute them.
    """
    points, channels, owners = _candidates(surfaces.scene)
    visible = np.flatnonzero(_visible(surfaces, points, channels, owners))
    height, width = surfaces.size
    pixels = points[visible] @ surfaces.camera.intrinsics(surfaces.size).T
    pixels = pixels[:, :2] / pixels[:, 2:]
    sigma = KEYPOINT_SIGMA * surfaces.camera.focal
    across = np.exp(-0.5 * np.square((np.arange(width) - pixels[:, :1]) / sigma))
    along = np.exp(-0.5 * np.square((np.arange(height) - pixels[:, 1:]) / sigma))
    heatmaps = np.zeros((len(KEYPOINTS), height, width), dtype=np.float32)
    for channel, row, column in zip(
        channels[visible], along.astype(np.float32), across.astype(np.float32), strict=True
    ):
        np.maximum(heatmaps[channel], row[:, None] * column, out=heatmaps[channel])
    return heatmaps


def _candidates(
    scene: Scene,
) -> tuple[Float[np.ndarray, "C 3"], Int[np.ndarray, " C"], Int[np.ndarray, " C"]]:
    """All keypoints of a scene, with the channel and the instance of each."""
    boxes, spheres = scene.num_boxes, scene.num_spheres
    box = ROOM_FACES + np.arange(boxes)
    sphere = ROOM_FACES + boxes + np.arange(spheres)
    corners = scene.box_corners().reshape(-1, 3)
    return (
        np.concatenate([scene.sphere_centers, scene.box_centers[1:], corners]),
        np.concatenate(
            [np.full(spheres, 0), np.full(boxes, 1), np.tile(np.repeat([2, 3], 4), boxes)]
        ),
        np.concatenate([sphere, box, np.repeat(box, 8)]),
    )


def _visible(
    surfaces: VisibleSurfaces,
    points: Float[np.ndarray, "C 3"],
    channels: Int[np.ndarray, " C"],
    owners: Int[np.ndarray, " C"],
) -> Bool[np.ndarray, " C"]:
    """Whether keypoints lie in the image and nothing hides them but, for centres, their object."""
    height, width = surfaces.size
    hits = first_objects(surfaces.scene, np.zeros(3), points.T.astype(np.float32))
    free = np.where(channels < 2, hits.instance == owners, hits.distance > BEFORE)
    reach = np.array([width, height]) / (2 * surfaces.camera.focal)
    return free & (np.abs(points[:, :2]) <= reach * points[:, 2:]).all(axis=1)


RENDERERS: dict[str, Callable[[VisibleSurfaces], np.ndarray]] = {
    "image": image,
    "segmentation": segmentation,
    "depth": depth,
    "normals": normals,
    "edges": edges,
    "keypoints": keypoints,
}


def render(
    scene: Scene, camera: Camera, size: tuple[int, int], modalities: tuple[str, ...]
) -> dict[str, np.ndarray]:
    """Render the named modalities of one noise-free picture of size (H, W); a pure function."""
    surfaces = visible_surfaces(scene, camera, size)
    return {name: RENDERERS[name](surfaces) for name in modalities}
