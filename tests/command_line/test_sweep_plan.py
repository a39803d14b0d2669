"""What a sweep plans, by its arguments and by what the module and the data say."""

import sys
from pathlib import Path

import pytest
import yaml

from lightning_mtl.command_line.sweep_plan import planned, task_measures
from lightning_mtl.command_line.sweeping import sweep_parser
from tests.command_line.swept import CONFIG, ROOM, Swept


@pytest.fixture(autouse=True)
def _config(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["lightning-mtl"])
    write("config.yaml", CONFIG)


def write(name, values):
    Path(name).write_text(yaml.safe_dump(values))


def plan(*arguments, weightings=("gradnorm",), config="config.yaml"):
    given = ["--config", config, *arguments, "--weightings", *weightings]
    return planned(*sweep_parser().parse_known_args(given))


def names(made):
    return [method.name for method in made.methods]


def test_single_tasks_the_grid_and_equal_weights_are_always_compared():
    made, configs = plan("--seeds", "3")
    assert names(made) == ["single distance", "single height", "equal", "scalarisation", "gradnorm"]
    assert made.seeds == (0, 1, 2)
    assert made.learning_rates == (0.5, 1.0, 2.0)
    assert made.rate_key == "model.init_args.lr"
    assert made.reference == "equal"
    assert [measure.column for measure in made.measures] == [
        "val/distance/MeanSquaredError",
        "val/height/MeanSquaredError",
    ]
    assert configs[""]["model"]["init_args"]["lr"] == 0.01


def test_names_may_be_separated_by_commas_and_equal_weights_stay_the_first():
    made, _ = plan("--no_grid", weightings=("gradnorm,EqualWeighting", "maxgnr"))
    assert names(made)[2:] == ["equal", "gradnorm", "maxgnr"]


def test_a_weighting_may_be_a_config():
    write("mine.yaml", {"weighting": {"class_path": "GradNorm", "init_args": {"alpha": 0.5}}})
    made, _ = plan("--no_grid", weightings=("mine.yaml",))
    assert names(made)[2:] == ["equal", "mine"]
    assert made.methods[-1].weighting["init_args"]["alpha"] == 0.5


def test_every_weighting_is_planned_on_every_network():
    write("slow.yaml", {"model": {"class_path": f"{ROOM}.Swept", "init_args": {"lr": 0.001}}})
    made, configs = plan("--no_grid", "--networks", "slow.yaml")
    assert names(made)[2:] == ["equal", "gradnorm", "slow+equal", "slow+gradnorm"]
    assert configs["slow"]["model"]["init_args"]["lr"] == 0.001
    assert configs["slow"]["trainer"] == configs[""]["trainer"]


def test_a_learning_rate_is_tried_once():
    made, _ = plan("--learning_rates", "1", "0.5", "1")
    assert made.learning_rates == (1.0, 0.5)


def test_where_no_learning_rate_is_tried_none_has_to_be_found():
    made, _ = plan("--learning_rates", "1", "--learning_rate", "not.there")
    assert made.rate_key == ""


def test_data_that_validates_on_the_test_split_is_refused():
    with pytest.raises(ValueError, match=r"Found a `SweptData`, whose validation .*val_fraction"):
        plan("--data.on_test", "true")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", f"{ROOM}.Unmeasured"], r"two tasks or more .* Found \['distance'\]"),
        (["--model", f"{ROOM}.Undirected"], "Found none for `distance`"),
        (["--trainer.max_epochs", "null"], "neither `trainer.max_epochs` nor"),
        (["--learning_rate", "model.lr"], "`--learning_rate` should be the key"),
        (["--networks", "wide.yaml"], "at `model.init_args.lr`"),
    ],
    ids=["one metric", "no direction", "no end", "no learning rate", "other learning rate"],
)
def test_a_config_that_is_not_fit_for_a_sweep_is_refused(arguments, message):
    write("wide.yaml", {"model": {"class_path": f"{ROOM}.Wide"}})
    with pytest.raises(ValueError, match=message):
        plan(*arguments)


@pytest.mark.parametrize(
    ("weighting", "message"),
    [
        ("gradnrom", "Near it are: gradnorm"),
        ("missing.yaml", r"Found no `missing\.yaml`"),
        ("config.yaml", r"`config\.yaml` should have a `weighting:`"),
    ],
    ids=["unknown", "missing file", "other config"],
)
def test_a_weighting_that_is_none_is_refused(weighting, message):
    with pytest.raises(ValueError, match=message):
        plan(weightings=(weighting,))


def test_a_task_is_judged_by_its_metric_with_its_direction():
    distance, height = task_measures(Swept())
    assert (distance.task, height.task) == ("distance", "height")
    assert not distance.higher_is_better
