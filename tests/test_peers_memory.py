"""Defects of other libraries in what a step keeps, and how long: see `test_peers_table.py`."""

import weakref
from collections.abc import Callable
from unittest.mock import patch

import pytest
import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.checkpoint import checkpoint

from lightning_mtl.callbacks import (
    MGDA,
    EqualWeighting,
    GradNorm,
    JacobianWeighting,
    Weighting,
)
from tests.support.toy import TASKS, Toy, parameters, quiet_trainer, toy_loader
from tests.support.weightings import EXAMPLES, ROUTES

OF_TORCHJD = [name for name in EXAMPLES if name == "TorchJDWeighting"]
"""A Jacobian rule, but the example's object is one of a Gramian, for which rows are enough."""

JACOBIAN = [
    name
    for name in EXAMPLES
    if isinstance(EXAMPLES[name](), JacobianWeighting) and name not in OF_TORCHJD
]


class Living(TorchDispatchMode):
    """The largest number of bytes that were alive at once, of those that came to be meanwhile."""

    def __init__(self) -> None:
        super().__init__()
        self.alive: dict[int, tuple[StorageWeakRef, int]] = {}
        self.peak = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        given = {self._key(t) for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)}
        result = function(*args, **(kwargs or {}))
        self.alive = {key: ref for key, ref in self.alive.items() if not ref[0].expired()}
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor) and (key := self._key(tensor)) not in given:
                storage = tensor.untyped_storage()
                self.alive.setdefault(key, (StorageWeakRef(storage), storage.nbytes()))
        self.peak = max(self.peak, sum(size for _, size in self.alive.values()))
        return result

    def _key(self, tensor: Tensor) -> int:
        return tensor.untyped_storage()._cdata


class Large(Toy):
    """Parameters that outweigh everything else, and a count of what its backward pass holds."""

    def __init__(self, width: int = 128) -> None:
        super().__init__()
        layers = [layer for _ in range(6) for layer in (nn.Linear(width, width), nn.Tanh())]
        self.trunk = nn.Sequential(nn.Linear(6, width), *layers, nn.Linear(width, 8))
        self.living = Living()

    def backward(self, loss: Tensor, *args: object, **kwargs: object) -> None:
        with self.living:
            super().backward(loss)

    @property
    def copies(self) -> float:
        """The peak, in units of the trunk's parameters."""
        return self.living.peak / sum(p.nbytes for p in self.trunk.parameters())


def copies_of_a_step(
    weighting: Weighting, module: Large | None = None, accumulate: int = 1
) -> float:
    module = module or Large()
    trainer = quiet_trainer(callbacks=[weighting], max_steps=2, accumulate_grad_batches=accumulate)
    # The numbers that are multiplied at once would otherwise be as many as this trunk has.
    with (
        patch("lightning_mtl.engine.gradients.CACHE", 2**12),
        patch("lightning_mtl.engine.jacobian.CACHE", 2**12),
    ):
        trainer.fit(module, toy_loader())
    return module.copies


@pytest.mark.peer("T16")
@pytest.mark.parametrize(
    "build",
    [
        EqualWeighting,
        GradNorm,
        lambda: MGDA(gradients="last_layer"),
        lambda: MGDA(gradients="features"),
    ],
    ids=["EqualWeighting", "GradNorm", "MGDA(last_layer)", "MGDA(features)"],
)
def test_rules_without_full_rows_hold_no_more_than_the_gradient(
    build: Callable[[], Weighting],
) -> None:
    """TorchJD keeps the gradient of every task, and a joined copy of them."""
    # The last layer is 0.03 of the trunk; a row of one task would be another whole copy.
    assert copies_of_a_step(build()) < 1.15


@pytest.mark.peer("T16")
@pytest.mark.parametrize("name", ["MGDA", "NashMTL", "PCGrad", "UPGrad", *OF_TORCHJD])
def test_gramian_rules_hold_a_row_for_each_task_and_no_joined_copy(name: str) -> None:
    """Beside the rows, their weighted sum, and the gradient that it is written to."""
    assert copies_of_a_step(EXAMPLES[name]()) < len(TASKS) + 2.05


@pytest.mark.peer("T16")
@pytest.mark.parametrize("name", ["MGDA", "NashMTL", *OF_TORCHJD])
def test_accumulated_rows_take_one_row_more(name: str) -> None:
    """The row of a micro-batch, and its sum with those before."""
    assert copies_of_a_step(EXAMPLES[name](), accumulate=3) < len(TASKS) + 2.05


@pytest.mark.peer("T16")
@pytest.mark.parametrize("name", JACOBIAN)
@pytest.mark.parametrize("accumulate", [1, 3])
def test_jacobian_rules_hold_what_their_price_says_and_one_row_more(
    name: str, accumulate: int
) -> None:
    """J once, what the rule remembers once, and a quarter of a row to work in."""
    weighting = EXAMPLES[name]()
    matrices = 1 + weighting.price.count("K P numbers")
    copies = copies_of_a_step(weighting, Large(width=512), accumulate)
    assert copies < matrices * len(TASKS) + 1.25


