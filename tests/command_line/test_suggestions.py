"""Names near a misspelt one, from the words of the parser."""

import pytest

from lightning_mtl.command_line.suggestions import suggestions

OWNED = (
    "Problem with given class_path 'lightning_mtl.weightings.{}':\n  Option '{}' is not accepted"
)
CASES = {
    "a class": ("Expected a dot import path string: GradNrom", "class `GradNrom`", "GradNorm"),
    "an argument": (OWNED.format("gradnorm.GradNorm", "alhpa"), "argument `alhpa`", "alpha"),
    "an argument of a base": (
        OWNED.format("mgda.MGDA", "gradient"),
        "argument `gradient`",
        "gradients",
    ),
    "an option": (
        "unrecognized arguments: --trainer.max_epoch 3",
        "option `trainer.max_epoch`",
        "trainer.max_epochs",
    ),
    "a key of a config": (
        "Subcommand 'fit' does not accept option 'trainr'",
        "option `trainr`",
        "trainer",
    ),
}


@pytest.mark.parametrize(("message", "unknown", "meant"), CASES.values(), ids=CASES)
def test_a_misspelt_name_is_answered_with_near_ones(message, unknown, meant):
    found = suggestions(message, ["trainer", "trainer.max_epochs"])
    assert found.startswith(f"\nFound no {unknown}. Near it are: {meant}")


def test_a_name_like_no_other_is_answered_with_none():
    assert suggestions("Expected a dot import path string: Xqzw", []) == ""


def test_what_was_said_is_not_said_again():
    message = CASES["a class"][0]
    assert suggestions(message + suggestions(message, []), []) == ""
