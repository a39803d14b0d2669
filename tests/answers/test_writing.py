"""The files of an answer."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lightning_mtl.answers.answer import answer
from lightning_mtl.answers.writing import write_answer
from tests.answers.examples import planted, write_log


def test_all_files_are_written_the_report_first(tmp_path: Path) -> None:
    results = planted(seeds=2, folder=tmp_path / "runs")
    for run in results.runs:
        ramp = 1 + np.arange(20.0)
        write_log(run.folder, {"train/weight/depth": ramp, "train/noise/gnr/depth": ramp})
    files = write_answer(results, tmp_path / "new" / "answer")
    names = [str(file.relative_to(tmp_path / "new" / "answer")) for file in files]
    assert names == [
        "report.html",
        "answer.md",
        "answer.csv",
        "answer.json",
        *(f"pictures/{name}.png" for name in ("scores", "pairs", "ranks", "weights", "gnr")),
    ]
    for file in files:
        assert file.stat().st_size
        if file.suffix == ".png":
            with Image.open(file) as picture:
                assert picture.width > 500


def test_an_answer_is_written_again_over_the_old_one(tmp_path: Path) -> None:
    write_answer(planted(seeds=2, missing=3), tmp_path)
    write_answer(answer(planted(seeds=2)), tmp_path)
    assert json.loads((tmp_path / "answer.json").read_text())["missing"] == 0


@pytest.mark.parametrize("change", [{"reference": None, "single_tasks": {}}, {"single_tasks": {}}])
def test_results_without_baselines_are_written_too(tmp_path: Path, change: dict) -> None:
    assert write_answer(planted({"one": 0.0}, seeds=1, **change), tmp_path)
