"""`lightning-mtl tune`."""

from argparse import ArgumentParser, Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning_mtl.command_line.commands import stop
from lightning_mtl.command_line.short_run_options import at_least, short_run_parser
from lightning_mtl.import_order import import_lightning

if TYPE_CHECKING:
    from lightning_mtl.command_line.short_runs import ShortRuns
    from lightning_mtl.diagnosis.tuner import Candidate, Evened


def tuning_parser() -> ArgumentParser:
    """The parser of the options of `lightning-mtl tune` beside those of `fit`."""
    parser = short_run_parser("tune")
    parser.add_argument(
        "--steps",
        type=at_least(1),
        help="optimizer steps of the run that weights come from; by default a fifth of those of"
        " `fit`",
    )
    parser.add_argument(
        "--random",
        type=at_least(1),
        metavar="M",
        help="also try M random weights on validation, in as many steps altogether",
    )
    parser.add_argument(
        "--out", type=Path, default=Path("tuned.yaml"), help="config to write (default: tuned.yaml)"
    )
    parser.add_argument(
        "--out_random", type=Path, help="config to write with the best of the random weights"
    )
    return parser


def run_tuning(arguments: Sequence[str]) -> None:
    """Find fixed weights, show them and write their config, or exit with a message.

    Args:
        arguments: what follows the name of the command.
    """
    options, rest = tuning_parser().parse_known_args(list(arguments))
    check_files(options)
    # Imported late: help and wrong arguments need no torch.
    import_lightning()
    from lightning_mtl.command_line.short_runs import ShortRuns

    runs = ShortRuns(rest)
    try:
        evened, candidates = tune(runs, options)
    except ValueError as error:
        stop(str(error))
    if runs.model.global_rank:
        return
    show(evened, candidates, options)
    write_config(options.out, evened.weights)
    if options.out_random is not None:
        best = max(candidates[2:], key=lambda each: each.improvement)
        write_config(options.out_random, best.weights)


def check_files(options: Namespace) -> None:
    """Exit if a config would be written over a file, or without weights to write."""
    for name in ("out", "out_random"):
        path = getattr(options, name)
        if path is not None and path.exists():
            stop(f"`--{name}` should be a new file. Found `{path}`. Remove it, or name another.")
    if options.out_random is not None and options.random is None:
        stop("`--out_random` should go with `--random`. Found none. Give a number of weights.")


def tune(runs: "ShortRuns", options: Namespace) -> tuple["Evened", list["Candidate"]]:
    """Train for a short while with equal weights, and compare on validation if asked to.

    Args:
        runs: that build modules and Trainers.
        options: of the command.
    """
    from lightning_mtl.diagnosis.examination import examine
    from lightning_mtl.diagnosis.tuner import (
        Budget,
        compare_candidates,
        evened,
        primary_columns,
    )

    module, data = runs.build()
    budget = Budget(options.steps)
    length = {"max_steps": options.steps} if options.steps else runs.length()
    record = examine(runs.make_trainer, module, data, callbacks=[budget], **length)
    found = evened(record)
    if options.random is None:
        return found, []
    columns = primary_columns(module, record.tasks)
    steps = steps_of_each(found.steps, options.random)

    def results(weights: Mapping[str, float]) -> dict[str, float]:
        values = validated(runs, weights, steps)
        return {task: values[column] for task, (column, _) in columns.items()}

    directions = {task: higher for task, (_, higher) in columns.items()}
    candidates = compare_candidates(results, directions, found.weights, options.random, seed=0)
    return found, candidates


def steps_of_each(steps: int, count: int) -> int:
    """How many steps each of the equal, the evened and the random weights gets."""
    return max(steps // (count + 2), 1)


def validated(runs: "ShortRuns", weights: Mapping[str, float], steps: int) -> dict[str, Any]:
    """The metrics on validation after some steps with these weights, from the same start.

    Args:
        runs: that build modules and Trainers.
        weights: by the names of the tasks.
        steps: optimizer steps.

    Raises:
        ValueError: if the module validates nothing.
    """
    from lightning_mtl.catalogue import fixed_weights
    from lightning_mtl.diagnosis.prices import quiet

    weighting = fixed_weights()(dict(weights))  # type: ignore[call-arg]
    with quiet():
        module, data = runs.build()
        trainer = runs.make_trainer([weighting], max_steps=steps, enable_progress_bar=False)
        trainer.fit(module, data)
        found = runs.validator().validate(module, data, verbose=False)
    return dict(found[0]) if found else {}


def show(evened: "Evened", candidates: Sequence["Candidate"], options: Namespace) -> None:
    """Print the weights, and what each of the candidates reached."""
    from rich.console import Console
    from rich.table import Table

    console = Console()
    width = min(80, console.width)
    console.print(f"Fixed weights that even out the gradients of {evened.steps} steps")
    table = Table("task")
    for name in ("norm of the averaged gradient", "weight"):
        table.add_column(name, justify="right")
    for task, weight in evened.weights.items():
        table.add_row(task, f"{evened.norms[task]:.3g}", f"{weight:.3g}")
    console.print(table, width=width)
    console.print(
        f"Condition number of their Gramian: {evened.before:.3g} with equal weights,"
        f" {evened.after:.3g} with these.",
        width=width,
    )
    if candidates:
        steps = steps_of_each(evened.steps, len(candidates) - 2)
        console.print(f"\nOn validation, after {steps} steps each")
        table = Table("weights")
        table.add_column(", ".join(evened.weights), overflow="fold")
        table.add_column("mean improvement", justify="right")
        for each in candidates:
            numbers = ", ".join(f"{weight:.2f}" for weight in each.weights.values())
            table.add_row(each.name, numbers, f"{each.improvement:+.2f} %")
        console.print(table, width=width)
        console.print("One seed and few steps: small differences are noise.", width=width)
    for path in (options.out, options.out_random):
        if path is not None:
            console.print(f"Train with `--config {path}` after the other configs.", width=width)


def write_config(path: Path, weights: Mapping[str, float]) -> None:
    """Write fixed weights as a config that is given after others.

    Args:
        path: of a new file.
        weights: by the names of the tasks.
    """
    import yaml

    from lightning_mtl.catalogue import fixed_weights

    rounded = {task: float(f"{weight:.4g}") for task, weight in weights.items()}
    settings = {
        "weighting": {
            "class_path": fixed_weights().__name__,
            "init_args": {"weights": rounded},
        }
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(settings, sort_keys=False), encoding="utf-8")
