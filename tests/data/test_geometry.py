import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from lightning_mtl.data.geometry import backproject, normals_from_depth, unit

INTRINSICS = torch.tensor([[60.0, 0.0, 31.5], [0.0, 55.0, 23.5], [0.0, 0.0, 1.0]])
SIZE = (48, 64)
PLANES = [(0.0, 0.0, -1.0), (0.0, -1.0, -1.0), (0.7, 0.2, -1.0), (-0.5, 0.8, -1.2)]


def rays() -> Tensor:
    return backproject(torch.ones(1, *SIZE), INTRINSICS)


def plane(normal: Tensor, distance: float = 2.0) -> Tensor:
    """Depth of the plane n·X = -distance."""
    return (-distance / torch.einsum("c,chw->hw", normal, rays()))[None]


def angles(normals: Tensor, expected: Tensor) -> Tensor:
    expected = expected.expand_as(normals)
    return torch.rad2deg(
        2 * torch.atan2((normals - expected).norm(dim=0), (normals + expected).norm(dim=0))
    )


def test_backprojected_points_project_to_their_pixels():
    depth = torch.rand(1, *SIZE) + 0.5
    points = backproject(depth, INTRINSICS)
    projected = torch.einsum("ij,jhw->ihw", INTRINSICS, points) / points[2]
    assert torch.equal(points[2:], depth)
    assert torch.allclose(projected[0], torch.arange(64.0).expand(SIZE), atol=1e-4)
    assert torch.allclose(projected[1], torch.arange(48.0)[:, None].expand(SIZE), atol=1e-4)


def test_an_invalid_depth_is_the_origin():
    assert not backproject(torch.zeros(1, *SIZE), INTRINSICS).any()


@pytest.mark.parametrize("direction", PLANES)
def test_normals_of_a_plane_are_exact_up_to_the_border(direction):
    normal = F.normalize(torch.tensor(direction), dim=0)
    found = normals_from_depth(plane(normal), INTRINSICS, max_jump=0.2)
    inside = found[:, 2:-2, 2:-2]
    assert inside.any(0).all()
    valid = found.any(0)
    assert angles(found, normal[:, None, None])[valid].max() < 0.05


