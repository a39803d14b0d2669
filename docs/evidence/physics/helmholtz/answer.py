"""The answer: a table in Markdown, all runs as CSV, and a picture of the errors.

Errors of different methods are orders of magnitude apart, and so are their spreads. Means,
intervals and tests are those of the logarithms: means are geometric, and differences are ratios.
"""

import csv
import io
import math
from collections.abc import Sequence

from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from helmholtz.methods import EQUAL, FIXED
from helmholtz.network import TASKS
from helmholtz.runs import Result
from lightning_mtl.statistics import Interval, compare_with, mean_interval

Grouped = dict[str, list[Result]]

HEADER = [
    "method",
    "relative L2 error (%)",
    "95 % interval",
    "times that of equal weights",
    "times that of fixed weights",
    "optimizer steps",
    "weights: residual, boundary, data",
    "learning rate",
]


def by_method(results: Sequence[Result]) -> Grouped:
    """The results of each method, in the order in which methods occur."""
    grouped: Grouped = {}
    for result in results:
        grouped.setdefault(result.run.method, []).append(result)
    return grouped


def error_interval(results: Sequence[Result]) -> Interval:
    """The geometric mean of the test errors and its 95 % interval; infinite for one seed."""
    logarithms = mean_interval([math.log(result.test_error) for result in results])
    mean, low, high = (math.exp(value) for value in logarithms[:3])
    return Interval(mean, low, high, logarithms.count)


def ratios(reference: str, grouped: Grouped) -> dict[str, str]:
    """How many times the error of another method each has; bold where that is not noise."""
    if reference not in grouped:
        return {}
    errors = {name: [math.log(r.test_error) for r in each] for name, each in grouped.items()}
    return {
        difference.first: f"**{ratio}**" if difference.is_larger_than_noise else ratio
        for difference in compare_with(reference, errors)
        for ratio in [f"{math.exp(difference.interval.mean):.2g}"]
    }


def markdown(results: Sequence[Result], seconds: float) -> str:
    """The table with what its columns mean."""
    grouped = by_method(results)
    to_equal, to_fixed = ratios(EQUAL, grouped), ratios(FIXED, grouped)
    rows = [
        [
            _title(each),
            *_error_cells(each),
            to_equal.get(method, ""),
            to_fixed.get(method, ""),
            f"{_mean([result.steps for result in each]):.0f}",
            _weights(each),
            f"{each[0].run.lr:g}",
        ]
        for method, each in grouped.items()
    ]
    lines = [HEADER, ["---"] * len(HEADER), *rows]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    seeds = ", ".join(str(seed) for seed in sorted({result.run.seed for result in results}))
    return (
        f"# Helmholtz's equation: {seconds:g} CPU seconds for every method\n\n{table}\n\n"
        f"Errors are those on a grid of test points; means are geometric. Seeds: {seeds}. A ratio"
        " in bold differs from 1 by more than the noise of the seeds (Welch's t-test of the"
        " logarithms at 5 %, corrected by Holm for each column). The weights are means over the"
        " last hundred steps and the seeds.\n"
    )


def csv_text(results: Sequence[Result]) -> str:
    """A row for each run."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    settings = ["method", "residual_weight", "lr", "seed", "cpu_seconds", "steps"]
    writer.writerow([*settings, "held_out_error", "test_error", *(f"w_{task}" for task in TASKS)])
    for result in results:
        run = result.run
        fixed = "" if run.residual is None else f"{run.residual:g}"
        measured = [result.held_out_error, result.test_error, *result.weights.values()]
        writer.writerow(
            [run.method, fixed, run.lr, run.seed, run.seconds, result.steps]
            + [f"{value:.4g}" for value in measured]
        )
    return text.getvalue()


def picture(results: Sequence[Result]) -> Figure:
    """The error of each run as a dot, with the geometric mean and its interval beside it."""
    grouped = by_method(results)
    figure = Figure(figsize=(7, 1 + 0.4 * len(grouped)), layout="constrained")
    axes = figure.subplots()
    for row, each in enumerate(grouped.values()):
        errors = [100 * result.test_error for result in each]
        axes.plot(errors, [row] * len(errors), "o", color="0.6", ms=4)
        interval = error_interval(each)
        mean = 100 * interval.mean
        if math.isfinite(interval.high):
            ends = [[mean - 100 * interval.low], [100 * interval.high - mean]]
            axes.errorbar([mean], [row + 0.25], xerr=ends, fmt="D", color="C0", ms=5, capsize=3)
    axes.set_yticks(range(len(grouped)), [_title(each) for each in grouped.values()])
    axes.set(
        xscale="log",
        ylim=(len(grouped) - 0.5, -0.5),
        xlabel="relative L2 error (%): seeds, geometric mean, 95 % interval",
    )
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.grid(alpha=0.3, axis="x")
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def _title(results: Sequence[Result]) -> str:
    run = results[0].run
    return run.method if run.residual is None else f"{run.method} ({run.residual:g}, 1, 1)"


def _error_cells(results: Sequence[Result]) -> list[str]:
    interval = error_interval(results)
    ends = f"{100 * interval.low:.3g} to {100 * interval.high:.3g}"
    return [f"{100 * interval.mean:.3g}", ends if interval.count > 1 else "one seed"]


def _weights(results: Sequence[Result]) -> str:
    means = [_mean([result.weights[task] for result in results]) for task in TASKS]
    return ", ".join(f"{mean:.2g}" for mean in means)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
