"""The keyword arguments that all weightings share, for the type checker and the command line."""

from typing import TYPE_CHECKING, Any, TypedDict

if TYPE_CHECKING:
    from typing_extensions import Unpack as Unpack
else:

    class Unpack:
        """At run time, any keyword arguments.

        The command line then reads their defaults and texts off the base class to which they are
        passed on. Of a `TypedDict` it would know neither, and saved configs would lack what is not
        given.
        """

        def __class_getitem__(cls, keywords: type) -> Any:
            return Any


class Common(TypedDict, total=False):
    """What every weighting takes; `Weighting` says more of it."""

    prior: dict[str, float] | None