def test_normals_are_exact_for_a_camera_with_shear():
    intrinsics = INTRINSICS + torch.tensor([[0.0, 7.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    normal = F.normalize(torch.tensor([0.3, -0.4, -1.0]), dim=0)
    directions = backproject(torch.ones(1, *SIZE), intrinsics)
    depth = (-2 / torch.einsum("c,chw->hw", normal, directions))[None]
    found = normals_from_depth(depth, intrinsics)
    assert angles(found, normal[:, None, None])[2:-2, 2:-2].max() < 0.05


def test_normals_of_a_sphere_point_from_its_centre():
    centre, radius = torch.tensor([0.1, -0.1, 3.0]), 1.0
    directions = rays()
    a = directions.square().sum(0)
    b = torch.einsum("c,chw->hw", centre, directions)
    discriminant = b.square() - a * (centre.square().sum() - radius**2)
    depth = torch.where(discriminant > 0, (b - discriminant.clamp_min(0).sqrt()) / a, 0)[None]
    expected = (backproject(depth, INTRINSICS) - centre[:, None, None]) / radius
    found = normals_from_depth(depth, INTRINSICS, window=5, max_jump=0.1)
    # Nearer to the outline, a window of 5 pixels sees too much of the curve.
    central = (depth[0] > 0) & (expected[2] < -0.85)
    assert central.sum() > 400
    assert angles(found, expected)[central].max() < 3
    assert angles(found, expected)[central].mean() < 1


def test_normals_agree_with_a_least_squares_fit_pixel_by_pixel():
    depth = 1 + 0.02 * torch.rand(1, 12, 14)
    depth[torch.rand(1, 12, 14) < 0.3] = 0
    found = normals_from_depth(depth, INTRINSICS, window=5, max_jump=0.01, min_share=0.3)
    assert torch.allclose(found, literal_normals(depth[0], 2, 0.01, 0.3), atol=2e-4)
    assert 20 < found.any(0).sum() < 160


def literal_normals(depth: Tensor, reach: int, max_jump: float, min_share: float) -> Tensor:
    normals = torch.zeros(3, *depth.shape)
    height, width = depth.shape
    for v in range(height):
        for u in range(width):
            near = [
                (j, i)
                for j in range(max(0, v - reach), min(height, v + reach + 1))
                for i in range(max(0, u - reach), min(width, u + reach + 1))
                if depth[j, i] > 0 and abs(depth[j, i] - depth[v, u]) <= max_jump * depth[v, u]
            ]
            if depth[v, u] == 0 or len(near) < min_share * (2 * reach + 1) ** 2:
                continue
            pixels = torch.tensor([[i, j, 1.0] for j, i in near], dtype=torch.float64)
            inverse = torch.tensor([[1 / depth[j, i]] for j, i in near], dtype=torch.float64)
            fit = torch.linalg.lstsq(pixels, inverse).solution[:, 0].float()
            normals[:, v, u] = -F.normalize(INTRINSICS.T @ fit, dim=0)
    return normals


def test_normals_face_the_camera():
    depth = 1 + 0.05 * torch.rand(1, *SIZE)
    found = normals_from_depth(depth, INTRINSICS, max_jump=1)
    assert ((found * rays()).sum(0) < 0).all()


def test_a_plane_does_not_bridge_an_occlusion():
    near, far = (
        F.normalize(torch.tensor(direction), dim=0)
        for direction in ((0.2, 0.0, -1.0), (-0.2, 0.3, -1.0))
    )
    depth = plane(far, distance=3.0)
    depth[:, :, 32:] = plane(near, distance=1.0)[:, :, 32:]
    found = normals_from_depth(depth, INTRINSICS, max_jump=0.1)
    assert angles(found[:, 3:-3, 3:32], far[:, None, None]).max() < 0.05
    assert angles(found[:, 3:-3, 32:-3], near[:, None, None]).max() < 0.05


def test_pixels_without_depth_or_support_have_no_normal():
    depth = torch.full((1, *SIZE), 2.0)
    depth[:, 10] = 0
    depth[:, :, 20:] = 0
    depth[:, 30, 40] = 2
    found = normals_from_depth(depth, INTRINSICS, max_jump=1.0)
    assert not found[:, 10].any()
    assert not found[:, 30, 40].any()
    assert found[:, 11:, :19].any(0).all()


def test_pixels_on_a_line_have_no_normal():
    depth = torch.zeros(1, *SIZE)
    depth[:, :, 20] = 2
    assert not normals_from_depth(depth, INTRINSICS, min_share=0.0).any()


def test_a_wider_window_averages_the_noise_of_a_structured_light_camera():
    normal = F.normalize(torch.tensor([0.0, -1.0, -1.0]), dim=0)
    noisy = 1 / (1 / plane(normal) + 0.002 * torch.randn(1, *SIZE))
    errors = [
        angles(normals_from_depth(noisy, INTRINSICS, window, 0.3), normal[:, None, None])
        for window in (5, 9)
    ]
    assert errors[1][8:-8, 8:-8].mean() < 0.4 * errors[0][8:-8, 8:-8].mean()


@pytest.mark.parametrize("window", [1, 4])
def test_the_window_has_a_centre_and_neighbours(window):
    with pytest.raises(ValueError, match=f"odd number of at least 3. Found {window}"):
        normals_from_depth(torch.ones(1, 8, 8), INTRINSICS, window=window)


def test_unit_vectors_keep_their_direction_and_zero_stays_zero():
    vectors = torch.randn(3, 4, 5)
    vectors[:, 1, 2] = 0
    lengths = unit(vectors).norm(dim=0)
    assert torch.allclose(unit(vectors) * vectors.norm(dim=0), vectors, atol=1e-6)
    assert lengths[1, 2] == 0
    assert torch.allclose(lengths[lengths > 0], torch.ones(19))
