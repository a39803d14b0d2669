"""Step time of every route as a ratio to plain Lightning and to the floor of exact methods.

    python -m tests.benchmarks.bench_step [--tasks 2 3 10 40] [--precision bf16-mixed] [--out FILE]
    python -m tests.benchmarks.bench_step --encoder resnet50 --output-stride 8 --decoder deeplabv3 \
        --size 288 384 --batch 8
    python -m tests.benchmarks.bench_step --tiny
    python -m tests.benchmarks.bench_step --operations

All variants take turns in one run, a few steps each; the figure is the median over all steps of a
variant, divided by that of its reference. "its q1" is the ratio of the lower quartiles, which other
work on the machine disturbs less. The floor is what exact task gradients cost at least: one
forward pass, each head differentiated once, the trunk K times, written by hand. TorchJD's rows, if
it is installed, run one task at a time in the same loop. With two or three tasks each has a
decoder; more of them are 1 x 1 convolutions on the deepest features.

Memory is, on a GPU, all that is allocated at the peak of a step; on the CPU, what a step allocates
at its peak, without parameters, the optimizer's state and what operations need inside. The error
of a Gramian that is estimated is the root mean square over its entries, in units of |g_i| |g_j|.

`--tiny` compares all rules on a network so small that a step is Python and nothing else.
`--operations` counts what a step dispatches between the end of its last backward pass of the trunk
and the optimizer, which a GPU would wait for; with `--tiny` too it does so on that network. Both
run on the CPU.
"""

import argparse
import json
import logging
import statistics
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from tests.benchmarks.step_estimates import root_mean_square_errors
from tests.benchmarks.step_networks import Batch, Dense, Pointwise, Split, Tiny, batches
from tests.benchmarks.step_operations import Operations
from tests.benchmarks.step_runs import Contestant
from tests.benchmarks.step_variants import FLOOR, LARGE, PLAIN, SKETCHED, VARIANTS, Variant

Row = dict[str, Any]
"""What is known of one variant and one number of tasks."""

BEFORE_COUNTING = 26
"""Steps before operations are counted, in which probes are only averaged."""


def parsed(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tiny", action="store_true", help="compare where Python is all there is")
    parser.add_argument("--operations", action="store_true", help="count operations, not seconds")
    parser.add_argument("--tasks", type=int, nargs="+", default=[3], help="K, one or several")
    parser.add_argument("--only", nargs="+", choices=list(VARIANTS), help="variants to compare")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, help="timed steps of a variant in a round")
    parser.add_argument("--warmup", type=int, help="steps before these")
    parser.add_argument("--threads", type=int, default=1, help="more only on an idle machine")
    parser.add_argument("--encoder", default="resnet18")
    parser.add_argument("--decoder", default="unet")
    parser.add_argument("--output-stride", type=int, default=32)
    parser.add_argument("--size", type=int, nargs=2, default=(96, 128), help="multiples of 32")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--precision", default="32-true", choices=["32-true", "bf16-mixed"])
    parser.add_argument("--accelerator", default="auto")
    parser.add_argument("--seeds", type=int, default=6, help="sketches to take the error of, or 0")
    parser.add_argument("--probes", type=int, default=200, help="probes to take the error of")
    parser.add_argument("--out", type=Path, help="where to write the figures as JSON")
    options = parser.parse_args(arguments)
    small = options.tiny
    if options.rounds * (options.steps or 2) < 2:
        parser.error("quartiles need at least 2 timed steps: raise --rounds or --steps")
    options.steps = options.steps or (100 if small else 5)
    options.warmup = options.warmup or (10 if small else 1)
    options.only = options.only or (list(VARIANTS) if small or options.operations else LARGE)
    if small or options.operations:
        options.accelerator = "cpu"
    return options


def built(options: argparse.Namespace, tasks: int) -> Split:
    """A network for so many tasks, the same one at each call."""
    torch.manual_seed(0)
    if options.tiny:
        return Tiny(tasks)
    size, encoder, stride = tuple(options.size), options.encoder, options.output_stride
    if tasks <= 3:
        return Dense(tasks, encoder, options.decoder, stride, size, options.batch)
    return Pointwise(tasks, encoder, stride, size, options.batch)


def contestants(
    options: argparse.Namespace, tasks: int, folder: str
) -> Iterator[tuple[str, Contestant | str]]:
    """The variants in their order."""
    arguments = {
        "accelerator": options.accelerator,
        "precision": options.precision,
        "default_root_dir": folder,
        "benchmark": torch.cuda.is_available(),
    }
    for name in options.only:
        yield name, entered(VARIANTS[name], built(options, tasks), arguments)


def entered(variant: Variant, network: Split, arguments: dict[str, Any]) -> Contestant | str:
    """A variant, or why it cannot be had: a peer is not installed, or a version is too old."""
    try:
        return Contestant(variant, network, arguments)
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        return reason(error)


def compare(
    options: argparse.Namespace, tasks: int, device: torch.device, folder: str
) -> list[Row]:
    """Let all variants take turns."""
    entries = dict(contestants(options, tasks, folder))
    data = list(batches(built(options, tasks), options.steps + options.warmup + 1, device))
    for turn in range(-1, options.rounds):
        for name, entry in entries.items():
            if isinstance(entry, Contestant):
                entries[name] = attempt(options, entry, data, turn)
    errors = {} if options.tiny or not options.seeds else measured_errors(options, tasks, data[0])
    rows = [row_of(name, entry, tasks) for name, entry in entries.items()]
    for row in rows:
        row["error"] = errors.get(VARIANTS[row["variant"]].estimate)
    return with_ratios(rows)


