"""What all tests share: the place of the real data, and quiet, reproducible runs."""

import logging
import multiprocessing
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

# What tests compute is small: threads of two processes at once would only wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")
torch.set_num_threads(1)
# Ranks are forked from a process that has imported what all of them need.
multiprocessing.set_forkserver_preload(["lightning_mtl.callbacks", "lightning_mtl.data"])

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data beside the project; tests that need it skip where it is absent."""
    folder = Path(os.environ.get("LIGHTNING_MTL_SHARED_DATA", SHARED))
    if not folder.is_dir():
        pytest.skip(f"real data is not part of the project and was not found at {folder}")
    return folder


@pytest.fixture(scope="session", autouse=True)
def _nothing_left() -> Iterator[None]:
    """No test leaves a file at the top, as a run in the working directory might."""
    before = set(ROOT.iterdir())
    yield
    left = [path.name for path in set(ROOT.iterdir()) - before if path.is_file()]
    assert not [name for name in left if not name.startswith(".")]


@pytest.fixture(autouse=True)
def _heard() -> None:
    """What Lightning logs reaches `caplog`, even if it was imported before pytest listened."""
    for package in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(package).propagate = True


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)
