"""The README is true: its code runs, its commands and files exist, its numbers are current."""

import re
import sys
from importlib.metadata import entry_points, metadata
from pathlib import Path

import pytest
import torch
import yaml

from lightning_mtl import MultiTaskModule
from lightning_mtl.catalogue import networks, weightings
from lightning_mtl.cli import main
from lightning_mtl.compare import group_runs
from tests.docs.site.blocks import all_blocks, blocks
from tests.test_configs import ROOMS, TINY

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


NAMED = set(re.findall(r"configs/[\w/.]+", README)) | set(
    re.findall(r"\]\((?!https:)([^)]+)\)", README)
)
"""The files that it names, of the package and by links."""


CHANGES = [block for block in all_blocks(README, "README.md") if block.language == "diff"]


def sides() -> tuple[str, str]:
    """The code before and after the change that the README shows."""
    (change,) = CHANGES
    lines = change.code.splitlines()
    return tuple(
        "\n".join(line[1:] for line in lines if not line.startswith(other)) for other in "+-"
    )


@pytest.mark.peer("L18")
def test_the_module_trains_before_and_after_the_change(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    for side, balanced in zip(sides(), (False, True), strict=True):
        torch.manual_seed(0)
        names: dict = {}
        exec(compile(side, "README.md", "exec"), names)
        assert isinstance(names["model"], MultiTaskModule) == balanced
        point, quadrant, distance = names["data"].tensors
        with torch.no_grad():
            features = names["model"].trunk(point)
            found = names["model"].quadrant(features).argmax(1)
            error = names["model"].distance(features) - distance
        assert (found == quadrant).float().mean() > 0.9
        assert error.square().mean() < 0.1
    assert sum(names["model"].task_weights.values()) == pytest.approx(2.0)


def test_it_counts_weightings_and_networks_right() -> None:
    assert f"**{len(weightings())} weightings**" in README
    assert f"**{len(networks())} networks**" in README


def test_an_own_weighting_equalises_lengths() -> None:
    names: dict = {}
    (code,) = blocks(README, "python")
    exec(compile(code, "README.md", "exec"), names)
    jacobian = torch.tensor([[3.0, 4.0], [0.0, 1.0], [0.1, 0.0]])
    weights = names["EqualLength"]().weights(torch.ones(3), jacobian @ jacobian.T)
    lengths = (weights[:, None] * jacobian).norm(dim=1)
    torch.testing.assert_close(lengths, lengths[:1].expand(3))


def commands(start: str) -> list[list[str]]:
    """The arguments of the commands of the README that start so, in their order."""
    lines = [line for code in blocks(README, "bash") for line in code.splitlines()]
    return [
        part.split()[1:]
        for line in lines
        for part in line.split(" && ")
        if part.startswith(f"lightning-mtl {start}")
    ]


def test_the_comparison_names_the_runs_that_the_commands_before_it_make(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["lightning-mtl"])
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    (tmp_path / "tiny.yaml").write_text(TINY)
    for arguments in commands("fit"):
        main([*arguments, "--config", "tiny.yaml", *ROOMS])
    (compared,) = commands("compare equal")
    capsys.readouterr()
    main(compared)
    assert "val/segmentation/mIoU" in capsys.readouterr().out
    assert list(group_runs(compared[1:])) == ["equal", "gradnorm"]
    for run in compared[1:]:
        name, _, folder = run.partition("=")
        version = Path(folder).name
        config = (tmp_path / "runs" / "quickstart" / version / "config.yaml").read_text()
        assert ("GradNorm" in config) == (name == "gradnorm")


SHORT = {
    "doctor": ["--steps", "6", "--rounds", "0"],
    "tune": ["--steps", "6"],
    "sweep": ["--seeds", "1", "--learning_rates", "1", "--no_grid", "--jobs", "2"],
}
"""What makes the commands that choose a weighting end within seconds."""


@pytest.mark.parametrize(
    "command", ["doctor", "tune", pytest.param("sweep", marks=pytest.mark.slow)]
)
def test_the_commands_that_choose_a_weighting_run(
    command: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    (tmp_path / "tiny.yaml").write_text(TINY)
    (arguments,) = commands(command)
    main([*arguments, "--config", "tiny.yaml", *ROOMS, *SHORT[command]])
    shown = capsys.readouterr().out
    assert "depth" in shown
    if command == "tune":
        assert "weighting" in yaml.safe_load((tmp_path / "tuned.yaml").read_text())
    if command == "sweep":
        assert (tmp_path / "runs" / "sweep" / "report" / "report.html").is_file()
        main(["compare", "runs/sweep"])
        assert "gradnorm" in capsys.readouterr().out


def test_there_are_exactly_two_commands_to_set_up() -> None:
    installs = [
        line for code in blocks(README, "bash") for line in code.splitlines() if "pip" in line
    ]
    assert installs == [
        "pip install -e . && lightning-mtl fit --config configs/quickstart.yaml",
        "pip install -e '.[test]' && pytest -n 2 --dist loadfile",
    ]
    assert "test" in metadata("lightning_mtl").get_all("Provides-Extra")
    assert "lightning-mtl" in entry_points(group="console_scripts").names


@pytest.mark.peer("L18")
@pytest.mark.parametrize("file", sorted(NAMED))
def test_files_that_it_names_exist(file: str) -> None:
    assert (ROOT / file).is_file()
