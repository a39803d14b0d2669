"""The folder of a finished sweep, written without any training."""

from collections.abc import Mapping
from pathlib import Path

import yaml

from lightning_mtl.answers.records import Measure
from lightning_mtl.sweeps.methods import Method, single_tasks
from lightning_mtl.sweeps.outcomes import CONFIGS, Outcome, folder_of, write_outcome
from lightning_mtl.sweeps.plan import Choice, Plan, Run

MEASURES = (
    Measure("depth", "val/depth/Error", higher_is_better=False),
    Measure("labels", "val/labels/Score", higher_is_better=True),
)
SINGLE = {"single depth": 1.0, "single labels": 0.5}
EQUAL, OTHER = (0.9, 0.5), (0.5, 0.6)


def plan(seeds: int = 2) -> Plan:
    methods = [
        *single_tasks(["depth", "labels"], ["depth", "labels"]),
        Method("equal", "EqualWeighting"),
        Method("other", "DWA"),
    ]
    return Plan(MEASURES, tuple(methods), tuple(range(seeds)), (1.0,), "", "equal")


def values(run: Run) -> Mapping[str, float]:
    """The metrics of a run; seeds differ by a hundredth."""
    depth, labels = {
        "equal": EQUAL,
        "other": OTHER,
        "single depth": (SINGLE["single depth"], 0.0),
        "single labels": (9.0, SINGLE["single labels"]),
    }[run.method.name]
    return {"val/depth/Error": depth + run.seed / 100, "val/labels/Score": labels}


def write_sweep(folder: Path, seeds: int = 2, lacking: int = 0) -> Path:
    """Write a sweep, of which the last `lacking` runs have not ended."""
    made = plan(seeds)
    made.save(folder)
    (folder / CONFIGS).mkdir()
    config = {"trainer": {"max_epochs": 3}}
    (folder / CONFIGS / "sweep.yaml").write_text(yaml.safe_dump(config))
    runs = list(made.runs())
    for run in runs[: len(runs) - lacking]:
        place = folder_of(folder, run)
        (place / "log").mkdir(parents=True)
        metrics = values(run)
        head, row = ",".join(metrics), ",".join(str(value) for value in metrics.values())
        (place / "log" / "metrics.csv").write_text(f"step,{head}\n9,{row}\n")
        write_outcome(place, Outcome(metrics, Choice(), 5.0, 0.1, 1e6))
    return folder
