"""A new place of measurement is one class, and one entry where a weighting names it."""

from typing import ClassVar

import pytest
import torch
from jaxtyping import Float
from torch import Tensor

from lightning_mtl.callbacks import MGDA, GramianWeighting, MaxGNR
from lightning_mtl.engine.gradients import Gradients, add
from lightning_mtl.engine.micro_batch import MicroBatch
from lightning_mtl.engine.places.place import Place, RowPlace
from lightning_mtl.engine.task_backward import TaskBackward
from lightning_mtl.engine.window import Window
from tests.support.toy import TASKS, Toy, parameters, quiet_trainer, toy_loader


class SharedBiases(RowPlace):
    """The shared biases: all that one has to write for a place of one's own."""

    price: ClassVar[str] = "F + H + B + K B"
    extra: ClassVar[str] = "K B"
    size: ClassVar[str] = "P_bias"

    def begin(self) -> None:
        self.sums: dict[int, Gradients] = {}

    def accumulate(self, micro_batch: MicroBatch, backward: TaskBackward) -> None:
        biases = [p for p in micro_batch.partition.shared if p.ndim == 1]
        self.names = micro_batch.partition.identity(biases)
        self.latest = backward.rows(biases, keep_graph=True)
        for task, row in zip(micro_batch.local, self.latest, strict=True):
            self.sums[task] = add(self.sums.get(task), row)

    def accumulate_collected(self, micro_batch: MicroBatch, backward: TaskBackward) -> None:
        self.accumulate(micro_batch, backward)

    def rows(self, window: Window) -> list[Gradients]:
        return window.sum_over_ranks(self.sums)

    def micro_batch_rows(self, micro_batch: MicroBatch, backward: TaskBackward) -> list[Gradients]:
        return self.latest

    def identity(self) -> list[str]:
        return self.names


class Seen(GramianWeighting):
    """Keeps the matrices that it is given."""

    places: ClassVar[dict[str, type[Place]]] = {"biases": SharedBiases}

    def __init__(self) -> None:
        super().__init__(gradients="biases")
        self.gramians: list[Tensor] = []

    def weights(
        self, losses: Float[Tensor, " K"], gramian: Float[Tensor, "K K"]
    ) -> Float[Tensor, " K"]:
        self.gramians.append(gramian)
        return 1 + gramian.diagonal()


class MaxGNRAtBiases(MaxGNR):
    places: ClassVar[dict[str, type[Place]]] = MaxGNR.places | {"biases": SharedBiases}


class MGDAAtBiases(MGDA):
    places: ClassVar[dict[str, type[Place]]] = MGDA.places | {"biases": SharedBiases}


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_place_of_ones_own_measures_and_the_weights_reach_the_trunk(accumulate: int) -> None:
    module, rule = Toy(), Seen()
    quiet_trainer(callbacks=[rule], max_steps=1, accumulate_grad_batches=accumulate).fit(
        module, toy_loader()
    )
    twin = Toy()
    biases = [p for p in twin.trunk.parameters() if p.ndim == 1]
    rows = torch.zeros(len(TASKS), sum(p.numel() for p in biases))
    for batch in list(toy_loader())[:accumulate]:
        for row, loss in zip(rows, twin.task_losses(batch).values(), strict=True):
            parts = torch.autograd.grad(loss, biases, retain_graph=True)
            row += torch.cat([part.flatten() for part in parts]) / accumulate
    torch.testing.assert_close(rule.gramians[0].float(), rows @ rows.T, atol=1e-6, rtol=1e-4)
    weights = torch.stack(list(module.task_weights.values()))
    torch.testing.assert_close(weights, 1 + rule.gramians[0].diagonal().double())


@pytest.mark.parametrize("kind", [MaxGNRAtBiases, MGDAAtBiases])
def test_every_rule_trains_with_a_place_of_ones_own(kind: type[GramianWeighting]) -> None:
    module = Toy()
    rule = kind(gradients="biases")
    assert "K B" in rule.price
    quiet_trainer(callbacks=[rule], max_steps=10).fit(module, toy_loader())
    assert set(module.task_weights) == set(TASKS)
    assert not torch.equal(parameters(module), parameters(Toy()))


def test_an_unknown_place_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r'"shared", "last_layer", "features".*"biases"|biases'):
        MGDA(gradients="biases")
