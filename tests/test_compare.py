"""Comparing runs by their logs."""

from pathlib import Path

import pytest

from lightning_mtl.compare import compare, delta_mtl, group_runs, read_results

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


def test_only_runs_of_the_same_name_share_a_row(tmp_path):
    """Folders that Lightning calls `version_0` each are not seeds of one run."""
    first = run(tmp_path / "equal" / "version_0", "1,0,1.0,0.5\n")
    second = run(tmp_path / "mgda" / "version_0", "1,0,2.0,0.5\n")
    assert set(group_runs([first, second])) == {first, second}
    assert {
        name: len(rows) for name, rows in group_runs([f"a={first}", f"a={second}"]).items()
    } == {"a": 2}


def test_delta_mtl_is_the_mean_signed_improvement_in_percent():
    directions = {"rmse": False, "iou": True}
    found = delta_mtl({"rmse": 0.9, "iou": 0.6}, {"rmse": 1.0, "iou": 0.5}, directions)
    assert found == pytest.approx((10 + 20) / 2)


@pytest.mark.parametrize("arguments", [{"metrics": ["val/x"]}, {"baselines": {"val/x": 1.0}}])
def test_a_column_that_a_run_lacks_is_an_error_that_shows_what_there_is(tmp_path, arguments):
    folder = run(tmp_path / "a", "1,0,1,1\n")
    with pytest.raises(ValueError, match=r"columns \['val/x'\].*val/depth/RMSE"):
        compare([folder], **arguments)


def test_only_the_asked_columns_are_shown(tmp_path, capsys):
    compare([run(tmp_path / "a", "1,0,1.25,0.75\n")], metrics=["val/depth/RMSE"])
    shown = capsys.readouterr().out
    assert "1.25" in shown
    assert "0.75" not in shown
