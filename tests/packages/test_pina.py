"""A physics-informed network of PINA: each condition is a task. Run with pina-mathlab 0.3.2."""

from typing import Any

import lightning as L
import pytest
import torch
from torch import Tensor

from lightning_mtl import MultiTaskModule
from lightning_mtl.callbacks import EqualWeighting
from tests.support.packages import check_balanced, each_rule, why
from tests.support.toy import Log, parameters

pina = pytest.importorskip("pina", reason=why("pina-mathlab"))
models = pytest.importorskip("pina.model", reason=why("pina-mathlab"))
optim = pytest.importorskip("pina.optim", reason=why("pina-mathlab"))
problems = pytest.importorskip("pina.problem.zoo", reason=why("pina-mathlab"))
solvers = pytest.importorskip("pina.solver", reason=why("pina-mathlab"))

CONDITIONS = ("boundary", "t0", "D")

pytestmark = pytest.mark.filterwarnings("ignore:You defined a `validation_step`.*")


class Mine(MultiTaskModule, solvers.PhysicsInformedSingleModelSolver):
    def task_losses(self, batch):
        return {n: self._compute_condition_loss(self.problem.conditions[n], d, 0) for n, d in batch}


def trained(kind: type[L.LightningModule], *callbacks: L.Callback) -> tuple[Any, Tensor]:
    torch.manual_seed(0)
    problem = problems.DiffusionReactionProblem()
    problem.discretise_domain(n=16, mode="grid")
    network = models.FeedForward(2, 1, n_layers=2, inner_size=16)
    adam = optim.TorchOptimizer(torch.optim.Adam, lr=0.01)
    module = kind(problem=problem, model=network, optimizer=adam)
    start = parameters(module)
    pina.Trainer(
        solver=module,
        callbacks=list(callbacks),
        max_epochs=8,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    ).train()
    return module, start


def test_with_equal_weights_it_trains_as_theirs() -> None:
    plain, _ = trained(solvers.PhysicsInformedSingleModelSolver)
    module, _ = trained(Mine, EqualWeighting())
    torch.testing.assert_close(parameters(module), parameters(plain))


@each_rule
def test_its_conditions_are_balanced(rule: Any) -> None:
    log = Log()
    module, start = trained(Mine, rule(), log)
    plain, _ = trained(solvers.PhysicsInformedSingleModelSolver)
    check_balanced(module, log, CONDITIONS, start, parameters(plain))
