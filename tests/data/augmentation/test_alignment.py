"""A rendered room, written in each layout and read back, is the same room: nothing is mirrored,
turned, shifted or in other axes."""

import json
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from torch import Tensor

from lightning_mtl.data import (
    BSDS500,
    MOSD,
    NYUDMT,
    Cityscapes,
    CityscapesArrays,
    NYUv2,
    NYUv2Arrays,
    NYUv2Frames,
    PASCALContext,
    SyntheticRooms,
)
from tests.support import layouts
from tests.support.layouts import save, save_mat

Frame = dict[str, Tensor]
ENTRIES = ("segmentation", "depth", "normals", "edges")
CITYSCAPES_IDS = np.array([7, 11, 23, 24, 26], np.uint8)
CITYSCAPES_CLASSES = torch.tensor([0, 2, 10, 11, 13])


def room(height: int, width: int) -> Frame:
    return SyntheticRooms(1, size=(height, width), seed=5, tasks=ENTRIES, noise=0)[0]


def last(values: Tensor) -> np.ndarray:
    """With the channels last, as files have them."""
    return values.permute(1, 2, 0).numpy()


def picture(frame: Frame) -> np.ndarray:
    return (255 * last(frame["image"])).round().astype(np.uint8)


def labels(frame: Frame) -> np.ndarray:
    return frame["segmentation"].numpy().astype(np.uint8)


def right_forward_up(frame: Frame) -> np.ndarray:
    x, y, z = frame["normals"]
    return last(torch.stack([x, z, -y]))


def eight_bits(vectors: np.ndarray) -> np.ndarray:
    return (127.5 * (vectors + 1)).round().astype(np.uint8)


def nyuv2(root: Path, frame: Frame) -> Frame:
    layouts.nyuv2(root)
    with h5py.File(root / "nyu_depth_v2_labeled.mat", "a") as file:
        file["images"][0] = picture(frame).transpose(2, 1, 0)
        file["labels"][0] = labels(frame).T + 1
        file["depths"][0] = frame["depth"][0].numpy().T
    for number in (1, 2, 4):
        save(root / f"normals/{number:06d}.png", eight_bits(right_forward_up(frame)))
    return NYUv2(root, normals=root / "normals")[0]


def nyuv2_frames(root: Path, frame: Frame) -> Frame:
    save(root / "rgb/0.png", picture(frame))
    save(root / "depth_x5000/0.png", (frame["depth"][0] * 5000).numpy().astype(np.uint16))
    save(root / "label40/0.png", labels(frame))
    save(root / "normals_xzy/0.png", eight_bits(right_forward_up(frame)))
    return NYUv2Frames(root)[0]


def nyuv2_arrays(root: Path, frame: Frame) -> Frame:
    folder = root / "train"
    save(folder / "image/0.npy", last(frame["image"]))
    save(folder / "label/0.npy", labels(frame).astype(np.float32))
    save(folder / "depth/0.npy", last(frame["depth"]))
    save(folder / "normal/0.npy", right_forward_up(frame))
    return NYUv2Arrays(root)[0]


def nyud(root: Path, frame: Frame) -> Frame:
    layouts.write(root / "gt_sets/train.txt", "0")
    save(root / "images/0.jpg", picture(frame))
    save(root / "segmentation/0.png", labels(frame) + 1)
    save(root / "depth/0.npy", frame["depth"][0].numpy())
    save(root / "normals/0.npy", last(frame["normals"]))
    save(root / "edge/0.npy", frame["edges"].numpy())
    return NYUDMT(root, tasks=ENTRIES)[0]


def cityscapes(root: Path, frame: Frame) -> Frame:
    name = "train/ulm/ulm_000000"
    save(root / f"leftImg8bit/{name}_leftImg8bit.png", picture(frame))
    save(root / f"gtFine/{name}_gtFine_labelIds.png", CITYSCAPES_IDS[labels(frame)])
    stored = 256 * 0.2 * 2000 / frame["depth"][0].double().numpy() + 1
    save(root / f"disparity/{name}_disparity.png", stored.round().clip(0, 65535).astype(np.uint16))
    camera = {"extrinsic": {"baseline": 0.2}, "intrinsic": {"fx": 2000.0}}
    layouts.write(root / f"camera/{name}_camera.json", json.dumps(camera))
    sample = Cityscapes(root, tasks=Cityscapes.TASKS)[0]
    place = torch.zeros(256, dtype=torch.long).index_put((CITYSCAPES_CLASSES,), torch.arange(5))
    assert torch.isin(sample["segmentation"], CITYSCAPES_CLASSES).all()
    return {**sample, "segmentation": place[sample["segmentation"]]}


