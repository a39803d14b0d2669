"""Groups by affinity and by conflicts, literally: loops over pairs, and training by hand."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from sklearn.cluster import AffinityPropagation
from torch import Tensor, nn

from tests.support.alternating_toy import Build
from tests.support.toy import TASKS, Toy, toy_loader

Groups = list[list[int]]


def affinity_by_loops(
    affinity: Tensor,
    before: Tensor,
    after: Tensor,
    known: Sequence[int],
    group: Sequence[int],
    decay: float,
) -> Tensor:
    """The affinities after the step of a group, of which all tasks are known."""
    found = affinity.clone()
    for s in group:
        for t in known:
            if before[t] <= 0 or (t in group and before[s] <= 0):
                continue
            a_s, a_t = ((1 - float(after[k] / before[k])) / len(group) for k in (s, t))
            if t not in group:
                moved = a_t
            elif t == s:
                if a_t < 0:
                    continue
                moved = a_t
            else:
                moved = a_t if a_s * a_t >= 0 else -max(a_s, a_t)
            found[s, t] = (1 - decay) * affinity[s, t] + decay * moved
    return found


def similarities_by_loops(affinity: Tensor) -> Tensor:
    found = torch.zeros_like(affinity)
    for i in range(len(found)):
        for j in range(len(found)):
            found[i, j] = (affinity[i, j] / affinity[j, j] + affinity[j, i] / affinity[i, i]) / 2
    return found


def welsh_powell_by_loops(edges: Sequence[Sequence[bool]]) -> list[int]:
    """One vertex after the other, in the order of their degrees, gets the first free colour."""
    degrees = [-sum(row) for row in edges]
    colours: dict[int, int] = {}
    for vertex in sorted(range(len(edges)), key=degrees.__getitem__):
        taken = {colours[other] for other in colours if edges[vertex][other]}
        colours[vertex] = next(c for c in range(len(edges)) if c not in taken)
    return [colours[vertex] for vertex in range(len(edges))]


class Trained(NamedTuple):
    """What was learned by hand: A or the averaged Gramian, and the groups of every batch."""

    matrix: Tensor
    groups: list[Groups]


def train_by_affinity(
    module: Toy, build: Build, epochs: int, decay: float, warm_up: int
) -> Trained:
    """The loop of the authors, with each change counted for the group that has stepped."""
    optimizer = build(list(module.parameters()))
    generator = torch.Generator().manual_seed(0)
    affinity = torch.zeros(len(TASKS), len(TASKS), dtype=torch.float64)
    groups: Groups = [[k] for k in range(len(TASKS))]
    history = []
    for number, batch in enumerate([*toy_loader()] * epochs):
        if number >= warm_up:
            labels = AffinityPropagation(
                affinity="precomputed", random_state=0, max_iter=1000
            ).fit_predict(similarities_by_loops(affinity).numpy())
            groups = groups_of(labels.tolist())
        history.append(groups)
        order = torch.randperm(len(groups), generator=generator).tolist()
        before, stepped = None, []
        for place in order if len(groups) > 1 else [0, 0]:
            losses = module.task_losses(batch)
            known = [k for k, task in enumerate(TASKS) if task in losses]
            values = torch.zeros(len(TASKS), dtype=torch.float64)
            values[known] = torch.stack([losses[TASKS[k]].detach().double() for k in known])
            if before is not None:
                affinity = affinity_by_loops(affinity, before, values, known, stepped, decay)
            step(optimizer, [losses[TASKS[k]] for k in groups[place] if k in known])
            before, stepped = values, [k for k in groups[place] if k in known]
    return Trained(affinity, history)


def train_by_conflicts(
    module: Toy, build: Build, epochs: int, tolerance: float, every: int, decay: float
) -> Trained:
    """One colour on each batch; the Gramian of the trunk and new colours at every n-th."""
    optimizer, trunk = build(list(module.parameters())), list(module.trunk.parameters())
    sums, shares = torch.zeros(2, len(TASKS), len(TASKS), dtype=torch.float64)
    groups: Groups = [list(range(len(TASKS)))]
    start, history = 0, []
    for number, batch in enumerate([*toy_loader()] * epochs):
        history.append(groups)
        group = groups[(number - start) % len(groups)]
        losses = module.task_losses(batch)
        known = [k for k, task in enumerate(TASKS) if task in losses]
        if number % every == 0:
            rows = {k: gradient(losses[TASKS[k]], trunk) for k in known}
            for i in known:
                for j in known:
                    sums[i, j] = decay * sums[i, j] + (1 - decay) * (rows[i] @ rows[j])
                    shares[i, j] = decay * shares[i, j] + 1 - decay
            average = (sums / shares).nan_to_num()
            edges = [
                [i != j and -cosine(average, i, j) > tolerance for j in range(len(TASKS))]
                for i in range(len(TASKS))
            ]
            groups, start = groups_of(welsh_powell_by_loops(edges), keep=True), number + 1
        step(optimizer, [losses[TASKS[k]] for k in group if k in known])
    return Trained((sums / shares).nan_to_num(), history)


def groups_of(labels: Sequence[int], keep: bool = False) -> Groups:
    """The groups in the order of their first tasks, or of their numbers."""
    order = sorted(set(labels)) if keep else list(dict.fromkeys(labels))
    return [[k for k, label in enumerate(labels) if label == number] for number in order]


def cosine(gramian: Tensor, i: int, j: int) -> float:
    length = float((gramian[i, i] * gramian[j, j]).sqrt())
    return float(gramian[i, j]) / length if length > 0 else 0.0


def gradient(loss: Tensor, parameters: Sequence[nn.Parameter]) -> Tensor:
    gradients = torch.autograd.grad(loss, parameters, retain_graph=True)
    return torch.cat([part.flatten().double() for part in gradients])


def step(optimizer: torch.optim.Optimizer, losses: Sequence[Tensor]) -> None:
    """One step on the sum of some losses; what none of them uses has no gradient."""
    optimizer.zero_grad(set_to_none=True)
    if losses:
        sum(losses).backward()
    optimizer.step()


class Planted(Toy):
    """Four tasks on one line of features; the targets of pairs are alike, or opposed, or neither.

    Args:
        targets: one vector for each task, the weights of what it regresses.
    """

    def __init__(self, targets: Tensor) -> None:
        super().__init__()
        self.task_names = tuple("abcd"[: len(targets)])
        self.targets = targets
        torch.manual_seed(0)
        self.trunk = nn.Linear(targets.shape[1], 1, bias=False)
        self.heads = nn.ModuleDict({task: nn.Linear(1, 1) for task in self.task_names})
        for head in self.heads.values():
            nn.init.ones_(head.weight)
            head.weight.requires_grad_(False)

    def task_losses(self, batch: Sequence[Tensor]) -> dict[str, Tensor]:
        x = batch[0][:, : self.targets.shape[1]]
        features = self.trunk(x)
        return {
            task: nn.functional.mse_loss(self.heads[task](features), (x @ target)[:, None])
            for task, target in zip(self.task_names, self.targets, strict=True)
        }
