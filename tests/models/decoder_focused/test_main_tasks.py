"""Main tasks are some of all tasks."""

import pytest

from lightning_mtl.models.decoder_focused.main_tasks import main_tasks

TASKS = {"segmentation": 2, "depth": 1, "normals": 3}


def test_all_tasks_are_main_by_default():
    assert main_tasks("Network", TASKS, None) == list(TASKS)


def test_main_tasks_are_in_the_order_of_all_tasks():
    assert main_tasks("Network", TASKS, ["normals", "segmentation"]) == ["segmentation", "normals"]


@pytest.mark.parametrize(
    ("tasks", "main"),
    [(TASKS, ["edges"]), (TASKS, []), ({}, None)],
    ids=["an unknown one", "none chosen", "no tasks"],
)
def test_what_is_no_task_is_an_error(tasks, main):
    with pytest.raises(ValueError, match=r"`Network\(main=\)` should be one or more .* Name tasks"):
        main_tasks("Network", tasks, main)
