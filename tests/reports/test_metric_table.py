"""The table at the end of a run, and the trivial predictor in it."""

import re
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader

from lightning_mtl import DensePrediction
from lightning_mtl.callbacks import MetricTable
from lightning_mtl.data import SyntheticRooms, collate
from lightning_mtl.metrics import DepthMetrics, SegmentationMetrics
from lightning_mtl.reports.trivial_predictor import target_means, trivial_results
from lightning_mtl.tasks import Attributes, Depth, Edges, Keypoints, Normals, Segmentation
from tests.support.ddp_rooms import measured
from tests.support.ranks import outputs_of
from tests.support.toy import Toy, quiet_trainer, toy_loader
from tests.test_dense_prediction import NETWORK, SIZE, rooms, three_tasks


def shown(capsys: pytest.CaptureFixture[str], **arguments: object) -> dict[str, list[str]]:
    """What stands in the table, by task and metric, after one step on 4 of 6 frames."""
    module = three_tasks(baselines={"segmentation": 0.5, "depth": 1.0, "normals": 20.0})
    trainer = quiet_trainer(callbacks=[MetricTable(**arguments)], limit_train_batches=1)
    trainer.fit(module, rooms(6, 4), rooms(3))
    rows = {}
    for line in capsys.readouterr().out.splitlines():
        cells = [cell.strip() for cell in re.split("[│┃]", line)][1:-1]
        if len(cells) > 2:
            rows[f"{cells[0]} {cells[1].split()[0]}"] = cells[2:]
    return rows


def test_the_trivial_predictor_counts_an_attribute_where_it_is_known():
    target = torch.tensor([[1.0, 255.0], [1.0, 255.0], [0.0, 1.0], [0.0, 0.0]])
    batches = [{"attributes": part} for part in target.split(2)]
    means = target_means({"attributes": Attributes(2)}, batches, torch.device("cpu"))
    assert means["attributes"].tolist() == [0.5, 0.5]
    unknown = [{"attributes": torch.full((2, 2), 255.0)}]
    assert target_means({"attributes": Attributes(2)}, unknown, torch.device("cpu")) == {}


def test_the_trivial_predictor_says_the_training_sets_mean_everywhere(capsys):
    train = next(iter(rooms(4, 4)))
    val = next(iter(rooms(3, 3)))
    depth = train["depth"][train["depth"] > 0].mean()
    metric = DepthMetrics()
    metric.update(torch.full_like(val["depth"], float(depth)), val["depth"])
    classes = SegmentationMetrics(5)
    common = train["segmentation"][train["segmentation"] < 255].mode().values
    constant = torch.nn.functional.one_hot(
        torch.full_like(val["segmentation"], int(common)), 5
    ).movedim(-1, 1)
    classes.update(constant.float(), val["segmentation"])
    rows = shown(capsys)
    assert float(rows["depth RMSE"][1]) == pytest.approx(float(metric.compute()["RMSE"]), rel=1e-3)
    assert float(rows["segmentation mIoU"][1]) == pytest.approx(
        float(classes.compute()["mIoU"]), rel=1e-3
    )


def test_every_metric_stands_beside_the_trivial_one(capsys):
    rows = shown(capsys)
    module = three_tasks()
    expected = {
        f"{name} {key}" for name, task in module.tasks.items() for key in task.metrics().directions
    }
    assert expected <= set(rows)
    assert all(rows[key][0] and rows[key][1] for key in expected)
    assert rows["all delta_mtl"][0]


class TwiceAsFar(Depth):
    """Measured against another target than it is trained on, as edges of several annotators are."""

    def metric_target(self, batch: Mapping[str, Any]) -> Any:
        return 2 * batch[self.name]


def test_the_trivial_predictor_is_measured_against_what_the_network_is_measured_against():
    module = DensePrediction([TwiceAsFar()], network=NETWORK)
    loader = rooms(2)
    trainer = quiet_trainer()
    trainer.fit(module, loader, loader)
    target = next(iter(loader))["depth"]
    expected = DepthMetrics()
    mean = target[target > 0].mean()
    expected.update(torch.full_like(target, float(mean)), 2 * target)
    found = trivial_results(trainer, module.tasks)["depth"]
    torch.testing.assert_close(found, expected.compute())


