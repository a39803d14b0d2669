"""Which entries a loss depends on: what the graph tells, against the gradients themselves."""

import random
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_mtl.engine.entries.follow import apart, follow
from lightning_mtl.engine.graph import Reach, reach, root_edge

SAMPLES, TASKS, CLASSES = 7, 3, 2
TARGETS = torch.linspace(0.1, 0.8, SAMPLES * TASKS).view(SAMPLES, TASKS)
VALID = torch.tensor([True, False, True, True, True, False, True])

Losses = Callable[[list[Tensor]], list[Tensor]]


def reached(losses: list[Tensor]) -> Reach:
    return reach([root_edge(loss) for loss in losses])


def found_users(losses: list[Tensor], leaves: list[Tensor]) -> list[set[int]]:
    """For each leaf the losses that reach it; all of them for a shared one."""
    found = reached(losses)
    every = set(range(len(losses)))
    owners = [{task for task in every if leaf in set(found.task_specific[task])} for leaf in leaves]
    return [
        every if leaf in set(found.shared) else own
        for leaf, own in zip(leaves, owners, strict=True)
    ]


def true_users(losses: list[Tensor], leaves: list[Tensor]) -> list[set[int]]:
    """For each leaf the losses whose gradient is not zero; all of them if there are several."""
    users: list[set[int]] = [set() for _ in leaves]
    for task, loss in enumerate(losses):
        gradients = torch.autograd.grad(loss, leaves, retain_graph=True, allow_unused=True)
        for own, gradient in zip(users, gradients, strict=True):
            if gradient is not None and bool((gradient != 0).any()):
                own.add(task)
    return [own if len(own) < 2 else set(range(len(losses))) for own in users]


def network(width: int) -> tuple[list[Tensor], list[Tensor]]:
    """Outputs (N, width) of a trunk with as many heads as tasks, and the parameters."""
    torch.manual_seed(4)
    trunk = nn.Linear(5, 4)
    heads = [nn.Linear(4, width) for _ in range(TASKS)]
    features = trunk(torch.randn(SAMPLES, 5)).tanh()
    parameters = [p for layer in (trunk, *heads) for p in layer.parameters()]
    return [head(features) for head in heads], parameters


def joined(losses: Callable[[Tensor], list[Tensor] | Tensor]) -> Losses:
    """Losses of the outputs in one matrix."""
    return lambda outputs: list(losses(torch.cat(outputs, dim=1)))


def errors(outputs: Tensor) -> Tensor:
    return (outputs - TARGETS).square()


