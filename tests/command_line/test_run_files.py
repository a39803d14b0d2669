"""One folder for a run: loggers beside each other, and later tests within it."""

from pathlib import Path

import pytest
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from lightning.pytorch.loggers.logger import DummyLogger

from lightning_mtl.command_line.run_files import free_path, loggers_of_run, share_folder


def test_a_path_that_is_taken_gets_a_number(tmp_path):
    found = []
    for _ in range(3):
        path = free_path(tmp_path / "config.yaml")
        path.touch()
        found.append(path.name)
    assert found == ["config.yaml", "config_1.yaml", "config_2.yaml"]


@pytest.mark.parametrize("order", [1, -1], ids=["CSV first", "TensorBoard first"])
def test_loggers_of_one_root_share_the_folder_of_the_next_run(tmp_path, order):
    (tmp_path / "name/version_3").mkdir(parents=True)
    loggers = [CSVLogger(tmp_path, "name"), TensorBoardLogger(tmp_path, "name")][::order]
    share_folder(loggers)
    Path(loggers[0].log_dir).mkdir()
    assert {logger.log_dir for logger in loggers} == {str(tmp_path / "name/version_4")}


@pytest.fixture
def run(tmp_path) -> Path:
    """The folder of a run that has been trained."""
    folder = tmp_path / "runs/name/version_0"
    folder.mkdir(parents=True)
    (folder / "metrics.csv").write_text("val/x\n1\n")
    return folder


def test_a_test_keeps_the_numbers_of_training_and_writes_its_own_beside_them(run):
    (logger,) = loggers_of_run([CSVLogger("elsewhere")], run, run / "test")
    logger.log_metrics({"test/x": 2.0}, step=0)
    logger.save()
    assert Path(logger.log_dir) == run
    assert (run / "metrics.csv").read_text() == "val/x\n1\n"
    assert (run / "test/metrics.csv").read_text().split() == ["step,test/x", "0,2.0"]


def test_all_loggers_of_files_have_the_folder_of_the_run_and_others_are_left_alone(run):
    other = DummyLogger()
    given = [TensorBoardLogger("elsewhere"), other, CSVLogger("elsewhere")]
    found = loggers_of_run(given, run, run / "test")
    assert [Path(found[place].log_dir) for place in (0, 2)] == [run, run]
    assert found[1] is other


@pytest.mark.parametrize("default", [None, True])
def test_the_default_logger_has_the_folder_of_the_run_too(run, default):
    (logger,) = loggers_of_run(default, run, run / "test")
    assert isinstance(logger, TensorBoardLogger)
    assert Path(logger.log_dir) == run


def test_one_logger_needs_no_list_and_none_stays_none(run):
    (logger,) = loggers_of_run(CSVLogger("elsewhere"), run, run / "test")
    assert Path(logger.log_dir) == run
    assert loggers_of_run(False, run, run / "test") is False
