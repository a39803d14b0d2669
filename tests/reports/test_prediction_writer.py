"""Predictions on disk: which files, what is in them, and what the run says of them."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2.functional import pil_to_tensor

from lightning_mtl.callbacks import PredictionWriter
from tests.support.toy import TASKS, ResumableLoader, Toy, quiet_trainer, toy_loader
from tests.test_dense_prediction import SIZE, rooms, three_tasks

ALL = ("segmentation", "depth", "normals")


def predict(folder: Path, module: Any, loaders: Any, **arguments: Any) -> list[str]:
    writer = PredictionWriter(**arguments)
    trainer = quiet_trainer(callbacks=[writer], default_root_dir=folder)
    trainer.predict(module, loaders, return_predictions=False)
    root = folder / "predictions"
    return sorted(str(path.relative_to(root)) for path in root.rglob("*.*"))


def test_every_sample_has_one_file_of_raw_outputs_and_a_picture_of_each_task(tmp_path):
    module = three_tasks().eval()
    found = predict(tmp_path, module, rooms(5, 2))
    names = [f"{k:06d}" for k in range(5)]
    pictures = [f"{name}_{task}.png" for name in names for task in ALL]
    assert found == sorted([*(f"{name}.npz" for name in names), *pictures])
    batch = next(iter(rooms(5, 5)))
    with torch.no_grad():
        expected = module(batch["image"])
    for place, name in enumerate(names):
        with np.load(tmp_path / "predictions" / f"{name}.npz") as file:
            assert set(file) == set(ALL)
            for task in ALL:
                sample = torch.from_numpy(file[task])
                torch.testing.assert_close(sample, expected[task][place], atol=1e-4, rtol=1e-4)


def test_pictures_are_those_that_the_tasks_draw(tmp_path):
    module = three_tasks().eval()
    predict(tmp_path, module, rooms(1, 1))
    with torch.no_grad():
        outputs = module(next(iter(rooms(1, 1)))["image"])
    for task in ALL:
        with Image.open(tmp_path / "predictions" / f"000000_{task}.png") as image:
            found = pil_to_tensor(image)
        assert found.shape == (3, *SIZE)
        drawn = module.tasks[task].draw(outputs[task])[0]
        assert (found - (255 * drawn).round()).abs().max() <= 1


def test_pictures_may_be_left_out(tmp_path):
    assert predict(tmp_path, three_tasks(), rooms(1, 1), pictures=False) == ["000000.npz"]


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


def test_any_module_that_predicts_a_tensor_for_each_task_is_written(tmp_path):
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


def test_the_run_says_where_they_are(tmp_path, caplog):
    with caplog.at_level(logging.INFO):
        predict(tmp_path, three_tasks(), rooms(3, 2), pictures=False)
    assert f"wrote 3 samples of this rank to `{tmp_path / 'predictions'}`" in caplog.text


def test_other_predictions_are_an_error_that_says_what_to_return(tmp_path):
    class Bare(Toy):
        def predict_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
            return batch[0]

    with pytest.raises(TypeError, match=r"`Bare.predict_step` .* dict of tensors.* Found Tensor"):
        predict(tmp_path, Bare(), toy_loader())