ONE_COLUMN: dict[str, Losses] = {
    "mse_loss": joined(lambda x: F.mse_loss(x, TARGETS, reduction="none").mean(0)),
    "l1_loss": joined(lambda x: F.l1_loss(x, TARGETS, reduction="none").mean(0)),
    "smooth_l1_loss": joined(lambda x: F.smooth_l1_loss(x, TARGETS, reduction="none").sum(0)),
    "huber_loss": joined(lambda x: F.huber_loss(x, TARGETS, reduction="none").sum(0)),
    "binary_cross_entropy": joined(
        lambda x: F.binary_cross_entropy(x.sigmoid(), TARGETS, reduction="none").mean(0)
    ),
    "binary_cross_entropy_with_logits": joined(
        lambda x: F.binary_cross_entropy_with_logits(x, TARGETS, reduction="none").mean(0)
    ),
    "weighted": joined(lambda x: errors(x).mean(0) * torch.tensor([1.0, 5.0, 2.0])),
    "unbind": joined(lambda x: errors(x).mean(0).unbind()),
    "negative index": joined(lambda x: [errors(x).mean(0)[index] for index in (-3, -2, -1)]),
    "keepdim": joined(lambda x: [errors(x).mean(0, keepdim=True)[0, k] for k in range(3)]),
    "root of a mean": joined(lambda x: errors(x).mean(0).sqrt()),
    "norm": joined(lambda x: (x - TARGETS).norm(dim=0)),
    "amax": joined(lambda x: errors(x).amax(0)),
    "max": joined(lambda x: errors(x).max(0)[0]),
    "logsumexp": joined(lambda x: x.logsumexp(0)),
    "std": joined(lambda x: x.std(0)),
    "nanmean": joined(lambda x: errors(x).nanmean(0)),
    "masked mean": joined(lambda x: (errors(x) * (TARGETS > 0.2)).sum(0) / (TARGETS > 0.2).sum(0)),
    "where": joined(lambda x: torch.where(TARGETS > 0.2, errors(x), x).mean(0)),
    "valid samples": joined(lambda x: errors(x)[VALID].mean(0)),
    "valid samples of columns": joined(lambda x: [errors(x)[VALID, k].mean() for k in range(3)]),
    "largest errors": joined(lambda x: errors(x).topk(2, dim=0)[0].mean(0)),
    "quantities": joined(lambda x: x.double().log1p().abs().clamp(max=9).mean(0).float()),
    "columns": joined(lambda x: [errors(x)[:, k].mean() for k in range(3)]),
    "ellipsis": joined(lambda x: [x[..., k].square().mean() for k in range(3)]),
    "slices": joined(lambda x: [errors(x)[:, k : k + 1].mean() for k in range(3)]),
    "last slices": joined(lambda x: [x[:, :1].sum(), x[:, 1:-1].sum(), x[:, -1:].sum()]),
    "unbind columns": joined(lambda x: [column.sum() for column in x.unbind(1)]),
    "split": joined(lambda x: [part.squeeze(1).sum() for part in x.split(1, dim=1)]),
    "split into two": joined(lambda x: [part.square().sum() for part in x.split([1, 2], dim=1)]),
    "chunk": joined(lambda x: [part.square().mean() for part in x.chunk(3, dim=1)]),
    "two columns apart": joined(lambda x: [x[:, 0].sum() + x[:, 2].sum(), x[:, 1].sum()]),
    "columns used by two": joined(lambda x: [x[:, :2].sum(), x[:, 1:].sum()]),
    "transposed": joined(lambda x: [row.square().mean() for row in x.t()]),
    "permuted": joined(lambda x: x.permute(1, 0)[:, None].square().mean((1, 2))),
    "movedim": joined(lambda x: x.movedim(-1, 0).square().mean(-1)),
    "flipped": joined(lambda x: x.flip(1).square().mean(0)),
    "repeated": joined(lambda x: x.repeat(2, 2)[:, 3:].square().mean(0)),
    "expanded": joined(lambda x: x.mean(0).expand(4, 3).sum(0)),
    "flattened": joined(lambda x: [x.t().flatten()[k * 7 : k * 7 + 7].sum() for k in range(3)]),
    "strided": joined(lambda x: [x.flatten()[k::3].square().sum() for k in range(3)]),
    "einsum": joined(lambda x: torch.einsum("nk->k", x)),
    "stack": lambda outputs: list(torch.stack(outputs).square().mean((1, 2))),
    "stack last": lambda outputs: list(torch.stack(outputs, dim=-1).square().mean((0, 1))),
    "stack of losses": lambda outputs: list(
        torch.stack([output.square().mean() for output in outputs]) * torch.arange(1.0, 4.0)
    ),
    "cat of losses": lambda outputs: list(
        torch.cat([output.square().mean().view(1) for output in outputs]).log()
    ),
    "beside a constant": lambda outputs: list(
        torch.cat([outputs[0], torch.ones(SAMPLES, 2), outputs[1]], 1).mean(0)[0::3]
    ),
    "stack beside a constant": lambda outputs: list(
        torch.stack([outputs[0], torch.ones(SAMPLES, 1), outputs[1]]).mean((1, 2))[0::2]
    ),
    "batched product": lambda outputs: [
        part.mean() for part in torch.bmm(torch.ones(3, 1, SAMPLES), torch.stack(outputs))
    ],
    "only some": joined(lambda x: errors(x).mean(0)[:2]),
}

SEVERAL_COLUMNS: dict[str, Losses] = {
    "views": joined(lambda x: x.view(SAMPLES, TASKS, CLASSES).square().mean((0, 2))),
    "unflattened": joined(lambda x: x.unflatten(1, (TASKS, -1)).transpose(0, 1).mean((1, 2))),
    "elements": joined(lambda x: x.view(-1, TASKS, CLASSES).permute(1, 0, 2).flatten(1).mean(1)),
    "cross entropies": joined(
        lambda x: [F.cross_entropy(part, VALID.long()) for part in x.split(CLASSES, dim=1)]
    ),
    "a cross entropy": lambda outputs: list(
        F.cross_entropy(
            torch.stack(outputs, 2), VALID.long()[:, None].expand(-1, 3), reduction="none"
        ).mean(0)
    ),
    "softmax": joined(lambda x: x.view(-1, TASKS, CLASSES).softmax(2)[..., 0].square().mean(0)),
    "images": lambda outputs: [
        image.square().mean()
        for image in F.avg_pool2d(
            F.interpolate(
                torch.cat([o.view(1, 1, SAMPLES, 2) for o in outputs], 1), scale_factor=2
            ),
            2,
        ).unbind(1)
    ],
    "batch norm": lambda outputs: list(
        F.batch_norm(torch.cat(outputs, 1), None, None, training=True)
        .view(SAMPLES, TASKS, CLASSES)
        .pow(4)
        .mean((0, 2))
    ),
    "interleaved": joined(lambda x: [x[:, 0::4].sum(), x[:, 3::2].sum()]),
}


