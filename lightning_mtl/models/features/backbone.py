"""What networks for features are built on: any module, or nothing."""

from torch import nn

from lightning_mtl.checks import check_number

__all__ = ["features_of"]


def features_of(
    owner: str, backbone: nn.Module | None, in_features: int | None
) -> tuple[nn.Module, int]:
    """The backbone, the identity if there is none, and the number of features that it returns.

    Args:
        owner: the network, for the message.
        backbone: a module that maps the input to `(N, features)`.
        in_features: the number of features, if `backbone.out_features` does not say it.

    Raises:
        ValueError: if neither says the number, or they say different ones.
    """
    said = getattr(backbone, "out_features", None)
    found = said if isinstance(said, int) else None
    width = found if in_features is None else in_features
    if width is None:
        what = "the input is taken as it is" if backbone is None else type(backbone).__name__
        raise ValueError(
            f"`{owner}(in_features=)` should be the number of features, where no backbone says it"
            f" in its attribute `out_features`. Found None ({what}). Set `in_features`."
        )
    if found is not None and width != found:
        raise ValueError(
            f"`{owner}(in_features=)` should be what the backbone says, {found}. Found"
            f" {in_features}. Leave it out."
        )
    check_number(owner, "in_features", width, 1)
    return nn.Identity() if backbone is None else backbone, width
