"""Rules on the Gramian: when they solve, and what becomes of answers that are wrong."""

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from lightning_mtl.callbacks import MGDA, GramianWeighting, MoDo, SDMGrad
from tests.support.toy import TASKS, Toy, parameters, quiet_trainer, toy_loader


class Partly(Toy):
    """Batch after batch it has the tasks that it is told, over and over."""

    def __init__(self, *present: Sequence[str]) -> None:
        super().__init__()
        self.present = present
        self.batches = 0
        self.gradients: list[dict[str, Tensor]] = []
        self.weights: list[dict[str, float]] = []

    def task_losses(self, batch: Sequence[Tensor]) -> dict[str, Tensor]:
        losses = super().task_losses(batch)
        self.batches += 1
        return {task: losses[task] for task in self.present[(self.batches - 1) % len(self.present)]}

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        trained = [(name, p) for name, p in self.named_parameters() if p.grad is not None]
        self.gradients.append({name: parameter.grad.clone() for name, parameter in trained})
        self.weights.append({task: float(weight) for task, weight in self.task_weights.items()})


def fitted(module: Partly, rule: GramianWeighting, steps: int, accumulate: int = 1) -> Partly:
    trainer = quiet_trainer(
        callbacks=[rule], max_steps=steps, accumulate_grad_batches=accumulate, max_epochs=2
    )
    trainer.fit(module, toy_loader())
    return module


PLACES = pytest.mark.parametrize("place", ["shared", "last_layer", "features"])
TWO = ("one", "two")


@PLACES
def test_kept_weights_never_mix_with_those_of_other_tasks(place: str) -> None:
    """MGDA's weights sum to 1 whichever tasks are there."""
    module = fitted(Partly(TWO, TASKS), MGDA(gradients=place, every_n_steps=2), steps=6)
    for index, weights in enumerate(module.weights):
        assert set(weights) == set(TASKS if index % 2 else TWO)
        assert sum(weights.values()) == pytest.approx(1, abs=1e-6)


@PLACES
@pytest.mark.parametrize("accumulate", [1, 2])
def test_weights_are_kept_while_the_same_tasks_are_present(place: str, accumulate: int) -> None:
    module = fitted(Partly(TWO), MGDA(gradients=place, every_n_steps=3), 7, accumulate)
    seen = module.weights
    assert seen[0] == seen[1] == seen[2] != seen[3] == seen[4] == seen[5] != seen[6]


@PLACES
def test_a_solution_that_is_not_due_leaves_the_rhythm_as_it_is(place: str) -> None:
    module = Partly(TWO, TWO, TASKS, TASKS, TASKS)
    seen = fitted(module, MGDA(gradients=place, every_n_steps=5), steps=5).weights
    assert seen[0] == seen[1] and seen[2] == seen[3] == seen[4]
    assert set(seen[0]) == set(TWO) and set(seen[2]) == set(TASKS)


@PLACES
@pytest.mark.parametrize("every_n_steps", [1, 2, 3])
def test_a_task_of_some_micro_batches_counts_fully_in_every_step(
    place: str, every_n_steps: int
) -> None:
    """U17: its mean runs over the micro-batches that have it, whether weights are kept or not."""
    rule = MGDA(gradients=place, every_n_steps=every_n_steps)
    module = fitted(Partly(TWO, TASKS), rule, steps=6, accumulate=2)
    twin = Toy()
    batches = [*toy_loader(), *toy_loader()]
    for index, gradients in enumerate(module.gradients):
        losses = [twin.task_losses(batch) for batch in batches[2 * index : 2 * index + 2]]
        means = {t: (losses[0][t] + losses[1][t]) / 2 for t in TWO} | {"three": losses[1]["three"]}
        weights = module.weights[index]
        assert sum(weights.values()) == pytest.approx(1, abs=1e-6)
        total = sum(weights[task] * means[task] for task in TASKS)
        trunk = dict(twin.trunk.named_parameters(prefix="trunk"))
        expected = torch.autograd.grad(total, list(trunk.values()), retain_graph=True)
        for name, gradient in zip(trunk, expected, strict=True):
            torch.testing.assert_close(gradients[name], gradient, atol=1e-6, rtol=1e-4)
        head = "heads.three.weight"
        (own,) = torch.autograd.grad(means["three"], twin.heads["three"].weight)
        torch.testing.assert_close(gradients[head], own, atol=1e-6, rtol=1e-4)
        with torch.no_grad():
            for name, parameter in twin.named_parameters():
                parameter -= twin.lr * gradients[name]


