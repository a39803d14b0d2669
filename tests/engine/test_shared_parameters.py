"""Shared parameters and heads, as they become known batch by batch."""

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn

from lightning_mtl.engine.graph import reach, root_edge
from lightning_mtl.engine.shared_parameters import Partition


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4), nn.Linear(4, 3))
        self.heads = nn.ModuleDict({task: nn.Linear(3, 1) for task in "abc"})

    def losses(self, tasks: str) -> list[Tensor]:
        features = self.encoder(torch.ones(2, 4))
        return [self.heads[task](features).mean() for task in tasks]


def learned(net: Net, *batches: str, given: Sequence[nn.Parameter] | None = None) -> Partition:
    partition = Partition(net, "abc", None if given is None else lambda: given)
    for tasks in batches:
        roots = [root_edge(loss) for loss in net.losses(tasks)]
        partition.learn(reach(roots), ["abc".index(task) for task in tasks], torch.device("cpu"))
    return partition


@pytest.mark.parametrize("batches", [("abc",), ("a", "b", "c"), ("ab", "c"), ("a", "bc")])
def test_the_order_in_which_tasks_come_does_not_matter(batches):
    net = Net()
    partition = learned(net, *batches)
    assert partition.complete
    assert partition.shared == list(net.encoder.parameters())
    assert partition.task_specific == [list(net.heads[task].parameters()) for task in "abc"]


def test_it_is_incomplete_until_every_task_has_come():
    assert not learned(Net(), "ab", "a").complete


def test_given_shared_parameters_may_be_fewer():
    net = Net()
    partition = learned(net, "abc", given=list(net.encoder[2].parameters()))
    below = list(net.encoder[:2].parameters())
    assert partition.shared == list(net.encoder[2].parameters())
    assert partition.task_specific == [[*below, *net.heads[task].parameters()] for task in "abc"]


def test_given_shared_parameters_may_be_more():
    net = Net()
    partition = learned(net, "abc", given=list(net.parameters()))
    assert partition.shared == list(net.parameters())
    assert partition.task_specific == [[], [], []]


def test_frozen_parameters_among_the_given_ones_are_skipped():
    net = Net()
    net.encoder[0].requires_grad_(False)
    partition = learned(net, "abc", given=list(net.encoder.parameters()))
    assert partition.shared == list(net.encoder[1:].parameters())


def test_a_given_parameter_of_another_module_is_an_error():
    with pytest.raises(ValueError, match=r"`shared_parameters\(\)`.*of shape \(7,\)"):
        learned(Net(), "abc", given=[nn.Parameter(torch.zeros(7))])


def test_the_default_layer_is_the_last_shared_one_with_a_matrix():
    net = Net()
    assert learned(net, "abc").layer(None) == list(net.encoder[2].parameters())


def test_a_layer_is_named_as_a_submodule_or_as_a_parameter():
    net = Net()
    partition = learned(net, "abc")
    assert partition.layer("encoder.0") == list(net.encoder[0].parameters())
    assert partition.layer("encoder.0.weight") == [net.encoder[0].weight]
    assert partition.layer("encoder") == list(net.encoder.parameters())


@pytest.mark.parametrize(
    "name",
    ["encoder.9", "enc", "heads.a", ""],
    ids=["no such layer", "half a name", "a head", "empty"],
)
def test_a_layer_that_is_not_shared_is_an_error_that_lists_what_is(name):
    with pytest.raises(ValueError, match=rf"{name!r}.*encoder\.0\.weight"):
        learned(Net(), "abc").layer(name)


def test_no_shared_parameter_at_all_is_an_error_that_says_so():
    net = Net()
    net.encoder = nn.Identity()
    net.heads = nn.ModuleDict({task: nn.Linear(4, 1) for task in "abc"})
    with pytest.raises(ValueError, match=r"Found no shared parameters.*loss-level"):
        _ = learned(net, "abc").undecided


def test_what_is_shared_may_be_frozen():
    net = Net()
    net.encoder.requires_grad_(False)
    partition = learned(net, "abc")
    assert partition.undecided
    assert "frozen" in partition.why_undecided


