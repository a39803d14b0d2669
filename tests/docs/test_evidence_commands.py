"""The commands behind the evidence plan as many runs as the text says."""

import re
import runpy
import sys
from glob import glob
from pathlib import Path

import pytest

from lightning_mtl.command_line.sweep_plan import planned
from lightning_mtl.command_line.sweeping import sweep_parser

ROOT = Path(__file__).resolve().parents[2]
EVIDENCE = ROOT / "docs" / "evidence"
TEXT = (EVIDENCE / "README.md").read_text(encoding="utf-8")
SECTIONS = {text.partition("\n")[0]: text for text in re.split(r"^## ", TEXT, flags=re.MULTILINE)}
SWEEPS = [
    pytest.param(text, command, id=command.rpartition("/")[2])
    for text in SECTIONS.values()
    for command in re.findall(r"^lightning-mtl sweep (.+)$", text, re.MULTILINE)
]


@pytest.fixture(autouse=True)
def _in_a_folder_with_the_files_that_commands_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["lightning-mtl"])
    monkeypatch.syspath_prepend(str(EVIDENCE / "tabular"))
    for name in ("configs", "docs"):
        (tmp_path / name).symlink_to(ROOT / name)
    runpy.run_path(str(EVIDENCE / "grid.py"))["write"](
        tmp_path / "runs" / "grid", ["segmentation", "depth", "normals"], [1.0, 3.0, 9.0]
    )
    for name in ("rooms", "mosd"):
        weights = "{segmentation: 0.6, depth: 0.3, normals: 2.1}"
        (tmp_path / "runs" / f"tuned_{name}.yaml").write_text(
            f"weighting: {{class_path: FixedWeighting, init_args: {{weights: {weights}}}}}\n"
        )


@pytest.mark.parametrize(("text", "command"), SWEEPS)
def test_a_command_plans_the_runs_that_its_section_counts(text: str, command: str) -> None:
    arguments = [
        name for word in command.split() for name in (sorted(glob(word)) if "*" in word else [word])
    ]
    plan, _ = planned(*sweep_parser().parse_known_args(arguments))
    assert f"{len(list(plan.runs()))} runs" in text
    assert f"{len(plan.seeds)} seeds" in text.replace("five", "5").replace("three", "3")


def test_pictures_and_numbers_that_it_links_exist() -> None:
    linked = re.findall(r"\]\(([\w/]+\.(?:png|md|csv))\)", TEXT)
    assert len(linked) > 15
    assert all((EVIDENCE / name).is_file() for name in linked)
