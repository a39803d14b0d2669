"""Short runs: what `fit` would train, without what it would write."""

from pathlib import Path

import pytest
import torch
import yaml

from lightning_mtl.callbacks import EqualWeighting, FixedWeighting
from lightning_mtl.command_line.short_run_options import at_least
from lightning_mtl.command_line.short_runs import ShortRuns
from tests.command_line.test_tuning import CONFIG

CALLBACKS = ["EqualWeighting", "MetricTable", "ModelCheckpoint", "LambdaCallback"]


@pytest.fixture
def runs(tmp_path, monkeypatch) -> ShortRuns:
    monkeypatch.chdir(tmp_path)
    listed = [{"class_path": name} for name in CALLBACKS]
    trainer = CONFIG["trainer"] | {"callbacks": listed, "gradient_clip_val": 0.5, "logger": True}
    Path("config.yaml").write_text(yaml.safe_dump(CONFIG | {"trainer": trainer}))
    return ShortRuns(["--config=config.yaml"])


def test_callbacks_that_train_are_kept_and_those_that_write_are_not(runs):
    runs.build()
    trainers = [runs.make_trainer([], max_steps=1) for _ in range(2)]
    for trainer in trainers:
        names = {type(callback).__name__ for callback in trainer.callbacks}
        assert "LambdaCallback" in names
        assert names.isdisjoint({"EqualWeighting", "MetricTable", "ModelCheckpoint"})
        assert trainer.gradient_clip_val == 0.5
        assert not trainer.loggers
    one, other = (
        next(each for each in trainer.callbacks if "Lambda" in type(each).__name__)
        for trainer in trainers
    )
    assert one is not other


def test_every_build_is_new_and_starts_from_the_same_parameters(runs):
    (one, _), (other, _) = runs.build(), runs.build()
    assert one is not other
    for first, second in zip(one.parameters(), other.parameters(), strict=True):
        assert torch.equal(first, second)


def test_the_weighting_is_that_of_fit():
    runs = [
        ShortRuns([*arguments, "--model=tests.diagnosis.patients.Healthy", *DATA])
        for arguments in (
            ["--trainer.callbacks=EqualWeighting"],
            ["--weighting=FixedWeighting", "--weighting.weights={one: 2, two: 1}"],
            ["--trainer.callbacks=EqualWeighting", "--weighting=null"],
            [],
        )
    ]
    for each in runs:
        each.build()
    found = [each.weighting() for each in runs]
    assert [type(each) for each in found] == [
        EqualWeighting,
        FixedWeighting,
        type(None),
        type(None),
    ]


DATA = ["--data=tests.diagnosis.patients.PatientData", "--trainer.accelerator=cpu"]


def test_the_end_of_the_run_is_known(runs):
    runs.build()
    assert runs.length() == {"max_epochs": 5, "max_steps": -1}


def test_numbers_below_the_least_are_refused():
    assert at_least(1)("3") == 3
    with pytest.raises(Exception, match=r"at least 1\. Found 0"):
        at_least(1)("0")
