"""The ready-made module: tasks that come and go, metrics over an epoch, and what it logs."""

from functools import partial
from unittest.mock import patch

import pytest
import torch
from lightning.pytorch.callbacks import LearningRateFinder
from lightning.pytorch.tuner.lr_finder import _LRFinder
from torch import Tensor
from torch.utils.data import DataLoader
from torchmetrics import MetricCollection
from torchmetrics.regression import MeanAbsoluteError, MeanSquaredError, R2Score

from lightning_mtl import DensePrediction
from lightning_mtl.data import SyntheticRooms, collate
from lightning_mtl.metrics import DepthMetrics, multi_task_performance
from lightning_mtl.models import SharedEncoder
from lightning_mtl.tasks import Depth, Disparity, Normals, Segmentation, Task
from tests.support.toy import quiet_trainer

SIZE = (32, 32)
NETWORK = partial(SharedEncoder, decoder="fpn")


def rooms(length: int, batch_size: int = 2, drop: str | None = None) -> DataLoader:
    data = SyntheticRooms(length, size=SIZE, seed=1)
    frames = [{k: v for k, v in data[i].items() if k != drop} for i in range(length)]
    return DataLoader(frames, batch_size=batch_size, collate_fn=collate)


def three_tasks(**arguments: object) -> DensePrediction:
    torch.manual_seed(0)
    tasks = [Segmentation(5), Depth(), Normals()]
    return DensePrediction(tasks, network=NETWORK, **arguments)


@pytest.mark.peer("T3")
def test_a_task_without_targets_in_a_batch_is_absent_from_its_losses():
    batch = next(iter(rooms(2, drop="depth")))
    assert set(three_tasks().task_losses(batch)) == {"segmentation", "normals"}


def test_losses_are_those_of_the_tasks():
    module = three_tasks().eval()
    batch = next(iter(rooms(2)))
    predictions = module(batch["image"])
    for name, (loss, count) in module.task_losses(batch).items():
        expected = module.tasks[name].loss(predictions[name], batch[name])
        torch.testing.assert_close(loss, expected)
        assert count == module.tasks[name].count(batch[name])


class Uncounted(Disparity):
    """A task that leaves it open which of its labels are valid."""

    valid, count = Task.valid, Task.count


def half_counted() -> DensePrediction:
    torch.manual_seed(0)
    return DensePrediction([Uncounted("depth"), Normals()], network=NETWORK)


def test_a_task_that_does_not_count_its_labels_returns_the_loss_alone():
    losses = half_counted().task_losses(next(iter(rooms(2))))
    assert losses["depth"].shape == ()
    assert len(losses["normals"]) == 2


@pytest.mark.parametrize("batch_size", [1, 3, 5])
def test_logged_metrics_are_those_of_all_frames_at_once(batch_size):
    module = three_tasks()
    (logged,) = quiet_trainer().validate(module, rooms(5, batch_size), verbose=False)
    whole = next(iter(rooms(5, 5)))
    metric = DepthMetrics()
    with torch.no_grad():
        metric.update(module.eval()(whole["image"])["depth"], whole["depth"])
    for key, value in metric.compute().items():
        assert logged[f"val/depth/{key}"] == pytest.approx(float(value), rel=1e-4)


def test_metrics_start_anew_in_every_epoch():
    module, trainer = three_tasks(), quiet_trainer()
    first = trainer.validate(module, rooms(2), verbose=False)
    assert trainer.validate(module, rooms(2), verbose=False) == first


def test_a_network_may_be_measured_before_it_is_trained():
    module = three_tasks()
    quiet_trainer().validate(module, rooms(2), verbose=False)
    trainer = quiet_trainer()
    trainer.fit(module, rooms(2), rooms(2))
    assert trainer.callback_metrics["val/depth/RMSE"] > 0


def test_a_task_that_no_frame_is_labelled_for_is_not_logged():
    module = three_tasks(baselines={"segmentation": 0.5, "depth": 1.0, "normals": 20.0})
    (logged,) = quiet_trainer().validate(module, rooms(2, drop="depth"), verbose=False)
    assert not any(key.startswith("val/depth") for key in logged)
    assert "val/segmentation/mIoU" in logged
    assert "val/delta_mtl" not in logged


def test_delta_mtl_is_taken_over_the_primary_metrics():
    baselines = {"segmentation": 0.5, "depth": 1.0, "normals": 20.0}
    module = three_tasks(baselines=baselines)
    (logged,) = quiet_trainer().test(module, rooms(2), verbose=False)
    primary = {
        name: torch.tensor(logged[f"test/{name}/{task.primary_metric}"])
        for name, task in module.tasks.items()
    }
    directions = {name: task.higher_is_better for name, task in module.tasks.items()}
    expected = multi_task_performance(primary, baselines, directions)
    assert logged["test/delta_mtl"] == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.peer("L23")
