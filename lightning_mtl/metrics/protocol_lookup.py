"""The lookup of an evaluation protocol by its name."""

from collections.abc import Mapping
from typing import TypeVar

from lightning_mtl.checks import check_choice

__all__ = ["find_protocol"]

T = TypeVar("T")


def find_protocol(owner: str, name: str, protocols: Mapping[str, T]) -> T:
    """The protocol of that name.

    Args:
        owner: who asks, for the message.
        name: what papers follow it.
        protocols: those that the owner knows.

    Raises:
        ValueError: if the owner does not know it.
    """
    remedy = "`lightning_mtl.metrics` says how they differ."
    check_choice(owner, "protocol", name, sorted(protocols), remedy)
    return protocols[name]
