"""Each patient is found to have what it has, and nothing else."""

import io

import pytest
import torch
from rich.console import Console

from lightning_mtl.diagnosis.doctor import Diagnosis, diagnose
from lightning_mtl.diagnosis.report import markdown, show
from tests.diagnosis import patients
from tests.diagnosis.patients import Healthy, PatientData, make_trainer

WORDS = {
    "non-finite": "not finite",
    "unshared": "share no trainable",
    "dead": "is dead",
    "dominated": "dominate",
    "conflict": "conflict",
    "scales": "mismatched scales",
    "noise": "noise-limited",
}
CASES = {
    "all is well": (patients.Healthy, set()),
    "one dominates": (patients.Dominated, {"dominated"}),
    "losses differ in scale": (patients.Mismatched, {"scales"}),
    "zero loss": (patients.Unlabelled, {"dead"}),
    "no label counted": (patients.Uncounted, {"dead"}),
    "absent task": (patients.Absent, {"dead"}),
    "detached features": (patients.CutOff, {"dead"}),
    "nothing shared": (patients.Separate, {"unshared"}),
    "opposite tasks": (patients.Opposed, {"conflict"}),
    "pure noise": (patients.Noise, {"noise"}),
    "infinite loss": (patients.Broken, {"non-finite"}),
    "infinite gradient": (patients.Burst, {"non-finite"}),
}


def examined(kind: type[Healthy], steps: int = 100, **settings: int) -> Diagnosis:
    torch.manual_seed(0)
    return diagnose(make_trainer, kind(), PatientData(), steps=steps, **{"rounds": 0, **settings})


def printed(diagnosis: Diagnosis) -> str:
    console = Console(file=io.StringIO(), width=100)
    show(diagnosis, console)
    return console.file.getvalue()


@pytest.mark.parametrize(("kind", "expected"), CASES.values(), ids=CASES)
def test_the_words_name_what_is_wrong_and_nothing_else(kind, expected):
    diagnosis = examined(kind)
    assert {finding.kind for finding in diagnosis.findings} == expected, diagnosis.findings
    for text in (" ".join(printed(diagnosis).split()), markdown(diagnosis)):
        assert {name for name, words in WORDS.items() if words in text} == expected
