"""Predictions on disk: which files, what is in them, and what the run says of them."""

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from lightning_mtl import DensePrediction
from lightning_mtl.callbacks import PredictionWriter
from lightning_mtl.data import Photos, RoomsDataModule
from lightning_mtl.reports.prediction_panel import prediction_panel
from lightning_mtl.tasks import Classification, Depth, Normals, Segmentation
from tests.support.photos import SIZES, write_photos
from tests.support.toy import TASKS, ResumableLoader, Toy, quiet_trainer, toy_loader
from tests.test_dense_prediction import SIZE, rooms, three_tasks

ALL = ("segmentation", "depth", "normals")


class Tiny(nn.Module):
    """One convolution for each task; a task that asks for two outputs has facts, not a map."""

    def __init__(self, channels: dict[str, int]) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.heads = nn.ModuleDict({n: nn.Conv2d(3, c, 3, padding=1) for n, c in channels.items()})

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        maps = {name: 9 * head(image) for name, head in self.heads.items()}
        return {n: m.mean((2, 3)) if m.shape[1] == 2 else m for n, m in maps.items()}


def tiny(*more: Any) -> DensePrediction:
    return DensePrediction([Segmentation(5), Depth(), Normals(), *more], network=Tiny).eval()


def predict(run: Path, module: Any, loaders: Any, **arguments: Any) -> list[str]:
    writer = PredictionWriter(**arguments)
    trainer = quiet_trainer(callbacks=[writer], default_root_dir=run)
    data = {"datamodule" if isinstance(loaders, RoomsDataModule) else "dataloaders": loaders}
    trainer.predict(module, **data, return_predictions=False)
    return files(writer.folder or run / "predictions")


def files(root: Path) -> list[str]:
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*.*"))


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_photos(tmp_path_factory.mktemp("photos"))


STEMS = {name: name if "one" in name else name.rpartition(".")[0] for name in SIZES}


