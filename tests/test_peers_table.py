"""Every defect that we know of other libraries has a test of ours, or a reason why not.

`@pytest.mark.peer("L6")` marks a test that would fail if we had it; `pytest -m peer` runs them.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).parent

# L are of LibMTL, T of TorchJD, O of nash-mtl, FAMO, the survey's code, GradNorm ports and others.
DEFECTS = {
    "L1": "a missing solver makes Nash-MTL's weights ones for ever",
    "L2": "Aligned-MTL calls a function that torch has removed",
    "L3": "task gradients are assembled on the host",
    "L4": "PCGrad projects a task onto itself",
    "L5": "random orders are in no checkpoint and differ between ranks",
    "L6": "MGDA fails where squared norms exceed 1e8",
    "L7": "MGDA never reaches a vertex",
    "L8": "MGDA applies its weights to normalised gradients",
    "L9": "IMTL inverts a singular matrix",
    "L10": "the logged weights of the geometric mean are not the applied ones",
    "L11": "ones or inner variables are logged as weights",
    "L12": "STCH divides zero by zero when resumed after its warm-up",
    "L13": "the state of the weighting is in no checkpoint",
    "L14": "SDMGrad's projection fails on a point of the simplex",
    "L15": "SDMGrad goes to the host in its inner loop, and sums the heads of three batches",
    "L16": "FAMO's second evaluation moves meters, batch norm and dropout",
    "L17": "optional packages are imported always, and a GPU is taken for granted",
    "L18": "tests and README name files that no longer exist",
    "L19": "every loss is asked for in every step",
    "L20": "a metric takes batches of one only",
    "L21": "mIoU is NaN where a class never occurs",
    "L22": "normals whose components cancel are dropped, and no valid pixel gives NaN",
    "L23": "a run is compared with its own first epoch, and divided by a baseline of zero",
    "L24": "FairGrad weights the heads too",
    "L25": "the model's optimizer decays what the weighting learns",
    "T1": "UPGrad and DualProj become the mean for small gradients",
    "T2": "CAGrad's weights are zero for small gradients",
    "T3": "a task without labels stops the update of all",
    "T4": "MGDA stops far from its optimum",
    "T5": "Nash-MTL's equation is missed where norms are unequal",
    "T6": "FairGrad does not converge for small or unequal gradients",
    "T7": "solvers wait for the device several times in a step",
    "T8": "states with averages and counters cannot be loaded",
    "T9": "previous weights, Adam moments and histories are in no checkpoint",
    "T10": "autocast and norm layers fail together",
    "T11": "rules fail on bfloat16",
    "T12": "gradients differ between ranks",
    "T13": "stacked losses, losses without graph and means over nothing fail or spoil",
    "T14": "a NaN in one gradient is hidden or ends in a solver's error",
    "T15": "ConFIG inverts the whole Jacobian",
    "T16": "the gradients of all tasks are kept twice",
    "T17": "random orders come from the global generator",
    "T18": "reentrant activation checkpointing fails",
    "T19": "its interface changes from release to release",
    "O1": "GradNorm's restoring force is inverted",
    "O2": "GradNorm's loss adds second-order terms to the model's gradient",
    "O3": "GradNorm's Adam is made anew in every step, and its layer is one parameter",
    "O4": "GradNorm's targets use one training rate for all tasks",
    "O5": "MetaBalance stops at a parameter without gradient, loses norms and retains every graph",
    "O6": "metrics of training hold predictions of the test before",
    "O7": "medians and depth errors are means over batches",
    "O8": "MGDA reads a number for each pair of tasks and each parameter",
    "O9": "the graph is retained in the last pass, and unused parameters fail",
    "O10": "FAMO's gamma has three defaults",
    "O11": "FAMO keeps the graph until the next step",
    "O12": "the RMSE of normals is their mean",
    "O13": "depth errors accumulate over epochs",
    "O14": "edges are evaluated by MATLAB, on files",
    "O15": "normals are evaluated after rounding to 8 bits",
    "O16": "Auto-Lambda copies the model, and batch norm sees its extra forward passes",
    "O17": "LDC-MTL depends on the order of the tasks, and forgets its initial ratios",
    "O18": "several backward passes break DDP, or only the first is synchronised",
    "O19": "every rank has weights of its own",
    "O20": "directions of micro-batches are added up",
}

# For what there is of the like, tests are marked all the same.
NOT_APPLICABLE = {
    "O5": "there is no MetaBalance",
    "O16": "there is no bilevel method",
    "O17": "there is no LDC-MTL",
}


def marked() -> Iterator[tuple[str, str]]:
    """Every id on a test, each after the test's name."""
    for path in sorted(TESTS.rglob("test_*.py")):
        for node in ast.parse(path.read_text()).body:
            for mark in getattr(node, "decorator_list", ()):
                if isinstance(mark, ast.Call) and ast.unparse(mark.func) == "pytest.mark.peer":
                    name = f"{path.relative_to(TESTS)}::{node.name}"
                    yield from ((name, ast.literal_eval(argument)) for argument in mark.args)


def test_every_defect_has_a_test_or_a_reason_why_not() -> None:
    covered = {defect for _, defect in marked()} | NOT_APPLICABLE.keys()
    assert [defect for defect in DEFECTS if defect not in covered] == []


def test_marks_and_reasons_are_of_known_defects() -> None:
    assert [(name, defect) for name, defect in marked() if defect not in DEFECTS] == []
    assert NOT_APPLICABLE.keys() <= DEFECTS.keys()


def test_marks_are_on_tests() -> None:
    assert [name for name, _ in marked() if not name.rpartition("::")[2].startswith("test_")] == []
