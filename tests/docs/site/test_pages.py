"""Every code block of the pages runs as it is printed."""

import re
import sys
from pathlib import Path

import pytest

from lightning_mtl.cli import main
from tests.docs.site.blocks import FENCE, blocks, pages, run_python
from tests.docs.site.conftest import DOCS
from tests.test_configs import ROOMS, TINY
from tests.test_readme import SHORT

ROOT = DOCS.parent
PAGES = {str(path.relative_to(DOCS)): path.read_text(encoding="utf-8") for path in pages(DOCS)}
README = (ROOT / "README.md").read_text(encoding="utf-8")
NEEDS_TORCHJD = "migration/torchjd.md"


@pytest.mark.parametrize("name", [name for name, text in PAGES.items() if "```python" in text])
def test_the_python_of_a_page_runs_from_top_to_bottom(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if name == NEEDS_TORCHJD:
        pytest.importorskip("torchjd")
    monkeypatch.chdir(tmp_path)
    run_python(PAGES[name], name)


def test_blocks_that_need_other_libraries_are_marked_and_compile() -> None:
    for name, libraries in (("libmtl", "LibMTL"), ("nash_mtl", "methods.weight_methods")):
        (code,) = blocks(PAGES[f"migration/{name}.md"], "python", run=False)
        assert f"from {libraries} import" in code
        compile(code, name, "exec")


def test_blocks_are_of_languages_that_are_tested() -> None:
    for name, text in PAGES.items():
        found = list(FENCE.finditer(text))
        assert len(re.findall(r"^```", text, re.MULTILINE)) == 2 * len(found), name
        for match in found:
            if match["directive"] == "{code-block}" or match["directive"] is None:
                assert match["info"] in ("python", "bash", "yaml"), name
            else:
                assert match["directive"] == "{toctree}", name


COMMANDS = [
    line
    for text in PAGES.values()
    for code in blocks(text, "bash")
    for line in code.splitlines()
    if line.startswith("lightning-mtl")
]
# Tests of the README run those that it has too.
OWN = sorted(set(COMMANDS) - set(README.splitlines()))


@pytest.mark.slow
@pytest.mark.parametrize("command", OWN, ids=lambda command: " ".join(command.split()[1:4]))
def test_a_command_runs_with_shorter_trainings(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    (tmp_path / "tiny.yaml").write_text(TINY)
    program, name, *arguments = command.split()
    monkeypatch.setattr(sys, "argv", [program])
    main([name, *arguments, "--config", "tiny.yaml", *ROOMS, *SHORT.get(name, [])])


def test_weightings_that_commands_name_have_a_config() -> None:
    names = {path.stem for path in (ROOT / "configs/weightings").glob("*.yaml")}
    named = [c.partition("--weightings ")[2].split() for c in COMMANDS if "--weightings" in c]
    assert named
    assert all(set(each) <= names for each in named)
