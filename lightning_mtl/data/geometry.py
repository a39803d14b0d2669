"""Pinhole geometry of depth maps: camera points and surface normals.

Camera coordinates: x to the right, y down, z forward, in metres. The centre of the pixel in row v and
column u lies at (u, v), so an undistorted camera that looks along its axis has c_x = (W - 1) / 2.
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F


def backproject(
    depth: Float[Tensor, "1 H W"], intrinsics: Float[Tensor, "3 3"]
) -> Float[Tensor, "3 H W"]:
    """Camera points X = z K⁻¹ (u, v, 1)ᵀ of a depth map, in its unit.

    Args:
        depth: z-depth; 0 = invalid, which gives the point (0, 0, 0).
        intrinsics: Camera matrix K in pixels.
    """
    pixels = _homogeneous_pixels(depth)
    rays = torch.linalg.solve(intrinsics.to(depth), pixels.flatten(1)).reshape(pixels.shape)
    return depth * rays


def normals_from_depth(
    depth: Float[Tensor, "1 H W"],
    intrinsics: Float[Tensor, "3 3"],
    window: int = 7,
    max_jump: float = 0.03,
    min_share: float = 0.4,
) -> Float[Tensor, "3 H W"]:
    """Unit surface normals by a local least-squares plane, facing the camera.

    A plane nᵀX = d seen by a pinhole is an affine function of the pixel, 1/z = mᵀ(u, v, 1) with m = K⁻ᵀn/d.
    So m is fitted to the inverse depths in a window, and n = -Kᵀm / ‖Kᵀm‖. The noise of a structured-light or
    stereo camera is uniform in 1/z, which makes plain least squares the right fit there.

    Args:
        depth: z-depth; 0 = invalid.
        intrinsics: Camera matrix K in pixels.
        window: Side of the square window in pixels, odd.
        max_jump: Only neighbours whose depth differs from the centre's by at most this share of it count,
            so that the plane does not bridge an occlusion.
        min_share: Least share of the window that must count.

    Returns:
        Normals; the zero vector where the centre is invalid, too few neighbours count, or they lie on a line.

    Raises:
        ValueError: If `window` is even or below 3.
    """
    if window < 3 or window % 2 == 0:
        raise ValueError(f"`window` must be an odd number of at least 3. Found {window}.")
    inverse = torch.where(depth > 0, 1 / depth.clamp_min(torch.finfo(depth.dtype).tiny), 0)
    basis = _window_basis(window, like=depth)
    slopes, fits = _fit_planes(inverse, basis, max_jump, min_share * window**2)
    u, v, one = _homogeneous_pixels(depth)
    offset = inverse[0] + slopes[2] - slopes[0] * u - slopes[1] * v
    plane = torch.stack([slopes[0], slopes[1], offset * one])
    normals = -F.normalize(torch.einsum("ij,ihw->jhw", intrinsics.to(depth), plane), dim=0)
    return torch.where(fits, normals, 0)


def _homogeneous_pixels(depth: Float[Tensor, "1 H W"]) -> Float[Tensor, "3 H W"]:
    """(u, v, 1) at every pixel."""
    _, height, width = depth.shape
    v, u = torch.meshgrid(
        torch.arange(height).to(depth), torch.arange(width).to(depth), indexing="ij"
    )
    return torch.stack([u, v, torch.ones_like(u)])


def _window_basis(window: int, like: Tensor) -> Float[Tensor, "3 M"]:
    """(du, dv, 1) at each of the M = window² neighbours, row by row."""
    steps = torch.arange(window).to(like) - window // 2
    dv, du = torch.meshgrid(steps, steps, indexing="ij")
    return torch.stack([du.flatten(), dv.flatten(), torch.ones_like(du).flatten()])


def _fit_planes(
    inverse: Float[Tensor, "1 H W"],
    basis: Float[Tensor, "3 M"],
    max_jump: float,
    min_count: float,
) -> tuple[Float[Tensor, "3 H W"], Float[Tensor, "H W"]]:
    """Least-squares (a, b, c) of 1/z_neighbour - 1/z = a du + b dv + c, and where the fit is determined.

    |z_i - z| <= t z is the same as |q - q_i| <= t q_i for inverse depths, which needs no division.
    """
    height, width = inverse.shape[-2:]
    window = round(basis.shape[1] ** 0.5)
    neighbours = F.unfold(inverse[None], window, padding=window // 2)[0]
    jumps = neighbours - inverse.reshape(1, -1)
    counts = ((jumps.abs() <= max_jump * neighbours) & (neighbours > 0)).to(inverse)

    products = (basis[:, None] * basis[None]).flatten(0, 1)
    matrix = (products @ counts).T.reshape(-1, 3, 3)
    vector = (basis @ (counts * jumps)).T
    fits = (counts.sum(0) >= min_count) & (inverse.flatten() > 0)
    fits = fits & (torch.linalg.det(matrix) > 1)
    identity = torch.eye(3).to(inverse)
    slopes = torch.linalg.solve(torch.where(fits[:, None, None], matrix, identity), vector)
    return slopes.T.reshape(3, height, width), fits.reshape(height, width)