@pytest.mark.parametrize(
    ("losses", "width"),
    [
        *(pytest.param(losses, 1, id=name) for name, losses in ONE_COLUMN.items()),
        *(pytest.param(losses, CLASSES, id=name) for name, losses in SEVERAL_COLUMNS.items()),
    ],
)
def test_a_loss_reaches_the_parameters_that_its_gradient_is_not_zero_for(losses, width):
    outputs, parameters = network(width)
    computed = losses(outputs)
    assert found_users(computed, parameters) == true_users(computed, parameters)
    assert reached(computed).uncertain == []


@pytest.mark.parametrize(
    "loss",
    [
        lambda x: F.mse_loss(x, TARGETS),
        lambda x: F.cross_entropy(x, VALID.long()),
        lambda x: (errors(x) * (TARGETS > 0.2)).sum() / 9,
        lambda x: F.interpolate(x.view(1, 1, SAMPLES, 3), scale_factor=2).softmax(1).log().mean(),
    ],
    ids=["squared error", "cross entropy", "masked sum", "upsampled"],
)
def test_a_loss_that_chooses_no_entries_is_walked_once_as_a_whole(loss):
    root = root_edge(loss(nn.Linear(4, 3)(torch.randn(SAMPLES, 4))))
    found = follow(root)
    assert (found.entries, found.mixed, found.unfollowed) == ({}, [root.node], [])


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ([{0: range(2)}], [{0: range(2, 4)}], True),
        ([{0: range(3)}], [{0: range(2, 4)}], False),
        ([{0: range(0, 9, 3)}], [{0: range(1, 9, 3)}, {0: range(2, 9, 3)}], True),
        ([{0: range(0, 9, 3)}], [{0: range(1, 9, 2)}], False),
        ([{0: range(2), 1: range(2)}], [{0: range(1, 3), 1: range(2, 4)}], True),
        ([{0: range(2)}], [{1: range(2)}], False),
        ([{0: range(2)}, {0: range(1, 3)}], [{0: range(5, 6)}], True),
        ([{0: range(2)}], [{0: None}], False),
        ([{}], [{0: range(2)}], False),
    ],
)
def test_two_losses_are_apart_if_they_depend_on_no_common_entry(one, other, expected):
    assert apart([one, other]) == expected
    assert apart([other, one]) == expected


def test_a_head_that_starts_at_zero_belongs_to_its_loss_all_the_same():
    torch.manual_seed(0)
    features = nn.Linear(5, 4)(torch.randn(SAMPLES, 5))
    heads = [nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 1)) for _ in range(2)]
    for head in heads:
        nn.init.zeros_(head[1].weight)
    losses = list(torch.cat([head(features) for head in heads], 1).square().mean(0))
    found = reached(losses)
    assert [set(own) for own in found.task_specific] == [set(head.parameters()) for head in heads]


def test_the_weight_of_a_joint_head_is_shared_as_a_parameter():
    head = nn.Linear(4, 3)
    losses = list(head(torch.randn(SAMPLES, 4)).square().mean(0))
    assert set(reached(losses).shared) == set(head.parameters())


def assembled_in_place(outputs: list[Tensor]) -> list[Tensor]:
    losses = torch.zeros(TASKS)
    for task, output in enumerate(outputs):
        losses[task] = output.square().mean()
    return [losses[task] for task in range(TASKS)]


class Concatenation(torch.autograd.Function):
    """An operation that the package does not know."""

    @staticmethod
    def forward(ctx, *tensors):
        return torch.cat(tensors, 1)

    @staticmethod
    def backward(ctx, gradient):
        return gradient.split(1, 1)


class CompiledFunction(torch.autograd.Function):
    """What `torch.compile` makes of several heads: one node, with the parameters as inputs."""

    @staticmethod
    def forward(ctx, *tensors):
        return tuple(tensors[0].new_ones(TASKS).unbind())

    @staticmethod
    def backward(ctx, *gradients):
        return (None,) * 7