@pytest.fixture(scope="module")
def written(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The predictions on the ten photos, by a network that was trained with 36 x 44."""
    folder = tmp_path_factory.mktemp("run")
    data = RoomsDataModule(size=(36, 44), predict=photos)
    predict(folder, tiny(), data, raw=True)
    return folder / "predictions"


def test_each_photo_has_a_file_of_each_task_under_its_own_name(written):
    kinds = ("_segmentation.png", "_depth.png", "_normals.png", "_panel.png", ".npz")
    assert files(written) == sorted(f"{stem}{kind}" for stem in STEMS.values() for kind in kinds)


@pytest.mark.parametrize("place", range(10), ids=[name.replace("/", " ") for name in SIZES])
def test_files_hold_what_the_network_predicts_at_the_size_of_the_photo(written, photos, place):
    module, sample = tiny(), Photos(photos, (36, 44))[place]
    name = sample["image_name"]
    with torch.no_grad():
        raw = module(sample["image"][None])
    expected = {
        task: F.interpolate(values, SIZES[name], mode="bilinear")[0].numpy()
        for task, values in raw.items()
    }
    with Image.open(written / f"{STEMS[name]}_segmentation.png") as image:
        assert image.mode == "P"
        assert np.array_equal(np.array(image), expected["segmentation"].argmax(0))
    with Image.open(written / f"{STEMS[name]}_depth.png") as image:
        step = float(image.info["scale"])
        metres = np.array(image) * step
    np.testing.assert_allclose(metres, expected["depth"][0].clip(0), atol=0.51 * step)
    with Image.open(written / f"{STEMS[name]}_normals.png") as image:
        vectors = np.array(image) / 127.5 - 1
    unit = expected["normals"] / np.linalg.norm(expected["normals"], axis=0)
    np.testing.assert_allclose(vectors, unit.transpose(1, 2, 0), atol=1.01 / 127.5)
    with np.load(written / f"{STEMS[name]}.npz") as arrays:
        for task, values in raw.items():
            np.testing.assert_allclose(arrays[task], values[0], atol=1e-5)


def test_the_panel_shows_the_image_and_every_task_beside_it(written):
    with Image.open(written / "grey_panel.png") as panel:
        colors = np.array(panel.convert("RGB"))
    # Four pictures of 144 pixels beside each other, with gaps, and the legend and titles around.
    assert colors.shape[1] >= 4 * 144
    assert colors.shape[0] > 144


def test_facts_about_the_whole_image_are_written_as_they_are(tmp_path, photos):
    module = tiny(Classification(2, name="sunny"))
    data = RoomsDataModule(size=(8, 8), predict=photos / "grey.png")
    found = predict(tmp_path, module, data, panel=False)
    assert "grey_sunny.json" in found
    with torch.no_grad():
        logits = module(Photos(photos / "grey.png", (8, 8))[0]["image"][None])["sunny"][0]
    facts = json.loads((tmp_path / "predictions" / "grey_sunny.json").read_text())
    assert facts["class"] == int(logits.argmax())


def test_samples_without_a_name_are_named_by_their_index(tmp_path):
    found = predict(tmp_path, three_tasks().eval(), rooms(3, 2), panel=False)
    assert found == sorted(f"{k:06d}_{task}.png" for k in range(3) for task in ALL)
    with Image.open(tmp_path / "predictions" / "000002_depth.png") as image:
        assert image.size == (SIZE[1], SIZE[0])


def test_raw_predictions_are_written_if_asked_for(tmp_path):
    module = three_tasks().eval()
    found = predict(tmp_path, module, rooms(3, 2), raw=True, panel=False)
    assert [name for name in found if name.endswith("npz")] == [f"{k:06d}.npz" for k in range(3)]
    with torch.no_grad():
        expected = module(next(iter(rooms(3, 3)))["image"])
    with np.load(tmp_path / "predictions" / "000002.npz") as file:
        assert set(file) == set(ALL)
        for task in ALL:
            np.testing.assert_allclose(file[task], expected[task][2], atol=1e-4, rtol=1e-4)


def test_a_folder_of_ones_own_may_be_named(tmp_path):
    found = predict(tmp_path, tiny(), rooms(1, 1), folder=tmp_path / "mine")
    assert "000000_panel.png" in found
    assert not (tmp_path / "predictions").exists()


class Named(Dataset):
    """A data set of somebody else, which names its images."""

    def __init__(self, *names: str) -> None:
        self.names = names

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"image": torch.rand(3, 4, 4), "image_name": self.names[index]}


def test_two_images_of_another_data_set_never_share_a_file(tmp_path):
    found = predict(tmp_path, tiny(), DataLoader(Named("a.jpg", "a.png")), panel=False)
    assert [name for name in found if "depth" in name] == ["a.png_depth.png", "a_depth.png"]


@pytest.mark.parametrize("name", ["/photos/a.jpg", "../a.jpg"], ids=["absolute", "upwards"])
def test_a_name_that_leads_out_of_the_folder_is_an_error(tmp_path, name):
    with pytest.raises(ValueError, match=r"`image_name` of a batch should be .* Found .*a.jpg"):
        predict(tmp_path, tiny(), DataLoader(Named(name)))


def test_tasks_beyond_six_stand_in_a_further_row_of_the_panel():
    tasks = [Depth(name=f"depth_{k}") for k in range(8)]
    image = torch.rand(3, 100, 160)
    few, many = (
        prediction_panel(image, tasks[:count], {task.name: image[:1] for task in tasks})
        for count in (6, 8)
    )
    assert many.shape[2] == few.shape[2] >= 7 * 160
    assert many.shape[1] == 2 * few.shape[1]


def test_legends_never_stand_beside_each_other():
    tasks = [Segmentation(3), Segmentation(3, name="rooms"), Depth()]
    image = torch.rand(3, 100, 160)
    panel = prediction_panel(
        image, tasks, {"segmentation": image, "rooms": image, "depth": image[:1]}
    )
    assert 3 * 160 <= panel.shape[2] < 4 * 160


def test_a_panel_of_a_large_photo_fits_on_a_screen():
    image = torch.rand(3, 900, 1600)
    panel = prediction_panel(image, [Depth()], {"depth": image[:1]})
    assert 2 * 512 <= panel.shape[2] < 2 * 512 + 20


def test_inputs_that_are_no_images_have_no_panel(tmp_path):
    module = DensePrediction([Classification(2, name="kind")], network=Table)
    rows = DataLoader([{"image": torch.rand(6)} for _ in range(2)])
    assert predict(tmp_path, module, rows) == ["000000_kind.json", "000001_kind.json"]


class Table(nn.Module):
    def __init__(self, channels: dict[str, int]) -> None:
        super().__init__()
        self.head = nn.Linear(6, 2)

    def forward(self, row: Tensor) -> dict[str, Tensor]:
        return {"kind": self.head(row)}


def test_several_loaders_have_a_folder_each(tmp_path):
    loaders = [toy_loader(samples=1), toy_loader(samples=2)]
    assert predict(tmp_path, Predicting(), loaders) == [
        "loader_0/000000.npz",
        "loader_1/000000.npz",
        "loader_1/000001.npz",
    ]


class Predicting(Toy):
    def predict_step(
        self, batch: list[Tensor], batch_idx: int, dataloader_idx: int = 0
    ) -> dict[str, Tensor]:
        return {task: head(self.trunk(batch[0])) for task, head in self.heads.items()}


def test_any_module_that_predicts_a_tensor_for_each_task_has_its_arrays_written(tmp_path):
    found = predict(tmp_path, Predicting(), toy_loader(samples=6))
    assert found == [f"{k:06d}.npz" for k in range(6)]
    with np.load(tmp_path / "predictions" / "000005.npz") as file:
        assert {task: file[task].shape for task in file} == dict.fromkeys(TASKS, (2,))


@pytest.mark.filterwarnings("ignore:Couldn't infer the batch indices")
def test_samples_that_nobody_numbers_are_named_by_their_batch(tmp_path):
    found = predict(tmp_path, Predicting(), ResumableLoader(toy_loader(samples=6)))
    assert found[0] == "rank0_batch000000_000.npz"
    assert found[-1] == "rank0_batch000001_001.npz"
    assert len(found) == 6


def test_the_run_says_how_many_there_are_and_where(tmp_path, caplog):
    with caplog.at_level(logging.INFO):
        predict(tmp_path, tiny(), rooms(3, 2), raw=True, panel=False)
    assert f"wrote 12 files for 3 samples to `{tmp_path / 'predictions'}`" in caplog.text


def test_other_predictions_are_an_error_that_says_what_to_return(tmp_path):
    class Bare(Toy):
        def predict_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
            return batch[0]

    with pytest.raises(TypeError, match=r"`Bare.predict_step` .* dict of tensors.* Found Tensor"):
        predict(tmp_path, Bare(), toy_loader())
