"""Small folders in the layouts of the literature: every frame shows the same tilted plane.

The left half of a frame has one class, the right half another; row 0 is invalid.
"""

import gzip
import json
import struct
from pathlib import Path

import h5py
import numpy as np
import scipy.io
from PIL import Image

from lightning_mtl.data.datasets.celeba import ATTRIBUTES
from lightning_mtl.data.datasets.nyuv2 import INTRINSICS

NORMAL = np.array([0.0, -0.8, -0.6])
TRAIN, VAL = ("0", "1", "10"), ("2",)


def halves(height: int, width: int, left: int, right: int, invalid: int) -> np.ndarray:
    labels = np.full((height, width), left)
    labels[:, width // 2 :] = right
    labels[0] = invalid
    return labels


def plane(height: int, width: int) -> np.ndarray:
    """Depth of the plane with `NORMAL` that is 1 m away, seen by the camera of NYUv2."""
    v, u = np.mgrid[:height, :width]
    rays = np.linalg.solve(np.array(INTRINSICS), np.stack([u, v, np.ones_like(u)]).reshape(3, -1))
    depth = (-1 / (NORMAL @ rays)).reshape(height, width).clip(0.01, 9.99).astype(np.float32)
    depth[0] = 0
    return depth


def picture(height: int, width: int, brightness: int = 100) -> np.ndarray:
    return np.full((height, width, 3), brightness, np.uint8)


def save(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npy":
        np.save(path, array)
    else:
        # As good as JPEG can be, for pictures that are compared afterwards; PNG takes no notice.
        Image.fromarray(array).save(path, quality=100, subsampling=0)


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def save_mat(path: Path, **variables: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    scipy.io.savemat(path, variables)


def nyuv2(root: Path) -> None:
    """Four frames with labels 4 and 894 of 894; the frame number is the brightness."""
    mapping = np.full((1, 894), 40, np.uint8)
    mapping[0, :10] = np.arange(1, 11)
    save_mat(root / "classMapping40.mat", mapClass=mapping)
    save_mat(
        root / "splits.mat",
        trainNdxs=np.array([[1], [2], [4]], np.uint16),
        testNdxs=np.array([[3]], np.uint16),
    )
    labels = halves(480, 640, 4, 894, 0).T.astype(np.uint16)
    depth = plane(480, 640).T
    with h5py.File(root / "nyu_depth_v2_labeled.mat", "w") as file:
        file["images"] = np.stack([picture(640, 480, b).transpose(2, 0, 1) for b in range(4)])
        file["labels"] = np.stack([labels] * 4)
        file["depths"] = np.stack([depth] * 4)
        file["rawDepths"] = np.stack([depth * 0] * 4)


def nyuv2_frames(root: Path) -> None:
    labels = halves(480, 640, 3, 39, 255).astype(np.uint8)
    for name in TRAIN:
        save(root / f"rgb/{name}.png", picture(480, 640))
        save(root / f"depth_x5000/{name}.png", (plane(480, 640) * 5000).astype(np.uint16))
        save(root / f"label40/{name}.png", labels)
        save(root / f"normals_xzy/{name}.png", encoded_normals(480, 640))


def encoded_normals(height: int, width: int) -> np.ndarray:
    x, y, z = NORMAL
    values = np.broadcast_to(np.array([x, z, -y]), (height, width, 3)).copy()
    values[0] = 0
    return np.round(127.5 * (values + 1)).astype(np.uint8)


def nyuv2_arrays(root: Path) -> None:
    x, y, z = NORMAL
    normals = np.broadcast_to(np.array([x, z, -y], np.float32), (288, 384, 3)).copy()
    normals[0] = 0
    for folder, names in (("train", TRAIN), ("val", VAL)):
        for name in names:
            frame = root / folder
            save(frame / f"image/{name}.npy", picture(288, 384).astype(np.float32) / 255)
            save(frame / f"label/{name}.npy", halves(288, 384, 0, 12, -1).astype(np.float32))
            save(frame / f"depth/{name}.npy", plane(288, 384)[..., None])
            save(frame / f"normal/{name}.npy", normals)


def mosd(root: Path) -> None:
    write(root / "intrinsics.txt", "525 0 319.5\n0 525 239.5\n0 0 1\n")
    labels = halves(480, 640, 1, 21, 0).astype(np.uint8)
    for split, names in (("train", TRAIN), ("test", VAL)):
        write(root / f"{split}.txt", "\n".join(names))
        for name in names:
            save(root / f"rgb/{name}.jpg", picture(480, 640))
            save(root / f"depth_mm/{name}.png", (plane(480, 640) * 1000).astype(np.uint16))
            save(root / f"label/{name}.png", labels)


def nyud(root: Path) -> None:
    normals = np.broadcast_to(NORMAL.astype(np.float32), (480, 640, 3)).copy()
    normals[0] = 0
    for split, names in (("train", TRAIN), ("val", VAL)):
        write(root / f"gt_sets/{split}.txt", "\n".join(names))
        for name in names:
            save(root / f"images/{name}.jpg", picture(480, 640))
            labels = halves(480, 640, 1, 40, 0).astype(np.uint8)
            save(root / f"segmentation/{name}.png", labels)
            save(root / f"depth/{name}.npy", plane(480, 640))
            save(root / f"normals/{name}.npy", normals)
            save(root / f"edge/{name}.npy", halves(480, 640, 0, 1, 0).astype(np.float32))


def cityscapes(root: Path) -> None:
    camera = {"extrinsic": {"baseline": 0.2}, "intrinsic": {"fx": 2000.0}}
    for split, names in (("train", TRAIN), ("val", VAL)):
        for name in names:
            frame = f"{split}/ulm/ulm_00000{name}"
            save(root / f"leftImg8bit/{frame}_leftImg8bit.png", picture(64, 128))
            labels = halves(64, 128, 7, 33, 3).astype(np.uint8)
            save(root / f"gtFine/{frame}_gtFine_labelIds.png", labels)
            disparity = halves(64, 128, 2561, 5121, 0).astype(np.uint16)
            save(root / f"disparity/{frame}_disparity.png", disparity)
            write(root / f"camera/{frame}_camera.json", json.dumps(camera))


def cityscapes_arrays(root: Path) -> None:
    for folder, names in (("train", TRAIN), ("val", VAL)):
        for name in names:
            frame = root / folder
            save(frame / f"image/{name}.npy", picture(128, 256).astype(np.float64) / 255)
            for classes in (2, 7, 19):
                labels = halves(128, 256, 0, classes - 1, -1).astype(np.int64)
                save(frame / f"label_{classes}/{name}.npy", labels)
            disparity = halves(128, 256, 2561, 5121, 0)[..., None] / 65535
            save(frame / f"depth/{name}.npy", disparity)


def pascal(root: Path) -> None:
    """Frame 1 has nobody in it; frame 10 has its classes from PASCAL-Context, not VOC."""
    for split, names in (("train", TRAIN), ("val", VAL)):
        write(root / f"ImageSets/Context/{split}.txt", "\n".join(names))
        for name in names:
            save(root / f"JPEGImages/{name}.jpg", picture(40, 60))
            folder = "pascal-context" if name == "10" else "VOC12"
            save(root / f"semseg/{folder}/{name}.png", halves(40, 60, 0, 20, 255).astype(np.uint8))
            save(root / f"sal_distill/{name}.png", halves(40, 60, 127, 128, 0).astype(np.uint8))
            normals = np.round(127.5 * (NORMAL + 1)).astype(np.uint8)
            save(root / f"normals_distill/{name}.png", np.broadcast_to(normals, (40, 60, 3)).copy())
            context = halves(40, 60, 3, 2, 0).astype(np.uint16)
            save_mat(root / f"pascal-context/trainval/{name}.mat", LabelMap=context)
            save_mat(root / f"human_parts/{name}.mat", anno=annotation(name != "1"))


def annotation(person: bool) -> dict[str, object]:
    """A person whose `hair` covers rows 10 to 19 and whose `lfoot` rows 15 to 24, and a car."""
    masks = np.zeros((2, 40, 60), np.uint8)
    masks[0, 10:20], masks[1, 15:25] = 1, 1
    parts = np.empty((1, 2), [("part_name", object), ("mask", object)])
    parts[0, 0], parts[0, 1] = ("hair", masks[0]), ("lfoot", masks[1])
    objects = np.empty(
        (1, 2), [("class", object), ("class_ind", object), ("mask", object), ("parts", object)]
    )
    everywhere = np.ones((40, 60), np.uint8)
    objects[0, 0] = ("person", 15, everywhere, parts) if person else ("cat", 8, everywhere, parts)
    objects[0, 1] = ("car", 7, everywhere, np.empty((0, 0)))
    return {"imname": "name", "objects": objects}


def bsds(root: Path) -> None:
    """Three annotators: all draw column 10, two column 20, one column 30; frame 1 is portrait."""
    for split, names in (("train", TRAIN), ("val", VAL), ("test", VAL)):
        for name in names:
            drawn = np.zeros((3, 32, 48), np.uint8)
            drawn[:, :, 10], drawn[:2, :, 20], drawn[:1, :, 30] = 1, 1, 1
            image = picture(32, 48)
            if name == "1":
                drawn, image = drawn.transpose(0, 2, 1), image.transpose(1, 0, 2).copy()
            save(root / f"images/{split}/{name}.jpg", image)
            cells = np.empty((1, 3), object)
            for i, contours in enumerate(drawn):
                cells[0, i] = {"Boundaries": contours, "Segmentation": contours.astype(np.uint16)}
            save_mat(root / f"groundTruth/{split}/{name}.mat", groundTruth=cells)


def celeba(root: Path) -> None:
    """Face i has attribute i only."""
    names = [f"{i:06d}.jpg" for i in range(1, 6)]
    rows = [
        " ".join([name, *("1" if k == i else "-1" for k in range(40))])
        for i, name in enumerate(names)
    ]
    text = "\n".join([str(len(rows)), " ".join(ATTRIBUTES), *rows])
    write(root / "list_attr_celeba.txt", text + "\n")
    partition = [f"{name} {part}" for name, part in zip(names, (0, 0, 0, 1, 2), strict=True)]
    write(root / "list_eval_partition.txt", "\n".join(partition) + "\n")
    for name in names:
        save(root / "img_align_celeba" / name, picture(218, 178))


def mnist(root: Path) -> None:
    """Digit i of 60 (unpacked) or 20 (t10k, packed) has brightness i and label i % 10."""
    for file, count in (("train", 60), ("t10k", 20)):
        digits = np.broadcast_to(np.arange(count, dtype=np.uint8)[:, None, None], (count, 28, 28))
        images = struct.pack(">IIII", 0x803, count, 28, 28) + digits.tobytes()
        labels = struct.pack(">II", 0x801, count) + bytes(i % 10 for i in range(count))
        raw = root / "MNIST/raw"
        raw.mkdir(parents=True, exist_ok=True)
        for kind, data in (("images-idx3", images), ("labels-idx1", labels)):
            name = f"{file}-{kind}-ubyte"
            if file == "train":
                (raw / name).write_bytes(data)
            else:
                (raw / f"{name}.gz").write_bytes(gzip.compress(data, mtime=0))