def test_without_baselines_of_other_runs_there_is_no_delta():
    """L23: LibMTL compares a run with its own first epoch."""
    module = three_tasks()
    quiet_trainer(max_epochs=2).fit(module, rooms(2), rooms(2))
    (logged,) = quiet_trainer().test(module, rooms(2), verbose=False)
    assert "test/depth/RMSE" in logged
    assert not any("delta_mtl" in key for key in logged)


@pytest.mark.peer("O6", "O13")
def test_the_metrics_of_a_loop_hold_nothing_of_another():
    """O6: nash-mtl's training mIoU holds the test predictions of the epoch before."""
    module, trainer = three_tasks(), quiet_trainer()
    for frames in (2, 4, 3):
        for loop in ("test", "validate"):
            expected = getattr(quiet_trainer(), loop)(three_tasks(), rooms(frames), verbose=False)
            assert getattr(trainer, loop)(module, rooms(frames), verbose=False) == expected


def test_predictions_have_the_size_of_the_image_and_need_no_labels():
    loader = DataLoader([{"image": torch.rand(3, 30, 45)}] * 2, collate_fn=collate)
    predictions = quiet_trainer().predict(three_tasks(), loader)
    assert {task: tuple(p.shape) for task, p in predictions[0].items()} == {
        "segmentation": (1, 5, 30, 45),
        "depth": (1, 1, 30, 45),
        "normals": (1, 3, 30, 45),
    }


def test_a_schedule_counts_what_it_is_told_to_count():
    schedule = partial(torch.optim.lr_scheduler.StepLR, step_size=1, gamma=0.5)
    rates = []
    for interval in ("epoch", "step"):
        module = three_tasks(
            optimizer=partial(torch.optim.SGD, lr=1e-4),
            scheduler=schedule,
            scheduler_interval=interval,
        )
        trainer = quiet_trainer(limit_train_batches=3)
        trainer.fit(module, rooms(6), rooms(2))
        rates.append(trainer.optimizers[0].param_groups[0]["lr"])
    assert rates == pytest.approx([0.5e-4, 0.125e-4])


def plateau(**arguments: object) -> DensePrediction:
    return three_tasks(
        optimizer=partial(torch.optim.SGD, lr=1e-4),
        scheduler=partial(torch.optim.lr_scheduler.ReduceLROnPlateau, factor=0.5, patience=0),
        **arguments,
    )


def test_a_schedule_may_look_at_what_is_logged():
    module, trainer = plateau(scheduler_monitor="val/total_loss"), quiet_trainer(max_epochs=1)
    trainer.fit(module, rooms(2), rooms(2))
    (scheduler,) = (config.scheduler for config in trainer.lr_scheduler_configs)
    assert scheduler.best == pytest.approx(float(trainer.callback_metrics["val/total_loss"]))


def test_a_schedule_that_has_nothing_to_look_at_is_an_error_that_says_what_to_set():
    with pytest.raises(ValueError, match=r"scheduler_monitor=\)` should name .*val/total_loss"):
        quiet_trainer().fit(plateau(), rooms(2), rooms(2))


def masked_rooms(batch_size: int) -> DataLoader:
    """Three frames, the first of which has few labels, and the last of which no depth."""
    frames = [{name: values[0] for name, values in batch.items()} for batch in rooms(3, 1)]
    frames[0]["segmentation"][2:] = 255
    frames[0]["depth"][:, 5:] = 0
    frames[0]["normals"][:, 1:] = 0
    frames[2]["depth"][:] = 0
    # Our `collate` would leave out a depth that is unknown everywhere.
    return DataLoader(frames, batch_size=batch_size)


@pytest.mark.parametrize("batch_size", [1, 2])
def test_validation_losses_are_the_means_over_all_labels(batch_size):
    module = three_tasks()
    (logged,) = quiet_trainer().validate(module, masked_rooms(batch_size), verbose=False)
    with torch.no_grad():
        losses = module.eval().task_losses(next(iter(masked_rooms(3))))
    expected = {f"val/loss/{name}": float(loss) for name, (loss, _) in losses.items()}
    assert {name: logged[name] for name in expected} == pytest.approx(expected, rel=1e-5)
    assert logged["val/total_loss"] == pytest.approx(sum(expected.values()), rel=1e-5)


