"""Malformed configs, and callbacks that get lost between configs and arguments."""

import pytest

from lightning_mtl.command_line.config_files import (
    check_configs,
    given_configs,
    replaced_callbacks,
)

FAULTS = {
    "an empty file": ("", "names and values, such as `model: ...`. Found nothing"),
    "a list": ("- a\n- b\n", "names and values, such as `model: ...`. Found a list"),
    "a word": ("hello", "Found `hello`"),
    "no YAML": ("trainer:\n  max_epochs: [3\n", "should be YAML"),
    "a trainer that is a list": ("trainer: [1]", "`trainer` should be names and values"),
    "arguments that are a list": (
        "trainer: {logger: [{class_path: CSVLogger, init_args: [1]}]}",
        "`trainer.logger[0].init_args` should be names and values, as in `name: value`. Found a",
    ),
    "a class that is a list": (
        "data: {class_path: [A]}",
        "`data.class_path` should be the name of a class. Found a list",
    ),
    "a number as a name": ("model: {init_args: {1: 2}}", "`model.init_args.1` should be text"),
}


@pytest.mark.parametrize(("text", "message"), FAULTS.values(), ids=FAULTS)
def test_a_malformed_config_is_an_error_that_says_file_and_key(tmp_path, capsys, text, message):
    path = tmp_path / "broken.yaml"
    path.write_text(text)
    with pytest.raises(SystemExit) as stop:
        check_configs(["fit", "-c", str(path)])
    assert stop.value.code == 2
    shown = capsys.readouterr().err
    assert shown.startswith(f"error: `{path}`")
    assert message in shown


@pytest.mark.parametrize(
    "style",
    ["--config={}", "--config {}", "-c {}"],
    ids=["with an equals sign", "with a space", "in short"],
)
def test_configs_are_found_in_every_style(tmp_path, style):
    path = tmp_path / "a.yaml"
    path.write_text("data: RoomsDataModule")
    arguments = ["fit", *style.format(path).split(), "--config", "nowhere.yaml"]
    assert given_configs(arguments) == [path]


@pytest.fixture
def configs(tmp_path) -> list[str]:
    """Arguments for two configs: one with two callbacks, and one that adds a third."""
    texts = {
        "base": "trainer: {callbacks: [{class_path: a.B}, MetricTable]}",
        "more": "trainer: {callbacks+: {class_path: MGDA}}",
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    return [f"--config={tmp_path / name}" for name in texts]


def test_callbacks_that_the_command_line_replaces_are_named(configs):
    line = replaced_callbacks(["fit", *configs, "--trainer.callbacks", "GradNorm"])
    assert "config: B, MetricTable, MGDA will not run." in line
    assert "`--trainer.callbacks+=NAME`" in line
    assert "`--weighting NAME`" in line


@pytest.mark.parametrize(
    "last",
    [
        [],
        ["--trainer.callbacks+=GradNorm"],
        ["--trainer.callbacks+", "GradNorm"],
        ["--weighting=GradNorm"],
    ],
    ids=["no other", "one added", "one added after a space", "a weighting"],
)
def test_nothing_is_said_where_callbacks_stay(configs, last):
    assert replaced_callbacks(["fit", *configs, *last]) == ""


def test_callbacks_of_a_config_that_comes_later_are_not_replaced(configs):
    assert replaced_callbacks(["fit", "--trainer.callbacks=GradNorm", *configs]) == ""


def test_a_config_that_replaces_the_callbacks_that_another_adds_is_an_error(configs, capsys):
    check_configs(configs)
    with pytest.raises(SystemExit):
        check_configs(configs[::-1])
    assert "Give them in the other order." in capsys.readouterr().err
