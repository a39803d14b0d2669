"""Families of weightings by what they need, and their members in the catalogue."""

import inspect
from collections.abc import Callable
from typing import NamedTuple

from lightning_mtl.callbacks import GramianWeighting, LossWeighting, Weighting
from lightning_mtl.catalogue import needs_arguments, summary, weightings

PLACES = {
    "features": "gradients at the features",
    "last_layer": "gradients at the last shared layer",
    "shared": "gradients at all shared parameters",
}
"""Where a Gramian may be measured, from the cheapest to the exact one, in words."""


class Family(NamedTuple):
    """Weightings that cost about the same.

    Attributes:
        name: what they need, in words.
        member: the class that stands for them; `None` for no weighting.
        build: a new weighting.
        place: where gradients are measured; empty for those that need the losses only.
    """

    name: str
    member: str | None
    build: Callable[[], Weighting | None]
    place: str = ""


def families() -> list[Family]:
    """No weighting, and one weighting for each family, in the order of what they need."""
    losses = next(kind for kind in weightings() if _learns_from_losses(kind))
    gramian = next(kind for kind in weightings() if _takes_places(kind))
    return [
        Family("no weighting", None, lambda: None),
        Family("losses", losses.__name__, losses),
        *(
            Family(name, gramian.__name__, _at(gramian, place), place)
            for place, name in PLACES.items()
        ),
    ]


def told_by(words: str) -> list[str]:
    """The weightings whose summary in the catalogue has these words and that need no arguments."""
    kinds = [kind for kind in weightings() if not needs_arguments(kind)]
    return [kind.__name__ for kind in kinds if words.lower() in summary(kind).lower()]


def takes_place(name: str, place: str) -> bool:
    """Whether a weighting of the catalogue may measure gradients there.

    Args:
        name: of the class.
        place: such as "last_layer".
    """
    kind = next(kind for kind in weightings() if kind.__name__ == name)
    return issubclass(kind, GramianWeighting) and place in kind.places


def _at(kind: type[Weighting], place: str) -> Callable[[], Weighting]:
    return lambda: kind(gradients=place)  # type: ignore[call-arg]


def _learns_from_losses(kind: type[Weighting]) -> bool:
    """Whether weights are learned from losses of any sign, with a learning rate."""
    parameters = inspect.signature(kind).parameters
    return (
        issubclass(kind, LossWeighting)
        and not kind.depends_on_losses
        and not kind.positive_losses
        and "lr" in parameters
    )


def _takes_places(kind: type[Weighting]) -> bool:
    """Whether it is an ordinary rule of the Gramian, which may be measured at every place."""
    return (
        issubclass(kind, GramianWeighting)
        and not kind.needs_rows
        and kind.places.keys() >= PLACES.keys()
        and not needs_arguments(kind)
    )