def test_validation_losses_of_tasks_that_do_not_count_are_means_over_images():
    module = half_counted()
    (logged,) = quiet_trainer().validate(module, masked_rooms(2), verbose=False)
    module.eval()
    with torch.no_grad():
        parts = [float(module.task_losses(batch)["depth"]) for batch in masked_rooms(2)]
    expected = (2 * parts[0] + parts[1]) / 3
    assert logged["val/loss/depth"] == pytest.approx(expected, rel=1e-5)


def test_a_validation_without_any_label_of_a_task_has_no_loss_of_it():
    frames = list(masked_rooms(1))[2:]
    loader = DataLoader(frames, batch_size=None)
    (logged,) = quiet_trainer().validate(three_tasks(), loader, verbose=False)
    assert "val/loss/normals" in logged
    assert "val/loss/depth" not in logged


def test_the_sum_of_the_validation_losses_is_over_all_tasks_or_none():
    (logged,) = quiet_trainer().validate(three_tasks(), rooms(2, drop="depth"), verbose=False)
    assert "val/loss/normals" in logged
    assert "val/loss/depth" not in logged
    assert "val/total_loss" not in logged


def mistyped() -> DensePrediction:
    return DensePrediction([Segmentation(5), Depth("dept")], network=NETWORK)


@pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")
def test_a_task_that_no_batch_of_an_epoch_has_is_warned_of():
    match = r"`dept` had no target.*Found the entries \['depth', 'image', 'normals', 'segm"
    with pytest.warns(UserWarning, match=match):
        quiet_trainer().fit(mistyped(), rooms(2), rooms(2))


def test_a_task_that_some_batch_has_is_not_warned_of():
    frames = [*rooms(2, drop="depth"), *rooms(2)]
    trainer = quiet_trainer(max_epochs=2)
    trainer.fit(three_tasks(), DataLoader(frames, batch_size=None), rooms(2))
    assert trainer.current_epoch == 2


def test_a_task_that_another_rank_has_is_not_warned_of(monkeypatch):
    monkeypatch.setattr(
        "lightning_mtl.dense_prediction.union_over_ranks", lambda own: [*own, "dept"]
    )
    module = mistyped()
    module.trainer = quiet_trainer()
    module.on_train_start()
    module.task_losses(next(iter(rooms(2))))
    module.on_train_epoch_end()


def test_a_checkpoint_is_loaded_with_the_arguments_of_the_run(tmp_path):
    module, trainer = three_tasks(), quiet_trainer(max_epochs=1)
    trainer.fit(module, rooms(2), rooms(2))
    trainer.save_checkpoint(tmp_path / "run.ckpt")
    again = DensePrediction.load_from_checkpoint(
        tmp_path / "run.ckpt", tasks=[Segmentation(5), Depth(), Normals()], network=NETWORK
    )
    saved, loaded = module.state_dict(), again.state_dict()
    assert saved.keys() == loaded.keys()
    assert all(torch.equal(saved[name], loaded[name]) for name in saved)


def test_no_task_is_an_error_at_once():
    with pytest.raises(ValueError, match=r"at least one task\. Found none"):
        DensePrediction([])


@pytest.mark.parametrize(
    "name", ["a.b", "train", "image", ""], ids=["a.b", "train", "image", "empty"]
)
def test_a_name_that_cannot_be_a_key_is_an_error_that_shows_it(name):
    with pytest.raises(ValueError, match=rf"name of a task .*Found {name!r}"):
        DensePrediction([Depth(name)], network=NETWORK)


def test_a_network_in_place_of_its_class_is_an_error_that_says_what_to_pass():
    network = SharedEncoder({"depth": 1}, decoder="fpn")
    with pytest.raises(TypeError, match=r"Found a network.*functools.partial\(SharedEncoder"):
        DensePrediction([Depth()], network)


def test_an_unknown_interval_is_an_error():
    with pytest.raises(
        ValueError, match=r'scheduler_interval=\)` should be one of "epoch", "step"'
    ):
        three_tasks(scheduler_interval="batch")


@pytest.mark.parametrize("baseline", [0.0, -1.0])
def test_baselines_that_give_no_improvement_are_an_error_at_once(baseline):
    with pytest.raises(ValueError, match=r"positive and finite. Found {'depth'"):
        three_tasks(baselines={"segmentation": 0.5, "depth": baseline, "normals": 20.0})


def test_two_tasks_of_one_name_are_an_error():
    with pytest.raises(ValueError, match=r"name of its own. Found \['depth', 'depth'\]"):
        DensePrediction([Depth(), Depth()], network=NETWORK)


