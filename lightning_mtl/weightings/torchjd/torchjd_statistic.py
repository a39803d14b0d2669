"""What the objects of TorchJD receive, deduced from their classes."""

from typing import Any, Literal, NamedTuple, get_args, get_origin

from torch import nn

Statistic = Literal["gramian", "cross_gramian", "jacobian"]


class Rule(NamedTuple):
    """What of an object is called, on what, and whether that gives weights or a direction."""

    module: nn.Module
    statistic: Statistic
    gives_weights: bool


def rule_of(given: nn.Module, stated: Statistic | None) -> Rule:
    """Take an Aggregator that only weights the rows apart; deduce what a Weighting receives.

    Args:
        given: an Aggregator or a Weighting.
        stated: what a Weighting of a class that does not say it receives.
    """
    jd = _torchjd()
    if not isinstance(given, (jd.Aggregator, jd.Weighting)):
        raise TypeError(
            "`TorchJDWeighting` needs an instance of a Weighting or an Aggregator of"
            f" `torchjd.aggregation`. Found {given!r}."
        )
    if stated is not None and stated not in get_args(Statistic):
        raise ValueError(
            f"`TorchJDWeighting(statistic=)` should be one of {get_args(Statistic)}, or `None` to"
            f" ask the class of the weighting. Found {stated!r}."
        )
    if isinstance(given, jd.Weighting):
        return _rule_of_weighting(given, stated, "`statistic`")
    name = type(given).__name__
    if stated is not None:
        raise ValueError(
            "`TorchJDWeighting(statistic=)` is for a Weighting. Found"
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
            f"`TorchJDWeighting` cannot tell what `{name}` receives: it derives from no"
            " `Weighting[PSDMatrix]` or `Weighting[Matrix]`. Pass `statistic=`, one of"
            f" {get_args(Statistic)}."
        )
    if stated not in (None, statistic):
        raise ValueError(
            f"`{name}` should receive {_in_words(statistic)}. Found {_in_words(stated)}, from {by}."
            f" Pass `{name}` alone, without `statistic`."
        )
    return Rule(weighting, statistic, gives_weights=True)


def _deduced(weighting: Any) -> Statistic | None:
    """By the type that its class gives to `Weighting`; `None` if that is open."""
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
            "`TorchJDWeighting` needs TorchJD, which was not found. Install it with"
            ' `pip install "lightning_mtl[torchjd]"`.'
        ) from error
    return jd