@pytest.mark.peer("O5", "O9")
@pytest.mark.parametrize("name", ROUTES.values())
def test_the_last_pass_frees_the_graph(name: str) -> None:
    """Nash-mtl retains the graph in the last of its passes too."""

    class Freed(Toy):
        def on_train_batch_start(self, batch: object, batch_idx: int) -> None:
            # A graph that is built beside the step, to look at losses again, has no last pass.
            self.nodes.clear()

        def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
            for node in self.nodes:
                with pytest.raises(RuntimeError, match="already been freed"):
                    assert node._saved_result is not None
            self.checked = True

    module = Freed()
    module.nodes, module.checked = [], False
    for layer in (module.trunk[2], module.trunk[4]):
        layer.register_forward_hook(
            lambda layer, given, output: (
                module.nodes.append(output.grad_fn) if output.requires_grad else None
            )
        )
    quiet_trainer(callbacks=[EXAMPLES[name]()], max_steps=2).fit(module, toy_loader())
    assert module.checked and len(module.nodes) >= 2


class Token:
    """Lives as long as a node of the graph."""


class Mark(torch.autograd.Function):
    """Passes features on, and ties a token to its node."""

    @staticmethod
    def forward(ctx, features: Tensor, token: Token) -> Tensor:
        ctx.token = token
        return features.clone()

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient, None


class Marked(Toy):
    """Knows at the end of every batch whether the graph of the batch is gone."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens: list[weakref.ref[Token]] = []
        self.gone: list[bool] = []

    def task_losses(self, batch: list[Tensor]) -> dict[str, Tensor]:
        x, *targets = batch
        token = Token()
        self.tokens.append(weakref.ref(token))
        features = Mark.apply(self.trunk(x), token)
        return {
            task: nn.functional.mse_loss(self.heads[task](features), target)
            for task, target in zip(TASKS, targets, strict=True)
        }

    def on_train_batch_end(self, outputs: object, batch: object, batch_idx: int) -> None:
        self.gone.append(all(token() is None for token in self.tokens))


def test_a_graph_that_is_kept_is_noticed() -> None:
    module = Marked()
    losses = module.task_losses(next(iter(toy_loader())))
    assert module.tokens[0]() is not None
    losses.clear()
    assert module.tokens[0]() is None


@pytest.mark.peer("O11")
@pytest.mark.parametrize("name", EXAMPLES)
def test_no_graph_outlives_its_batch(name: str) -> None:
    """FAMO's authors keep the loss, and with it the graph, until the next step."""
    module = Marked()
    trainer = quiet_trainer(
        callbacks=[EXAMPLES[name]()], limit_train_batches=4, accumulate_grad_batches=2
    )
    trainer.fit(module, toy_loader())
    assert module.gone == [True] * 4


class Reentrant(Toy):
    """Recomputes the end of its trunk in the way that knows nothing of single gradients."""

    def task_losses(self, batch: list[Tensor]) -> dict[str, Tensor]:
        x, *targets = batch
        features = checkpoint(self.trunk[3:], self.trunk[:3](x), use_reentrant=True)
        return {
            task: self.scales[task] * nn.functional.mse_loss(self.heads[task](features), target)
            for task, target in zip(TASKS, targets, strict=True)
        }


class ReentrantFromTheStart(Toy):
    """Its first stage is a reentrant checkpoint, which the graph of the losses ends at."""

    def task_losses(self, batch: list[Tensor]) -> dict[str, Tensor]:
        x, *targets = batch
        entered = checkpoint(self.trunk[:3], x.clone().requires_grad_(), use_reentrant=True)
        features = self.trunk[3:](entered)
        return {
            task: self.scales[task] * nn.functional.mse_loss(self.heads[task](features), target)
            for task, target in zip(TASKS, targets, strict=True)
        }


@pytest.mark.peer("T18")
@pytest.mark.parametrize("network", [Reentrant, ReentrantFromTheStart])
@pytest.mark.parametrize("name", ["MGDA", "MGDA(features)", "GradNorm", "MoCo"])
def test_reentrant_checkpointing_is_refused_with_the_way_out(name: str, network: type[Toy]) -> None:
    """TorchJD fails under it too; parameters that the graph hides would never be trained."""
    with pytest.raises(ValueError, match="use_reentrant=False"):
        quiet_trainer(callbacks=[EXAMPLES[name]()]).fit(network(), toy_loader())


@pytest.mark.peer("T18")
@pytest.mark.parametrize("network", [Reentrant, ReentrantFromTheStart])
@pytest.mark.parametrize("name", ["EqualWeighting", "DWA"])
def test_loss_weights_train_alike_through_a_reentrant_checkpoint(
    name: str, network: type[Toy]
) -> None:
    """What runs the backward pass as Lightning does is right however it is recomputed."""
    trained = []
    for module in (Toy(), network()):
        quiet_trainer(callbacks=[EXAMPLES[name]()], max_steps=5).fit(module, toy_loader())
        trained.append(parameters(module))
    torch.testing.assert_close(*trained)