def test_baselines_must_be_of_all_tasks():
    with pytest.raises(ValueError, match=r"each of \['depth', 'normals', 'segmentation'\]. Found"):
        three_tasks(baselines={"depth": 1.0})


def spoiled(key: str, change) -> DataLoader:
    batch: dict[str, Tensor] = next(iter(rooms(2)))
    batch[key] = change(batch[key].clone())
    return DataLoader([batch], batch_size=None)


@pytest.mark.parametrize("stage", ["fit", "validate"])
def test_labels_outside_the_classes_are_named_before_they_index_anything(stage):
    loader = spoiled("segmentation", lambda target: target.index_fill(1, torch.tensor([0]), 7))
    loaders = (loader, rooms(2)) if stage == "fit" else (loader,)
    with pytest.raises(ValueError, match=r"segmentation.*7"):
        getattr(quiet_trainer(), stage)(three_tasks(), *loaders)


def test_a_target_of_the_wrong_shape_is_named():
    loader = spoiled("depth", lambda target: target[:, 0])
    with pytest.raises(ValueError, match=r"[Dd]epth"):
        quiet_trainer().fit(three_tasks(), loader, rooms(2))


def test_the_shape_of_a_target_is_checked_on_a_device_too():
    """Depth without its channel would be broadcast into a finite loss of nothing."""
    module = three_tasks()
    batch = {name: value.to("meta") for name, value in next(iter(rooms(2))).items()}
    with pytest.raises(
        ValueError, match=r"target of `Depth depth` should be of shape \(N, 1, H, W"
    ):
        module.task_losses(batch | {"depth": batch["depth"][:, 0]})


def test_extra_metrics_see_valid_elements_and_stand_beside_a_tasks_own():
    errors = {"MAE": MeanAbsoluteError(), "wrong": R2Score()}
    module = DensePrediction([Depth(activation="softplus", extra_metrics=errors)], network=NETWORK)
    loader = rooms(4)
    for frame in loader.dataset[:2]:
        frame["depth"][:] = 0
    (logged,) = quiet_trainer().validate(module, loader, verbose=False)
    assert logged["val/depth/MAE"] == pytest.approx(logged["val/depth/abs_err"], rel=1e-5)
    assert "val/depth/wrong" in logged
    # The given ones are copied: they have seen nothing.
    assert not errors["MAE"].update_called


class Measured(Depth):
    """A task that is measured by a plain collection of torchmetrics."""

    def __init__(self) -> None:
        super().__init__()
        self.primary_metric, self.higher_is_better = "MAE", False

    def metrics(self) -> MetricCollection:
        return MetricCollection({"MAE": MeanAbsoluteError(), "MSE": MeanSquaredError()})


def test_a_task_may_be_measured_by_any_collection_of_torchmetrics():
    module = DensePrediction([Measured()], network=NETWORK, baselines={"depth": 10.0})
    (logged,) = quiet_trainer().validate(module, rooms(2), verbose=False)
    assert {"val/depth/MAE", "val/depth/MSE", "val/delta_mtl"} <= logged.keys()
    assert logged["val/delta_mtl"] == pytest.approx(10 * (10 - logged["val/depth/MAE"]), rel=1e-4)


def test_a_learning_rate_finder_finds_its_attribute_and_the_optimizer_takes_it(tmp_path):
    module = three_tasks(lr=0.25)
    assert {group["lr"] for group in module.configure_optimizers().param_groups} == {0.25}
    finder = LearningRateFinder(num_training_steps=2, early_stop_threshold=None)
    trainer = quiet_trainer(callbacks=[finder], default_root_dir=tmp_path)
    with patch.object(_LRFinder, "suggestion", return_value=0.125):
        trainer.fit(module, rooms(8), rooms(2))
    assert module.lr == 0.125
    assert trainer.optimizers[0].param_groups[0]["lr"] == 0.125


def test_metres_above_zero_are_what_loss_metrics_and_files_see():
    module = DensePrediction([Depth(activation="softplus")], network=NETWORK).eval()
    batch = next(iter(rooms(2)))
    with torch.no_grad():
        raw = module.network(batch["image"])["depth"]
        prediction = module(batch["image"])["depth"]
        (loss, _) = module.task_losses(batch)["depth"]
    assert (raw < 0).any()
    torch.testing.assert_close(prediction, torch.nn.functional.softplus(raw))
    torch.testing.assert_close(loss, module.tasks["depth"].loss(prediction, batch["depth"]))