@pytest.mark.parametrize(("batches", "undecided"), [(("a",), True), (("a", "b"), False)])
def test_as_long_as_tasks_are_still_to_come_nothing_shared_is_no_error(batches, undecided):
    assert learned(Net(), *batches).undecided is undecided


def test_a_parameter_of_the_module_itself_is_a_layer():
    class Bare(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Parameter(torch.ones(2, 2))
            self.matrix = nn.Parameter(torch.ones(2, 2))

    net = Bare()
    partition = Partition(net, "ab")
    features = net.first @ net.matrix
    roots = [root_edge(loss) for loss in (features.sum(), features.square().sum())]
    partition.learn(reach(roots), [0, 1], torch.device("cpu"))
    assert partition.layer(None) == [net.matrix]


def test_the_description_counts_parameters_and_names_their_place():
    net = Net()
    found = learned(net, "abc").describe()
    assert found == "shared: 43 in encoder; heads: a 4, b 4, c 4"


@pytest.mark.parametrize(
    ("count", "shown"),
    [(999, "1.0 k"), (949, "949"), (1234, "1.2 k"), (999_999, "1.0 M"), (23_508_032, "23.5 M")],
)
def test_numbers_of_parameters_are_scaled(count, shown):
    class Bare(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(count))

    net = Bare()
    partition = Partition(net, "ab")
    roots = [root_edge(loss) for loss in (net.weight.sum(), net.weight.mean())]
    partition.learn(reach(roots), [0, 1], torch.device("cpu"))
    assert partition.describe() == f"shared: {shown} in weight; heads: a 0, b 0"


class Named(nn.Module):
    """Has a module `net`, and parameters of `a` and `b` that start with these names."""

    def __init__(self, net: nn.Module, *own: str) -> None:
        super().__init__()
        self.net = net
        self.scale = nn.Parameter(torch.ones(2))
        self.head = nn.Linear(2, 1)
        self.own = own

    def partition(self) -> Partition:
        named = dict(self.named_parameters())
        alone = [[p for name, p in named.items() if name.startswith(own)] for own in self.own]
        private = {parameter for group in alone for parameter in group}
        shared = sum(p.sum() for p in named.values() if p not in private)
        losses = [shared * 2 + sum(p.sum() for p in group) for group in alone]
        partition = Partition(self, "ab")
        partition.learn(reach([root_edge(loss) for loss in losses]), [0, 1], torch.device("cpu"))
        return partition


def linears(names: str) -> nn.ModuleDict:
    return nn.ModuleDict({name * 2: nn.Sequential(nn.Linear(2, 2)) for name in names})


@pytest.mark.parametrize(
    ("build", "own", "place"),
    [
        (lambda: linears("abcd"), ("head", "net.dd"), "scale, net.aa, net.bb, net.cc"),
        (lambda: linears("abc"), ("scale", "head"), "net"),
        (lambda: nn.Sequential(*linears("abc").values()), ("net.1", "net.2"), "scale, net.0, head"),
        (
            lambda: nn.ModuleDict({"in": linears("ab"), "out": linears("ab")}),
            ("net.out.aa", "net.out.bb"),
            "scale, net.in, head",
        ),
        (lambda: nn.Linear(2, 2), ("net.bias", "scale"), "net.weight, head"),
        (
            lambda: nn.Sequential(*linears("abcdefg").values()),
            ("head", "scale"),
            "net",
        ),
    ],
    ids=[
        "dict",
        "whole dict",
        "sequence",
        "nested",
        "parameter of a mixed module",
        "whole sequence",
    ],
)
def test_the_description_names_modules_that_exist(build, own, place) -> None:
    module = Named(build(), *own)
    partition = module.partition()
    assert f" in {place};" in partition.describe()
    modules, parameters = dict(module.named_modules()), dict(module.named_parameters())
    assert all(part in modules or part in parameters for part in partition._shared_parts())


def test_many_shared_parts_are_counted() -> None:
    module = Named(nn.Sequential(*linears("abcdefgh").values()), "net.0", "net.1")
    assert " in scale, net.2, net.3, net.4 and 4 more;" in module.partition().describe()


def test_unused_parameters_are_those_of_absent_tasks():
    net = Net()
    partition = learned(net, "abc")
    assert partition.unused_by([0, 2]) == list(net.heads["b"].parameters())
    assert partition.unused_by([0, 1, 2]) == []


def test_parameters_without_gradient_are_those_the_graph_does_not_reach():
    net = Net()
    partition = learned(net, "abc")
    roots = [root_edge(loss) for loss in net.losses("a")]
    expected = [*net.heads["b"].parameters(), *net.heads["c"].parameters()]
    usage = partition.usage(reach(roots), [0])
    assert usage.unused == expected
    assert usage.used == {*net.encoder.parameters(), *net.heads["a"].parameters()}
    flags = [float(parameter in usage.used) for parameter in net.parameters()]
    assert usage.on_device(torch.zeros(())).tolist() == flags


def test_a_partition_goes_on_where_another_one_stopped():
    net = Net()
    before = learned(net, "ab")
    after = Partition(net, "abc", learned=before.state())
    assert after.groups() == before.groups()
    assert not after.complete
    assert Partition(net, "abc", learned=learned(net, "abc").state()).complete


def news(partition: Partition, losses: list[Tensor], present: Sequence[int]) -> bool:
    return partition.is_news(reach([root_edge(loss) for loss in losses]), present)


def test_a_graph_that_was_learned_is_no_news_and_another_one_is():
    net = Net()
    partition = learned(net, "a", "b")
    assert not news(partition, net.losses("ab"), [0, 1])
    assert not news(partition, net.losses("b"), [1])
    assert news(partition, net.losses("c"), [2])
    assert news(partition, [loss * net.heads["b"].bias for loss in net.losses("a")], [0])


def test_a_parameter_of_another_module_is_news_once():
    net, other = Net(), nn.Linear(1, 1)
    partition = learned(net, "abc")
    losses = lambda: [loss * other.weight.sum() for loss in net.losses("abc")]  # noqa: E731
    assert news(partition, losses(), [0, 1, 2])
    roots = [root_edge(loss) for loss in losses()]
    partition.learn(reach(roots), [0, 1, 2], torch.device("cpu"))
    assert not news(partition, losses(), [0, 1, 2])
    assert not any(parameter is other.weight for parameter in partition.parameters)


def test_inputs_that_require_gradients_are_no_news():
    net = Net()
    partition = learned(net, "abc")
    extra = torch.ones((), requires_grad=True)
    assert not news(partition, [loss * extra for loss in net.losses("abc")], [0, 1, 2])


def test_a_layer_that_is_frozen_thawed_or_added_is_news_and_finds_its_place():
    net = Net()
    partition = learned(net, "abc")
    roots = lambda: [root_edge(loss) for loss in net.losses("abc")]  # noqa: E731
    net.encoder[0].requires_grad_(False)
    assert partition.is_news(reach(roots()), [0, 1, 2])
    partition.learn(reach(roots()), [0, 1, 2], torch.device("cpu"))
    assert partition.shared == list(net.encoder[1:].parameters())
    net.encoder[0].requires_grad_(True)
    assert partition.is_news(reach(roots()), [0, 1, 2])
    partition.learn(reach(roots()), [0, 1, 2], torch.device("cpu"))
    assert partition.shared == list(net.encoder.parameters())
    net.encoder.append(nn.Linear(3, 3))
    assert partition.is_news(reach(roots()), [0, 1, 2])
    partition.learn(reach(roots()), [0, 1, 2], torch.device("cpu"))
    assert set(net.encoder[3].parameters()) < set(partition.shared)


def test_once_two_tasks_have_used_a_parameter_it_stays_shared():
    net = Net()
    partition = learned(net, "abc", "a")
    assert partition.shared == list(net.encoder.parameters())
