"""The checkpoint of a command: asked for, looked for, and named where it is missing."""

import os
from pathlib import Path

import pytest
from jsonargparse import Namespace

from lightning_mtl.command_line.checkpoints import check_checkpoint, found_checkpoints, run_folder


def settings(ckpt_path: str | None = None, **trainer: object) -> Namespace:
    trainer = {"logger": False, "callbacks": None, "default_root_dir": None, **trainer}
    return Namespace(ckpt_path=ckpt_path, trainer=Namespace(**trainer))


def logger(folder: Path, name: str) -> Namespace:
    return Namespace(
        class_path="CSVLogger", init_args=Namespace(save_dir=str(folder), name=name, version=None)
    )


def checkpoint(path: Path, age: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    os.utime(path, (10_000 - age, 10_000 - age))
    return path


@pytest.fixture
def runs(tmp_path, monkeypatch) -> list[Path]:
    """Checkpoints of three runs, the newest first."""
    monkeypatch.chdir(tmp_path)
    return [checkpoint(Path(f"runs/a/version_{n}/checkpoints/x.ckpt"), age=n) for n in range(3)]


@pytest.mark.parametrize("command", ["validate", "test", "predict"])
def test_a_command_without_a_checkpoint_names_those_that_are_there(runs, capsys, command):
    with pytest.raises(SystemExit) as stop:
        check_checkpoint(command, settings(logger=[logger(Path("runs"), "a")]), [], given=False)
    assert stop.value.code == 2
    shown = capsys.readouterr().err
    assert [line.strip() for line in shown.splitlines()[1:4]] == [str(path) for path in runs]
    assert "`--ckpt_path null`" in shown


def test_without_any_checkpoint_the_message_is_one_line(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        check_checkpoint("test", settings(logger=None), [], given=False)
    (line,) = capsys.readouterr().err.splitlines()
    assert "No run of this config has one." in line


@pytest.mark.parametrize(
    ("command", "path"),
    [
        ("fit", None),
        ("fit", "last"),
        ("test", "https://host/x.ckpt"),
        ("test", "registry:name"),
        ("test", "runs/a/version_0/checkpoints/x.ckpt"),
    ],
    ids=["training afresh", "resuming", "a remote file", "a registry", "a file"],
)
def test_checkpoints_that_are_right_pass(runs, command, path):
    check_checkpoint(command, settings(path), [], given=path is not None)


def test_random_weights_on_purpose_pass():
    check_checkpoint("test", settings(), [], given=True)


@pytest.mark.parametrize("command", ["fit", "test"])
def test_a_checkpoint_that_does_not_exist_is_answered_with_near_names(runs, capsys, command):
    beside = checkpoint(Path("elsewhere/epoch=3.ckpt"))
    with pytest.raises(SystemExit):
        check_checkpoint(command, settings("elsewhere/epoch=4.ckpt"), [], given=True)
    shown = capsys.readouterr().err
    assert "Found no `elsewhere/epoch=4.ckpt`" in shown
    assert shown.splitlines()[1:] == [f"  {beside}"]


def test_the_last_checkpoint_of_a_run_that_has_not_begun_is_an_error(runs, capsys):
    with pytest.raises(SystemExit):
        check_checkpoint("test", settings("last"), [run.parents[1] / "x" for run in runs], True)
    assert str(runs[0]) in capsys.readouterr().err


def test_checkpoints_are_looked_for_beside_configs_in_logs_and_in_named_folders(tmp_path):
    own = [
        checkpoint(tmp_path / "run/checkpoints/a.ckpt", 0),
        checkpoint(tmp_path / "logs/name/version_7/checkpoints/b.ckpt", 1),
        checkpoint(tmp_path / "root/lightning_logs/version_0/checkpoints/c.ckpt", 2),
        checkpoint(tmp_path / "named/d.ckpt", 3),
    ]
    checkpoint(tmp_path / "logs/other/version_0/checkpoints/e.ckpt")
    callback = Namespace(
        class_path="ModelCheckpoint", init_args=Namespace(dirpath=str(tmp_path / "named"))
    )
    given = settings(
        logger=[logger(tmp_path / "logs", "name"), None],
        callbacks=[callback],
        default_root_dir=str(tmp_path / "root"),
    )
    assert found_checkpoints(given, [tmp_path / "run/config.yaml"]) == own


def test_only_a_checkpoint_in_the_folder_of_a_run_has_one(runs, tmp_path):
    assert run_folder(str(runs[1])) == Path("runs/a/version_1")
    assert run_folder(str(checkpoint(tmp_path / "x.ckpt"))) is None
    assert run_folder("gone/checkpoints/x.ckpt") is None
    assert run_folder(None) is None
