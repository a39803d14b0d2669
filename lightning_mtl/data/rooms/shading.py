"""The surfaces that the pixels of a camera see, and their colours."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float, Int

from lightning_mtl.data.rooms.raycast import Hits, facet_normals, first_objects, first_surfaces
from lightning_mtl.data.rooms.scene import ROOM_FACES, Camera, Scene

# A surface that casts a shadow lies clearly before the shaded one; rounding errors do not.
BEFORE = np.float32(1 - 1e-3)


@dataclass(frozen=True)
class VisibleSurfaces:
    """The surfaces that the P pixels of a camera see, in the coordinates of the camera.

    Attributes:
        scene: the scene in the coordinates of the camera.
        camera: the camera.
        size: size (H, W) of the picture, with P = H W.
        hits: the surfaces; the distance of a hit is its z-depth.
        points: the points on the surfaces.
    """

    scene: Scene
    camera: Camera
    size: tuple[int, int]
    hits: Hits
    points: Float[np.ndarray, "3 P"]

    @cached_property
    def normals(self) -> Float[np.ndarray, "3 P"]:
        """The unit normals of the surfaces, towards the camera."""
        table = facet_normals(self.scene).T.astype(np.float32)
        normals = np.take(table, np.maximum(self.hits.facet, 0), axis=1)
        round_ = np.flatnonzero(self.hits.facet < 0)
        sphere = self.hits.instance[round_] - ROOM_FACES - self.scene.num_boxes
        centers = self.scene.sphere_centers.T.astype(np.float32)
        radii = self.scene.sphere_radii.astype(np.float32)
        normals[:, round_] = (self.points[:, round_] - centers[:, sphere]) / radii[sphere]
        return normals


def visible_surfaces(scene: Scene, camera: Camera, size: tuple[int, int]) -> VisibleSurfaces:
    """Cast one ray through the centre of each pixel."""
    local = scene.seen_from(camera)
    rays = camera.rays(size)
    hits = first_surfaces(local, np.zeros(3), rays)
    return VisibleSurfaces(local, camera, size, hits, rays * hits.distance)


def image(surfaces: VisibleSurfaces) -> Float[np.ndarray, "3 H W"]:
    """RGB in [0, 1] without sensor noise: textured Lambertian surfaces under a lamp, with shadows.

    The tone curve is the square root, close to sRGB's.
    """
    scene, points, normals = surfaces.scene, surfaces.points, surfaces.normals
    rays = points - scene.light.astype(np.float32)[:, None]
    squared = np.square(rays).sum(axis=0)
    facing = -(normals * rays).sum(axis=0) / np.sqrt(squared)
    lit = first_objects(scene, scene.light, rays).distance > BEFORE
    strength = np.maximum(facing, 0) * lit / (1 + squared / 10)
    lamp, ambient = (colour.astype(np.float32)[:, None] for colour in (scene.lamp, scene.ambient))
    radiance = texture(scene, surfaces.hits.instance, points) * (ambient + strength * lamp)
    return np.sqrt(np.minimum(radiance, 1)).reshape(3, *surfaces.size)


def texture(
    scene: Scene, instance: Int[np.ndarray, " P"], points: Float[np.ndarray, "3 P"]
) -> Float[np.ndarray, "3 P"]:
    """Linear RGB albedo of points on instances: two triangle waves, bent, mixed and sharpened."""
    waves = np.take(scene.waves.reshape(-1, 8).T.astype(np.float32), instance, axis=1)
    first_share, second_share, product_share, sharpness, bend = np.take(
        scene.patterns.T.astype(np.float32), instance, axis=1
    )
    x, y, z = points
    second = _triangle(waves[4] * x + waves[5] * y + waves[6] * z + waves[7])
    first = _triangle(waves[0] * x + waves[1] * y + waves[2] * z + waves[3] + bend * second)
    mixed = first_share * first + second_share * second + product_share * first * second
    share = 0.5 + 0.5 * np.clip(sharpness * mixed, -1, 1)
    base, accent = np.moveaxis(scene.colours.astype(np.float32), 0, -1)
    return np.take(base, instance, axis=1) + share * np.take(accent - base, instance, axis=1)


def _triangle(phase: Float[np.ndarray, " P"]) -> Float[np.ndarray, " P"]:
    """The triangle wave of period 1 in [-1, 1]; unlike the sine, the same bits on every machine."""
    return 4 * np.abs(phase - np.floor(phase) - np.float32(0.5)) - 1