def chosen(choose: Callable[[Tensor, Tensor], Tensor]) -> Losses:
    """Losses that a tensor of one index chooses."""
    return joined(lambda x: [choose(errors(x), torch.tensor([task])) for task in range(TASKS)])


UNCERTAIN: dict[str, Losses] = {
    "list of indices": joined(lambda x: [x[:, [task]].mean() for task in range(TASKS)]),
    "tensor of one index": chosen(lambda x, index: x.mean(0)[index].sum()),
    "index_select of a column": chosen(lambda x, index: x.index_select(1, index).sum()),
    "index_select of an entry": chosen(lambda x, index: x.mean(0).index_select(0, index).sum()),
    "in place": assembled_in_place,
    "roll": joined(lambda x: errors(x).mean(0).roll(1)),
    "unknown operation": lambda outputs: list(Concatenation.apply(*outputs).mean(0)),
}


@pytest.mark.parametrize("losses", UNCERTAIN.values(), ids=UNCERTAIN)
def test_heads_that_may_be_private_are_uncertain_and_the_trunk_is_not(losses):
    outputs, parameters = network(1)
    found = reached(losses(outputs))
    assert set(found.shared) == set(parameters)
    assert set(found.uncertain) == set(parameters[2:])


def test_heads_that_were_compiled_together_are_uncertain():
    outputs, parameters = network(1)
    extra = nn.Parameter(torch.ones(()))
    losses = CompiledFunction.apply(outputs[0], *parameters[2:])
    found = reached([loss * extra for loss in losses])
    assert set(found.uncertain) == set(parameters[2:])


def test_a_head_that_two_losses_use_in_plain_sight_is_not_uncertain():
    outputs, parameters = network(1)
    losses = assembled_in_place(outputs)
    losses = [losses[0] + outputs[0].sum(), losses[1] + outputs[0].sum(), losses[2]]
    assert set(reached(losses).uncertain) == set(parameters[4:])


@pytest.mark.parametrize(
    "losses",
    [
        lambda x: [x[:, [k]].mean() for k in range(3)],
        lambda x: x.roll(1, 1).mean(0),
        lambda x: Scale.apply(x, torch.ones(3, requires_grad=True)).mean(0),
        lambda x: [x[VALID][:, k].mean() for k in range(3)],
    ],
    ids=["list of indices", "roll", "unknown operation with a weight", "mask"],
)
def test_columns_of_one_output_are_shared_for_certain(losses):
    torch.manual_seed(0)
    head = nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3))
    found = reached(list(losses(head(torch.randn(SAMPLES, 5)))))
    assert set(found.shared) >= set(head.parameters())
    assert found.uncertain == []


class Scale(torch.autograd.Function):
    """A layer of somebody's own."""

    @staticmethod
    def forward(ctx, x, weight):
        return x * weight

    @staticmethod
    def backward(ctx, gradient):
        return gradient, gradient.sum(0)


def test_a_mask_of_samples_makes_nothing_uncertain():
    """As in a detector: levels of a pyramid are joined, and a mask selects among all of them."""
    outputs, _ = network(1)
    levels = torch.cat(outputs, dim=0)
    chosen = torch.arange(SAMPLES * TASKS) % 2 == 0
    assert reached([levels[chosen].mean(), levels[chosen].square().mean()]).uncertain == []


def test_many_choices_from_one_tensor_end_in_the_whole_tensor():
    outputs, parameters = network(1)
    joint = torch.cat([*outputs, torch.zeros(SAMPLES, 97)], 1)
    losses = [torch.stack([joint[:, 2 * k].sum() for k in range(50)]).sum(), joint[:, 1].sum()]
    assert found_users(losses, parameters[4:6]) == [{1}, {1}]
    losses = [
        torch.stack([joint[:, k % 98 + 2].sum() for k in range(98)]).sum(),
        joint[:, 1].sum(),
    ]
    assert found_users(losses, parameters[4:6]) == [{0, 1}, {0, 1}]


def some_dim(x: Tensor, draw: random.Random) -> int:
    return draw.randrange(-x.dim(), x.dim())


def narrowed(x: Tensor, draw: random.Random) -> Tensor:
    dim = some_dim(x, draw)
    start = draw.randrange(x.shape[dim])
    return x.narrow(dim, start, draw.randint(1, x.shape[dim] - start))


def stepped(x: Tensor, draw: random.Random) -> Tensor:
    start = draw.randrange(-x.shape[-1], x.shape[-1])
    return x[..., start :: draw.choice([1, 2, 3])]


