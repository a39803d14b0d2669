"""CSV and JSON: what is written is what was computed."""

import csv
import io
import json
import math

import pytest

from lightning_mtl.answers.answer import answer
from lightning_mtl.answers.data import csv_text, json_text
from lightning_mtl.answers.words import verdict
from tests.answers.examples import MEASURES, planted


def test_the_csv_file_gives_the_numbers_back() -> None:
    found = answer(planted({"equal": 0.0, 'a "quoted", name': 0.1}))
    rows = {
        (row["method"], row["quantity"]): row
        for row in csv.DictReader(io.StringIO(csv_text(found)))
    }
    for summary in found.methods:
        expected = {each.column: summary.columns[each.column] for each in MEASURES}
        assert summary.score is not None
        for quantity, interval in (expected | {"Delta_MTL": summary.score}).items():
            row = rows[summary.method, quantity]
            numbers = tuple(float(row[name]) for name in ("mean", "low", "high", "seeds"))
            assert numbers == tuple(interval)
    assert float(rows["equal", "step time ratio"]["mean"]) == 1
    assert rows["equal", "mean rank"]["low"] == ""


def test_the_json_file_gives_the_numbers_and_the_words_back() -> None:
    found = answer(planted(seeds=3, missing=2))
    content = json.loads(json_text(found))
    assert content["verdict"] == verdict(found)
    assert content["missing"] == 2
    assert found.ranking is not None
    assert content["ranking"]["ranks"] == found.ranking.ranks
    for pair, written in zip(found.pairs, content["differences"]["pairs"], strict=True):
        assert (written["first"], written["second"]) == (pair.first, pair.second)
        assert written["p_value"] == pytest.approx(pair.p_value)
        assert written["low"] == pair.interval.low


def test_what_is_not_known_is_null_in_json_and_empty_in_csv() -> None:
    found = answer(planted(seeds=1))
    content = json.loads(json_text(found), parse_constant=lambda name: pytest.fail(name))
    assert content["quantities"][0]["low"] is None
    assert content["differences"]["pairs"][0]["p_value"] is None
    assert "inf" not in csv_text(found)
    assert math.isinf(found.pairs[0].interval.high)