def attempt(
    options: argparse.Namespace, entry: Contestant, data: list[Batch], turn: int
) -> Contestant | str:
    """One turn; before the first one, on the CPU, memory. Gives the reason if it cannot run."""
    try:
        if turn >= 0:
            entry.take_turn(data, options.warmup)
        elif not (data[0]["image"].is_cuda or options.tiny):
            entry.weigh(data)
    except (RuntimeError, ValueError, TypeError) as error:
        return reason(error)
    return entry


def measured_errors(options: argparse.Namespace, tasks: int, batch: Batch) -> dict[str, float]:
    """Of the estimates that are among the variants."""
    if not any(VARIANTS[name].estimate for name in options.only):
        return {}
    network = built(options, tasks).to(batch["image"].device)
    return root_mean_square_errors(
        network, batch, options.precision, SKETCHED, options.seeds, options.probes
    )


def count(options: argparse.Namespace, tasks: int, device: torch.device, folder: str) -> list[Row]:
    """Operations of each variant."""
    data = list(batches(built(options, tasks), 1, device)) * (BEFORE_COUNTING + 3)
    rows: list[Row] = []
    for name, entry in contestants(options, tasks, folder):
        row: Row = {"tasks": tasks, "variant": name}
        rows.append(row)
        if isinstance(entry, str):
            row["failed"] = entry
            continue
        operations = Operations(BEFORE_COUNTING)
        try:
            entry.fit(data, operations)
            row["between"], row["whole"] = operations.medians()
        except (RuntimeError, ValueError, TypeError) as error:
            row["failed"] = reason(error)
    return rows


def row_of(name: str, entry: Contestant | str, tasks: int) -> Row:
    row: Row = {"tasks": tasks, "variant": name}
    if isinstance(entry, str):
        return row | {"failed": entry}
    low, median, high = (1e3 * second for second in statistics.quantiles(entry.times, n=4))
    mib = entry.peak / 2**20 if entry.peak else None
    return row | {"ms": median, "quartiles_ms": [low, high], "mib": mib}


def with_ratios(rows: list[Row]) -> list[Row]:
    """The rows, divided by the references among them."""
    timed = {row["variant"]: row for row in rows if "ms" in row}
    for row in timed.values():
        for key, reference in (("by_plain", PLAIN), ("by_floor", FLOOR)):
            if reference in timed:
                low, lowest = row["quartiles_ms"][0], timed[reference]["quartiles_ms"][0]
                row[key] = row["ms"] / timed[reference]["ms"]
                row[f"{key}_q1"] = low / lowest
    return rows


def reason(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).splitlines()[0][:120]}"


def table_of_times(rows: list[Row], title: str) -> Table:
    table = Table(title=title)
    ratios = ("/ plain", "its q1", "/ floor")
    for column in ("K", "variant", "ms", "quartiles", *ratios, "MiB", "error %"):
        add_column(table, column)
    for row in rows:
        if "failed" in row:
            table.add_row(str(row["tasks"]), row["variant"], "-", *"------")
            continue
        low, high = row["quartiles_ms"]
        table.add_row(
            str(row["tasks"]),
            row["variant"],
            f"{row['ms']:.2f}",
            f"{low:.2f}-{high:.2f}",
            shown(row.get("by_plain"), ".3f"),
            shown(row.get("by_plain_q1"), ".3f"),
            shown(row.get("by_floor"), ".3f"),
            shown(row["mib"], ".1f"),
            shown(None if row["error"] is None else 100 * row["error"], ".1f"),
        )
    return table


def table_of_operations(rows: list[Row], title: str) -> Table:
    table = Table(title=title)
    for column in ("K", "variant", "trunk to optimizer", "whole step"):
        add_column(table, column)
    for row in rows:
        numbers = (shown(row.get(key), ".0f") for key in ("between", "whole"))
        table.add_row(str(row["tasks"]), row["variant"], *numbers)
    return table


def add_column(table: Table, name: str) -> None:
    table.add_column(name, justify="left" if name == "variant" else "right", no_wrap=True)


def shown(number: float | None, style: str) -> str:
    return "-" if number is None else format(number, style)


def device_of(options: argparse.Namespace) -> torch.device:
    cuda = options.accelerator != "cpu" and torch.cuda.is_available()
    return torch.device("cuda" if cuda else "cpu")


def main(arguments: Sequence[str] | None = None) -> list[Row]:
    options = parsed(arguments)
    torch.set_num_threads(options.threads)
    warnings.simplefilter("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    device = device_of(options)
    where = torch.cuda.get_device_name() if device.type == "cuda" else f"threads: {options.threads}"
    run, table = (count, table_of_operations) if options.operations else (compare, table_of_times)
    with tempfile.TemporaryDirectory() as folder:  # what monitors draw
        rows = [row for tasks in options.tasks for row in run(options, tasks, device, folder)]
    titles = dict.fromkeys(built(options, tasks).title for tasks in options.tasks)
    console = Console(width=max(120, Console().width))
    console.print(table(rows, f"{'; '.join(titles)}; {options.precision}, {where}"))
    for row in rows:
        if "failed" in row:
            console.print(f"{row['variant']}, K = {row['tasks']}: {row['failed']}")
    if options.out is not None:
        facts = {key: value for key, value in vars(options).items() if key != "out"}
        found = {"options": facts, "device": where, "torch": torch.__version__, "rows": rows}
        options.out.write_text(json.dumps(found, indent=2))
    return rows


if __name__ == "__main__":
    main()
