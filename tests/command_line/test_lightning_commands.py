"""`--weighting` beside the callbacks, and the words of the commands."""

import functools
import inspect
import re
import sys
from collections.abc import Callable
from pathlib import Path

import lightning as L
import pytest
import yaml
from jsonargparse import ArgumentParser
from lightning import Trainer

from lightning_mtl.callbacks import MGDA, GradNorm, GramianWeighting, MetricTable
from lightning_mtl.catalogue import weightings
from lightning_mtl.cli import main
from lightning_mtl.command_line.lightning_commands import with_weighting

INHERITED = inspect.signature(GramianWeighting).parameters
CONFIGS = Path(__file__).resolve().parents[2] / "configs"
BASE = """
model:
  class_path: DensePrediction
  init_args:
    tasks: [{class_path: Classification, init_args: {num_classes: 3, name: digit}}]
    network: {class_path: LeNet, init_args: {size: 28}}
data: RoomsDataModule
trainer:
  logger: false
  accelerator: cpu
  enable_checkpointing: false
  enable_progress_bar: false
  callbacks: [{class_path: MetricTable}, {class_path: EqualWeighting}]
"""


@pytest.fixture
def trainers(tmp_path, monkeypatch) -> list[Trainer]:
    """The Trainers that `fit` is called of, which do nothing; `base.yaml` is in the folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["lightning-mtl"])
    Path("base.yaml").write_text(BASE)
    found: list[Trainer] = []

    def recorded(method: Callable) -> Callable:
        return functools.wraps(method)(lambda trainer, *args, **rest: found.append(trainer))

    for command in ("fit", "test"):
        monkeypatch.setattr(Trainer, command, recorded(getattr(Trainer, command)))
    return found


def own(trainer: Trainer) -> list[L.Callback]:
    """The callbacks of this package that a config may name."""
    names = ["MetricTable", "EqualWeighting", "FixedWeighting", "GradNorm", "MaxGNR"]
    return [callback for callback in trainer.callbacks if type(callback).__name__ in names]


def names(trainer: Trainer) -> set[str]:
    return {type(callback).__name__ for callback in own(trainer)}


def test_without_a_weighting_the_callbacks_are_those_of_the_config(trainers):
    main(["fit", "--config=base.yaml"])
    assert names(trainers[0]) == {"MetricTable", "EqualWeighting"}


def test_a_weighting_replaces_the_one_of_the_config_and_has_its_arguments(trainers):
    main(["fit", "--config=base.yaml", "--weighting", "GradNorm", "--weighting.alpha", "0.5"])
    assert names(trainers[0]) == {"MetricTable", "GradNorm"}
    assert own(trainers[0])[0].alpha == 0.5


def test_a_weighting_has_prior_weights_from_the_command_line(trainers):
    given = ["--weighting", "GradNorm", "--weighting.prior", "{digit: 2.0}"]
    main(["fit", "--config=base.yaml", *given])
    assert own(trainers[0])[0].prior == {"digit": 2.0}


@pytest.mark.parametrize("kind", weightings(), ids=lambda kind: kind.__name__)
def test_every_weighting_has_prior_weights_with_a_text_and_no_argument_of_another(kind):
    parser = ArgumentParser()
    parser.add_class_arguments(kind, "rule")
    text = " ".join(parser.format_help().split())
    assert "--rule.prior PRIOR" in text
    assert re.search(r"prior weights c_k|what multiplies the losses, by the names", text)
    for option in re.findall(r"--rule\.(\w+)", text):
        assert f"{option}: " in inspect.getdoc(kind) or option in (*INHERITED, "prior")


def test_null_removes_the_weighting_of_the_config(trainers):
    main(["fit", "--config=base.yaml", "--weighting=null"])
    assert names(trainers[0]) == {"MetricTable"}


def test_other_commands_take_a_weighting_too(trainers):
    main(["test", "--config=base.yaml", "--ckpt_path=null", "--weighting=GradNorm"])
    assert names(trainers[0]) == {"MetricTable", "GradNorm"}


@pytest.mark.parametrize("order", [1, -1], ids=["behind", "in front"])
def test_the_config_of_a_weighting_may_stand_anywhere(trainers, order):
    given = ["base.yaml", str(CONFIGS / "weightings" / "gradnorm.yaml")][::order]
    main(["fit", *(f"--config={path}" for path in given)])
    assert names(trainers[0]) == {"MetricTable", "GradNorm"}


def test_of_two_configs_of_weightings_the_last_counts(trainers):
    given = [CONFIGS / "weightings" / f"{name}.yaml" for name in ("fixed", "gradnorm")]
    main(["fit", "--config=base.yaml", *(f"--config={path}" for path in given)])
    assert names(trainers[0]) == {"MetricTable", "GradNorm"}


def test_the_printed_config_can_be_used_again(trainers, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["fit", "--config=base.yaml", "--weighting=GradNorm", "--print_config"])
    assert stop.value.code == 0
    Path("again.yaml").write_text(capsys.readouterr().out)
    assert yaml.safe_load(Path("again.yaml").read_text())["weighting"]["init_args"]["alpha"] == 1.5
    main(["fit", "--config=again.yaml"])
    assert names(trainers[0]) == {"MetricTable", "GradNorm"}


def test_callbacks_that_are_replaced_are_named_once(trainers, capsys):
    main(["fit", "--config=base.yaml", "--trainer.callbacks=GradNorm"])
    assert names(trainers[0]) == {"GradNorm"}
    assert capsys.readouterr().err.count("MetricTable, EqualWeighting will not run") == 1


def test_the_weighting_stands_in_front_and_there_may_be_no_callbacks():
    table, weighting = MetricTable(), MGDA()
    assert with_weighting([table, GradNorm()], weighting) == [weighting, table]
    assert with_weighting(GradNorm(), None) == []
    assert with_weighting(None, weighting) == [weighting]
    assert with_weighting(table, None) == [table]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--weighting=GradNrom"], "Near it are: GradNorm"),
        (["--weighting=GradNorm", "--weighting.alhpa=1"], "Near it are: alpha"),
        (["--weighting=nowhere.GradNorm"], "No module named 'nowhere'"),
        (["--weighting=lightning_mtl.tasks.GradNorm"], "has no attribute 'GradNorm'"),
        (["--trainer.max_epoch=3"], "Near it are: trainer.max_epochs"),
        (["--data.bach_size=3"], "Near it are: batch_size"),
        (["--model.network.init_args.siz=3"], "Near it are: size"),
        (["--config=misspelt.yaml"], "in `misspelt.yaml`: "),
    ],
    ids=[
        "weighting",
        "its argument",
        "its module",
        "its class",
        "option",
        "data",
        "network",
        "config",
    ],
)
def test_a_misspelt_name_is_answered_with_what_is_known_of_it(trainers, capsys, arguments, message):
    Path("misspelt.yaml").write_text("trainer: {logger: {class_path: CSVLogger, save: x}}")
    with pytest.raises(SystemExit) as stop:
        main(["fit", "--config=base.yaml", *arguments])
    assert stop.value.code == 2
    assert message in capsys.readouterr().err
    assert not trainers


def test_a_command_without_a_checkpoint_does_not_run(trainers, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["test", "--config=base.yaml"])
    assert stop.value.code == 2
    assert "`--ckpt_path null`" in capsys.readouterr().err
    assert not trainers


def test_the_help_of_a_command_says_first_how_to_get_help_on_a_class(trainers, capsys):
    with pytest.raises(SystemExit):
        main(["fit", "--help"])
    head = capsys.readouterr().out.partition("\noptions:")[0].splitlines()
    assert len(head) < 14
    shown = "\n".join(head)
    for option in ("--model.help", "--weighting.help", "--trainer.callbacks.help"):
        assert f"lightning-mtl fit {option}" in shown
    assert "--print_config" in shown
