"""A short random search over fixed weights, to compare others with."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import optuna

Weights = Mapping[str, float]

LARGEST = 10.0
"""Weights are drawn between this and its inverse, before they are brought to the sum K."""


def random_weights(
    tasks: Sequence[str], count: int, seed: int, score: Callable[[Weights], float]
) -> list[tuple[dict[str, float], float]]:
    """Random weights with their scores, in the order in which they were drawn.

    Log-uniform in [1/10, 10], each task for itself, as a grid over few tasks would be.

    Args:
        tasks: names of the tasks.
        count: how many weights to try.
        seed: of the draws.
        score: trains with these weights and says how good they are.
    """
    with _silent():
        sampler = optuna.samplers.RandomSampler(seed=seed)
        study = optuna.create_study(direction="maximize", sampler=sampler)
        return [_trial(study, tasks, score) for _ in range(count)]


def normalised(weights: Weights) -> dict[str, float]:
    """The same weights with the number of tasks as their sum."""
    factor = len(weights) / sum(weights.values())
    return {task: factor * weight for task, weight in weights.items()}


def _trial(
    study: optuna.Study, tasks: Sequence[str], score: Callable[[Weights], float]
) -> tuple[dict[str, float], float]:
    trial = study.ask()
    drawn = {task: trial.suggest_float(task, 1 / LARGEST, LARGEST, log=True) for task in tasks}
    weights = normalised(drawn)
    reached = score(weights)
    study.tell(trial, reached)
    return weights, reached


@contextmanager
def _silent() -> Iterator[None]:
    """Keep Optuna from telling of each study and trial."""
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(level)
