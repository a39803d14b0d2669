import numpy as np
import pytest
import scipy.io
import torch
from skimage.morphology import thin

from lightning_mtl.data import CorruptFileError, PASCALContext, PASCALContextDataModule, collate
from lightning_mtl.data.datasets.pascal import context_edges
from lightning_mtl.data.datasets.pascal_classes import INDOOR, VOC
from tests.support import layouts


@pytest.fixture
def root(tmp_path):
    layouts.pascal(tmp_path)
    return tmp_path


def test_classes_come_from_voc_or_else_from_context(root):
    dataset = PASCALContext(root, size=None, tasks=("segmentation",))
    expected = torch.from_numpy(layouts.halves(40, 60, 0, 20, 255))
    assert all(torch.equal(sample["segmentation"], expected) for sample in dataset)


def test_an_image_without_people_has_no_human_parts(root):
    samples = list(PASCALContext(root, size=None, tasks=("human_parts", "segmentation")))
    assert ["human_parts" in sample for sample in samples] == [True, False, True]
    assert (collate(samples)["human_parts"][1] == 255).all()


def test_saliency_is_thresholded_at_a_half(root):
    saliency = PASCALContext(root, size=None, tasks=("saliency",))[0]["saliency"]
    assert torch.equal(saliency, torch.from_numpy(layouts.halves(40, 60, 0, 1, 0)).float())


def test_normals_count_where_the_class_is_one_of_nyuv2(root):
    """Class 3 (air conditioner) is, class 2 (aeroplane) is not."""
    normals = PASCALContext(root, size=None, tasks=("normals",))[0]["normals"]
    expected = torch.from_numpy(layouts.NORMAL).float()[:, None, None].expand(3, 39, 30)
    assert torch.allclose(normals[:, 1:, :30], expected, atol=0.006)
    assert not normals[:, 0].any()
    assert not normals[:, :, 30:].any()


def test_170_classes_have_normals():
    assert len(INDOOR) == len(set(INDOOR)) == 170
    assert {18, 72, 158, 427, 440} < set(INDOOR)  # bed, chair, floor, tvmonitor, wall
    assert not {2, 31, 98, 207, 416, 431} & set(INDOOR)  # aeroplane, boat, cow, horse, train, ...
    assert len(VOC) == 21


def test_edges_are_thin_and_only_where_classes_meet(root):
    edges = PASCALContext(root, size=None, tasks=("edges",))[0]["edges"].bool()
    assert edges[5:-5, 28:32].sum(1).eq(1).all()
    assert not edges[5:-5, :28].any()
    assert not edges[5:-5, 32:].any()


def test_edges_agree_with_the_laplacian_pixel_by_pixel():
    context = torch.randint(4, (14, 17)).repeat_interleave(2, 0).repeat_interleave(2, 1)
    height, width = context.shape
    found = np.zeros((height, width), bool)
    for v in range(height):
        for u in range(width):
            around = 0
            for dv, du in ((0, 1), (0, -1), (1, 0), (-1, 0)):
                row, column = abs(v + dv), abs(u + du)
                row = 2 * (height - 1) - row if row >= height else row
                column = 2 * (width - 1) - column if column >= width else column
                around += int(context[row, column])
            found[v, u] = around != 4 * int(context[v, u])
    assert torch.equal(context_edges(context), torch.from_numpy(thin(found)).float())


def test_class_numbers_beyond_459_are_named(root):
    path = root / "pascal-context/trainval/1.mat"
    scipy.io.savemat(path, {"LabelMap": np.full((40, 60), 460, np.uint16)})
    with pytest.raises(CorruptFileError, match=r"`LabelMap` of .*1.mat.*0 to 459.*up to 460"):
        PASCALContext(root, size=None, tasks=("edges",))[1]


def test_uncovered_pixels_are_ignored_in_training(root):
    data = PASCALContextDataModule(root, size=(64, 64))
    samples = [data.dataset("train")[0] for _ in range(6)]
    black = torch.stack([(sample["image"] == 0).all(0) for sample in samples])
    assert black.any()
    labels = torch.stack([sample["segmentation"] for sample in samples])
    parts = torch.stack([sample["human_parts"] for sample in samples])
    assert (labels[black] == 255).all()
    assert (parts[black] == 255).all()
    assert (data.dataset("val")[0]["image"] > 0).all()
