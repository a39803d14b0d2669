"""Every command that is printed is understood by the program that it calls, and the short ones run.

The slow tests run what is printed, with shorter trainings. Only parsed are: what installs packages;
the trainings of the evidence, which take hours, and whose plans have a test of their own; commands
in the comments of configs, each of which trains in another test; and options within prose.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path

import nbformat
import pytest
import yaml
from lightning.pytorch.cli import LightningArgumentParser
from sphinx.cmd.build import get_parser

from lightning_mtl.cli import main
from lightning_mtl.command_line.commands import COMMANDS, PROGRAM, main_parser
from lightning_mtl.command_line.comparison import comparison_parser
from lightning_mtl.command_line.doctoring import doctor_parser
from lightning_mtl.command_line.lightning_commands import CommandLine, run_command
from lightning_mtl.command_line.sweeping import sweep_parser
from lightning_mtl.command_line.tuning import tuning_parser
from tests.docs.commands import Command, commands_of, in_blocks, in_configs, in_prose
from tests.docs.site.blocks import ROOT
from tests.test_configs import ROOMS, TINY
from tests.test_notebooks import SMALL
from tests.test_readme import SHORT

BLOCKS = in_blocks()
SHOWN = [command for block in BLOCKS for command in commands_of(block)]
PAGES = {each.text: each for each in (*in_prose(), *SHOWN)}
CONFIGS = {each.text: each for each in in_configs() if each.text not in PAGES}
# Other tests plan the sweeps of the evidence and train with the configs.
QUICKLY = {text for text, each in PAGES.items() if not each.page.startswith("docs/evidence/")}
OWN_PARSERS = {
    "compare": comparison_parser,
    "sweep": sweep_parser,
    "doctor": doctor_parser,
    "tune": tuning_parser,
}
QUICK_START = ["--config", "configs/quickstart.yaml"]


class ParsedOnly(CommandLine):
    """The command line of `fit`, which makes and runs nothing."""

    def instantiate_classes(self) -> None:
        pass

    def _run_subcommand(self, subcommand: str) -> None:
        pass


@pytest.fixture(scope="module")
def lightning_parser() -> LightningArgumentParser:
    """The parser of `fit`, `validate`, `test` and `predict`, made once: that takes most time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [PROGRAM])
        return run_command(["fit", "--config", str(ROOT / QUICK_START[1])], ParsedOnly).parser


