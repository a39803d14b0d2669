"""Measure a few rooms on two gloo ranks, as a user's script would; odd frames have no depth."""

import sys
import warnings
from pathlib import Path
from unittest.mock import patch

from torch.utils.data import DataLoader

from lightning_mtl.callbacks import MetricTable, PredictionGrid
from lightning_mtl.data import SyntheticRooms, collate
from lightning_mtl.reports import metric_table
from lightning_mtl.reports.trivial_predictor import trivial_results
from tests.evaluation.test_hooks import Measured, table
from tests.support.ranks import save_of_first
from tests.support.toy import quiet_trainer
from tests.test_dense_prediction import SIZE, three_tasks

BASELINES = {"segmentation": 0.5, "depth": 1.0, "normals": 20.0}


def half_labelled(batch_size: int) -> DataLoader:
    """Eight rooms. Ranks take turns, so of two ranks the second one never sees a depth."""
    data = SyntheticRooms(8, size=SIZE, seed=1)
    frames = [{k: v for k, v in data[i].items() if k != "depth" or i % 2 == 0} for i in range(8)]
    return DataLoader(frames, batch_size=batch_size, collate_fn=collate)


def measured(devices: int, batch_size: int, folder: Path) -> dict[str, dict[str, float]]:
    """What an untrained network logs, and the trivial predictor, on half of the frames."""
    loader = half_labelled(batch_size)
    strategy = {"strategy": "ddp"} if devices > 1 else {}
    module = three_tasks(baselines=BASELINES)
    trainer = quiet_trainer(
        devices=devices,
        limit_val_batches=1,  # of training batches all, since two ranks shuffle them
        callbacks=[MetricTable(), PredictionGrid(frames=1)],
        default_root_dir=folder,
        **strategy,
    )
    (logged,) = trainer.validate(module, loader, verbose=False)
    found = {"logged": {name: float(value) for name, value in logged.items()}}

    def kept(*arguments):
        trivial = trivial_results(*arguments)
        for task, values in trivial.items():
            found[task] = {name: float(value) for name, value in values.items()}
        return trivial

    with patch.object(metric_table, "trivial_results", kept):
        trainer.fit(module, loader, loader)
    trainer = quiet_trainer(devices=devices, **strategy)
    (own,) = trainer.validate(Measured(), table(batch_size), verbose=False)
    return found | {"own": {name: float(value) for name, value in own.items()}}


def main() -> None:
    warnings.simplefilter("ignore")
    file = Path(sys.argv[1])
    results = measured(devices=2, batch_size=2, folder=file.parent / "two")
    save_of_first(results, file)


if __name__ == "__main__":
    main()
