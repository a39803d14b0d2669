"""The plan of a sweep, made from the arguments of `lightning-mtl sweep`."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from lightning_mtl.answers.records import Measure
from lightning_mtl.command_line.short_runs import ShortRuns
from lightning_mtl.command_line.whole_config import whole_config
from lightning_mtl.evaluation.results import directions_of, primary_of
from lightning_mtl.module import MultiTaskModule
from lightning_mtl.sweeps.configs import Config, check_budget, learning_rate_key
from lightning_mtl.sweeps.methods import (
    config_name,
    find_weighting,
    named_methods,
    scalarisation,
    single_tasks,
)
from lightning_mtl.sweeps.plan import Plan

REFERENCE = "equal"
"""The method that others are compared with."""


def planned(options: argparse.Namespace, rest: Sequence[str]) -> tuple[Plan, dict[str, Config]]:
    """The plan that the arguments ask for, and the whole configs of its methods.

    Raises:
        ValueError: if the config is not fit for a sweep.
    """
    module, data = ShortRuns(rest).build()
    if getattr(data, "validates_on_test", False):
        raise ValueError(
            "A sweep should choose by data that is not the test split. Found a"
            f" `{type(data).__name__}`, whose validation runs on the test samples. Hold"
            " out training samples by `--data.init_args.val_fraction 0.2`."
        )
    measures = task_measures(module)
    tasks = list(module.task_names or [each.task for each in measures])
    configs = {"": whole_config(rest)}
    for file in options.networks:
        configs[config_name(file)] = whole_config([*rest, "--config", file])
    for config in configs.values():
        check_budget(config)
    rates = tuple(dict.fromkeys(options.learning_rates))
    key = "" if rates == (1.0,) else learning_rate_key(configs[""], options.learning_rate)
    if key:
        for config in configs.values():
            learning_rate_key(config, key)
    names, read = _weightings(options.weightings)
    methods = [
        *single_tasks(tasks, [each.task for each in measures]),
        *named_methods(names, configs, read),
    ]
    if not options.no_grid:
        methods.insert(len(measures) + 1, scalarisation(tasks))
    seeds = tuple(range(options.seeds))
    plan = Plan(measures, tuple(methods), seeds, rates, key, REFERENCE, options.keep_checkpoints)
    return plan, configs


def task_measures(module: MultiTaskModule) -> tuple[Measure, ...]:
    """How each task of a module is judged: by the first of its metrics that has a direction.

    Raises:
        ValueError: if a task has none, or there are fewer than two tasks.
    """
    found = []
    for task, metric in module.task_metrics().items():
        name = primary_of(metric)
        if name is None:
            raise ValueError(
                f"Every task of a sweep should have a metric that says whether higher is better."
                f" Found none for `{task}`. Put one with `higher_is_better` first in"
                " `task_metrics`."
            )
        found.append(Measure(task, f"val/{task}/{name}", bool(directions_of(metric)[name])))
    if len(found) < 2:
        raise ValueError(
            "A sweep should compare how two tasks or more are trained together. Found"
            f" {[each.task for each in found]}. Give the module more tasks, with metrics in"
            " `task_metrics`."
        )
    return tuple(found)


def _weightings(given: Sequence[str]) -> tuple[list[str], dict[str, Any]]:
    """The names of the weightings, equal weights among them, and the values that files have."""
    parts = [part for text in given for part in text.split(",") if part]
    names, read = [], {}
    for part in parts:
        if not part.endswith((".yaml", ".yml")):
            names.append(part)
            continue
        if not Path(part).is_file():
            raise ValueError(f"`--weightings` should name files that are there. Found no `{part}`.")
        value = yaml.safe_load(Path(part).read_text(encoding="utf-8")) or {}
        if "weighting" not in value:
            raise ValueError(
                f"`{part}` should have a `weighting:`. Found {sorted(value)}. Write one as in"
                " `weighting: {class_path: ..., init_args: {...}}`."
            )
        names.append(config_name(part))
        read[config_name(part)] = value["weighting"]
    equal = find_weighting(REFERENCE)
    others = [name for name in names if name in read or find_weighting(name) is not equal]
    return [REFERENCE, *others], read