def test_every_task_of_the_rooms_has_a_trivial_predictor():
    tasks = [
        Segmentation(5),
        Depth(),
        Normals(),
        Edges(thresholds=2),
        Keypoints(len(SyntheticRooms.KEYPOINTS)),
    ]
    names = [task.name for task in tasks]
    loader = DataLoader(SyntheticRooms(2, size=SIZE, tasks=names), batch_size=2, collate_fn=collate)
    trainer = quiet_trainer()
    module = DensePrediction(tasks, network=NETWORK)
    trainer.fit(module, loader, loader)
    found = trivial_results(trainer, module.tasks)
    assert list(found) == names
    assert all(found.values())


def test_the_trivial_predictor_may_be_left_out(capsys):
    rows = shown(capsys, trivial=False)
    assert len(rows["depth RMSE"]) == 1


def test_without_validation_there_is_no_table_and_a_line_says_why(capsys, caplog):
    quiet_trainer(callbacks=[MetricTable()]).fit(Toy(), toy_loader())
    assert "Validation" not in capsys.readouterr().out
    assert "so there is no table" in caplog.text


def test_what_a_module_of_ones_own_logs_is_in_the_table(capsys):
    class Logging(Toy):
        def validation_step(self, batch, batch_idx):
            self.log_dict({"val/a/mse": 0.25, "val/loss/a": 1.0, "val/total_loss": 1.0})

    trainer = quiet_trainer(callbacks=[MetricTable()])
    trainer.fit(Logging(), toy_loader(), toy_loader())
    cells = re.findall(r"│ (\w+) +│ (\w+) +│ +([\d.]+) │", capsys.readouterr().out)
    assert cells == [("a", "mse", "0.25")]


def test_an_interrupted_run_shows_what_there_is(capsys):
    class Interrupted(MetricTable):
        def on_train_epoch_end(self, trainer, pl_module):
            raise KeyboardInterrupt

    module = three_tasks()
    with pytest.raises(SystemExit):
        quiet_trainer(callbacks=[Interrupted()]).fit(module, rooms(2), rooms(2))
    assert "mIoU" in capsys.readouterr().out


class Counted(list):
    """Frames that count how often one of them was read."""

    reads = 0

    def __getitem__(self, index: int) -> Any:
        self.reads += 1
        return super().__getitem__(index)


def test_the_trivial_predictor_reads_what_the_limits_leave_and_every_frame_once():
    train, val = (
        DataLoader(Counted(rooms(6).dataset), batch_size=2, collate_fn=collate) for _ in range(2)
    )
    trainer = quiet_trainer(limit_train_batches=1, limit_val_batches=2, num_sanity_val_steps=0)
    module = three_tasks()
    trainer.fit(module, train, val)
    before = train.dataset.reads, val.dataset.reads
    trivial_results(trainer, module.tasks)
    assert (train.dataset.reads - before[0], val.dataset.reads - before[1]) == (2, 4)


def test_two_ranks_measure_network_and_trivial_predictor_as_one_does(tmp_path):
    """Of four frames, two with depth, the second rank has those two without."""
    file = tmp_path / "measured.pt"
    codes, printed = outputs_of("ddp_rooms", str(file))
    assert codes == [0, 0], printed[-4000:]
    found, expected = torch.load(file), measured(1, 4, tmp_path / "one")
    assert found.keys() == expected.keys() == {"logged", "segmentation", "depth", "normals", "own"}
    assert "val/delta_mtl" in found["logged"]
    for name, values in expected.items():
        assert found[name] == pytest.approx(values, rel=1e-5)
    assert len(re.findall(r"^Validation", printed, re.MULTILINE)) == 1
    assert (tmp_path / "two/pictures/epoch_001.png").stat().st_size > 1000
