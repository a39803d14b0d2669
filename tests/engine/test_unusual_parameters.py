"""Complex parameters move like the pairs that they are; sparse gradients are refused by name."""

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn

from lightning_mtl.callbacks import GradientNoiseMonitor, GradNorm
from tests.support.toy import TASKS, Graded, quiet_trainer, toy_loader, validation
from tests.support.weightings import EXAMPLES


class Waves(Graded):
    """A trunk that is one complex matrix, or the pairs of real numbers that it is made of."""

    def __init__(self, is_complex: bool) -> None:
        super().__init__()
        start = torch.randn(6, 8, 2)
        self.trunk = nn.Identity()
        self.matrix = nn.Parameter(torch.view_as_complex(start) if is_complex else start)
        self.heads = nn.ModuleDict({task: nn.Linear(8, 2) for task in TASKS})

    @property
    def pairs(self) -> Tensor:
        matrix = self.matrix
        return torch.view_as_real(matrix) if matrix.is_complex() else matrix

    def task_losses(self, batch: Sequence[Tensor]) -> dict[str, Tensor]:
        x, *targets = batch
        matrix = self.matrix if self.matrix.is_complex() else torch.view_as_complex(self.matrix)
        features = torch.tanh((x.to(matrix) @ matrix).abs())
        return {
            task: self.scales[task] * nn.functional.mse_loss(self.heads[task](features), target)
            for task, target in zip(TASKS, targets, strict=True)
        }

    def validation_step(self, batch: Sequence[Tensor], batch_idx: int) -> None:
        for task, loss in self.task_losses(batch).items():
            self.log(f"val/{task}", torch.exp(-loss.detach()), batch_size=len(batch[0]))


@pytest.mark.parametrize("name", EXAMPLES)
@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_complex_network_and_its_real_twin_move_alike(name: str, accumulate: int) -> None:
    trained = []
    for is_complex in (True, False):
        module = Waves(is_complex)
        trainer = quiet_trainer(
            callbacks=[EXAMPLES[name]()],
            limit_train_batches=4,
            accumulate_grad_batches=accumulate,
        )
        trainer.fit(module, toy_loader(), validation())
        assert not torch.allclose(module.pairs, Waves(is_complex).pairs)
        trained.append(module.pairs.detach())
    torch.testing.assert_close(*trained, atol=1e-5, rtol=1e-4)


class Shop(Graded):
    """Items with an embedding for all tasks, and another one for the first task alone."""

    def __init__(self, shared: bool, private: bool) -> None:
        super().__init__()
        trunk = self.trunk
        del self.trunk
        # Before the trunk, whose last layer stays the last one that is shared.
        self.items, self.trunk = nn.Embedding(12, 6, sparse=shared), trunk
        self.own = nn.Embedding(12, 2, sparse=private)
        self.layouts: set[torch.layout] = set()

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        self.layouts.add(self.own.weight.grad.layout)

    def task_losses(self, batch: Sequence[Tensor]) -> dict[str, Tensor]:
        x, *targets = batch
        index = (x[:, 0].abs() * 4).long().clamp(max=11)
        losses = super().task_losses([x + self.items(index), *targets])
        return losses | {"one": losses["one"] + self.own(index).square().mean()}

    def validation_step(self, batch: Sequence[Tensor], batch_idx: int) -> None:
        for task, loss in self.task_losses(batch).items():
            self.log(f"val/{task}", torch.exp(-loss.detach()), batch_size=len(batch[0]))


def rules_for(name: str) -> list:
    return [GradientNoiseMonitor(every_n_steps=1) if name == "monitor" else EXAMPLES[name]()]


def fitted(name: str, shared: bool, private: bool) -> Shop:
    module = Shop(shared, private)
    trainer = quiet_trainer(callbacks=rules_for(name), limit_train_batches=2)
    trainer.fit(module, toy_loader(), validation())
    return module


@pytest.mark.filterwarnings("ignore:Sparse invariant checks:UserWarning")
@pytest.mark.parametrize("name", [*EXAMPLES, "monitor"])
def test_sparse_gradients_train_like_dense_ones_or_are_refused_by_name(name: str) -> None:
    dense = fitted(name, shared=False, private=False)
    private = fitted(name, shared=False, private=True)
    torch.testing.assert_close(private.own.weight, dense.own.weight, atol=1e-6, rtol=1e-5)
    assert private.layouts == {torch.sparse_coo}
    (rule,) = rules_for(name)
    takes_rows = name == "monitor" or (rule.follows_graph and not isinstance(rule, GradNorm))
    if takes_rows and not hasattr(rule, "depends_on_losses") and "last" not in rule_place(rule):
        with pytest.raises(ValueError, match=r"sparse gradient of `items.weight`.*sparse=False"):
            fitted(name, shared=True, private=False)
        return
    sparse = fitted(name, shared=True, private=False)
    torch.testing.assert_close(sparse.items.weight, dense.items.weight, atol=1e-6, rtol=1e-5)


def rule_place(rule: object) -> str:
    """Where a rule measures: at the last layer and at the features the embedding is not met."""
    place = getattr(rule, "gradients", "shared")
    return "last" if place in ("last_layer", "features") else place
