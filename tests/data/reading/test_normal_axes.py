import pytest
import torch

from lightning_mtl.data.reading.normal_axes import camera_normals, check_facing

CAMERA = torch.tensor([0.2, -0.6, -0.77])
STORED = {
    "right_down_forward": (0.2, -0.6, -0.77),
    "right_down_back": (0.2, -0.6, 0.77),
    "right_up_back": (0.2, 0.6, 0.77),
    "right_forward_up": (0.2, -0.77, 0.6),
}


@pytest.mark.parametrize("axes", STORED)
def test_a_normal_is_the_same_in_all_axes(axes):
    stored = torch.tensor(STORED[axes])[:, None, None].expand(3, 2, 2)
    normals = camera_normals(stored, axes)
    assert torch.allclose(normals, (CAMERA / CAMERA.norm())[:, None, None].expand(3, 2, 2))
    check_facing(["0"], lambda _: normals, "folder", axes)


def test_remainders_of_zero_are_zero():
    stored = torch.full((3, 1, 2), -1 / 255)
    stored[:, 0, 1] = torch.tensor([0.4, -0.8, 0.2])
    normals = camera_normals(stored, "right_forward_up")
    assert not normals[:, 0, 0].any()
    assert torch.allclose(normals[:, 0, 1].norm(), torch.tensor(1.0))


def test_a_frame_without_normals_is_no_reason_to_complain():
    check_facing(["0"], lambda _: torch.zeros(3, 4, 4), "folder", "right_forward_up")


def test_invalid_pixels_have_no_vote():
    normals = torch.zeros(3, 4, 4)
    normals[2, 0, 0] = -1
    check_facing(["0"], lambda _: normals, "folder", "right_forward_up")
    with pytest.raises(ValueError, match=r"`folder`, read with .*, should face the camera"):
        check_facing(["0"], lambda _: -normals, "folder", "right_forward_up")
