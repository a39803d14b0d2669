"""What the first page trains learns what it should."""

from pathlib import Path

import pytest
import torch
from lightning import Trainer

from tests.docs.site.blocks import ROOT, run_python

PAGE = "docs/guide/start.md"


def test_the_examples_run_one_after_the_other(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    names = run_python((ROOT / PAGE).read_text(encoding="utf-8"), PAGE)
    model = names["model"]
    assert set(model.task_weights) == {"quadrant", "distance"}
    with torch.no_grad():
        losses = model.task_losses(names["data"].tensors)
    assert losses["quadrant"] < 0.5
    assert losses["distance"] < 0.1
    assert isinstance(names["trainer"], Trainer)
    names["trainer"].fit(model, names["DataLoader"](names["data"], batch_size=256))
    assert sum(model.task_weights.values()) == pytest.approx(2.0)
