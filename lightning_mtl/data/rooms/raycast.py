"""Closed-form ray casting: which surface of a scene each ray meets first, and where."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from lightning_mtl.data.rooms.scene import ROOM_FACES, Scene

# Far below the rounding of any slope that matters; keeps 1 / slope finite where a ray is parallel.
PARALLEL = np.float32(1e-12)


class Hits(NamedTuple):
    """The surfaces that P rays meet first.

    Attributes:
        distance: distance in multiples of the ray; infinite where a ray meets nothing.
        instance: number of the instance, as in `Scene`; -1 where a ray meets nothing.
        facet: 6 * box + face for the faces of boxes, the room being box 0; -1 elsewhere.
    """

    distance: Float[np.ndarray, " P"]
    instance: Int[np.ndarray, " P"]
    facet: Int[np.ndarray, " P"]


def first_objects(
    scene: Scene, origin: Float[np.ndarray, "3"], rays: Float[np.ndarray, "3 P"]
) -> Hits:
    """The boxes and spheres that rays from one point meet first; the room itself is left out.

    Args:
        scene: the scene in the coordinates of the rays.
        origin: the point where all rays start, outside every object.
        rays: the directions of the rays, of any length.
    """
    near = _near_bounding_spheres(scene, origin, rays)
    pairs = np.flatnonzero(near)
    thing, ray = np.divmod(pairs, rays.shape[1])
    boxes = np.searchsorted(thing, scene.num_boxes)
    box_distance, face = _enter_boxes(scene, origin, rays[:, ray[:boxes]], thing[:boxes])
    spheres = thing[boxes:] - scene.num_boxes
    sphere_distance = _enter_spheres(scene, origin, rays[:, ray[boxes:]], spheres)

    distances = np.full(near.shape, np.inf, dtype=np.float32)
    entered = np.concatenate([box_distance, sphere_distance])
    distances.ravel()[pairs] = entered
    distance = distances.min(axis=0, initial=np.inf)
    first = np.flatnonzero((entered == distance[ray]) & (entered < np.inf))

    instance = np.full(rays.shape[1], -1)
    instance[ray[first]] = thing[first] + ROOM_FACES
    facet = np.full(rays.shape[1], -1)
    first = first[: np.searchsorted(first, boxes)]
    facet[ray[first]] = face[first]
    return Hits(distance, instance, facet)


def first_surfaces(
    scene: Scene, origin: Float[np.ndarray, "3"], rays: Float[np.ndarray, "3 P"]
) -> Hits:
    """The objects or faces of the room that rays from a point inside the room meet first."""
    hits = first_objects(scene, origin, rays)
    _, leave, upwards = _slabs(scene, origin, rays, np.zeros(1, dtype=int))
    distance = np.minimum(np.minimum(leave[0], leave[1]), leave[2])
    axis = _axis_of(leave, distance)
    face = 2 * axis + np.take_along_axis(upwards, axis[None], axis=0)[0]
    room = hits.distance >= distance
    return Hits(
        np.minimum(hits.distance, distance),
        np.where(room, face, hits.instance),
        np.where(room, face, hits.facet),
    )


def facet_normals(scene: Scene) -> Float[np.ndarray, "F 3"]:
    """The unit normal of each facet: out of a box, into the room."""
    outwards = np.stack([-scene.box_axes, scene.box_axes], axis=2)
    outwards[0] *= -1
    return outwards.reshape(-1, 3)


def _near_bounding_spheres(
    scene: Scene, origin: Float[np.ndarray, "3"], rays: Float[np.ndarray, "3 P"]
) -> Bool[np.ndarray, "B+S P"]:
    """Whether a ray passes the bounding sphere of an object; cheap, and never wrongly false."""
    offsets = np.concatenate([scene.box_centers[1:], scene.sphere_centers]) - origin
    bounds = np.concatenate([np.square(scene.box_halves[1:]).sum(1), np.square(scene.sphere_radii)])
    gap = np.square(offsets).sum(1) - 1.001 * bounds
    offset, gap = offsets.T.astype(np.float32)[..., None], gap.astype(np.float32)[:, None]
    along = offset[0] * rays[0] + offset[1] * rays[1] + offset[2] * rays[2]
    length = rays[0] * rays[0] + rays[1] * rays[1] + rays[2] * rays[2]
    ahead = (along > 0) | (gap < 0)
    return (along * along >= gap * length) & ahead


def _enter_boxes(
    scene: Scene,
    origin: Float[np.ndarray, "3"],
    rays: Float[np.ndarray, "3 n"],
    box: Int[np.ndarray, " n"],
) -> tuple[Float[np.ndarray, " n"], Int[np.ndarray, " n"]]:
    """Where ray i enters box i (infinite where it does not) and through which facet."""
    enter, leave, upwards = _slabs(scene, origin, rays, box + 1)
    distance = np.maximum(np.maximum(enter[0], enter[1]), enter[2])
    exit_ = np.minimum(np.minimum(leave[0], leave[1]), leave[2])
    hit = (distance > 0) & (distance <= exit_)
    axis = _axis_of(enter, distance)
    face = 2 * axis + 1 - np.take_along_axis(upwards, axis[None], axis=0)[0]
    return np.where(hit, distance, np.float32(np.inf)), 6 * (box + 1) + face


def _slabs(
    scene: Scene,
    origin: Float[np.ndarray, "3"],
    rays: Float[np.ndarray, "3 n"],
    box: Int[np.ndarray, " n"],
) -> tuple[Float[np.ndarray, "3 n"], Float[np.ndarray, "3 n"], Bool[np.ndarray, "3 n"]]:
    """Where ray i crosses the three slabs between opposite faces of box i.

    Returns:
        Where it enters each slab, where it leaves it, and whether it runs along the axis.
    """
    start = np.einsum("bij,bj->bi", scene.box_axes, origin - scene.box_centers)
    axes = scene.box_axes.astype(np.float32)
    start, halves = start.astype(np.float32), scene.box_halves.astype(np.float32)
    enter, leave = np.empty((2, 3, rays.shape[1]), dtype=np.float32)
    upwards = np.empty((3, rays.shape[1]), dtype=bool)
    for i in range(3):
        x, y, z = axes[:, i].T
        slope = x[box] * rays[0] + y[box] * rays[1] + z[box] * rays[2] + PARALLEL
        inverse = 1 / slope
        middle = -start[box, i] * inverse
        reach = halves[box, i] * np.abs(inverse)
        enter[i], leave[i], upwards[i] = middle - reach, middle + reach, slope > 0
    return enter, leave, upwards


def _axis_of(
    distances: Float[np.ndarray, "3 n"], distance: Float[np.ndarray, " n"]
) -> Int[np.ndarray, " n"]:
    """The axis whose distance was chosen, for each ray."""
    return np.where(distances[0] == distance, 0, np.where(distances[1] == distance, 1, 2))


def _enter_spheres(
    scene: Scene,
    origin: Float[np.ndarray, "3"],
    rays: Float[np.ndarray, "3 n"],
    sphere: Int[np.ndarray, " n"],
) -> Float[np.ndarray, " n"]:
    """Where ray i enters sphere i, infinite where it does not.

    With m the point of the ray o + t d that is closest to the centre c,
    t = t_m - sqrt((r^2 - |m - c|^2) / |d|^2); unlike b^2 - 4 a c, this does not cancel far away.
    """
    offset = (scene.sphere_centers - origin).T.astype(np.float32)[:, sphere]
    radius = scene.sphere_radii.astype(np.float32)[sphere]
    length = rays[0] * rays[0] + rays[1] * rays[1] + rays[2] * rays[2]
    middle = (offset[0] * rays[0] + offset[1] * rays[1] + offset[2] * rays[2]) / length
    x, y, z = offset - middle * rays
    squared_chord = radius * radius - (x * x + y * y + z * z)
    distance = middle - np.sqrt(np.maximum(squared_chord, 0) / length)
    hit = (squared_chord > 0) & (distance > 0)
    return np.where(hit, distance, np.float32(np.inf))
