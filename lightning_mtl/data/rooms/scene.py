"""Rooms and pinhole cameras as plain arrays.

Axes are the camera's everywhere: x right, y down, z forward; the world differs by a rotation and a
shift. Lengths are metres.
"""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

MIRROR = np.array([-1.0, 1.0, 1.0])
ROOM_FACES = 6


@dataclass(frozen=True)
class Camera:
    """A pinhole camera whose principal point is the centre of the image.

    Attributes:
        position: position of the pinhole in the world.
        rotation: rotation from camera to world; its columns are the camera's axes.
        focal: the focal length in pixels.
    """

    position: Float[np.ndarray, "3"]
    rotation: Float[np.ndarray, "3 3"]
    focal: float

    def intrinsics(self, size: tuple[int, int]) -> Float[np.ndarray, "3 3"]:
        """The matrix that takes camera coordinates to pixels of an image of `size` (H, W).

        Integer pixel coordinates are pixel centres, so the principal point is (W-1)/2, (H-1)/2.
        """
        height, width = size
        return np.array(
            [
                [self.focal, 0.0, (width - 1) / 2],
                [0.0, self.focal, (height - 1) / 2],
                [0.0, 0.0, 1.0],
            ]
        )

    def rays(self, size: tuple[int, int]) -> Float[np.ndarray, "3 P"]:
        """The direction through each pixel, in camera coordinates and row by row, with z = 1.

        A multiple t of such a ray lies at z-depth t. Float32.
        """
        height, width = size
        rays = np.ones((3, height, width), dtype=np.float32)
        rays[0] = (np.arange(width) - (width - 1) / 2) / self.focal
        rays[1] = ((np.arange(height) - (height - 1) / 2) / self.focal)[:, None]
        return rays.reshape(3, -1)

    def to_camera(self, points: Float[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n 3"]:
        """Translate points of the world to the coordinates of this camera."""
        return (points - self.position) @ self.rotation

    def mirrored(self) -> "Camera":
        """The camera that sees the mirrored world as the mirror image of what this one sees."""
        rotation = MIRROR[:, None] * self.rotation * MIRROR
        return replace(self, position=MIRROR * self.position, rotation=rotation)

    def zoomed(self, factor: float) -> "Camera":
        """The camera with `factor` times the focal length, which magnifies about the centre."""
        return replace(self, focal=self.focal * factor)


@dataclass(frozen=True)
class Scene:
    """A room with boxes and spheres in it, their textures, and one light.

    Box 0 is the room, seen from the inside. An *instance* is one of the six faces of the room
    (x-, x+, ceiling y-, floor y+, z-, z+), then one of the objects: the boxes, then the spheres.

    A texture is built from two waves through space; `waves[i, w]` holds a wave vector k (cycles per
    metre) and a phase, and the wave at the point p is a function of k . p + phase.

    Attributes:
        box_centers: centres of the room and of the boxes.
        box_axes: the local axes of each box, one per row, in the world's coordinates.
        box_halves: half the edge lengths of each box.
        sphere_centers: centres of the spheres.
        sphere_radii: radii of the spheres.
        waves: two waves for each instance.
        patterns: for each instance, the shares of the waves and of their product, the sharpness,
            and how far the second wave bends the first.
        colours: the two linear RGB albedos in [0, 1] that the texture of an instance mixes.
        light: position of the lamp.
        lamp: linear RGB irradiance of the lamp, at distance zero and normal incidence.
        ambient: linear RGB irradiance that is the same everywhere.
    """

    box_centers: Float[np.ndarray, "1+B 3"]
    box_axes: Float[np.ndarray, "1+B 3 3"]
    box_halves: Float[np.ndarray, "1+B 3"]
    sphere_centers: Float[np.ndarray, "S 3"]
    sphere_radii: Float[np.ndarray, " S"]
    waves: Float[np.ndarray, "6+B+S 2 4"]
    patterns: Float[np.ndarray, "6+B+S 5"]
    colours: Float[np.ndarray, "6+B+S 2 3"]
    light: Float[np.ndarray, "3"]
    lamp: Float[np.ndarray, "3"]
    ambient: Float[np.ndarray, "3"]

    @property
    def num_boxes(self) -> int:
        """The number of boxes, without the room."""
        return len(self.box_centers) - 1

    @property
    def num_spheres(self) -> int:
        """The number of spheres in the room."""
        return len(self.sphere_centers)

    def box_corners(self) -> Float[np.ndarray, "B 8 3"]:
        """The corners of each box other than the room; the first four are the upper ones."""
        signs = np.array([[x, y, z] for y in (-1, 1) for x in (-1, 1) for z in (-1, 1)])
        offsets = signs * self.box_halves[1:, None]
        return self.box_centers[1:, None] + offsets @ self.box_axes[1:]

    def mirrored(self) -> "Scene":
        """The scene reflected in the plane x = 0, textures and light included."""
        order = np.arange(len(self.waves))
        order[:2] = 1, 0
        waves = self.waves * np.append(MIRROR, 1.0)
        return replace(
            self,
            box_centers=self.box_centers * MIRROR,
            box_axes=MIRROR[:, None] * self.box_axes * MIRROR,
            sphere_centers=self.sphere_centers * MIRROR,
            waves=waves[order],
            patterns=self.patterns[order],
            colours=self.colours[order],
            light=self.light * MIRROR,
        )

    def seen_from(self, camera: Camera) -> "Scene":
        """The same scene in the camera's coordinates, so that every ray starts at the origin."""
        wave_vectors = self.waves[..., :3] @ camera.rotation
        phases = self.waves[..., :3] @ camera.position + self.waves[..., 3]
        return replace(
            self,
            box_centers=camera.to_camera(self.box_centers),
            box_axes=self.box_axes @ camera.rotation,
            sphere_centers=camera.to_camera(self.sphere_centers),
            waves=np.concatenate([wave_vectors, phases[..., None]], axis=-1),
            light=camera.to_camera(self.light),
        )
