"""Compare weightings on Helmholtz's equation, at equal CPU time.

    python docs/evidence/physics/compare.py FOLDER [--seconds 16] [--seeds 5] [--jobs 2]

Every method is tried with two learning rates on a seed of its own, fixed weights with each point of
a small grid besides; the errors at held-out points decide. The chosen settings are then run with
five other seeds. Each run leaves a file in FOLDER/runs. Runs whose files exist are not repeated,
so that the same command goes on where it was stopped. The answer is written to FOLDER: `answer.md`,
`answer.csv`, `trials.csv` and `errors.png`.
"""

from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path

from helmholtz.answer import csv_text, markdown, picture
from helmholtz.methods import METHODS
from helmholtz.plan import chosen, repeated, trials
from helmholtz.runs import Result, Run, results
from rich import get_console


def carry_out(runs: Sequence[Run], folder: Path, jobs: int) -> list[Result]:
    """The results of runs; a line is printed for each of them."""
    done = []
    for result in results(runs, folder, jobs):
        line = f"{result.run.name}: {result.steps} steps, error {result.held_out_error:.4f}"
        get_console().print(line, highlight=False)
        done.append(result)
    return done


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what is missing and write the answer. Called from the command line.

    Args:
        arguments: those of the command line by default.
    """
    parser = ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="where runs and answer are written")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS, metavar="NAME")
    parser.add_argument("--seconds", type=float, default=16.0, help="CPU time of each run")
    parser.add_argument("--seeds", type=int, default=5, help="how many, after the trials")
    parser.add_argument("--jobs", type=int, default=1, help="how many processes train")
    given = parser.parse_args(arguments)
    for name in ("seconds", "seeds", "jobs"):
        if getattr(given, name) <= 0:
            parser.error(f"`--{name}` should be positive. Found {getattr(given, name):g}.")
    runs = given.folder / "runs"
    tried = carry_out(trials(given.methods, given.seconds), runs, given.jobs)
    found = carry_out(repeated(chosen(tried).values(), given.seeds), runs, given.jobs)
    (given.folder / "answer.md").write_text(markdown(found, given.seconds), encoding="utf-8")
    (given.folder / "answer.csv").write_text(csv_text(found), encoding="utf-8")
    (given.folder / "trials.csv").write_text(csv_text(tried), encoding="utf-8")
    picture(found).savefig(given.folder / "errors.png", dpi=150)


if __name__ == "__main__":
    main()
