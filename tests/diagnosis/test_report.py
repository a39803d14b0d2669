"""The report: narrow tables, strict JSON and Markdown with the same numbers."""

import io
import json

import numpy as np
import pytest
from rich.console import Console

from lightning_mtl.diagnosis.dead import dead_tasks
from lightning_mtl.diagnosis.doctor import Diagnosis
from lightning_mtl.diagnosis.estimates import estimate
from lightning_mtl.diagnosis.families import families
from lightning_mtl.diagnosis.findings import find
from lightning_mtl.diagnosis.prices import Price
from lightning_mtl.diagnosis.record import LossSeries, Record
from lightning_mtl.diagnosis.report import as_json, markdown, show
from lightning_mtl.diagnosis.sheets import sheets
from lightning_mtl.diagnosis.suggestions import suggest
from tests.diagnosis.series import measurements, noisy


def diagnosis(count: int = 3, steps: int = 60) -> Diagnosis:
    tasks = tuple(f"a_task_with_a_long_name_{index}" for index in range(count))
    means = 5 * np.eye(count, 40)
    losses = LossSeries(tasks, np.random.default_rng(0).uniform(1, 2, (steps, count)))
    measured = measurements(noisy(means, 1.0, steps, 0), tasks)
    record = Record(losses, measured, 1000, steps, [])
    estimates = estimate(record, dead_tasks(record))
    findings = find(record, estimates)
    plain, *others, last = families()
    prices = [Price(plain, (1.0, 1.0, 1.0)), *(Price(each, (1.1, 1.2, 1.3)) for each in others)]
    prices.append(Price(last, None, refusal="`X` should have whole parameters."))
    suggestions = suggest(findings, estimates, prices)
    return Diagnosis(record, estimates, prices, findings, suggestions)


@pytest.mark.parametrize(("width", "most"), [(60, 60), (80, 80), (200, 80)])
def test_no_line_is_wider_than_80_columns_or_the_terminal(width, most):
    console = Console(file=io.StringIO(), width=width)
    show(diagnosis(), console)
    assert max(map(len, console.file.getvalue().splitlines())) <= most


def test_every_pair_of_a_few_tasks_is_shown_and_the_extreme_ones_of_many():
    rows = {sheet.title: sheet.rows for sheet in sheets(diagnosis(6))}
    assert len(rows["Pairs of tasks"]) == 15
    rows = {sheet.title: sheet.rows for sheet in sheets(diagnosis(8))}
    assert len(rows["Pairs of tasks"]) == 10


def test_a_refused_family_is_shown_with_its_reason():
    price = sheets(diagnosis())[-1]
    assert price.rows[-1][-1] == "-"
    assert "not possible here. `X` should have whole parameters." in price.note


def test_the_json_is_strict_and_has_every_number():
    found = as_json(diagnosis(steps=3))
    text = json.dumps(found, allow_nan=False)
    assert json.loads(text) == found
    task = found["tasks"]["a_task_with_a_long_name_0"]
    assert task["critical_batch"]["high"] is None
    found = as_json(diagnosis())
    task = found["tasks"]["a_task_with_a_long_name_0"]
    assert 0 < task["share"]["low"] < task["share"]["mean"] < task["share"]["high"] < 1
    assert len(found["pairs"]) == 3
    assert found["prices"][-1]["time_quartiles"] is None


def test_the_markdown_has_the_tables_and_the_sentences():
    given = diagnosis()
    text = markdown(given)
    for sheet in sheets(given):
        assert "| " + " | ".join(sheet.columns) + " |" in text
        for row in sheet.rows:
            assert "| " + " | ".join(row) + " |" in text
    assert given.suggestions[0].text in text
