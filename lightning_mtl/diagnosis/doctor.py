"""A short run, and all that follows from it."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from lightning_mtl.diagnosis.dead import dead_tasks
from lightning_mtl.diagnosis.estimates import Estimates, estimate
from lightning_mtl.diagnosis.examination import MakeTrainer, examine
from lightning_mtl.diagnosis.families import families
from lightning_mtl.diagnosis.findings import Finding, find
from lightning_mtl.diagnosis.prices import Price, measure_prices, preserved
from lightning_mtl.diagnosis.record import Record
from lightning_mtl.diagnosis.suggestions import Suggestion, suggest
from lightning_mtl.module import MultiTaskModule


class Diagnosis(NamedTuple):
    """What a short run tells about its tasks.

    Attributes:
        record: what was seen.
        estimates: numbers with intervals.
        prices: of the families of weightings; none where they were not measured.
        findings: in words.
        suggestions: what to do.
    """

    record: Record
    estimates: Estimates
    prices: Sequence[Price]
    findings: Sequence[Finding]
    suggestions: Sequence[Suggestion]


def diagnose(
    make_trainer: MakeTrainer,
    module: MultiTaskModule,
    data: Any,
    steps: int = 300,
    rounds: int = 5,
    callbacks: Sequence[Any] = (),
) -> Diagnosis:
    """Train for some steps, measure prices, and draw the conclusions.

    The module has its parameters and buffers back afterwards. Where a loss or a gradient is not
    finite, the run ends there, and no prices are measured.

    Args:
        make_trainer: builds the Trainers.
        module: which is examined.
        data: a data module or a loader.
        steps: optimizer steps of the run.
        rounds: turns of each family of weightings; 0 measures no prices.
        callbacks: of the examined run, such as its weighting.
    """
    with preserved(module):
        record = examine(make_trainer, module, data, callbacks=callbacks, max_steps=steps)
    estimates = estimate(record, dead_tasks(record))
    findings = find(record, estimates)
    prices: list[Price] = []
    if rounds and not record.events:
        prices = measure_prices(make_trainer, module, data, families(), rounds)
    return Diagnosis(record, estimates, prices, findings, suggest(findings, estimates, prices))
