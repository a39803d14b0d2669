"""Draw what every weighting does to two parameters that two conflicting tasks share.

`python docs/figures/trajectories.py --out docs/figures/trajectories.png`
"""

import logging
import warnings
from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from two_tasks import descent
from two_tasks.ends import AT_FRONT, End, csv_text, end_of, verdicts
from two_tasks.landscape import STARTS
from two_tasks.methods import LEFT_OUT, make, shown_weightings
from two_tasks.panels import Paths, figure, save

from lightning_mtl.callbacks import LossWeighting, Weighting

STEPS = 300
HEADINGS = {True: "Weightings that need the losses", False: "Weightings that need task gradients"}


def trajectories(kinds: Sequence[type[Weighting]], steps: int) -> Paths:
    """The paths of each weighting from all starting points, by the name of its class."""
    return {
        kind.__name__: [descent.descend(make(kind), start, steps) for start in STARTS]
        for kind in kinds
    }


def grouped(kinds: Sequence[type[Weighting]], paths: Paths) -> dict[str, Paths]:
    """The paths under a heading that says what their weightings need."""
    groups = {
        heading: {
            kind.__name__: paths[kind.__name__]
            for kind in kinds
            if issubclass(kind, LossWeighting) == needs_losses
        }
        for needs_losses, heading in HEADINGS.items()
    }
    return {heading: group for heading, group in groups.items() if group}


def caption(ends: Sequence[End], steps: int) -> str:
    """The text beside the figure, in Markdown; what it says of weightings is taken from `ends`."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "two_tasks"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template("caption.md.jinja").render(
        at_front=AT_FRONT,
        betas=descent.BETAS,
        ends=ends,
        epochs=descent.EPOCHS,
        left_out=LEFT_OUT,
        lr=descent.LR,
        starts=STARTS,
        steps=steps,
        verdicts=verdicts(ends),
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, draw, and write figure, numbers and caption. Called from the command line.

    Args:
        arguments: those of the command line by default.
    """
    parser = ArgumentParser(description=__doc__)
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        help="PNG to write; numbers and caption get the same name, with .csv and .md",
    )
    parser.add_argument("--steps", type=int, default=STEPS, help="optimizer steps of each training")
    parser.add_argument("--weightings", nargs="+", metavar="NAME", help="only these (default: all)")
    options = parser.parse_args(arguments)
    for name in ("lightning.pytorch", "lightning_mtl"):
        logging.getLogger(name).setLevel(logging.ERROR)
    known = {kind.__name__: kind for kind in shown_weightings()}
    names = known.keys() if options.weightings is None else options.weightings
    if unknown := [name for name in names if name not in known]:
        parser.error(f"`--weightings` should name some of {list(known)}. Found {unknown}.")
    kinds = [kind for name, kind in known.items() if name in names]
    with warnings.catch_warnings():
        # Lightning's own, about a function of torch that it calls.
        warnings.filterwarnings("ignore", category=FutureWarning, module="lightning")
        paths = trajectories(kinds, options.steps)
    ends = [end_of(name, path) for name, each in paths.items() for path in each]
    options.out.parent.mkdir(parents=True, exist_ok=True)
    save(figure(grouped(kinds, paths)), options.out)
    options.out.with_suffix(".csv").write_text(csv_text(ends), encoding="utf-8")
    options.out.with_suffix(".md").write_text(caption(ends, options.steps), encoding="utf-8")


if __name__ == "__main__":
    main()
