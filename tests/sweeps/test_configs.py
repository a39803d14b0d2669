"""The config of a run differs from that of the sweep in what it should, and in nothing else."""

from copy import deepcopy
from pathlib import Path

import pytest

from lightning_mtl.sweeps.configs import (
    COST_METER,
    check_budget,
    learning_rate_key,
    read,
    run_config,
)

KEY = "model.init_args.optimizer.init_args.lr"
CONFIG = {
    "seed_everything": 42,
    "model": {
        "class_path": "some.Module",
        "init_args": {
            "optimizer": {
                "class_path": "torch.optim.SGD",
                "init_args": {"lr": 0.1, "momentum": 0.9},
            },
            "normalise": True,
        },
    },
    "data": {"class_path": "some.Data", "init_args": {"lr": 3.0}},
    "trainer": {
        "max_epochs": 3,
        "callbacks": [
            {"class_path": "lightning.pytorch.callbacks.ModelCheckpoint"},
            {"class_path": "lightning_mtl.callbacks.MetricTable"},
            {"class_path": "some.Callback", "init_args": {"a": 1}},
            "PredictionGrid",
        ],
    },
}


def made(config=CONFIG, **arguments):
    given = {"weighting": "Some", "seed": 7, "rate_key": KEY, "factor": 0.5} | arguments
    return run_config(config, Path("runs/here"), **given)


def test_the_learning_rate_is_found():
    assert learning_rate_key(CONFIG) == KEY


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        ({}, "none"),
        ({"lr": None}, "none"),
        ({"lr": True}, "none"),
        ({"lr": 0.1, "head": {"learning_rate": 0.2}}, r"\['model.init_args.lr', '.*learning_rate'"),
    ],
    ids=["missing", "null", "no number", "two"],
)
def test_a_learning_rate_that_is_not_clear_is_an_error(arguments, found):
    with pytest.raises(ValueError, match=f"Found {found}.*`--learning_rate KEY`"):
        learning_rate_key({"model": {"init_args": arguments}})


def test_the_user_can_say_where_the_learning_rate_stands():
    assert learning_rate_key(CONFIG, "data.init_args.lr") == "data.init_args.lr"


@pytest.mark.parametrize(
    "key",
    [
        "model.init_args.lr",
        "model.class_path",
        "trainer.max_epochs.lr",
        "model.init_args.normalise",
    ],
    ids=["missing", "text", "below a number", "yes or no"],
)
def test_what_the_user_names_has_to_be_a_positive_number(key):
    with pytest.raises(ValueError, match=f"at `{key}`"):
        learning_rate_key(CONFIG, key)


def test_weighting_seed_and_learning_rate_are_those_of_the_run():
    config = made()
    assert config["weighting"] == "Some"
    assert config["seed_everything"] == 7
    assert read(config, KEY) == 0.05
    assert config["model"]["init_args"]["optimizer"]["init_args"]["momentum"] == 0.9
    assert config["data"] == CONFIG["data"]


def test_without_a_factor_the_learning_rate_need_not_be_known():
    assert read(made(rate_key="", factor=1.0), KEY) == 0.1


def test_the_config_of_the_sweep_is_not_changed():
    before = deepcopy(CONFIG)
    made()["model"]["init_args"]["optimizer"] = None
    assert before == CONFIG


def test_the_run_logs_into_its_folder_and_shows_no_bar():
    trainer = made()["trainer"]
    (logger,) = trainer["logger"]
    assert logger["init_args"] == {"save_dir": "runs/here", "name": "", "version": "log"}
    assert trainer["enable_progress_bar"] is False
    assert trainer["max_epochs"] == 3


def names(config):
    return [
        each["class_path"].rpartition(".")[2] if isinstance(each, dict) else each
        for each in config["trainer"]["callbacks"]
    ]


def test_callbacks_that_write_what_no_one_looks_at_are_left_out():
    assert names(made()) == ["Callback", "CostMeter"]
    assert made()["trainer"]["enable_checkpointing"] is False


def test_whoever_keeps_checkpoints_keeps_all_callbacks():
    config = made(keep_checkpoints=True)
    kept = ["ModelCheckpoint", "MetricTable", "Callback", "PredictionGrid", "CostMeter"]
    assert names(config) == kept
    assert config["trainer"]["enable_checkpointing"] is True


@pytest.mark.parametrize(
    "trainer",
    [{"callbacks": None}, {}, {"callbacks": {"class_path": "MetricTable"}}],
    ids=["null", "missing", "one"],
)
def test_callbacks_may_be_none_or_one(trainer):
    config = made(CONFIG | {"trainer": trainer})
    assert [each["class_path"] for each in config["trainer"]["callbacks"]] == [COST_METER]


@pytest.mark.parametrize("trainer", [{"max_epochs": 1}, {"max_steps": 5, "max_epochs": None}])
def test_a_config_that_says_how_long_runs_train_is_fit_for_a_sweep(trainer):
    check_budget({"trainer": trainer})


@pytest.mark.parametrize("trainer", [None, {}, {"max_epochs": None, "max_steps": -1}])
def test_a_config_whose_runs_would_not_end_is_an_error(trainer):
    with pytest.raises(ValueError, match="Set one of them"):
        check_budget({"trainer": trainer})
