"""Skips the doctests of this folder where TorchJD, an extra, is not installed."""

import pytest


@pytest.fixture(autouse=True)
def _torchjd() -> None:
    pytest.importorskip("torchjd.aggregation", reason="the extra `torchjd` is not installed")
