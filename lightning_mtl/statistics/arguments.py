"""Checks of the arguments that the functions of this folder share."""

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike


def finite_array(owner: str, name: str, values: ArrayLike, axes: int) -> Float[np.ndarray, "..."]:
    """The values as a float64 array, called before anything is computed from them.

    Args:
        owner: whose argument it is, for the message.
        name: its name, for the message.
        values: what was given.
        axes: how many axes it should have.

    Raises:
        ValueError: if the number of axes differs, or a value is NaN or infinite.
    """
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != axes:
        raise ValueError(
            f"`{owner}({name}=)` should have {axes} axes. Found an array of shape {array.shape}."
        )
    wrong = np.argwhere(~np.isfinite(array))
    if len(wrong):
        first = tuple(wrong[0].tolist())
        raise ValueError(
            f"`{owner}({name}=)` should be finite. Found {array[first]:g} at the index"
            f" {', '.join(map(str, first))}, and {len(wrong)} such values in all. Leave them out,"
            " and say so where the result is shown."
        )
    return array


def check_level(owner: str, level: float) -> None:
    """Raise unless a level of confidence is a share between 0 and 1, ends excluded.

    Args:
        owner: whose argument it is, for the message.
        level: what was given.

    Raises:
        ValueError: if it is not, as for a percentage.
    """
    if not 0 < level < 1:
        raise ValueError(
            f"`{owner}(level=)` should be between 0 and 1. Found {level}. Give a share, such as"
            " 0.95 for 95 percent."
        )
