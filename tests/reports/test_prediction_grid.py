"""The picture grid: one row a frame, the right columns, when it is due, and where it goes."""

from pathlib import Path

import lightning as L
import pytest
import torch
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torchvision.transforms.v2.functional import pil_to_tensor

from lightning_mtl.callbacks import PredictionGrid
from lightning_mtl.reports.captions import legend
from lightning_mtl.reports.prediction_grid import PADDING, SMALLEST_WIDTH, _titles, draw
from tests.support.toy import Toy, quiet_trainer, toy_loader
from tests.test_dense_prediction import SIZE, rooms, three_tasks

# Small frames are drawn larger.
HEIGHT, WIDTH = (SMALLEST_WIDTH // SIZE[1] * side for side in SIZE)


def title_height(*tasks: str) -> int:
    names = ["input", *(f"{task}: {kind}" for task in tasks for kind in ("target", "predicted"))]
    return _titles(names, 1, WIDTH + PADDING).shape[1]


def legend_height(columns: int, *tasks: str) -> int:
    width = columns * (WIDTH + PADDING) + PADDING
    return legend({name: three_tasks().tasks[name] for name in tasks}, width).shape[1]


ALL = ("segmentation", "depth", "normals")


class StopAfter(L.Callback):
    """Ends the run early."""

    def __init__(self, epochs: int) -> None:
        self.epochs = epochs

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        trainer.should_stop = trainer.current_epoch + 1 >= self.epochs


def drawn(folder: Path, **settings: object) -> list[str]:
    """Names of the pictures of a run of at most five epochs."""
    short = {"max_epochs": 5, "limit_train_batches": 1, "limit_val_batches": 2}
    logger = CSVLogger(folder, name="", version="run")
    trainer = quiet_trainer(logger=logger, log_every_n_steps=1, **(short | settings))
    trainer.callbacks.append(PredictionGrid(every_n_epochs=2, frames=1))
    trainer.fit(three_tasks(), rooms(4), rooms(4))
    return sorted(path.name for path in (folder / "run" / "pictures").iterdir())


def test_it_draws_every_few_epochs_and_at_the_end(tmp_path):
    assert drawn(tmp_path) == ["epoch_002.png", "epoch_004.png", "epoch_005.png"]


@pytest.mark.parametrize(
    ("settings", "last"),
    [
        ({"max_epochs": 4}, 4),
        ({"max_steps": 3}, 3),
        ({"max_epochs": -1, "max_steps": 3, "check_val_every_n_epoch": 2}, 3),
        ({"callbacks": [StopAfter(3)]}, 3),
        ({"limit_train_batches": 2, "max_steps": 5}, 3),
    ],
)
def test_the_end_is_drawn_once_whatever_ended_the_run(tmp_path, settings, last):
    names = drawn(tmp_path, num_sanity_val_steps=0, **settings)
    assert names == ["epoch_002.png", f"epoch_{last:03d}.png"]


def test_the_last_picture_is_that_of_the_trained_network(tmp_path):
    module = three_tasks()
    trainer = quiet_trainer(
        max_steps=1,
        callbacks=[PredictionGrid(frames=2)],
        default_root_dir=tmp_path,
        limit_val_batches=1,
    )
    trainer.fit(module, rooms(2), rooms(2))
    expected = draw(module.eval(), next(iter(rooms(2))))
    with Image.open(tmp_path / "pictures" / "epoch_001.png") as image:
        found = pil_to_tensor(image)
    assert (found - (255 * expected).round()).abs().max() <= 1


def test_the_sanity_check_is_not_drawn(tmp_path):
    assert "epoch_001.png" not in drawn(tmp_path, num_sanity_val_steps=1)


def test_it_has_a_row_a_frame_and_two_columns_a_task_beside_the_image():
    module = three_tasks().eval()
    batch = next(iter(rooms(2)))
    for tasks in (ALL, ("depth",), ()):
        picture = draw(module, {key: batch[key] for key in ("image", *tasks)})
        expected = (
            title_height(*tasks)
            + 2 * (HEIGHT + PADDING)
            + PADDING
            + legend_height(1 + 2 * len(tasks), *tasks),
            (1 + 2 * len(tasks)) * (WIDTH + PADDING) + PADDING,
        )
        # With one column `make_grid` puts the frames into it as well.
        assert picture.shape == (3, *expected)
        assert 0 <= float(picture.min()) <= float(picture.max()) <= 1


def test_the_first_columns_are_the_image_and_its_targets():
    module = three_tasks().eval()
    batch = next(iter(rooms(1, 1)))
    picture = draw(module, batch)
    top = title_height(*ALL) + PADDING
    expected = [batch["image"], module.tasks["segmentation"].draw_target(batch["segmentation"])]
    for column, cell in enumerate(expected):
        left = column * (WIDTH + PADDING) + PADDING
        found = picture[:, top : top + HEIGHT, left : left + WIDTH]
        torch.testing.assert_close(found[:, 1::3, 1::3], cell[0].clamp(0, 1))


@pytest.mark.parametrize("name", ["depth", "5_o_Clock_Shadow", "a_name_of_some_thirty_letters"])
def test_no_title_reaches_into_the_next_column(name):
    strip = _titles([f"{name}: predicted", "end: target"], 2 * 98, 98)
    assert (strip[:, :, :90] < 0.5).any()
    assert (strip[:, :, 98:100] == 1).all()


@pytest.mark.parametrize("arguments", [{"every_n_epochs": 0}, {"frames": 0}])
def test_drawing_nothing_is_an_error_that_names_the_argument(arguments):
    (name,) = arguments
    with pytest.raises(ValueError, match=rf"`PredictionGrid\({name}=\)` .* at least 1. Found 0"):
        PredictionGrid(**arguments)


def test_the_target_of_depth_has_its_range_written_on_it():
    module = three_tasks().eval()
    batch = next(iter(rooms(1, 1)))
    picture = draw(module, batch)
    top, left = title_height(*ALL) + PADDING, 3 * (WIDTH + PADDING) + PADDING
    found = picture[:, top : top + HEIGHT, left : left + WIDTH]
    plain = module.tasks["depth"].draw_target(batch["depth"])[0]
    changed = (found[:, 1::3, 1::3] - plain).abs().amax(dim=0) > 0.02
    assert changed.any()
    assert not changed[: SIZE[0] // 2].any()


def test_drawing_leaves_the_module_in_its_mode():
    module = three_tasks()
    module.train()
    module.network.eval()
    before = [part.training for part in module.modules()]
    draw(module, next(iter(rooms(1, 1))))
    assert [part.training for part in module.modules()] == before


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
            7 * (WIDTH + PADDING) + PADDING,
            title_height(*ALL) + HEIGHT + 2 * PADDING + legend_height(7, *ALL),
        )
    events = EventAccumulator(str(tmp_path / "run"))
    events.Reload()
    assert events.Tags()["images"] == ["val/predictions"]


def test_drawing_changes_nothing_in_the_run(tmp_path):
    results = []
    for callbacks in ([], [PredictionGrid(every_n_epochs=1)]):
        module = three_tasks()
        trainer = quiet_trainer(
            max_epochs=2,
            limit_train_batches=1,
            callbacks=callbacks,
            default_root_dir=tmp_path,
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
