"""Every code block of the pages is run as it is printed, each by a test that is named here."""

from collections import Counter
from pathlib import Path

import pytest
import yaml

from lightning_mtl.cli import main
from tests.docs.commands import printed
from tests.docs.site.blocks import NOT_RUN, ROOT, Block, all_blocks, blocks, pages, run_python
from tests.docs.site.test_start_page import PAGE as START
from tests.docs.test_commands import BLOCKS as COMMANDS
from tests.test_readme import CHANGES

PAGES = pages()
NEEDS_TORCHJD = "docs/migration/torchjd.md"
# The test of the first page runs it, and looks at what it has trained.
PYTHON = [name for name, text in PAGES.items() if blocks(text, "python") and name != START]
OTHER_LIBRARIES = {
    "docs/migration/libmtl.md": "LibMTL",
    "docs/migration/nash_mtl.md": "methods.weight_methods",
}


def blocks_in(*languages: str) -> list[Block]:
    """The blocks of all pages in one of these languages."""
    found = [block for name, text in PAGES.items() for block in all_blocks(text, name)]
    return [block for block in found if block.language in languages]


YAML = blocks_in("yaml")


@pytest.mark.parametrize("name", PYTHON)
def test_the_python_of_a_page_runs_from_top_to_bottom(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if name == NEEDS_TORCHJD:
        pytest.importorskip("torchjd")
    monkeypatch.chdir(tmp_path)
    run_python(PAGES[name], name)


@pytest.mark.parametrize("name", OTHER_LIBRARIES)
def test_a_block_that_needs_another_library_is_marked_and_compiles(name: str) -> None:
    (code,) = blocks(PAGES[name], "python", run=False)
    assert f"from {OTHER_LIBRARIES[name]} import" in code
    assert "It is not run by the tests" in PAGES[name]
    compile(code, name, "exec")


@pytest.mark.parametrize("block", YAML, ids=lambda block: block.place)
def test_a_config_is_understood_as_a_whole(
    block: Block,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "page.yaml").write_text(block.code)
    with pytest.raises(SystemExit) as stopped:
        main(["fit", "--config", "page.yaml", "--print_config"])
    assert stopped.value.code == 0
    understood = yaml.safe_load(capsys.readouterr().out)
    assert yaml.safe_load(block.code).keys() <= understood.keys()


def test_every_block_is_run_by_one_test() -> None:
    """The places of all blocks are those that the parameters of tests have."""
    run = Counter(block.place for block in (*YAML, *COMMANDS, *CHANGES))
    run += Counter(block.place for block in blocks_in("python") if block.page in (*PYTHON, START))
    marked = [block for block in blocks_in("{code-block} python") if NOT_RUN in block.code]
    run += Counter(block.place for block in marked if block.page in OTHER_LIBRARIES)
    for name, text in printed().items():
        for block in all_blocks(text, name):
            if block.language in ("{toctree}", "{figure} panels/{{ name }}.png"):
                continue
            if block.page == "docs/sitebuilder/templates/method.md.jinja":
                # The test of the page of each weighting runs one block in each of these.
                assert block.language in ("python", "yaml", "pycon"), block.place
                continue
            assert run[block.place] == 1, f"no test runs {block.place}, {block.language or 'plain'}"


def test_docstrings_show_code_as_examples_that_are_run() -> None:
    for file in (ROOT / "lightning_mtl").rglob("*.py"):
        text = file.read_text(encoding="utf-8")
        assert "```" not in text, file
        assert "::\n" not in text, file


def test_blocks_are_found_wherever_they_are_nested() -> None:
    text = "a\n\n1. b\n   ```bash\n   c\n   ```\n\n~~~python\nd\n~~~\n\n    e\n"
    assert [(block.place, block.language, block.code) for block in all_blocks(text, "p")] == [
        ("p:4", "bash", "c\n"),
        ("p:8", "python", "d\n"),
        ("p:12", "", "e\n"),
    ]


def test_weightings_that_commands_name_have_a_config() -> None:
    names = {path.stem for path in (ROOT / "configs/weightings").glob("*.yaml")}
    lines = [line for block in COMMANDS for line in block.code.splitlines()]
    named = [line.partition("--weightings ")[2].partition(" --")[0] for line in lines]
    each = {name for part in named for name in part.split() if not name.endswith(".yaml")}
    assert len(each) > 10
    assert each <= names
