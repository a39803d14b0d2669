"""Rules on the Jacobian itself: what they are asked for, and what they remember of it."""

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn

from lightning_mtl.callbacks import DBMTL, ExcessMTL, JacobianWeighting, MaxGNR, MoCo, Weighting
from tests.support.alternating_toy import TwoTrunks
from tests.support.networks import Freezes, OneByOne, Thaws
from tests.support.toy import TASKS, Toy, parameters, quiet_trainer, toy_loader
from tests.support.weightings import EXAMPLES

RULES = [
    *(name for name in EXAMPLES if isinstance(EXAMPLES[name](), JacobianWeighting)),
    "MaxGNR",
    "MaxGNR(features)",
]


@pytest.mark.parametrize("network", [Thaws, Freezes, OneByOne, TwoTrunks])
@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("accumulate", [1, 2])
def test_training_goes_on_when_other_parameters_are_shared(
    name: str, network: type[Toy], accumulate: int
) -> None:
    module = network()
    start = parameters(module)
    trainer = quiet_trainer(callbacks=[EXAMPLES[name]()], accumulate_grad_batches=accumulate)
    trainer.fit(module, toy_loader())
    assert torch.isfinite(parameters(module)).all()
    assert not torch.equal(parameters(module), start)


class Exchanges(Toy):
    """Two shared layers of one size, of which one is trained first and then the other."""

    def __init__(self) -> None:
        super().__init__()
        layers = [nn.Linear(8, 8).requires_grad_(on) for on in (True, False)]
        self.trunk = nn.Sequential(
            nn.Linear(6, 8).requires_grad_(False), nn.Tanh(), *layers, nn.Tanh()
        )

    def on_train_batch_start(self, batch: Sequence[Tensor], batch_idx: int) -> None:
        if batch_idx == 8:
            self.trunk[2].requires_grad_(False)
            self.trunk[3].requires_grad_(True)


def remembered(rule: Weighting, network: type[Toy], steps: int) -> dict[str, Tensor]:
    trainer = quiet_trainer(callbacks=[rule], max_steps=steps)
    trainer.fit(network(), toy_loader())
    return rule.memory.tensors


class Recorded(MoCo):
    """Keeps the last Jacobian."""

    def combine(self, losses: Tensor, jacobian: Tensor) -> Tensor:
        self.last = jacobian.clone()
        return super().combine(losses, jacobian)


@pytest.mark.parametrize("network", [Thaws, Freezes, Exchanges])
def test_averages_begin_anew_with_other_parameters_of_whatever_size(network: type[Toy]) -> None:
    before, first, second = Recorded(), Recorded(), Recorded()
    assert not torch.allclose(remembered(before, network, 8)["average"], before.last)
    found = remembered(first, network, 9)
    torch.testing.assert_close(found["average"], first.last)
    assert found["steps"].tolist() == [1.0] * 3
    # The weights are of the tasks, not of the parameters.
    assert (found["simplex"] - 1 / 3).abs().max() > 1e-4
    assert not torch.allclose(remembered(second, network, 10)["average"], second.last)


@pytest.mark.parametrize(
    ("rule", "counter"), [(DBMTL, "steps"), (ExcessMTL, "steps"), (MaxGNR, "mean_steps")]
)
@pytest.mark.parametrize("network", [Thaws, Exchanges])
def test_every_rule_counts_anew_with_other_parameters(
    rule: type[Weighting], counter: str, network: type[Toy]
) -> None:
    assert remembered(rule(), network, 8)[counter].tolist() == [8.0] * 3
    assert remembered(rule(), network, 11)[counter].tolist() == [3.0] * 3


class Answers(JacobianWeighting):
    """Answers with what it is given."""

    def __init__(self, answer: object, applied: object = None) -> None:
        super().__init__()
        self.answer = answer
        self.answer_applied = applied

    def combine(self, losses: Tensor, jacobian: Tensor) -> Tensor:
        self.applied = self.answer_applied
        return jacobian.sum(0) if self.answer is None else self.answer


@pytest.mark.parametrize(
    ("rule", "error", "message"),
    [
        (
            Answers(torch.ones(4)),
            ValueError,
            r"`Answers.combine` should return a tensor of shape \(280,\), one number for each"
            r" column of the Jacobian. Found shape \(4,\)",
        ),
        (Answers(torch.ones(3, 280)), ValueError, r"Found shape \(3, 280\)"),
        (Answers([1.0] * 280), TypeError, r"`Answers.combine` .* Found `list`"),
        (
            Answers(None, torch.ones(2)),
            ValueError,
            r"`Answers.applied` .* \(3,\), one weight for each of the 3 tasks present. Found shape"
            r" \(2,\)",
        ),
    ],
    ids=["too few columns", "a matrix", "a list", "too few weights"],
)
def test_a_wrong_answer_is_refused_before_anything_is_written(
    rule: Answers, error: type[Exception], message: str
) -> None:
    module = Toy()
    start = parameters(module)
    with pytest.raises(error, match=message):
        quiet_trainer(callbacks=[rule]).fit(module, toy_loader())
    assert torch.equal(parameters(module), start)


def test_an_answer_is_not_changed_by_the_engine() -> None:
    """It may be something that the rule keeps."""
    kept = torch.ones(280)
    trainer = quiet_trainer(callbacks=[Answers(kept)], max_steps=4, accumulate_grad_batches=2)
    trainer.fit(Toy(), toy_loader())
    assert torch.equal(kept, torch.ones(280))


def test_the_tasks_are_those_of_the_toy() -> None:
    assert len(TASKS) == 3 and parameters(Toy().trunk).numel() == 280
