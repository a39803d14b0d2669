"""The commands by name: help at once, and the package's names when they are used."""

import subprocess
import sys

import pytest

import lightning_mtl
from lightning_mtl.cli import main
from lightning_mtl.command_line.commands import COMMANDS
from lightning_mtl.version import __version__

SCRIPT = """
import sys
from lightning_mtl.cli import main
try:
    main({arguments})
except SystemExit as stop:
    assert not stop.code
print(sorted({{"torch", "lightning", "torchmetrics"}} & set(sys.modules)))
"""


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["--version"],
        ["compare", "--help"],
        ["sweep", "--help"],
        ["doctor", "--help"],
        ["tune", "--help"],
    ],
    ids=" ".join,
)
def test_help_imports_neither_torch_nor_lightning(arguments):
    command = [sys.executable, "-c", SCRIPT.format(arguments=arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"


def test_the_help_says_what_every_command_does(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--help"])
    assert stop.value.code == 0
    words = " ".join(capsys.readouterr().out.split())
    assert all(f"{name} {text}" in words for name, text in COMMANDS.items())


def test_the_version_is_that_of_the_package(capsys):
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out.split() == ["lightning-mtl", __version__]


def test_options_may_stand_before_a_command(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["lightning-mtl"])
    config = tmp_path / "config.yaml"
    config.write_text("fit:\n  trainer: {max_epochs: 77}\n")
    with pytest.raises(SystemExit) as stop:
        main(["--config", str(config), "fit", "--print_config"])
    assert stop.value.code == 0
    assert "max_epochs: 77" in capsys.readouterr().out


@pytest.mark.parametrize("name", lightning_mtl.__all__)
def test_every_name_of_the_package_is_there_and_listed(name):
    assert getattr(lightning_mtl, name) is not None
    assert name in dir(lightning_mtl)


def test_other_names_are_missing_as_from_any_module():
    with pytest.raises(AttributeError, match="no attribute `MultiTask`"):
        lightning_mtl.MultiTask  # noqa: B018
    with pytest.raises(ImportError, match="cannot import name"):
        exec("from lightning_mtl import MultiTask", {})
