"""The command line: `lightning-mtl fit|validate|test|predict|compare|sweep|doctor|tune`."""

import sys
from collections.abc import Sequence

from lightning_mtl.command_line.commands import COMMANDS, main_parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line.

    Args:
        arguments: of the command; by default those of the process.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    command = given[0] if given else "--help"
    # What a command needs is imported for it alone: torch and Lightning take seconds.
    if command == "compare":
        from lightning_mtl.command_line.comparison import run_comparison

        run_comparison(given[1:])
    elif command == "sweep":
        from lightning_mtl.command_line.sweeping import run_sweep

        run_sweep(given[1:])
    elif command == "doctor":
        from lightning_mtl.command_line.doctoring import run_doctor

        run_doctor(given[1:])
    elif command == "tune":
        from lightning_mtl.command_line.tuning import run_tuning

        run_tuning(given[1:])
    elif command in COMMANDS or (command.startswith("-") and set(given) & set(COMMANDS)):
        from lightning_mtl.command_line.lightning_commands import run_command

        run_command(None if arguments is None else given)
    else:
        main_parser().parse_args(given)


if __name__ == "__main__":
    main()
