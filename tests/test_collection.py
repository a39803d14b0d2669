"""The tests themselves: every process finds the same ones, under names that can be read."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from subprocess import PIPE

import pytest

ROOT = Path(__file__).resolve().parents[1]
COLLECT = ["-m", "pytest", "tests", "--collect-only", "-q", "-p", "no:cacheprovider", "-m", ""]

WORDS = re.compile(r"(?!.*(\b0x|object at))[\w .,:+*/()=-]{1,60}", re.ASCII)
"""No quotes, brackets or escapes: those of bytes, of functions, and of other things as printed."""


def unreadable(tests: Iterable[str]) -> list[str]:
    """The cases whose names are not a few words."""
    cases = [re.search(r"\[(.*)\]$", test) for test in tests]
    return [case[0] for case in cases if case and not WORDS.fullmatch(case[1])]


def collected() -> list[list[str]]:
    """By two processes whose clocks and hashes differ, at the same time, as one takes a while."""
    settings = {name: os.environ[name] for name in os.environ if not name.startswith("PYTEST_")}
    processes = []
    for seed in ("1", "2"):
        environment = settings | {"PYTHONHASHSEED": seed}
        processes.append(
            subprocess.Popen(
                [sys.executable, *COLLECT], cwd=ROOT, env=environment, stdout=PIPE, text=True
            )
        )
        time.sleep(1.1 if seed == "1" else 0)
    printed = [process.communicate()[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], printed
    return [[line for line in text.splitlines() if "::" in line] for text in printed]


@pytest.mark.slow
def test_every_process_collects_the_same_tests_in_the_same_order() -> None:
    """xdist refuses to run where they differ: by a time stamp, or by the order of a set."""
    first, second = collected()
    assert first == second
    assert unreadable(first) == []
    assert any(test.startswith("tests/test_collection.py::") for test in first)


def test_cases_are_named_in_a_few_words(request: pytest.FixtureRequest) -> None:
    """Those of this session: in a run of the whole suite all that are not deselected."""
    assert unreadable(item.nodeid for item in request.session.items) == []


@pytest.mark.parametrize(
    "wrong",
    ["", "<lambda>0", r"\x1f\x8b", "{'a': 1}", "[1]", "<class A>", "A object at 0x7f", "a" * 61],
    ids=["empty", "function", "bytes", "dict", "list", "class", "address", "long"],
)
def test_what_is_no_name(wrong: str) -> None:
    assert not WORDS.fullmatch(wrong)
    assert WORDS.fullmatch("MGDA(features)-bf16-mixed-1e-12, of 3 tasks")