def refolded(x: Tensor, draw: random.Random) -> Tensor:
    first = draw.choice([n for n in range(1, x.numel() + 1) if x.numel() % n == 0])
    rest = x.numel() // first
    second = draw.choice([n for n in range(1, rest + 1) if rest % n == 0])
    return x.reshape(first, second, rest // second)


def permuted(x: Tensor, draw: random.Random) -> Tensor:
    return x.permute(draw.sample(range(x.dim()), x.dim()))


def rows(x: Tensor, draw: random.Random) -> Tensor:
    mask = [index == 0 or draw.random() < 0.7 for index in range(x.shape[0])]
    return x[torch.tensor(mask)]


def picked(x: Tensor, draw: random.Random) -> Tensor:
    return x[..., [draw.randrange(x.shape[-1]) for _ in range(draw.randint(1, 3))]]


def labelled(x: Tensor, draw: random.Random) -> Tensor:
    if x.dim() < 2:
        return x
    return F.cross_entropy(x, torch.zeros(x[:, 0].shape, dtype=torch.long), reduction="none")


STEPS: list[Callable[[Tensor, random.Random], Tensor]] = [
    lambda x, draw: x.tanh() + x,
    lambda x, draw: x * torch.rand(x.shape[-1]),
    lambda x, draw: x * x.sum(some_dim(x, draw), keepdim=True),
    lambda x, draw: x.transpose(some_dim(x, draw), some_dim(x, draw)),
    lambda x, draw: x.unsqueeze(some_dim(x, draw)),
    lambda x, draw: x.squeeze(),
    lambda x, draw: x.squeeze(some_dim(x, draw)),
    lambda x, draw: x.flip(some_dim(x, draw)),
    lambda x, draw: x.repeat(2, *(draw.choice([1, 2]) for _ in range(x.dim() - 1))),
    lambda x, draw: x.expand(2, *x.shape),
    lambda x, draw: x.mean(some_dim(x, draw), keepdim=draw.random() < 0.5),
    lambda x, draw: x.logsumexp(some_dim(x, draw)),
    lambda x, draw: x.softmax(some_dim(x, draw)) * torch.rand(x.shape),
    lambda x, draw: torch.cat([x, 2 * x], some_dim(x, draw)),
    lambda x, draw: torch.cat([torch.ones_like(x), x], some_dim(x, draw)),
    lambda x, draw: torch.stack([x, torch.ones_like(x)], some_dim(x, draw)),
    lambda x, draw: x.index_select(0, torch.randint(x.shape[0], (2,))),
    lambda x, draw: x.roll(1, some_dim(x, draw)),
    lambda x, draw: F.pad(x, (1, 0)),
    lambda x, draw: draw.choice(x.split(draw.randint(1, 2), some_dim(x, draw))),
    lambda x, draw: draw.choice(x.unbind(some_dim(x, draw))),
    lambda x, draw: x.gather(0, torch.zeros(1, *x.shape[1:], dtype=torch.long)),
    lambda x, draw: x @ torch.randn(x.shape[-1], 3),
    lambda x, draw: F.mse_loss(x, torch.rand(x.shape), reduction="none"),
    narrowed,
    stepped,
    refolded,
    permuted,
    rows,
    picked,
    labelled,
]


@pytest.mark.parametrize("seed", range(4))
def test_no_program_reaches_a_parameter_that_was_not_found(seed):
    """Random chains of operations, where an entry that is followed wrongly loses a gradient."""
    draw = random.Random(seed)
    torch.manual_seed(seed)
    programs = private = 0
    while programs < 250:
        leaves = [torch.randn(4, draw.choice([1, 2]), requires_grad=True) for _ in range(3)]
        x = torch.cat([leaf * 1.0 for leaf in leaves], dim=1)
        for _ in range(draw.randint(1, 6)):
            if 0 < x.dim() < 5 and 0 < x.numel() < 300:
                x = draw.choice(STEPS)(x, draw)
        dim = draw.randrange(x.dim()) if x.dim() else 0
        if x.dim() == 0 or x.numel() == 0 or x.shape[dim] < 2:
            continue
        programs += 1
        losses = [(x.select(dim, k) * torch.rand(())).sum() for k in range(min(3, x.shape[dim]))]
        found, true = found_users(losses, leaves), true_users(losses, leaves)
        assert all(own >= users for own, users in zip(found, true, strict=True))
        private += sum(len(own) == 1 for own in found)
    # It is no test if everything is found to be shared.
    assert private > 50
