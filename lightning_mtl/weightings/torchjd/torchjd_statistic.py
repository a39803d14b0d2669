"""Deduces from the classes of TorchJD's objects what they receive."""

from typing import Any, Literal, NamedTuple, get_args, get_origin

from torch import nn

from lightning_mtl.checks import check_choice

Statistic = Literal["gramian", "cross_gramian", "jacobian"]


class Rule(NamedTuple):
    """The module of an object that is called, on which statistic, and whether it gives weights."""

    module: nn.Module
    statistic: Statistic
    gives_weights: bool


def rule_of(given: nn.Module, stated: Statistic | None) -> Rule:
    """The rule by which an Aggregator or a Weighting of TorchJD is run.

    An Aggregator that only weights the rows is run by its Weighting.

    Args:
        given: an Aggregator or a Weighting.
        stated: what a Weighting receives, if its class does not say so.

    Raises:
        TypeError: if the object is neither.
        ValueError: if `stated` contradicts the class, or is missing where the class says nothing.
    """
    jd = _torchjd()
    if not isinstance(given, (jd.Aggregator, jd.Weighting)):
        raise TypeError(
            "`TorchJDWeighting(weighting=)` should be a Weighting or an Aggregator of"
            f" `torchjd.aggregation`. Found {given!r}. Pass an instance, not a class."
        )
    if stated is not None:
        remedy = "Leave it out where the class of the weighting says it."
        check_choice("TorchJDWeighting", "statistic", stated, get_args(Statistic), remedy)
    if isinstance(given, jd.Weighting):
        return _rule_of_weighting(given, stated, "`statistic`")
    name = type(given).__name__
    if stated is not None:
        raise ValueError(
            "`TorchJDWeighting(statistic=)` should go with a Weighting. Found"
            f" {stated!r} with the Aggregator `{name}`. Leave `statistic` out."
        )
    if type(given).forward is not jd.WeightedAggregator.forward:
        return Rule(given, "jacobian", gives_weights=False)
    if isinstance(given, jd.GramianWeightedAggregator):
        return _rule_of_weighting(given.gramian_weighting, "gramian", f"`{name}`")
    return _rule_of_weighting(given.weighting, "jacobian", f"`{name}`")


def _rule_of_weighting(weighting: nn.Module, stated: Statistic | None, by: str) -> Rule:
    deduced = _deduced(weighting)
    name = type(weighting).__name__
    statistic = deduced or stated
    if statistic is None:
        raise ValueError(
            f"`{name}` should derive from `Weighting[PSDMatrix]` or `Weighting[Matrix]`, which"
            " tells what it receives. Found neither. Pass `statistic=`, one of"
            f" {get_args(Statistic)}."
        )
    if stated not in (None, statistic):
        raise ValueError(
            f"`{name}` should receive {_in_words(statistic)}. Found {_in_words(stated)}, from {by}."
            f" Pass `{name}` alone, without `statistic`."
        )
    return Rule(weighting, statistic, gives_weights=True)


def _deduced(weighting: Any) -> Statistic | None:
    """What a Weighting receives by the type of its base class; `None` if that is open."""
    from torchjd.linalg import Matrix, PSDMatrix

    jd = _torchjd()
    if isinstance(weighting, jd.CRMOGMWeighting):
        return _deduced(weighting.weighting)
    # Both are typed as `Weighting[Matrix]`, and say in their documentation which matrix.
    if isinstance(weighting, (jd.MoDoWeighting, jd.SDMGradWeighting)):
        return "cross_gramian"
    by_type: dict[Any, Statistic] = {PSDMatrix: "gramian", Matrix: "jacobian"}
    for kind in type(weighting).__mro__:
        for base in vars(kind).get("__orig_bases__", ()):
            if get_origin(base) is jd.Weighting:
                return by_type.get(get_args(base)[0])
    return None


def _in_words(statistic: Statistic | None) -> str:
    return {
        "gramian": "the Gramian J Jᵀ",
        "cross_gramian": "J₁ J₂ᵀ of independent batches",
        "jacobian": "the Jacobian J",
    }[statistic or "jacobian"]


def _torchjd() -> Any:
    try:
        import torchjd.aggregation as jd
    except ImportError as error:
        raise ImportError(
            "`TorchJDWeighting` should have TorchJD installed. Found no package `torchjd`. Install"
            ' it with `pip install "lightning_mtl[torchjd]"`.'
        ) from error
    return jd
