"""Random furnished rooms, which depend on a generator alone."""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from numpy.random import Generator

from lightning_mtl.data.rooms.scene import ROOM_FACES, Camera, Scene

FOCAL_PER_WIDTH = 0.8
CANDIDATES_PER_OBJECT = 8
CAMERA_CLEARANCE = 0.5
LAMP_CLEARANCE = 0.6


class Furniture(NamedTuple):
    """Objects to place in a room: boxes, and spheres by their bounding boxes.

    Attributes:
        centers: centres in the world.
        halves: half the edge lengths of a box, or three times the radius of a sphere.
        yaws: rotations about the vertical.
        is_sphere: whether each is a sphere.
    """

    centers: Float[np.ndarray, "n 3"]
    halves: Float[np.ndarray, "n 3"]
    yaws: Float[np.ndarray, " n"]
    is_sphere: Bool[np.ndarray, " n"]

    def footprints(self) -> Float[np.ndarray, " n"]:
        """The radius of the circle on the floor that holds an object at any angle."""
        return np.where(self.is_sphere, self.halves[:, 0], np.hypot(*self.halves[:, ::2].T))

    def take(self, which: np.ndarray | list[int]) -> "Furniture":
        """The objects at the given indices or under the given mask."""
        return Furniture(*(column[which] for column in self))


def sample_scene(
    rng: Generator, size: tuple[int, int], num_objects: tuple[int, int]
) -> tuple[Scene, Camera]:
    """Draw a room, and a camera in it with at least one object in its picture.

    The floor is y = 0; the room is symmetric about the origin in x and z. Between
    `num_objects[0]` and `num_objects[1]` objects stand on the floor or hang in the air, apart from
    each other and from the camera; fewer where the room holds no more.

    Args:
        rng: the source of all randomness.
        size: (H, W) of the pictures that the camera will take.
        num_objects: the smallest and the largest number of objects.
    """
    width, height, length = rng.uniform([3.5, 2.4, 4.5], [6.5, 3.2, 8.0])
    room = np.array([width, height, length]) / 2
    camera = _sample_camera(rng, room, size)
    count = int(rng.integers(num_objects[0], num_objects[1], endpoint=True))
    furniture = _sample_furniture(rng, room, camera, size, count)
    return _assemble(rng, room, furniture), camera


def _sample_camera(rng: Generator, room: Float[np.ndarray, "3"], size: tuple[int, int]) -> Camera:
    """Draw a camera at eye level near the back wall that looks forwards and a little down."""
    low = [-0.6 * room[0], -1.9, 0.4 - room[2], -0.6, 0.0, -0.05]
    high = [0.6 * room[0], -1.1, 1.4 - room[2], 0.6, 0.35, 0.05]
    *position, yaw, pitch, roll = rng.uniform(low, high)
    tilt = np.array(
        [[math.cos(roll), -math.sin(roll), 0], [math.sin(roll), math.cos(roll), 0], [0, 0, 1]]
    )
    nod = np.array(
        [[1, 0, 0], [0, math.cos(pitch), math.sin(pitch)], [0, -math.sin(pitch), math.cos(pitch)]]
    )
    return Camera(np.array(position), _turn(yaw) @ nod @ tilt, FOCAL_PER_WIDTH * size[1])


def _turn(yaw: float | Float[np.ndarray, " n"]) -> Float[np.ndarray, "*n 3 3"]:
    """Rotations about the vertical that turn the forward direction to the right."""
    cos, sin, zero = np.cos(yaw), np.sin(yaw), np.zeros_like(yaw)
    rows = [[cos, zero, sin], [zero, zero + 1, zero], [-sin, zero, cos]]
    return np.moveaxis(np.array(rows), (0, 1), (-2, -1))


def _sample_furniture(
    rng: Generator,
    room: Float[np.ndarray, "3"],
    camera: Camera,
    size: tuple[int, int],
    count: int,
) -> Furniture:
    """Draw one to `count` objects inside the room and the picture that do not touch."""
    placed: list[int] = []
    while not placed:
        candidates = _sample_candidates(rng, room, camera, count * CANDIDATES_PER_OBJECT)
        candidates = candidates.take(_fits(candidates, room, camera, size))
        spots = candidates.centers[:, ::2]
        radii = candidates.footprints()
        for new in range(len(radii)):
            distances = np.hypot(*(spots[placed] - spots[new]).T)
            if len(placed) < count and (distances > radii[placed] + radii[new]).all():
                placed.append(new)
    return candidates.take(placed)


