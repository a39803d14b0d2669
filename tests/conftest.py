"""What all tests share: the place of the real data, and quiet, reproducible runs."""

import os
from pathlib import Path

import pytest
import torch

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data beside the project; tests that need it skip where it is absent."""
    folder = Path(os.environ.get("LIGHTNING_MTL_SHARED_DATA", SHARED))
    if not folder.is_dir():
        pytest.skip(f"real data is not part of the project and was not found at {folder}")
    return folder


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)
