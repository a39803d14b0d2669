"""The top level of the project holds what visitors expect there, and each file is sound."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

import lightning_mtl

ROOT = Path(__file__).resolve().parents[1]
ALLOWED = {
    "CHANGELOG.md",
    "CITATION.cff",
    "CONTRIBUTING.md",
    "LICENSE",
    "README.md",
    "configs",
    "lightning_mtl",
    "notebooks",
    "pyproject.toml",
    "tests",
}
# A place for the documentation site, which may be absent.
OPTIONAL = {"docs"}


def tracked() -> list[str]:
    """The tracked files, by their paths from the top."""
    if not (ROOT / ".git").exists() or shutil.which("git") is None:
        pytest.skip("not a checkout of git")
    command = ["git", "-C", str(ROOT), "ls-files"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()


def text_of(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def test_nothing_else_is_at_the_top() -> None:
    names = {path.partition("/")[0] for path in tracked()}
    assert {name for name in names if not name.startswith(".")} - OPTIONAL == ALLOWED


def test_the_licence_is_the_one_that_the_build_declares_and_ships() -> None:
    licence = text_of("LICENSE")
    assert licence.startswith("MIT License\n\nCopyright (c) 2026 The lightning_mtl authors\n")
    project = text_of("pyproject.toml")
    assert 'license = "MIT"\nlicense-files = ["LICENSE"]\n' in project


def test_the_newest_release_in_the_changelog_is_the_version() -> None:
    changelog = text_of("CHANGELOG.md")
    releases = re.findall(r"^## \[(.+?)\](.*)$", changelog, re.MULTILINE)
    assert releases[0] == ("Unreleased", "")
    assert releases[1][0] == lightning_mtl.__version__
    assert all(re.fullmatch(r" - \d{4}-\d\d-\d\d", date) for _, date in releases[1:])
    kinds = set(re.findall(r"^### (.+)$", changelog, re.MULTILINE))
    assert kinds <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


# The parts of the schema of version 1.2.0 that this file uses: its required keys, and its types.
CITATION = {
    "cff-version": str,
    "message": str,
    "title": str,
    "authors": list,
    "type": str,
    "abstract": str,
    "version": str,
    "license": str,
    "keywords": list,
}


def test_the_citation_follows_its_schema() -> None:
    citation = yaml.safe_load(text_of("CITATION.cff"))
    assert {"cff-version", "message", "title", "authors"} <= set(citation) <= set(CITATION)
    assert all(isinstance(value, CITATION[key]) and value for key, value in citation.items())
    assert citation["cff-version"] == "1.2.0"
    assert citation["type"] in {"software", "dataset"}
    assert citation["authors"] == [{"name": "The lightning_mtl authors"}]
    assert all(isinstance(word, str) for word in citation["keywords"])
    assert citation["license"] == "MIT"
    assert citation["version"] == lightning_mtl.__version__


def test_contributors_are_sent_to_files_that_exist_and_to_the_commands_of_the_readme() -> None:
    guide = text_of("CONTRIBUTING.md")
    paths = re.findall(r"`((?:lightning_mtl|configs|\.ci)/[\w./]*)`", guide)
    assert len(paths) > 5
    assert not [path for path in paths if not (ROOT / path).exists()]
    (commands,) = re.findall(r"```bash\n(.*?)```", guide, re.DOTALL)
    assert all(command in text_of("README.md") for command in commands.splitlines())
    rows = re.findall(r"^\| (`.*?) \|", guide, re.MULTILINE)
    named = {name.rstrip("/") for row in rows for name in re.findall(r"`([\w/]+)`", row)}
    package = {path.stem for path in (ROOT / "lightning_mtl").iterdir()}
    assert named == package - {"__init__", "__pycache__", "py", "version"} - {"py.typed"}
