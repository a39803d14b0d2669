"""The picture grid: one row a frame, the right columns, when it is due, and where it goes."""

from functools import partial
from pathlib import Path
from typing import ClassVar

import lightning as L
import pytest
import torch
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor
from torchvision.transforms.v2.functional import pil_to_tensor

from lightning_mtl import DensePrediction
from lightning_mtl.callbacks import PredictionGrid
from lightning_mtl.models import SharedEncoder
from lightning_mtl.reports.grid_figure import rendered
from lightning_mtl.reports.prediction_grid import TASKS, _rgb, draw, figures
from lightning_mtl.tasks import Attributes, Depth, Segmentation
from tests.reports.test_grid_figure import cell, texts
from tests.support.rooms import SmallNetwork
from tests.support.toy import Toy, quiet_trainer, toy_loader
from tests.test_dense_prediction import NETWORK, SIZE, rooms, three_tasks

ALL = ("segmentation", "depth", "normals")
FRAMES = rooms(4)


def depth_alone() -> DensePrediction:
    """A small network, for tests of when and where pictures are drawn."""
    return DensePrediction([Depth()], network=SmallNetwork)


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
    trainer.fit(depth_alone(), FRAMES, FRAMES)
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


class FailAt(L.Callback):
    """Ends the run by an error."""

    def __init__(self, step: int, error: type[BaseException]) -> None:
        self.step, self.error = step, error

    def on_train_batch_start(self, trainer: L.Trainer, *_: object) -> None:
        if trainer.global_step == self.step:
            raise self.error


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError], ids=["Ctrl-C", "error"])
def test_a_run_that_breaks_off_is_drawn_too(tmp_path, error):
    with pytest.raises(SystemExit if error is KeyboardInterrupt else error):
        drawn(tmp_path, callbacks=[FailAt(5, error)], limit_train_batches=2)
    names = sorted(path.name for path in (tmp_path / "run" / "pictures").iterdir())
    assert names == ["epoch_002.png", "epoch_003.png"]


def test_a_network_that_cannot_be_drawn_leaves_its_error_to_be_seen(tmp_path, monkeypatch):
    def broken(*_: object) -> Tensor:
        raise RuntimeError("no device")

    warned: list[str] = []
    monkeypatch.setattr("lightning_mtl.reports.prediction_grid.draw", broken)
    monkeypatch.setattr("lightning_mtl.reports.prediction_grid.rank_zero_warn", warned.append)
    with pytest.raises(ZeroDivisionError):
        drawn(tmp_path, callbacks=[FailAt(1, ZeroDivisionError)])
    assert warned == ["`PredictionGrid` could not draw the end of the run: no device"]


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
        present = {key: batch[key] for key in ("image", *tasks)}
        (figure,) = figures(module, present)
        assert figure.axes[0].get_gridspec().get_geometry() == (2, 1 + 2 * len(tasks))
        titles = [axes.get_title(loc="left") for axes in figure.axes[: 1 + 2 * len(tasks)]]
        pairs = [(f"{task}\ntarget", "predicted") for task in tasks]
        assert titles == ["input", *(title for pair in pairs for title in pair)]
        picture = draw(module, present)
        assert torch.equal(picture, rendered(figure))
        assert 0 <= float(picture.min()) <= float(picture.max()) <= 1


def test_more_tasks_than_fit_beside_each_other_stand_below():
    names = [f"attribute_{index}" for index in range(TASKS + 1)]
    module = DensePrediction([Attributes(1, name) for name in names], network=NETWORK)
    batch = {"image": torch.rand(1, 3, 32, 32)} | {name: torch.ones(1, 1) for name in names}
    first, second = figures(module, batch)
    assert [figure.axes[0].get_title(loc="left") for figure in (first, second)] == ["input"] * 2
    assert [len(figure.axes) for figure in (first, second)] == [1 + 2 * TASKS, 3]
    picture, above, below = draw(module, batch), rendered(first), rendered(second)
    height, width = above.shape[1], below.shape[2]
    assert torch.equal(picture[:, :height], above)
    assert torch.equal(picture[:, height:, :width], below)
    assert (picture[:, height:, width:] == 1).all()


