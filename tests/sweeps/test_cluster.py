"""Workers are submitted by submitit."""

import sys

import pytest
import submitit

from lightning_mtl.sweeps.cluster import DAY, LAUNCHERS, launch

ARGUMENTS = ["--help"]


def test_every_worker_is_the_command_of_one_machine(tmp_path):
    found = launch("local", ARGUMENTS, tmp_path, nodes=2, settings={"timeout_min": 5})
    assert len(found) == 2
    assert all("usage: lightning-mtl sweep" in text for text in found)
    assert list((tmp_path / "submitit").iterdir())


def test_a_worker_that_fails_is_an_error(tmp_path):
    with pytest.raises(ValueError, match=f"Look at its log in `{tmp_path}/submitit`"):
        launch("local", ["--seeds", "0", "--weightings", "equal"], tmp_path, 1, {})
    (log,) = (tmp_path / "submitit").glob("*.err")
    assert "`--seeds` should be at least 1" in log.read_text()


@pytest.mark.parametrize("settings", [{}, {"timeout_min": 5}], ids=["default", "given"])
def test_a_worker_has_a_day_unless_the_settings_say_otherwise(tmp_path, monkeypatch, settings):
    found = {}

    def update(executor: submitit.AutoExecutor, **given: object) -> None:
        found.update(given)

    monkeypatch.setattr(submitit.AutoExecutor, "update_parameters", update)
    launch("local", ARGUMENTS, tmp_path, nodes=1, settings=settings)
    assert found == {"name": "lightning-mtl", "timeout_min": settings.get("timeout_min", DAY)}


def test_without_submitit_the_error_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'lightning_mtl\[cluster\]'"):
        launch("local", ARGUMENTS, tmp_path, 1, {})


def test_slurm_is_among_the_launchers():
    assert LAUNCHERS == ("local", "slurm")
