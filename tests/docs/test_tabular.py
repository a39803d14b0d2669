"""Eleven tasks on one table: how it is split and standardised, and that it trains."""

import importlib
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from sklearn.datasets import load_breast_cancer

from lightning_mtl.cli import main
from lightning_mtl.compare import primary, read_results

CONFIG = Path(__file__).resolve().parents[2] / "docs/evidence/tabular/breast_cancer.yaml"
SPLITS = ("train", "val", "test")
SHORT = ["--trainer.max_epochs=1", "--trainer.enable_progress_bar=false"]


@pytest.fixture
def tabular(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module as `PYTHONPATH` makes it found; what runs write goes to a folder of its own."""
    monkeypatch.chdir(tmp_path)
    # LightningCLI warns about arguments of its own while those of pytest are there.
    monkeypatch.setattr(sys, "argv", ["lightning-mtl"])
    monkeypatch.syspath_prepend(str(CONFIG.parent))
    return importlib.import_module("breast_cancer")


def test_each_sample_is_in_one_split(tabular: ModuleType) -> None:
    rows = np.concatenate([tabular.BreastCancerTable(split).rows for split in SPLITS])
    assert sorted(rows) == list(range(569))


def test_splits_hold_60_20_and_20_percent(tabular: ModuleType) -> None:
    sizes = [len(tabular.BreastCancerTable(split)) for split in SPLITS]
    assert sizes == [341, 114, 114]


def test_every_split_has_the_same_share_of_malignant_tumours(tabular: ModuleType) -> None:
    overall = 212 / 569
    for split in SPLITS:
        target = tabular.BreastCancerTable(split).targets["diagnosis"]
        # As near as whole samples allow.
        assert abs(float(target.sum()) - overall * len(target)) < 1


def test_the_split_is_that_of_every_run(tabular: ModuleType) -> None:
    first = tabular.BreastCancerTable("val").rows
    np.random.seed(5)
    torch.manual_seed(5)
    assert np.array_equal(first, tabular.BreastCancerTable("val").rows)


def test_inputs_and_targets_are_standard_over_the_training_samples(tabular: ModuleType) -> None:
    train = tabular.BreastCancerTable("train")
    for values in (train.inputs, *(train.targets[task] for task in tabular.REGRESSIONS)):
        torch.testing.assert_close(values.mean(0), torch.zeros(values.shape[1]), atol=1e-5, rtol=0)
        torch.testing.assert_close(values.var(0, correction=0), torch.ones(values.shape[1]))


@pytest.mark.parametrize("split", SPLITS)
def test_only_statistics_of_the_training_samples_are_used(tabular: ModuleType, split: str) -> None:
    """A literal twin, row by row, from the columns of the table in their published order."""
    raw, train = load_breast_cancer().data, tabular.BreastCancerTable("train").rows
    data = tabular.BreastCancerTable(split)
    for index in (0, len(data) - 1):
        row = raw[data.rows[index]]
        twin = [
            (row[column] - np.mean(raw[train, column])) / np.std(raw[train, column])
            for column in range(30)
        ]
        sample = data[index]
        torch.testing.assert_close(sample["inputs"], torch.tensor(twin[:20]).float())
        targets = torch.cat([sample[task] for task in tabular.REGRESSIONS])
        torch.testing.assert_close(targets, torch.tensor(twin[20:]).float())


def test_a_malignant_tumour_is_the_positive_class(tabular: ModuleType) -> None:
    data = tabular.BreastCancerTable("test")
    benign = load_breast_cancer().target[data.rows]
    assert np.array_equal(data.targets["diagnosis"][:, 0].numpy(), 1 - benign)


def test_an_unknown_split_or_task_is_an_error(tabular: ModuleType) -> None:
    with pytest.raises(ValueError, match=r"`BreastCancerTable\(split=\)` should be one of"):
        tabular.BreastCancerTable("dev")
    with pytest.raises(ValueError, match=r"`BreastCancer\(tasks=\)` should be one of"):
        tabular.BreastCancer(tasks=["radius"])


def test_a_sure_but_small_logit_counts_as_malignant(tabular: ModuleType) -> None:
    """All logits of the batch lie in [0, 1], where torchmetrics expects probabilities."""
    module = tabular.BreastCancer(tasks=["diagnosis"])
    torch.nn.init.zeros_(module.heads["diagnosis"].weight)
    torch.nn.init.constant_(module.heads["diagnosis"].bias, 0.1)
    batch = {"inputs": torch.randn(4, 20), "diagnosis": torch.ones(4, 1)}
    metric = module.task_metrics()["diagnosis"]
    metric.update(*module.task_predictions(batch)["diagnosis"])
    assert metric.compute() == {"accuracy": 1}


def test_rmse_is_the_root_over_all_batches(tabular: ModuleType) -> None:
    module = tabular.BreastCancer(tasks=["worst_area"])
    metric = module.task_metrics()["worst_area"]
    targets = torch.randn(9, 1)
    predictions = torch.randn(9, 1)
    for part in (slice(0, 4), slice(4, 9)):
        metric.update(predictions[part], targets[part])
    expected = (predictions - targets).square().mean().sqrt()
    torch.testing.assert_close(metric.compute()["RMSE"], expected)


def test_the_table_trains_for_an_epoch_with_a_metric_for_each_task(tabular: ModuleType) -> None:
    main(["fit", "--config", str(CONFIG), *SHORT])
    results = read_results(Path("runs/breast_cancer/version_0"))
    names = {f"val/{task}/RMSE" for task in tabular.REGRESSIONS} | {"val/diagnosis/accuracy"}
    assert set(primary(results)) == names


def test_a_single_task_trains_alone(tabular: ModuleType) -> None:
    alone = ["--model.init_args.tasks=[worst_radius]", "--trainer.enable_checkpointing=false"]
    main(["fit", "--config", str(CONFIG), *SHORT, *alone])
    assert primary(read_results(Path("runs/breast_cancer/version_0"))) == ["val/worst_radius/RMSE"]


@pytest.mark.slow
def test_every_task_is_learned_better_than_by_the_mean(tabular: ModuleType) -> None:
    main(["fit", "--config", str(CONFIG), SHORT[1]])
    results = read_results(Path("runs/breast_cancer/version_0"))
    assert max(results[f"val/{task}/RMSE"] for task in tabular.REGRESSIONS) < 0.75
    assert results["val/diagnosis/accuracy"] > 0.9
