"""`lightning-mtl doctor`."""

import json
from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path

from lightning_mtl.command_line.commands import stop
from lightning_mtl.command_line.short_run_options import at_least, short_run_parser
from lightning_mtl.import_order import import_lightning


def doctor_parser() -> ArgumentParser:
    """The parser of the options of `lightning-mtl doctor` beside those of `fit`."""
    parser = short_run_parser("doctor")
    parser.add_argument(
        "--steps", type=at_least(1), default=300, help="optimizer steps to examine (default: 300)"
    )
    parser.add_argument(
        "--rounds",
        type=at_least(0),
        default=5,
        help="turns of each family of weightings, to measure its price; 0 measures none"
        " (default: 5)",
    )
    parser.add_argument(
        "--out", type=Path, help="folder for `doctor.json` and `doctor.md`, beside the terminal"
    )
    return parser


def run_doctor(arguments: Sequence[str]) -> None:
    """Examine a short run and show what was found, or exit with a message.

    Args:
        arguments: what follows the name of the command.
    """
    options, rest = doctor_parser().parse_known_args(list(arguments))
    # Imported late: help and wrong arguments need no torch.
    import_lightning()
    from rich.console import Console

    from lightning_mtl.command_line.run_files import free_path
    from lightning_mtl.command_line.short_runs import ShortRuns
    from lightning_mtl.diagnosis.doctor import diagnose
    from lightning_mtl.diagnosis.report import as_json, markdown, show

    runs = ShortRuns(rest)
    module, data = runs.build()
    weighting = runs.weighting()
    callbacks = [] if weighting is None else [weighting]
    try:
        diagnosis = diagnose(
            runs.make_trainer, module, data, options.steps, options.rounds, callbacks
        )
    except ValueError as error:
        stop(str(error))
    if module.global_rank:
        return
    show(diagnosis, Console())
    if options.out is not None:
        options.out.mkdir(parents=True, exist_ok=True)
        numbers = json.dumps(as_json(diagnosis), indent=2, ensure_ascii=False) + "\n"
        for name, text in (("doctor.json", numbers), ("doctor.md", markdown(diagnosis))):
            free_path(options.out / name).write_text(text, encoding="utf-8")
