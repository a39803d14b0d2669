"""Comparing runs by their logs."""

import os
from pathlib import Path

import pytest

from lightning_mtl import metrics, tasks
from lightning_mtl.compare import (
    compare,
    delta_mtl,
    directions_of,
    group_runs,
    primary,
    read_results,
)
from lightning_mtl.tasks import Attributes, Classification, Keypoints, Regression, Segmentation

HEAD = "step,train/loss/depth,val/depth/RMSE,val/segmentation/mIoU\n"


def run(folder: Path, rows: str, head: str = HEAD) -> str:
    folder.mkdir(parents=True)
    (folder / "metrics.csv").write_text(head + rows)
    return str(folder)


def test_the_last_value_of_every_column_counts(tmp_path):
    folder = run(tmp_path / "a", "1,0.1,2.0,\n2,0.2,,0.5\n3,0.3,1.5,\n")
    assert read_results(Path(folder)) == {"val/depth/RMSE": 1.5, "val/segmentation/mIoU": 0.5}


def test_a_folder_of_several_runs_is_an_error_that_names_them(tmp_path):
    run(tmp_path / "version_0", "1,0,1,1\n")
    run(tmp_path / "version_1", "1,0,1,1\n")
    with pytest.raises(ValueError, match=r"one run. Found 2: .*version_0.*version_1"):
        read_results(tmp_path)


def test_only_runs_of_the_same_name_share_a_column(tmp_path):
    """Folders that Lightning calls `version_0` each are not seeds of one run."""
    first = run(tmp_path / "equal" / "version_0", "1,0,1.0,0.5\n")
    second = run(tmp_path / "mgda" / "version_0", "1,0,2.0,0.5\n")
    assert set(group_runs([first, second])) == {first, second}
    assert {
        name: len(rows) for name, rows in group_runs([f"a={first}", f"a={second}"]).items()
    } == {"a": 2}


def test_a_test_within_the_folder_of_a_run_belongs_to_it_and_the_last_one_counts(tmp_path):
    folder = Path(run(tmp_path / "version_0", "1,0,2.0,0.5\n"))
    for age, value in ((5, 1.0), (0, 3.0)):
        test = Path(run(folder / f"test_{age}", f"0,{value}\n", "step,test/depth/RMSE\n"))
        os.utime(test / "metrics.csv", (100 - age, 100 - age))
    expected = {"val/depth/RMSE": 2.0, "val/segmentation/mIoU": 0.5, "test/depth/RMSE": 3.0}
    assert read_results(folder) == read_results(tmp_path) == expected


def test_delta_mtl_is_the_mean_signed_improvement_in_percent():
    directions = {"rmse": False, "iou": True}
    found = delta_mtl({"rmse": 0.9, "iou": 0.6}, {"rmse": 1.0, "iou": 0.5}, directions)
    assert found == pytest.approx((10 + 20) / 2)


@pytest.mark.parametrize("arguments", [{"metrics": ["val/x"]}, {"baselines": {"val/x": 1.0}}])
def test_a_metric_that_a_run_lacks_is_an_error_that_shows_what_there_is(tmp_path, arguments):
    folder = run(tmp_path / "a", "1,0,1,1\n")
    with pytest.raises(ValueError, match=r"metrics \['val/x'\].*val/depth/RMSE"):
        compare([folder], **arguments)


def test_only_the_metrics_asked_for_are_shown(tmp_path, capsys):
    compare([run(tmp_path / "a", "1,0,1.25,0.75\n")], metrics=["val/depth/RMSE"])
    shown = capsys.readouterr().out
    assert "1.25" in shown
    assert "0.75" not in shown


def test_a_folder_with_an_equals_sign_in_its_name_needs_no_name(tmp_path):
    folder = run(tmp_path / "lr=0.1" / "v0", "1,0,1.0,0.5\n")
    assert set(group_runs([folder])) == {folder}
    assert set(group_runs([f"fast={folder}"])) == {"fast"}


BUILT = {
    "Segmentation": lambda: Segmentation(3),
    "Keypoints": lambda: Keypoints(2),
    "Attributes": lambda: Attributes(2),
    "Classification": lambda: Classification(3, "digit"),
    "Regression": lambda: Regression("number"),
}
TASKS = [BUILT.get(name, getattr(tasks, name))() for name in tasks.__all__ if name != "Task"]
every_task = pytest.mark.parametrize("task", TASKS, ids=lambda task: type(task).__name__)