@PLACES
def test_what_is_applied_where_a_task_is_first_missing_is_logged(place: str) -> None:
    """Its micro-batches were descended as they came, before any of them lacked a task."""
    present = [TASKS] * 2 + [TASKS, TWO] + [TASKS, TWO]
    rule = MGDA(gradients=place, every_n_steps=3)
    module = fitted(Partly(*present), rule, steps=3, accumulate=2)
    first, second, third = module.weights
    assert second["three"] == pytest.approx(first["three"] / 2)
    assert second["one"] == pytest.approx(first["one"])
    assert third == pytest.approx(first)


def test_a_head_is_not_told_to_halve_by_a_kept_weight() -> None:
    """As the test above, of weights that a user could have written down."""

    class Ones(GramianWeighting):
        def weights(self, losses: Tensor, gramian: Tensor) -> Tensor:
            return torch.ones_like(losses)

    module = fitted(Partly(TASKS, TWO), Ones(every_n_steps=2), steps=6, accumulate=2)
    assert all(weights == dict.fromkeys(TASKS, 1.0) for weights in module.weights)


@pytest.mark.parametrize("rule", [SDMGrad, MoDo])
def test_products_of_different_parts_are_refused_at_the_features(
    rule: type[GramianWeighting],
) -> None:
    with pytest.raises(
        ValueError, match=rf"`{rule.__name__}\(gradients=\)` .*features.*Use `\"shared\"`"
    ):
        rule(gradients="features")
    for place in ("shared", "last_layer"):
        rule(gradients=place)


class Answers(GramianWeighting):
    """Answers with what it is given."""

    def __init__(self, answer: object, gradients: str = "shared") -> None:
        super().__init__(gradients)
        self.answer = answer

    def weights(self, losses: Tensor, gramian: Tensor) -> Tensor:
        return self.answer


@PLACES
@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize(
    ("answer", "error", "message"),
    [
        (
            torch.ones(2),
            ValueError,
            r"`Answers.weights` should return a tensor of shape \(3,\), one weight for each of the"
            r" 3 tasks present. Found shape \(2,\)",
        ),
        (torch.ones(3, 1), ValueError, r"Found shape \(3, 1\)"),
        ([1.0, 1.0, 1.0], TypeError, r"`Answers.weights` .* Found `list`"),
        (
            torch.tensor([1.0, float("nan"), 1.0]),
            ValueError,
            r"`Answers.weights` should return finite weights. Found \[1.0, nan, 1.0\]",
        ),
    ],
    ids=["too few", "a column", "a list", "not finite"],
)
def test_a_wrong_answer_is_refused_before_anything_is_written(
    answer: object, error: type[Exception], message: str, place: str, accumulate: int
) -> None:
    module = Toy()
    start = parameters(module)
    trainer = quiet_trainer(callbacks=[Answers(answer, place)], accumulate_grad_batches=accumulate)
    with pytest.raises(error, match=message):
        trainer.fit(module, toy_loader())
    assert torch.equal(parameters(module), start)


def test_a_first_batch_of_one_task_is_told_of_the_names() -> None:
    class Unnamed(Partly):
        task_names = ()

    with pytest.raises(ValueError, match=r"tasks \['one'\] only. Found.*set `task_names`"):
        fitted(Unnamed(("one",), TASKS), MGDA(), steps=2)
