"""The page on data is true: its code runs, and it tells of every task, data module and variable."""

import re

import pytest
import yaml

from lightning_mtl import DensePrediction, data, tasks
from lightning_mtl.data import MultiTaskDataModule
from lightning_mtl.tasks import Depth
from tests.docs.site.blocks import blocks
from tests.docs.site.conftest import DOCS
from tests.support.toy import quiet_trainer
from tests.test_dense_prediction import NETWORK

ROOT = DOCS.parent
PAGE = (DOCS / "tables" / "data.md").read_text(encoding="utf-8")


def test_data_of_ones_own_trains_a_ready_made_module() -> None:
    names: dict = {}
    code = blocks(PAGE, "python")[0]
    exec(compile(code, "data.md", "exec"), names)
    module = DensePrediction([Depth()], network=NETWORK)
    trainer = quiet_trainer(num_sanity_val_steps=0)
    trainer.fit(module, names["MyData"](batch_size=2))
    assert trainer.global_step == 2
    assert "val/depth/RMSE" in trainer.callback_metrics


def rows_of(name: str) -> list[str]:
    """The rows of tables that start with a list of names with this one among them."""
    rows = [line.split("|")[1:-1] for line in PAGE.splitlines() if line.startswith("| `")]
    return ["|".join(cells) for cells in rows if f"`{name}`" in cells[0]]


@pytest.mark.parametrize("name", [name for name in tasks.__all__ if name != "Task"])
def test_every_task_has_a_row_about_its_target(name: str) -> None:
    assert len(rows_of(name)) == 1


MODULES = [name for name in data.__all__ if name.endswith("DataModule")]


@pytest.mark.parametrize("name", MODULES)
def test_every_data_module_has_a_row_with_its_variable(name: str) -> None:
    kind = getattr(data, name)
    if kind is MultiTaskDataModule:
        return
    (row,) = rows_of(name)
    assert re.findall(r"LIGHTNING_MTL_\w+", row) == re.findall(
        r"LIGHTNING_MTL_\w+", kind.__doc__ or ""
    )
    for config in re.findall(r"configs/\w+\.yaml", row):
        given = yaml.safe_load((ROOT / config).read_text())
        assert given["data"]["class_path"] == name


def test_every_variable_of_the_package_is_named() -> None:
    package = (ROOT / "lightning_mtl").rglob("*.py")
    found = {
        name
        for path in package
        for name in re.findall(r"`(LIGHTNING_MTL_\w+[A-Z0-9])`", path.read_text("utf-8"))
    }
    assert len(found) > 10
    assert found <= set(re.findall(r"LIGHTNING_MTL_\w+", PAGE))