def _sample_candidates(
    rng: Generator, room: Float[np.ndarray, "3"], camera: Camera, count: int
) -> Furniture:
    """Draw objects before the camera and clear of it, without any other check."""
    is_sphere = rng.random(count) < 0.4
    halves = rng.uniform(0.12, [0.5, 0.6, 0.5], (count, 3))
    halves = np.where(is_sphere[:, None], np.minimum(halves[:, :1], 0.4), halves)
    forwards = math.atan2(camera.rotation[0, 2], camera.rotation[2, 2])
    bearing = forwards + rng.uniform(-0.7, 0.7, count)
    clear = CAMERA_CLEARANCE + np.hypot(halves[:, 0], halves[:, 2])
    distance = clear + 2 * room[2] * rng.random(count)
    hangs = rng.random(count) < 0.25
    lift = hangs * rng.random(count) * (2 * room[1] - LAMP_CLEARANCE - 2 * halves[:, 1])
    centers = np.stack(
        [
            camera.position[0] + distance * np.sin(bearing),
            -halves[:, 1] - lift,
            camera.position[2] + distance * np.cos(bearing),
        ],
        axis=1,
    )
    return Furniture(centers, halves, rng.uniform(-np.pi, np.pi, count), is_sphere)


def _fits(
    furniture: Furniture, room: Float[np.ndarray, "3"], camera: Camera, size: tuple[int, int]
) -> Bool[np.ndarray, " n"]:
    """Whether objects are inside the room and have their centres in the picture."""
    inside = np.abs(furniture.centers[:, ::2]) + furniture.footprints()[:, None] < room[::2]
    offsets = camera.to_camera(furniture.centers)
    reach = np.array([size[1], size[0]]) / (2 * camera.focal)
    in_picture = np.abs(offsets[:, :2]) < reach * offsets[:, 2:]
    return inside.all(axis=1) & in_picture.all(axis=1)


def _assemble(rng: Generator, room: Float[np.ndarray, "3"], furniture: Furniture) -> Scene:
    """Compose the scene of a room and its furniture, with random textures and light."""
    boxes = furniture.take(~furniture.is_sphere)
    spheres = furniture.take(furniture.is_sphere)
    axes = _turn(boxes.yaws)
    frames = np.concatenate([np.tile(np.eye(3), (ROOM_FACES, 1, 1)), axes, _turn(spheres.yaws)])
    waves, patterns, colours = _sample_textures(rng, frames)
    light = rng.uniform(-0.7, 0.7, 3) * room
    light[1] = 0.25 - 2 * room[1]
    return Scene(
        box_centers=np.concatenate([[[0.0, -room[1], 0.0]], boxes.centers]),
        box_axes=np.concatenate([np.eye(3)[None], axes]),
        box_halves=np.concatenate([room[None], boxes.halves]),
        sphere_centers=spheres.centers,
        sphere_radii=spheres.halves[:, 0],
        waves=waves,
        patterns=patterns,
        colours=colours,
        light=light,
        lamp=rng.uniform(1.0, 1.6) * rng.uniform(0.8, 1.0, 3),
        ambient=rng.uniform(0.25, 0.45) * rng.uniform(0.9, 1.0, 3),
    )


def _sample_textures(
    rng: Generator, frames: Float[np.ndarray, "I 3 3"]
) -> tuple[Float[np.ndarray, "I 2 4"], Float[np.ndarray, "I 5"], Float[np.ndarray, "I 2 3"]]:
    """Draw waves, patterns and colours, alike for all classes so that none gives a class away.

    Half of the textures follow the local axes (tiles, planks), half run in any direction.
    """
    count = len(frames)
    upright = np.array([[1.0, 0.0, 1.0], [0.0, 1.0, 0.0]]) @ frames
    oblique = rng.standard_normal((count, 2, 3))
    oblique /= np.linalg.norm(oblique, axis=2, keepdims=True)
    directions = np.where(rng.random((count, 1, 1)) < 0.5, upright, oblique)
    frequencies = 1 / rng.uniform(0.25, 1.2, (count, 2, 1))
    waves = np.concatenate([frequencies * directions, rng.random((count, 2, 1))], axis=2)

    shares = np.array([[1.0, 0.0, 0.0], [0.5, 0.5, 0.0], [0.0, 0.0, 1.0]])
    sharpness = np.array([1.0, 2.0, 10.0])
    patterns = np.column_stack(
        [
            shares[rng.integers(3, size=count)],
            sharpness[rng.integers(3, size=count)],
            np.maximum(rng.uniform(-0.5, 0.5, count), 0),
        ]
    )
    base, other = rng.uniform(0.08, 0.95, (2, count, 3))
    accent = base + rng.uniform(0.2, 0.8, (count, 1)) * (other - base)
    return waves, patterns, np.stack([base, accent], axis=1)
