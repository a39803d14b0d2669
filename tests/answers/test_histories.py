"""Weights and GNR over time, read from the logs of runs."""

from pathlib import Path

import numpy as np
import pytest

from lightning_mtl.answers.answer import answer
from lightning_mtl.answers.histories import (
    BINS,
    RATIOS,
    WEIGHTS,
    curves,
    ratio_histories,
    weight_histories,
)
from tests.answers.examples import planted, write_log


def test_a_curve_is_the_mean_over_runs_with_their_range(tmp_path: Path) -> None:
    results = planted({"equal": 0.0}, seeds=2, folder=tmp_path)
    ramp = np.arange(20.0)
    for run, offset in zip(results.runs, (0.0, 2.0), strict=True):
        write_log(run.folder, {"train/weight/depth": ramp + offset}, every=1)
    found = curves(results.runs, WEIGHTS)["depth"]
    assert found.steps == pytest.approx(ramp + 0.5)
    assert found.mean == pytest.approx(ramp + 1)
    assert found.low == pytest.approx(ramp)
    assert found.high == pytest.approx(ramp + 2)


def test_long_runs_are_averaged_in_bins(tmp_path: Path) -> None:
    results = planted({"equal": 0.0}, seeds=1, folder=tmp_path)
    turns = np.arange(50 * BINS) % 2
    write_log(results.runs[0].folder, {"train/weight/depth": turns}, every=1)
    found = curves(results.runs, WEIGHTS)["depth"]
    assert len(found.mean) == BINS
    assert found.mean == pytest.approx(0.5, abs=0.05)


def test_runs_that_log_at_other_steps_or_ended_early_share_a_curve(tmp_path: Path) -> None:
    results = planted({"equal": 0.0}, seeds=2, folder=tmp_path)
    for run, every, count in zip(results.runs, (10, 7), (100, 30), strict=True):
        write_log(run.folder, {"train/weight/depth": np.ones(count)}, every=every)
    found = curves(results.runs, WEIGHTS)["depth"]
    assert found.mean == pytest.approx(1)
    assert not found.changes


def test_only_methods_whose_weights_change_are_drawn(tmp_path: Path) -> None:
    results = planted({"equal": 0.0, "moving": 0.0, "silent": 0.0}, seeds=2, folder=tmp_path)
    for run in results.runs:
        if run.method != "silent":
            slope = 0.1 if run.method == "moving" else 0.0
            values = 1 + slope * np.arange(30)
            write_log(run.folder, {"train/weight/depth": values, "train/gnr/depth": values})
    found = answer(results)
    assert weight_histories(found).keys() == {"moving"}
    assert ratio_histories(found).keys() == {"equal", "moving"}


def test_a_weighting_s_own_ratios_come_before_the_monitor_s(tmp_path: Path) -> None:
    results = planted({"equal": 0.0}, seeds=1, folder=tmp_path)
    columns = {"train/noise/gnr/depth": [1.0, 1.0], "train/gnr/depth": [2.0, np.nan]}
    write_log(results.runs[0].folder, columns)
    assert curves(results.runs, RATIOS)["depth"].mean == pytest.approx(2)


def test_empty_cells_and_missing_logs_are_left_out(tmp_path: Path) -> None:
    results = planted({"equal": 0.0}, seeds=2, folder=tmp_path)
    write_log(results.runs[0].folder, {"train/weight/depth": [1.0, None, 3.0]}, every=1)
    assert curves(results.runs, WEIGHTS)["depth"].mean == pytest.approx([1, 3])
    assert curves(results.runs[1:], WEIGHTS) == {}
