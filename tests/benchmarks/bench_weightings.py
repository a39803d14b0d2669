"""How long weights take to be solved for, beside TorchJD's own solvers in the same run.

python -m tests.benchmarks.bench_weightings

One thread, float64 Gramians on the host as in training; medians in milliseconds over Gaussian rows,
over rows that agree, and over norms of six decades: the slowest of the three. Required: 0.5 ms for
up to 10 tasks, 5 ms for 40. A dash: TorchJD has no such rule, or its solver is not installed.

A second table has the slowest of the awkward rows (every rank, zero, duplicated, opposed and nearly
dependent ones, in float64 and float32), and which they are.
"""

import contextlib
import functools
import statistics
import sys
import time
import warnings
from collections.abc import Callable

import torch
from torch import Tensor

from tests.support.jacobians import (
    agreeing_jacobian,
    awkward_jacobians,
    random_jacobian,
    spread_jacobian,
)
from tests.weightings.test_properties import RULES

TASKS = (2, 3, 5, 10, 20, 40)
SIZE = 1000
LIMITS = {2: 0.5, 3: 0.5, 5: 0.5, 10: 0.5, 40: 5.0}
THEIRS = {
    "AlignedMTL": "AlignedMTL",
    "CAGrad": "CAGrad",
    "ConFIG": "ConFIG",
    "DualProj": "DualProj",
    "FairGrad": "FairGrad",
    "GradVac": "GradVac",
    "IMTLG": "IMTLG",
    "MGDA": "MGDA",
    "NashMTL": "NashMTL",
    "PCGrad": "PCGrad",
    "UPGrad": "UPGrad",
}
ARGUMENTS = {"CAGrad": {"c": 0.4}, "FairGrad": {"alpha": 1.0}}


def median_ms(function: Callable[[], object], seconds: float = 0.3) -> float:
    times: list[float] = []
    function()
    while sum(times) < seconds and len(times) < 200:
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return 1e3 * statistics.median(times)


def slowest(solve: Callable[[Tensor], object], tasks: int) -> float:
    worst = 0.0
    for make in (random_jacobian, agreeing_jacobian, spread_jacobian):
        rows = make(tasks, SIZE, tasks)
        gramian = rows @ rows.T
        worst = max(worst, median_ms(lambda gramian=gramian: solve(gramian)))
    return worst


def ours(name: str, tasks: int) -> float:
    weighting, losses = RULES[name](), torch.ones(tasks, dtype=torch.float64)
    return slowest(lambda gramian: weighting.weights(losses, gramian), tasks)


def theirs(name: str, tasks: int) -> float | None:
    """From the Gramian too, where they have a weighting for it; else from small K x K rows."""
    with contextlib.suppress(ImportError):
        import torchjd.aggregation as jd

        if name == "NashMTL":
            aggregator = jd.NashMTL(tasks)
            return slowest(lambda g: aggregator(torch.linalg.cholesky(g)), tasks)
        if name == "ConFIG":
            config = jd.ConFIG()
            return slowest(lambda g: config(torch.linalg.cholesky(g)), tasks)
        return slowest(getattr(jd, f"{THEIRS[name]}Weighting")(**ARGUMENTS.get(name, {})), tasks)
    return None


def slowest_awkward(name: str, tasks: int) -> tuple[float, str]:
    times = []
    losses = torch.ones(tasks, dtype=torch.float64)
    for case, jacobian in awkward_jacobians(tasks):
        for dtype in (torch.float64, torch.float32):
            weighting, rows = RULES[name](), jacobian.to(dtype)
            gramian = rows @ rows.T
            solve = functools.partial(weighting.weights, losses, gramian)
            times.append((median_ms(solve, 0.05), f"{case}, {dtype}"))
    return max(times)


def main() -> None:
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    compare()
    strain()


def strain() -> None:
    """Print the table of awkward rows."""
    write = sys.stdout.write
    write("\nAwkward rows, the slowest\n")
    for name in RULES:
        cells = [slowest_awkward(name, tasks) for tasks in (3, 10, 40)]
        write(f"{name:22s}" + "".join(f"{ms:8.2f} ({case})" for ms, case in cells) + "\n")
        sys.stdout.flush()


def compare() -> None:
    """Print the table beside TorchJD, and what exceeds the limits."""
    write = sys.stdout.write
    write(f"{'K':22s}" + "".join(f"{tasks:>16d}" for tasks in TASKS) + "\n")
    write(f"{'':22s}" + f"{'ours':>8s}{'TorchJD':>8s}" * len(TASKS) + "\n")
    late = []
    for name in RULES:
        cells = []
        for tasks in TASKS:
            own = ours(name, tasks)
            other = theirs(name, tasks) if name in THEIRS else None
            cells.append(f"{own:8.2f}" + (f"{other:8.2f}" if other else f"{'-':>8s}"))
            if own > LIMITS.get(tasks, float("inf")):
                late.append(f"{name} at K = {tasks}: {own:.2f} ms")
        write(f"{name:22s}" + "".join(cells) + "\n")
        sys.stdout.flush()
    write("All within the limits.\n" if not late else "Too slow: " + "; ".join(late) + "\n")


if __name__ == "__main__":
    main()