def cityscapes_arrays(root: Path, frame: Frame) -> Frame:
    folder = root / "train"
    save(folder / "image/0.npy", last(frame["image"]))
    save(folder / "label_7/0.npy", labels(frame).astype(np.int64))
    save(folder / "depth/0.npy", last(0.1 / frame["depth"]))
    sample = CityscapesArrays(root)[0]
    return {**sample, "depth": 0.1 / sample["disparity"]}


def pascal(root: Path, frame: Frame) -> Frame:
    layouts.write(root / "ImageSets/Context/train.txt", "0")
    save(root / "JPEGImages/0.jpg", picture(frame))
    save(root / "semseg/VOC12/0.png", labels(frame))
    save(root / "sal_distill/0.png", 255 * (labels(frame) > 2).astype(np.uint8))
    save(root / "normals_distill/0.png", eight_bits(last(frame["normals"])))
    # Classes 3, 4, 6, 9 and 10 of PASCAL-Context are some that NYUv2 has too.
    context = np.array([3, 4, 6, 9, 10], np.uint16)[labels(frame)]
    save_mat(root / "pascal-context/trainval/0.mat", LabelMap=context)
    annotation = layouts.annotation(person=True)
    for part, label in zip(annotation["objects"][0, 0]["parts"][0], (3, 4), strict=True):
        part["mask"] = (labels(frame) == label).astype(np.uint8)
    save_mat(root / "human_parts/0.mat", anno=annotation)
    sample = PASCALContext(root, size=None)[0]
    parts = torch.tensor([0, 0, 0, 1, 6])[frame["segmentation"]]
    assert torch.equal(sample.pop("human_parts"), parts)
    assert torch.equal(sample.pop("saliency"), (parts > 0).float())
    borders = torch.zeros_like(parts, dtype=torch.bool)
    borders[:, 1:] |= frame["segmentation"].diff(dim=1) != 0
    borders[1:] |= frame["segmentation"].diff(dim=0) != 0
    near = torch.nn.functional.max_pool2d(borders[None].float(), 3, 1, 1)[0] > 0
    assert near[sample.pop("edges") > 0].all()
    return sample


def bsds(root: Path, frame: Frame) -> Frame:
    save(root / "images/train/0.jpg", picture(frame))
    cells = np.empty((1, 1), object)
    cells[0, 0] = {"Boundaries": frame["edges"].numpy().astype(np.uint8)}
    save_mat(root / "groundTruth/train/0.mat", groundTruth=cells)
    return BSDS500(root, annotators=False)[0]


def mosd(root: Path, frame: Frame) -> Frame:
    layouts.mosd(root)
    save(root / "rgb/0.jpg", picture(frame))
    save(root / "depth_mm/0.png", (1000 * frame["depth"][0]).round().numpy().astype(np.uint16))
    save(root / "label/0.png", np.array([1, 2, 3, 20, 30], np.uint8)[labels(frame)])
    sample = MOSD(root, size=(480, 640), tasks=("segmentation", "depth"), cache=False)[0]
    assert torch.equal(sample.pop("segmentation"), (frame["segmentation"] > 2).long())
    return sample


@pytest.mark.parametrize(
    ("written_and_read", "size"),
    [
        (nyuv2, (480, 640)),
        (nyuv2_frames, (480, 640)),
        (nyuv2_arrays, (288, 384)),
        (nyud, (480, 640)),
        (cityscapes, (64, 128)),
        (cityscapes_arrays, (128, 256)),
        (pascal, (75, 100)),
        (bsds, (64, 96)),
        (mosd, (480, 640)),
    ],
)
def test_a_room_comes_back_as_it_was_written(
    tmp_path: Path, written_and_read: Callable[[Path, Frame], Frame], size: tuple[int, int]
) -> None:
    frame = room(*size)
    assert len(frame["segmentation"].unique()) == 5
    found = written_and_read(tmp_path, frame)
    assert (found["image"] - frame["image"]).abs().mean() < 0.02
    for entry in {"segmentation", "edges"} & found.keys():
        assert torch.equal(found[entry], frame[entry])
    if "depth" in found:
        torch.testing.assert_close(found["depth"], frame["depth"], rtol=2e-3, atol=1e-3)
    if "normals" in found:
        cosine = (found["normals"] * frame["normals"]).sum(0)
        assert cosine.min() > 0.999
