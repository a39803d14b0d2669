"""Where each training ends: the numbers beside the figure, and what they say of each weighting."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Literal

from jaxtyping import Float
from numpy.typing import NDArray

from two_tasks.landscape import distance_to_front, pareto_front, remaining, task_losses_at

AT_FRONT = 0.25
"""The largest distance to the Pareto front of a point that counts as on it."""

Verdict = Literal["balanced", "first", "second", "by_start", "on_the_way"]


@dataclass(frozen=True)
class End:
    """The last point of one training.

    Attributes:
        weighting: the name of its class.
        start_x: x of the starting point.
        start_h: h of the starting point.
        x: x of the last point.
        h: h of the last point.
        distance: the Euclidean distance of the last point to the Pareto front.
        loss_first: the loss of the first task there.
        loss_second: the loss of the second task there.
        remaining_first: the part of the first task's loss that is left, see `remaining`.
        remaining_second: the part of the second task's loss that is left.
    """

    weighting: str
    start_x: float
    start_h: float
    x: float
    h: float
    distance: float
    loss_first: float
    loss_second: float
    remaining_first: float
    remaining_second: float

    @property
    def favours(self) -> Literal["both", "first", "second"]:
        """The task that has its way: the other one keeps more than half of its loss."""
        if max(self.remaining_first, self.remaining_second) <= 0.5:
            return "both"
        return "first" if self.remaining_first < self.remaining_second else "second"


def end_of(weighting: str, path: Float[NDArray, "n 2"]) -> End:
    """The end of a path, with numbers rounded to three decimals."""
    last = path[-1:]
    numbers = [
        *path[0],
        *last[0],
        *distance_to_front(last, pareto_front()),
        *task_losses_at(last)[0],
        *remaining(last)[0],
    ]
    return End(weighting, *(round(float(number), 3) for number in numbers))


def verdict(ends: Sequence[End]) -> Verdict:
    """What the ends of one weighting, from all starting points, have in common.

    Returns:
        `on_the_way` if one of them is not at the Pareto front; else `balanced` if all favour both
        tasks, the name of a task if all favour it, and `by_start` if they differ.
    """
    if max(end.distance for end in ends) > AT_FRONT:
        return "on_the_way"
    sides = {end.favours for end in ends}
    if len(sides) > 1:
        return "by_start"
    (side,) = sides
    return "balanced" if side == "both" else side


def verdicts(ends: Sequence[End]) -> Mapping[Verdict, list[str]]:
    """The names of the weightings by their verdict, in the order of the ends."""
    groups: dict[Verdict, list[str]] = {
        "balanced": [],
        "first": [],
        "second": [],
        "by_start": [],
        "on_the_way": [],
    }
    for name in dict.fromkeys(end.weighting for end in ends):
        groups[verdict([end for end in ends if end.weighting == name])].append(name)
    return groups


def csv_text(ends: Sequence[End]) -> str:
    """The ends as CSV, one row each."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, [field.name for field in fields(End)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(end) for end in ends)
    return buffer.getvalue()


def read_csv(text: str) -> list[End]:
    """The ends in a text that `csv_text` has made."""
    return [
        End(weighting, *map(float, numbers))
        for weighting, *numbers in list(csv.reader(io.StringIO(text)))[1:]
    ]
