"""Every weighting has a page that is complete and whose code runs."""

import doctest
import re
from pathlib import Path

import pytest
import yaml
from sitebuilder.calls import call
from sitebuilder.mathml import mathml
from sitebuilder.method_pages import FORMULAS, configs, method_page, write_method_pages
from sitebuilder.overview import common_arguments, overview
from sitebuilder.scales import scales

from lightning_mtl.callbacks import GradNorm
from lightning_mtl.catalogue import weightings
from tests.docs.site.blocks import blocks, run_python
from tests.support.weightings import UNAVAILABLE

NAMES = [kind.__name__ for kind in weightings()]
every_weighting = pytest.mark.parametrize("kind", weightings(), ids=lambda kind: kind.__name__)


def test_every_weighting_has_one_page_and_one_formula(tmp_path: Path) -> None:
    assert [file.stem for file in write_method_pages(tmp_path)] == NAMES
    assert sorted(FORMULAS) == sorted(NAMES)


def test_pages_that_have_not_changed_are_not_written_again(tmp_path: Path) -> None:
    first = [file.stat().st_mtime_ns for file in write_method_pages(tmp_path)]
    assert [file.stat().st_mtime_ns for file in write_method_pages(tmp_path)] == first


@every_weighting
def test_a_page_says_all_that_is_asked_of_it(kind: type) -> None:
    page = method_page(kind)
    assert page.startswith(f"# {kind.__name__}\n")
    headings = re.findall(r"^## (.+)$", page, re.MULTILINE)
    shown = [] if kind.__name__ == "TorchJDWeighting" else ["On two conflicting tasks"]
    assert headings == ["Formula", *shown, "Code", "Facts", "Arguments"]
    for label in ("Scale", "Heads", "Deviations", "Cost of a step"):
        assert f"**{label}.** " in page
    for topic in ("needs ", "FSDP: ", "step: ", "memory: "):
        assert f"[{topic}" in page
    assert "None\n" not in page.partition("## Arguments")[0]


@every_weighting
def test_the_formula_is_one_that_can_be_shown(kind: type) -> None:
    shown = mathml(FORMULAS[kind.__name__], "block")
    assert shown.startswith("<math ")
    assert "merror" not in shown


@every_weighting
def test_the_code_of_a_page_runs(
    kind: type, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if kind.__name__ in UNAVAILABLE:
        pytest.importorskip("torchjd")
    monkeypatch.chdir(tmp_path)
    page = method_page(kind)
    names = run_python(page, kind.__name__)
    assert isinstance(names["weighting"], kind)
    assert names["weighting"] in names["trainer"].callbacks
    (config,) = blocks(page, "yaml")
    assert yaml.safe_load(config)["weighting"]["class_path"] == kind.__name__
    (session,) = blocks(page, "pycon")
    test = doctest.DocTestParser().get_doctest(session, {}, kind.__name__, None, None)
    assert test.examples
    assert doctest.DocTestRunner(verbose=False).run(test).failed == 0


def test_an_unknown_command_in_a_formula_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"Found `\\nonsense"):
        mathml(r"\nonsense x", "inline")


def test_a_config_becomes_a_call() -> None:
    settings = {
        "class_path": "FixedWeighting",
        "init_args": {"weights": {"a": 1.0}, "inner": {"class_path": "some.module.Rule"}},
    }
    imports, code = call(settings)
    assert imports == [
        "from lightning_mtl.callbacks import FixedWeighting",
        "from some.module import Rule",
    ]
    assert code == 'FixedWeighting(weights={"a": 1.0}, inner=Rule())'


def test_every_weighting_is_in_the_overview_and_among_the_scales() -> None:
    shown, listed = overview(), scales()
    for name in NAMES:
        # In a table of needs, in the table of properties, and in the list of pages.
        assert shown.count(f"[{name}]({name}.md)") >= 2
        assert f"\n{name}\n" in shown
        assert listed.count(f"[{name}](methods/{name}.md)\n: ") == 1


def test_arguments_of_bases_are_described() -> None:
    page = common_arguments()
    for name in ("prior", "gradients", "every_n_steps", "weight_heads", "metric", "sketch_rows"):
        assert f"\n`{name}` = " in page


def test_defaults_are_those_of_the_constructor() -> None:
    page = method_page(GradNorm)
    assert "`alpha` = `1.5`\n: strength" in re.sub(r"\n\n:", "\n:", page)
    assert '`initial_loss` = `"first"`' in page


def test_a_page_shows_the_plain_config_of_a_weighting_with_several() -> None:
    assert configs()["AlternatingUpdates"] == "weightings/alternating.yaml"
