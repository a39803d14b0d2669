"""The picture grid: one row a frame, the right columns, when it is due, and where it goes."""

from pathlib import Path

import pytest
import torch
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lightning_mtl.callbacks import PredictionGrid
from lightning_mtl.callbacks.pictures import PADDING, TITLE_HEIGHT, draw
from tests.test_dense_prediction import SIZE, rooms, three_tasks
from tests.toy import Toy, quiet_trainer, toy_loader


def drawn(folder: Path, **settings: object) -> list[str]:
    """Names of the pictures of a run of five epochs."""
    trainer = quiet_trainer(
        max_epochs=5,
        limit_train_batches=1,
        limit_val_batches=2,
        logger=CSVLogger(folder, name="", version="run"),
        callbacks=[PredictionGrid(every_n_epochs=2, frames=1)],
        log_every_n_steps=1,
        **settings,
    )
    trainer.fit(three_tasks(), rooms(2), rooms(4))
    return sorted(path.name for path in (folder / "run" / "pictures").iterdir())


def test_it_draws_every_few_epochs_and_at_the_end(tmp_path):
    assert drawn(tmp_path) == ["epoch_002.png", "epoch_004.png", "epoch_005.png"]


def test_the_sanity_check_is_not_drawn(tmp_path):
    assert "epoch_001.png" not in drawn(tmp_path, num_sanity_val_steps=1)


def test_it_has_a_row_a_frame_and_two_columns_a_task_beside_the_image():
    module = three_tasks().eval()
    batch = next(iter(rooms(2)))
    height, width = SIZE
    for keys, columns in ((set(batch), 7), ({"image", "depth"}, 3), ({"image"}, 1)):
        picture = draw(module, {key: batch[key] for key in keys})
        expected = (
            TITLE_HEIGHT + 2 * (height + PADDING) + PADDING,
            columns * (width + PADDING) + PADDING,
        )
        # With one column `make_grid` puts the frames into it as well.
        assert picture.shape == (3, *expected)
        assert 0 <= float(picture.min()) <= float(picture.max()) <= 1


def test_the_first_columns_are_the_image_and_its_targets():
    module = three_tasks().eval()
    batch = next(iter(rooms(1, 1)))
    picture = draw(module, batch)
    height, width = SIZE
    top = TITLE_HEIGHT + PADDING
    expected = [batch["image"], module.tasks["segmentation"].draw_target(batch["segmentation"])]
    for column, cell in enumerate(expected):
        left = column * (width + PADDING) + PADDING
        found = picture[:, top : top + height, left : left + width]
        torch.testing.assert_close(found, cell[0].clamp(0, 1))


def test_it_is_a_png_of_that_size_and_in_tensorboard(tmp_path):
    logger = TensorBoardLogger(tmp_path, name="", version="run")
    trainer = quiet_trainer(
        limit_train_batches=1,
        logger=logger,
        callbacks=[PredictionGrid(frames=1)],
        log_every_n_steps=1,
    )
    trainer.fit(three_tasks(), rooms(2), rooms(2))
    with Image.open(tmp_path / "run" / "pictures" / "epoch_001.png") as image:
        assert image.size == (
            7 * (SIZE[1] + PADDING) + PADDING,
            TITLE_HEIGHT + SIZE[0] + 2 * PADDING,
        )
    events = EventAccumulator(str(tmp_path / "run"))
    events.Reload()
    assert events.Tags()["images"] == ["val/predictions"]


def test_drawing_changes_nothing_in_the_run():
    results = []
    for callbacks in ([], [PredictionGrid(every_n_epochs=1)]):
        module = three_tasks()
        trainer = quiet_trainer(
            max_epochs=2, limit_train_batches=1, callbacks=callbacks, logger=False
        )
        trainer.fit(module, rooms(2), rooms(2))
        results.append([parameter.detach().clone() for parameter in module.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


def test_another_module_is_an_error_that_says_what_is_needed():
    class Validated(Toy):
        def validation_step(self, batch: list[torch.Tensor], batch_idx: int) -> None:
            pass

    trainer = quiet_trainer(callbacks=[PredictionGrid()], num_sanity_val_steps=0)
    with pytest.raises(TypeError, match=r"needs a `DensePrediction`.*Found `Validated`"):
        trainer.fit(Validated(), toy_loader(), toy_loader())
