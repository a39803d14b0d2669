"""What each family of weightings costs on the module at hand, measured in short turns."""

import logging
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from typing import Any, NamedTuple

import lightning as L
import numpy as np
import torch
from torch import Tensor

from lightning_mtl.diagnosis.examination import MakeTrainer
from lightning_mtl.diagnosis.families import Family
from lightning_mtl.module import MultiTaskModule

WARM_UP = 2
"""Steps at the start of each turn that are not timed: buffers are made and graphs walked."""

LOGGERS = ("lightning.pytorch", "lightning.fabric")
"""What tells of every Trainer that is built."""


class Price(NamedTuple):
    """The cost of a step, relative to a step without a weighting.

    Attributes:
        family: whose price it is.
        quartiles: of the ratio of times over the rounds.
        memory: the ratio of the largest memory, on CUDA devices; elsewhere `None`.
        refusal: why there is no price; empty if there is one.
    """

    family: Family
    quartiles: tuple[float, float, float] | None
    memory: float | None = None
    refusal: str = ""


class Turn(NamedTuple):
    """The mean time of a batch in seconds, and the largest memory in bytes on a CUDA device."""

    seconds: float
    memory: int | None


class Stopwatch(L.Callback):
    """Times every batch, from its first hook to the last one. Waits for the device at both."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self._start = 0.0

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Start the clock. Called before each batch."""
        _wait(pl_module.device)
        self._start = time.perf_counter()

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Stop the clock. Called after each batch."""
        _wait(pl_module.device)
        self.times.append(time.perf_counter() - self._start)


def measure_prices(
    make_trainer: MakeTrainer,
    module: MultiTaskModule,
    data: Any,
    families: Sequence[Family],
    rounds: int = 5,
    steps: int = 6,
) -> list[Price]:
    """The price of each family, over rounds in which every family has its turn.

    In a round all families meet the same state of the machine, so that ratios are taken within
    rounds. The module is left as it was.

    Args:
        make_trainer: builds the Trainer of a turn.
        module: which is trained from the same parameters in each turn.
        data: a data module or a loader.
        families: the first is the one that the others are compared with.
        rounds: how many turns each family has.
        steps: optimizer steps of a turn that are timed.
    """
    turns: dict[str, list[Turn]] = {family.name: [] for family in families}
    refusals: dict[str, str] = {}
    with quiet(), warnings.catch_warnings():
        # Advice on loaders and intervals has been given in the examined run.
        warnings.simplefilter("ignore")
        for turn in range(rounds):
            # Nobody is always the first one, which meets a cold cache.
            start = turn % len(families)
            for family in [*families[start:], *families[:start]]:
                if family.name in refusals:
                    continue
                try:
                    turns[family.name].append(_turn(make_trainer, module, data, family, steps))
                except (ValueError, TypeError, RuntimeError, NotImplementedError) as error:
                    refusals[family.name] = first_sentence(error)
    return [_price(family, turns, families[0].name, refusals) for family in families]


@contextmanager
def preserved(module: torch.nn.Module) -> Iterator[Mapping[str, Tensor]]:
    """Give the module its parameters and buffers back at the end.

    Yields:
        A copy of them.
    """
    state = deepcopy(module.state_dict())
    try:
        yield state
    finally:
        module.load_state_dict(state)


@contextmanager
def quiet() -> Iterator[None]:
    """Keep Lightning from telling of every Trainer that is built and of every fit that ends."""
    loggers = [logging.getLogger(name) for name in LOGGERS]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.WARNING)
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def first_sentence(error: Exception) -> str:
    """The first sentence of a message, or the kind of an error without one."""
    text = " ".join(str(error).split())
    return text.split(". ")[0].rstrip(".") + "." if text else type(error).__name__


def _turn(
    make_trainer: MakeTrainer, module: MultiTaskModule, data: Any, family: Family, steps: int
) -> Turn:
    weighting, watch = family.build(), Stopwatch()
    callbacks = [watch] if weighting is None else [weighting, watch]
    with preserved(module):
        trainer = make_trainer(callbacks, max_steps=WARM_UP + steps, enable_progress_bar=False)
        device = trainer.strategy.root_device
        on_cuda = device.type == "cuda"
        if on_cuda:
            torch.cuda.reset_peak_memory_stats(device)
        trainer.fit(module, data)
        memory = torch.cuda.max_memory_allocated(device) if on_cuda else None
    timed = watch.times[WARM_UP * trainer.accumulate_grad_batches :]
    return Turn(float(np.mean(timed)), memory)


def _price(
    family: Family, turns: Mapping[str, Sequence[Turn]], plain: str, refusals: Mapping[str, str]
) -> Price:
    if plain in refusals:
        return Price(family, None, refusal=refusals[plain])
    if family.name in refusals:
        return Price(family, None, refusal=refusals[family.name])
    both = list(zip(turns[family.name], turns[plain], strict=True))
    ratios = [turn.seconds / other.seconds for turn, other in both]
    low, middle, high = (float(each) for each in np.quantile(ratios, (0.25, 0.5, 0.75)))
    memories = [turn.memory / other.memory for turn, other in both if turn.memory and other.memory]
    return Price(family, (low, middle, high), max(memories) if memories else None)


def _wait(device: torch.device) -> None:
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