@every_task
def test_directions_are_those_of_the_tasks(task):
    expected = {f"val/x/{key}": better for key, better in task.metrics().directions.items()}
    assert directions_of(expected) == expected


def test_all_metrics_of_one_name_have_one_direction():
    kinds = [getattr(metrics, name) for name in metrics.__all__]
    seen = [pair for kind in kinds for pair in getattr(kind, "directions", {}).items()]
    assert len(dict(seen)) == len(set(seen)) > 10


@every_task
def test_the_primary_metric_of_a_task_is_shown(task):
    # Disparity has the names of depth, and is shown by RMSE too.
    expected = "RMSE" if task.name == "disparity" else task.primary_metric
    columns = [f"val/{task.name}/{key}" for key in task.metrics().directions]
    assert primary(columns) == [f"val/{task.name}/{expected}"]


def test_a_metric_of_ones_own_beside_those_of_a_task_changes_nothing():
    names = [*metrics.NormalMetrics.directions, "my_angle", "abs_err"]
    assert primary(f"val/normals/{name}" for name in names) == ["val/normals/mean"]
    assert primary(["val/depth/abs_err", "val/depth/rel_err"]) == ["val/depth/abs_err"]


def test_metrics_of_ones_own_are_all_shown_and_delta_mtl_too():
    columns = ["val/mine/b", "val/mine/a", "val/delta_mtl", "val/depth/abs_err", "val/depth/RMSE"]
    assert primary(columns) == ["val/delta_mtl", "val/depth/RMSE", "val/mine/a", "val/mine/b"]


def test_losses_are_no_metrics_unless_there_is_nothing_else():
    losses = ["val/loss/a", "val/loss/b", "val/total_loss", "test/total_loss"]
    assert primary([*losses, "val/depth/RMSE"]) == ["val/depth/RMSE"]
    assert set(primary(losses)) == set(losses)


def test_seeds_are_counted_and_named_only_where_there_are_several(tmp_path, capsys):
    first, second = (run(tmp_path / name, f"1,0,{name},0.5\n") for name in ("1", "2"))
    compare([f"a={first}", f"b={second}"])
    shown = capsys.readouterr().out
    assert "seeds" not in shown
    assert "deviation" not in shown
    compare([f"a={first}", f"a={second}"])
    shown = capsys.readouterr().out
    assert "seeds" in shown
    assert "mean ± standard deviation over seeds" in shown


def test_a_baseline_of_unknown_direction_is_an_error_until_somebody_says_it():
    with pytest.raises(ValueError, match=r"Found \['val/mine/a'\].*`lower_is_better`"):
        directions_of(["val/mine/a", "val/depth/RMSE"])
    expected = {"val/mine/a": True, "val/depth/RMSE": False}
    assert directions_of(expected, higher=["val/mine/a"]) == expected
    assert directions_of(["val/mine/a"], lower=["val/mine/a"]) == {"val/mine/a": False}


def test_a_direction_of_no_baseline_is_an_error():
    with pytest.raises(ValueError, match=r"some of \['val/depth/RMSE'\].*\['val/depht/RMSE'\]"):
        directions_of(["val/depth/RMSE"], higher=["val/depht/RMSE"])


def test_an_iou_above_its_baseline_is_an_improvement(tmp_path, capsys):
    folder = run(tmp_path / "a", "1,0,1.0,0.6\n")
    compare([f"a={folder}"], baselines={"val/segmentation/mIoU": 0.5})
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "delta_mtl" in line]
    assert " 20 " in line


def test_runs_stand_side_by_side_at_the_width_of_a_terminal(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    columns = [
        f"val/{task}/{key}"
        for task, kind in (
            ("segmentation", metrics.SegmentationMetrics),
            ("depth", metrics.DepthMetrics),
            ("normals", metrics.NormalMetrics),
        )
        for key in kind.directions
    ]
    head, rows = ",".join(columns) + "\n", ",".join(["0.123456"] * len(columns)) + "\n"
    names = ["equal", "gradnorm", "maxgnr"]
    runs = [f"{name}={run(tmp_path / name, rows, head)}" for name in names]
    for all_metrics, shown in ((False, 3), (True, len(columns))):
        compare(runs, all_metrics=all_metrics)
        lines = capsys.readouterr().out.splitlines()
        assert sum(line.count("0.1235") == 3 for line in lines) == shown
        assert max(map(len, lines)) <= 80
        assert all(name in lines[2] for name in names)
