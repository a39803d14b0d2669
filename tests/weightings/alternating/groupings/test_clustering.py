"""Affinity propagation: planted clusters, the same ones every time, and what it asks for."""

import sys

import numpy as np
import pytest
import torch
from torch import Tensor

from lightning_mtl.callbacks import AlternatingUpdates
from lightning_mtl.weightings.alternating.groupings import clustering
from lightning_mtl.weightings.alternating.groupings.clustering import in_order_of_first, propagate


def planted(labels: list[int], seed: int = 0) -> Tensor:
    """Near 1 within the groups and near 0 between them, symmetric."""
    generator = torch.Generator().manual_seed(seed)
    noise = 0.1 * torch.randn(len(labels), len(labels), generator=generator)
    groups = torch.tensor(labels)
    return 0.9 * (groups[:, None] == groups).float() + (noise + noise.T) / 2


@pytest.mark.parametrize(
    "labels",
    [[0, 0, 0, 1, 1, 1], [0, 1, 0, 1, 2, 2, 0, 1, 2], [i % 4 for i in range(40)]],
    ids=["two groups", "three groups", "forty items"],
)
def test_planted_groups_are_found(labels: list[int]) -> None:
    assert propagate(planted(labels)) == labels


def test_the_same_matrix_has_the_same_clusters_and_no_global_number_is_drawn() -> None:
    similarity = planted([0, 1, 2, 0, 1, 2], seed=3)
    state = np.random.get_state(legacy=False)["state"]
    assert propagate(similarity) == propagate(similarity.clone())
    assert str(np.random.get_state(legacy=False)["state"]) == str(state)


def test_one_item_and_equal_items_are_clustered_without_a_warning() -> None:
    assert propagate(torch.ones(1, 1)) == [0]
    assert propagate(torch.ones(3, 3)) is not None


def test_messages_that_do_not_settle_give_no_clusters(monkeypatch: pytest.MonkeyPatch) -> None:
    class Restless:
        def __init__(self, **settings: object) -> None:
            dampings.append(settings["damping"])

        def fit_predict(self, similarity: np.ndarray) -> np.ndarray:
            raise UnicodeWarning

    dampings: list[object] = []
    monkeypatch.setattr(clustering, "_scikit_learn", lambda: (Restless, UnicodeWarning))
    assert propagate(torch.eye(3)) is None
    assert dampings == [0.5, 0.7, 0.9]


def test_parts_are_numbered_by_their_first_items() -> None:
    assert in_order_of_first([4, 2, 4, 0, 2]) == [0, 1, 0, 2, 1]


def test_the_extra_is_named_before_a_run_where_scikit_learn_is_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.cluster", None)
    with pytest.raises(ModuleNotFoundError, match=r'pip install "lightning_mtl\[grouping\]"'):
        AlternatingUpdates(regroup="affinity")
    AlternatingUpdates()