def test_the_first_columns_are_the_image_and_its_targets():
    module = three_tasks().eval()
    batch = next(iter(rooms(1, 1)))
    (figure,) = figures(module, batch)
    expected = [batch["image"], module.tasks["segmentation"].draw_target(batch["segmentation"])]
    for place, pictures in enumerate(expected):
        difference = cell(figure, 0, place)[:, 1::4, 1::4] - pictures[0].clamp(0, 1)
        assert difference.abs().max() <= 0.51 / 255


class Sky(Segmentation):
    """A task of a user's own, which knows what its classes are called."""

    palette: ClassVar = {"sky": (0.5, 0.75, 1.0), "the ground": (0.25, 0.125, 0.0)}

    def words(self, prediction: Tensor) -> list[str]:
        return ["guessed"] * len(prediction)

    def target_words(self, target: Tensor) -> list[str]:
        return [f"{(image == 0).float().mean():.0%} sky" for image in target]


def test_a_task_of_ones_own_has_its_words_and_its_palette_on_the_picture():
    module = DensePrediction([Depth(), Sky(2, "weather")], network=NETWORK)
    batch = {"image": torch.rand(1, 3, 32, 32), "weather": torch.zeros(1, 32, 32).long()}
    (figure,) = figures(module, batch)
    words = [text.get_text() for text in texts(figure)]
    assert {"guessed", "100% sky", "sky", "the ground", "weather\ntarget"} <= set(words)
    pixels = draw(module, batch).flatten(1).T
    for color in Sky.palette.values():
        assert ((pixels - torch.tensor(color)).abs().amax(dim=1) < 0.01).sum() >= 50


@pytest.mark.parametrize("arguments", [{"every_n_epochs": 0}, {"frames": 0}])
def test_drawing_nothing_is_an_error_that_names_the_argument(arguments):
    (name,) = arguments
    with pytest.raises(ValueError, match=rf"`PredictionGrid\({name}=\)` .* at least 1. Found 0"):
        PredictionGrid(**arguments)


def test_the_target_of_depth_has_its_range_written_on_it():
    module = three_tasks().eval()
    batch = next(iter(rooms(1, 1)))
    (figure,) = figures(module, batch)
    shown = cell(figure, 0, 3)
    plain = module.tasks["depth"].draw_target(batch["depth"])[0]
    changed = (shown[:, 1::4, 1::4] - plain).abs().amax(dim=0) > 0.02
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
        height, width = draw(three_tasks(), next(iter(rooms(1, 1)))).shape[1:]
        assert image.size == (width, height)
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
        trainer.fit(module, FRAMES, FRAMES)
        results.append([parameter.detach().clone() for parameter in module.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


def test_another_module_is_an_error_that_says_what_is_needed():
    class Validated(Toy):
        def validation_step(self, batch: list[torch.Tensor], batch_idx: int) -> None:
            pass

    trainer = quiet_trainer(callbacks=[PredictionGrid()], num_sanity_val_steps=0)
    with pytest.raises(TypeError, match=r"needs a `DensePrediction`.*Found `Validated`"):
        trainer.fit(Validated(), toy_loader(), toy_loader())


@pytest.mark.parametrize(("channels", "shown"), [(4, [0, 1, 2]), (1, [0, 0, 0])])
def test_images_of_other_channels_are_shown_by_those_that_are_colours(channels, shown):
    network = partial(SharedEncoder, encoder="tu-test_resnet", in_channels=channels)
    module = DensePrediction([Depth()], network=network)
    image = torch.rand(1, channels, 64, 64)
    batch = {"image": image, "depth": torch.rand(1, 1, 64, 64) + 1}
    assert torch.equal(_rgb(image), image[:, shown])
    assert draw(module, batch).shape[0] == 3


def test_other_inputs_than_images_are_an_error_that_says_so():
    with pytest.raises(ValueError, match=r"given images.* Found an input of shape \(2, 3\)"):
        _rgb(torch.rand(2, 3))
