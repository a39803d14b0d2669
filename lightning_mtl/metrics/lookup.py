"""The lookup of a protocol by its name."""

from collections.abc import Mapping
from typing import TypeVar

from lightning_mtl.checks import check_choice

__all__ = ["find_protocol"]

T = TypeVar("T")


def find_protocol(owner: str, name: str, protocols: Mapping[str, T]) -> T:
    """The protocol of that name.

    Args:
        owner: Who asks, for the message.
        name: What papers follow it.
        protocols: Those that the owner knows.

    Raises:
        ValueError: If the owner does not know it.
    """
    remedy = "`lightning_mtl.metrics` says how they differ."
    check_choice(owner, "protocol", name, sorted(protocols), remedy)
    return protocols[name]
