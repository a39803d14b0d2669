"""Methods have short names, and what they are is written in configs."""

import pytest

from lightning_mtl.catalogue import weightings
from lightning_mtl.sweeps.methods import (
    config_name,
    find_weighting,
    named_methods,
    scalarisation,
    single_tasks,
    with_grid_point,
)

TASKS = ("depth", "normals", "edges")
NAMED = [
    kind for kind in weightings() if kind.__name__ not in ("FixedWeighting", "TorchJDWeighting")
]


def snake(name: str) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)[1:]


@pytest.mark.parametrize("kind", NAMED, ids=lambda kind: kind.__name__)
def test_a_weighting_is_found_by_its_name(kind):
    for name in (kind.__name__, kind.__name__.lower(), snake(kind.__name__)):
        assert find_weighting(name) is kind


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("equal", "EqualWeighting"),
        ("gradnorm", "GradNorm"),
        ("nash_mtl", "NashMTL"),
        ("Nash-MTL", "NashMTL"),
        ("alternating", "AlternatingUpdates"),
        ("maxgnr", "MaxGNR"),
        ("uncertainty", "UncertaintyWeighting"),
    ],
)
def test_the_words_that_all_names_share_can_be_left_out(name, kind):
    assert find_weighting(name).__name__ == kind


def test_a_misspelt_name_is_an_error_with_names_near_it():
    with pytest.raises(ValueError, match=r"Found `gradnrom`. Near it are: .*gradnorm"):
        find_weighting("gradnrom")


def test_a_name_that_is_like_none_is_an_error_with_all_names():
    with pytest.raises(ValueError, match=r"equal.*gradnorm.*pcgrad"):
        find_weighting("0")


@pytest.mark.parametrize("name", ["fixed", "torchjd"])
def test_what_is_nothing_without_arguments_has_to_be_a_config(name):
    with pytest.raises(ValueError, match="with its arguments"):
        find_weighting(name)


def test_every_weighting_is_tried_on_every_network():
    methods = named_methods(("equal", "mine"), ("", "wide"), {"mine": {"class_path": "Mine"}})
    assert [(method.name, method.config) for method in methods] == [
        ("equal", ""),
        ("mine", ""),
        ("wide+equal", "wide"),
        ("wide+mine", "wide"),
    ]
    assert methods[0].weighting == "EqualWeighting"
    assert methods[3].weighting == {"class_path": "Mine"}


def test_a_method_cannot_be_there_twice():
    with pytest.raises(ValueError, match=r"Found \['equal'\]"):
        named_methods(("equal", "equal"), [""], {})


def test_a_single_task_is_trained_with_weight_zero_for_all_others():
    methods = single_tasks(TASKS, ("depth", "edges"))
    assert [(method.name, method.task) for method in methods] == [
        ("single depth", "depth"),
        ("single edges", "edges"),
    ]
    weights = methods[1].weighting["init_args"]["weights"]
    assert weights == {"depth": 0.0, "normals": 0.0, "edges": 1.0}


@pytest.mark.parametrize("number", [2, 3, 7])
def test_the_grid_favours_each_task_once_and_its_weights_have_a_mean_of_one(number):
    tasks = [f"task {index}" for index in range(number)]
    method = scalarisation(tasks)
    assert len(method.grid) == number
    for task, point in zip(tasks, method.grid, strict=True):
        assert sum(point.values()) == pytest.approx(number, abs=1e-3)
        assert max(point, key=point.__getitem__) == task
        (other,) = {weight for name, weight in point.items() if name != task}
        assert point[task] == pytest.approx(3 * other, abs=1e-3)
    assert with_grid_point(method, 1)["init_args"]["weights"] == method.grid[1]


def test_the_name_of_a_config_is_that_of_its_file():
    assert config_name("configs/networks/wide.yaml") == "wide"


def test_a_weighting_under_two_names_and_the_name_of_the_grid_are_refused():
    with pytest.raises(ValueError, match=r"Found `gradnorm` and `GradNorm`, which are the same"):
        named_methods(["gradnorm", "GradNorm"], [""], {})
    with pytest.raises(ValueError, match=r"`scalarisation` is that of the grid"):
        named_methods(["scalarisation"], [""], {"scalarisation": "DWA"})
