"""An answer as data: CSV in long form, and JSON."""

import csv
import io
import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

from lightning_mtl.answers.answer import Answer
from lightning_mtl.answers.cautions import cautions
from lightning_mtl.answers.details import details
from lightning_mtl.answers.words import costs, verdict
from lightning_mtl.statistics import Difference, Interval

HEADER = ("method", "quantity", "mean", "low", "high", "seeds")
"""The columns of the CSV file. Ends of intervals that are not known are empty."""


def csv_text(answer: Answer) -> str:
    """One row for each method and quantity: all columns of the runs, score, rank and costs."""
    lines = io.StringIO()
    writer = csv.writer(lines, lineterminator="\n")
    writer.writerow(HEADER)
    for method, quantity, found in _quantities(answer):
        mean, low, high, count = found
        ends = [repr(end) if math.isfinite(end) else "" for end in (low, high)]
        writer.writerow([method, quantity, repr(mean), *ends, count])
    return lines.getvalue()


def json_text(answer: Answer) -> str:
    """Everything that the report shows, as JSON; what is not known is `null`."""
    content = {
        "name": answer.name,
        "level": answer.level,
        "reference": answer.reference,
        "score": None if answer.score is None else answer.score.name,
        "verdict": verdict(answer),
        "details": details(answer),
        "costs": costs(answer),
        "cautions": cautions(answer),
        "measures": [
            {
                "task": each.task,
                "column": each.column,
                "higher_is_better": each.higher_is_better,
            }
            for each in answer.measures
        ],
        "methods": {
            summary.method: {
                "seeds": [run.seed for run in summary.runs],
                "settings": _plain(summary.settings),
                "folders": [str(run.folder) for run in summary.runs],
            }
            for summary in answer.methods
        },
        "quantities": [
            {"method": method, "quantity": quantity, **_interval(found)}
            for method, quantity, found in _quantities(answer)
        ],
        "single_tasks": {task: _interval(found) for task, found in answer.single_tasks.items()},
        "ranking": _ranking(answer),
        "differences": {
            "pairs": [_difference(each) for each in answer.pairs],
            "to_reference": [_difference(each) for each in answer.to_reference],
            "by_task": {
                task: [_difference(each) for each in found]
                for task, found in answer.by_task.items()
            },
        },
        "failed": list(answer.failed),
        "missing": answer.missing,
        "notes": list(answer.notes),
    }
    return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _quantities(answer: Answer) -> Iterator[tuple[str, str, Interval]]:
    """The numbers of each method by name; ranks and ratios come without an interval."""
    ranks = {} if answer.ranking is None else answer.ranking.ranks
    score = "" if answer.score is None else answer.score.name
    for summary in answer.methods:
        if summary.score is not None:
            yield summary.method, score, summary.score
        for column, found in summary.columns.items():
            yield summary.method, column, found
        single = {
            "mean rank": ranks.get(summary.method),
            "step time ratio": summary.step_time,
            "memory ratio": summary.memory,
        }
        for name, value in single.items():
            if value is not None:
                yield summary.method, name, Interval(value, -math.inf, math.inf, len(summary.runs))


def _interval(found: Interval) -> dict[str, float | None]:
    mean, low, high, count = found
    return {"mean": mean, "low": _known(low), "high": _known(high), "seeds": count}


def _difference(found: Difference) -> dict[str, Any]:
    return {
        "first": found.first,
        "second": found.second,
        **_interval(found.interval),
        "p_value": _known(found.p_value),
        "is_larger_than_noise": found.is_larger_than_noise,
    }


def _ranking(answer: Answer) -> dict[str, Any] | None:
    found = answer.ranking
    if found is None:
        return None
    return {
        "ranks": dict(found.ranks),
        "seeds": list(found.seeds),
        "critical_difference": found.critical_difference,
        "p_value": found.p_value,
        "groups": [list(group) for group in found.groups],
    }


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _plain(value: object) -> Any:
    """A setting as JSON has it; of other classes, its text."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return _known(value)
    return value if value is None or isinstance(value, (str, int, bool)) else str(value)
