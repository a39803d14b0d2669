"""That the benchmark of a step still runs, on a tiny network; its figures are for people."""

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.benchmarks.bench_step import main
from tests.benchmarks.step_variants import FLOOR, PLAIN, VARIANTS

QUICK = ["--rounds", "1", "--steps", "3", "--warmup", "1"]


@pytest.fixture(autouse=True)
def _quiet_no_longer(recwarn: pytest.WarningsRecorder) -> Iterator[None]:
    """The benchmark silences warnings and Lightning, and sets threads, for all of its process."""
    logger, threads = logging.getLogger("lightning.pytorch"), torch.get_num_threads()
    level = logger.level
    yield
    logger.setLevel(level)
    torch.set_num_threads(threads)


def test_every_step_is_compared_to_plain_lightning_and_to_the_floor(tmp_path: Path) -> None:
    out = tmp_path / "steps.json"
    main(["--tiny", "--only", PLAIN, FLOOR, "MGDA", "--out", str(out), *QUICK])
    rows = {row["variant"]: row for row in json.loads(out.read_text())["rows"]}
    mgda = rows["MGDA"]
    assert mgda["by_plain"] == mgda["ms"] / rows[PLAIN]["ms"]
    assert mgda["by_floor"] == mgda["ms"] / rows[FLOOR]["ms"]


def test_operations_are_counted_from_the_trunk_to_the_optimizer() -> None:
    rows = main(["--operations", "--tiny", "--only", PLAIN, "EqualWeighting", "MGDA"])
    plain, equal, mgda = (row["between"] for row in rows)
    assert plain <= equal < mgda < rows[2]["whole"]


@pytest.mark.slow
def test_every_variant_of_this_package_runs() -> None:
    own = [name for name in VARIANTS if not name.startswith("TorchJD")]
    assert not [row for row in main(["--tiny", "--only", *own, *QUICK]) if "failed" in row]


@pytest.mark.slow
def test_memory_and_errors_stand_beside_the_times() -> None:
    sizes = ["--size", "64", "64", "--batch", "2", "--seeds", "2", "--probes", "20"]
    names = [PLAIN, "MGDA", "MGDA sketch"]
    rows = main(["--tasks", "2", "5", "--only", *names, *sizes, *QUICK])
    for plain, exact, sketched in (rows[:3], rows[3:]):
        assert plain["mib"] <= sketched["mib"] < exact["mib"]
        assert exact["error"] is None
        assert 0 < sketched["error"] < 0.1