@pytest.fixture
def filled_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """Fills in what a command leaves to readers; it is called in a folder that has these files."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [PROGRAM])
    for name in ("configs", "docs", "notebooks"):
        (tmp_path / name).symlink_to(ROOT / name)
    for folder in ("run/checkpoints", "data", "photos"):
        (tmp_path / folder).mkdir(parents=True)
    shutil.copy(ROOT / QUICK_START[1], tmp_path / "run" / "config.yaml")
    (tmp_path / "run" / "checkpoints" / "last.ckpt").touch()
    (tmp_path / "tuned.yaml").write_text("weighting: EqualWeighting\n")
    names = {"<run>": "run", "<file>": "last.ckpt", "<folder>": "data"}

    def fill(word: str) -> str:
        for name, value in names.items():
            word = word.replace(name, value)
        return re.sub(r"\bX$", "MetricTable", word)

    return fill


def understand_ours(arguments: list[str], parser: LightningArgumentParser) -> None:
    """Parse the arguments of `lightning-mtl`; exits with an error if they are not understood."""
    name, *rest = arguments
    if name.startswith("--"):
        main_parser().parse_args(arguments)
    elif not rest:
        assert set(name.split("|")) <= COMMANDS.keys()
    elif name == "compare":
        comparison_parser().parse_args(rest)
    else:
        if name in OWN_PARSERS:
            _, rest = OWN_PARSERS[name]().parse_known_args(rest)
            name = "fit"
        parser.parse_args([name, *rest])


def understand_options(arguments: list[str], parser: LightningArgumentParser) -> None:
    """Parse options that stand alone, behind the command that has them and the first config."""
    option = arguments[0].partition("=")[0]
    for name, own in OWN_PARSERS.items():
        if re.search(rf"^  {option}\b", own().format_help(), re.MULTILINE):
            required = ["--weightings", "equal"] if name == "sweep" else []
            own().parse_args([*required, *arguments])
            return
    parser.parse_args(["predict", *QUICK_START, *arguments])


def understand_pip(arguments: list[str]) -> None:
    """Compare the extras that are installed with those that there are."""
    install, editable, target = arguments
    assert (install, editable, target[0]) == ("install", "-e", ".")
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    _, _, optional = project.partition("[project.optional-dependencies]\n")
    known = re.findall(r"^(\w+) = \[", optional.partition("\n[")[0], re.MULTILINE)
    assert set(target.removeprefix(".").strip("[]").split(",")) - {""} <= set(known)


def understand_python(arguments: list[str]) -> None:
    """Look for the script or the module; whether its arguments are right is seen when it runs."""
    if arguments[0] == "-m":
        assert find_spec(arguments[1]) is not None
    else:
        assert Path(arguments[0]).is_file()


def understand_jupyter(arguments: list[str]) -> None:
    command, *_, notebook = arguments
    scripts = {each.name for each in entry_points(group="console_scripts")}
    assert f"jupyter-{command}" in scripts
    assert nbformat.read(notebook, as_version=4).cells


def understand_pytest(arguments: list[str], configured: pytest.Config) -> None:
    """Compare markers with those that there are, and options with those of plugins."""
    if "-m" in arguments:
        marker = arguments[arguments.index("-m") + 1]
        assert any(line.startswith(f"{marker}:") for line in configured.getini("markers"))
    else:
        assert arguments == ["-n", "2", "--dist", "loadfile"]
        assert find_spec("xdist") is not None


def understand_hooks(arguments: list[str]) -> None:
    assert arguments == ["install"]
    assert yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]


def understand_script(arguments: list[str]) -> None:
    assert arguments == []
    subprocess.run(["bash", "-n", ROOT / ".ci" / "run"], check=True)


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(each, id=each.name, marks=[pytest.mark.slow] * (text not in QUICKLY))
        for text, each in (PAGES | CONFIGS).items()
    ],
)
def test_a_command_is_understood(
    command: Command,
    lightning_parser: LightningArgumentParser,
    filled_in: Callable[[str], str],
    monkeypatch: pytest.MonkeyPatch,
    pytestconfig: pytest.Config,
) -> None:
    for variable, value in command.variables.items():
        assert variable.startswith("LIGHTNING_MTL_") or variable == "PYTHONPATH"
        monkeypatch.setenv(variable, filled_in(value))
        if variable == "PYTHONPATH":
            monkeypatch.syspath_prepend(str(ROOT / value))
    program, *arguments = [filled_in(word) for word in command.words]
    if program.startswith("--"):
        program, arguments = "--", [program, *arguments]
    understand = {
        PROGRAM: partial(understand_ours, parser=lightning_parser),
        "--": partial(understand_options, parser=lightning_parser),
        "pip": understand_pip,
        "python": understand_python,
        "sphinx-build": get_parser().parse_args,
        "jupyter": understand_jupyter,
        "pytest": partial(understand_pytest, configured=pytestconfig),
        "pre-commit": understand_hooks,
        ".ci/run": understand_script,
    }
    assert program in understand, f"{command.place}: nothing tests `{command.text}`"
    try:
        understand[program](arguments)
    except SystemExit as stopped:
        # Help ends so as well.
        assert stopped.code in (None, 0), f"{command.place}: `{command.text}` is an error"


def test_what_is_wrong_in_a_command_is_seen(
    lightning_parser: LightningArgumentParser, filled_in: Callable[[str], str]
) -> None:
    for wrong in (
        ["fit", *QUICK_START, "--nonsense", "1"],
        ["fit", "--config", "configs/missing.yaml"],
        ["sweep", *QUICK_START, "--seeds", "3"],
        ["compare", "runs/sweep", "--nonsense"],
    ):
        with pytest.raises(SystemExit) as stopped:
            understand_ours(wrong, lightning_parser)
        assert stopped.value.code == 2


# Tests of the README run its commands. The trainings of the evidence take hours.
README = {each.text for each in SHOWN if each.page == "README.md"}
OWN = {
    each.text: each
    for each in SHOWN
    if each.words[0] == PROGRAM
    and each.text not in README
    and not each.page.startswith("docs/evidence/")
}


@pytest.mark.slow
@pytest.mark.parametrize("command", OWN.values(), ids=lambda each: each.name)
def test_a_command_runs_with_shorter_trainings(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    (tmp_path / "tiny.yaml").write_text(TINY)
    _, name, *arguments = command.words
    monkeypatch.setattr(sys, "argv", [PROGRAM])
    main([name, *arguments, "--config", "tiny.yaml", *ROOMS, *SHORT.get(name, [])])


SHORTER = {
    "docs/figures/trajectories.py": (
        ["--out", "new/a.png", "--steps", "10", "--weightings", "MGDA"],
        ["new/a.png", "new/a.csv", "new/a.md"],
    ),
    "docs/evidence/physics/compare.py": (
        ["--seconds", "0.5", "--seeds", "1", "--methods", "equal"],
        ["runs/physics/answer.md", "runs/physics/errors.png"],
    ),
    "docs/evidence/grid.py": ([], ["runs/grid/w_1_3_9.yaml"]),
    "docs/evidence/mosd/small_frames.py": ([], ["runs/small_mosd/val/depth"]),
    "lightning_mtl.catalogue": ([], []),
    "jupyter": ([], []),
    "pytest": (["tests/test_losses.py"], []),
}
"""What is appended to a command that is run in a process of its own, and the files it makes."""


def called(command: Command) -> str:
    """The script, module or program that a command calls."""
    program, *arguments = command.words
    return arguments[arguments[0] == "-m"] if program == "python" else program


OTHERS = {each.text: each for each in PAGES.values() if called(each) in SHORTER}


def test_every_script_that_a_command_calls_is_run() -> None:
    """All but the matrix of equivalences, whose cells are tests of their own."""
    scripts = {called(each) for each in PAGES.values() if each.words[0] == "python"}
    assert scripts - SHORTER.keys() == {"tests.equivalence.table"}


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of what commands read and write in a checkout; its notebooks take small steps."""
    for name in ("docs", "notebooks", "lightning_mtl", "tests", "configs"):
        ignored = shutil.ignore_patterns("__pycache__", "_build")
        shutil.copytree(ROOT / name, tmp_path / name, ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for name, settings in SMALL.items():
        file = tmp_path / "notebooks" / f"{name}.ipynb"
        notebook = nbformat.read(file, as_version=4)
        for cell in notebook.cells:
            if "parameters" in cell.metadata.get("tags", []):
                cell.source = settings
        nbformat.write(notebook, file)
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("command", OTHERS.values(), ids=lambda each: each.name)
def test_other_commands_run_as_they_are_printed(
    command: Command, copy: Path, request: pytest.FixtureRequest
) -> None:
    more, made = SHORTER[called(command)]
    variables = command.variables
    if "LIGHTNING_MTL_MOSD" in variables:
        variables["LIGHTNING_MTL_MOSD"] = str(request.getfixturevalue("shared_data") / "mosd")
    scripts = str(Path(sys.executable).parent)
    done = subprocess.run(
        [*command.words, *more],
        cwd=copy,
        env=os.environ
        | {"PYTHONPATH": str(copy), "PATH": os.pathsep.join([scripts, os.environ["PATH"]])}
        | variables,
        capture_output=True,
        text=True,
    )
    # Of one file, all tests may be deselected.
    nothing = 5 if command.words[0] == "pytest" and "-m" in command.words else 0
    assert done.returncode in (0, nothing), done.stdout + done.stderr
    assert all((copy / name).exists() for name in made)
