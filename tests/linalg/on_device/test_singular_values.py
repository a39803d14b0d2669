from typing import Literal

import pytest

from lightning_mtl.linalg import equal_singular_values, on_device
from tests.linalg.on_device.cases import assert_same_weights, cases


@pytest.mark.parametrize("level", ["min", "median", "rmse"])
def test_weights_are_those_of_the_host(level: Literal["min", "median", "rmse"]) -> None:
    for case, rows in cases(1, 2, 3, 8):
        expected = equal_singular_values(rows @ rows.T, level)
        found = on_device.equal_singular_values(rows @ rows.T, level)
        # Rows that are opposed but for 1e-9: what is left of them is the rounding of their cosine.
        along = 1e-6 if "nearly" in case or "spread" in case else 1e-9
        assert_same_weights(found, expected, rows, case, along)
