"""`TableFeatures`, the backbone for tables."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lightning_mtl.checks import check_number, check_shape
from lightning_mtl.metrics.pooled import on_host

__all__ = ["TableFeatures"]


class TableFeatures(nn.Module):
    """A backbone for tables: standardised numbers, and an embedding of each category.

    A row has the numeric columns first, then one column for each entry of `categories`, whose
    values are the codes from 0 to that entry minus 1. Give missing or rare categories a code of
    their own, and fill in missing numbers: neither is done here.

    Numbers are standardised by batch norm without scale and shift: by the statistics of the batch
    in training, by their running means afterwards, so that no pass over the data comes first. The
    features are these numbers, followed by the embeddings.

    Codes are checked on the CPU only, where it costs no wait; elsewhere torch stops the program at
    a code that is not in the embedding.

    Args:
        numeric: number of numeric columns, from 0.
        categories: number of codes of each categorical column.
        embedding: features of each categorical column; `None` takes the rule of thumb of fastai,
            1.6 n^0.56 for n codes, at most 600.

    Attributes:
        out_features: number of features.

    Raises:
        ValueError: if there is no column, or a number is out of range.

    Example:
        >>> backbone = TableFeatures(numeric=1, categories=[3], embedding=4)
        >>> backbone(torch.tensor([[0.5, 2.0], [1.5, 0.0]])).shape
        torch.Size([2, 5])
    """

    def __init__(
        self, numeric: int, categories: Sequence[int] = (), embedding: int | None = None
    ) -> None:
        check_number("TableFeatures", "numeric", numeric, 0)
        if embedding is not None:
            check_number("TableFeatures", "embedding", embedding, 1)
        for codes in categories:
            check_number("TableFeatures", "categories", codes, 1)
        if not numeric and not categories:
            raise ValueError(
                "`TableFeatures` should have a column. Found `numeric=0` and no `categories`."
                " Set one of them."
            )
        super().__init__()
        self.numeric = numeric
        self.categories = tuple(categories)
        widths = [embedding or _rule_of_thumb(codes) for codes in categories]
        self.norm = nn.BatchNorm1d(numeric, affine=False) if numeric else nn.Identity()
        self.embeddings = nn.ModuleList(map(nn.Embedding, categories, widths))
        self.out_features = numeric + sum(widths)

    def forward(self, table: Float[Tensor, "N columns"]) -> Float[Tensor, "N F"]:
        """The features of each row.

        Raises:
            TypeError: if the table is not of a floating type.
            ValueError: if it has other columns, a code is none of its column's or not exact in the
                table's type, or there is one row to standardise in training.
        """
        self._check(table)
        codes = table[:, self.numeric :]
        if on_host(table) and not torch.compiler.is_compiling() and not torch.jit.is_tracing():  # type: ignore[attr-defined]
            self._check_codes(codes)
        columns = codes.long().unbind(1)
        embedded = [embed(code) for embed, code in zip(self.embeddings, columns, strict=True)]
        return torch.cat([self.norm(table[:, : self.numeric]), *embedded], dim=1)

    def _check(self, table: Tensor) -> None:
        """Raise unless the table is what the backbone was built for, whatever its values."""
        check_shape("TableFeatures", "table", table, ("N", self.numeric + len(self.categories)))
        if not table.is_floating_point():
            raise TypeError(
                f"The table of `TableFeatures` should be of a floating type. Found {table.dtype}."
            )
        exact = 2 / torch.finfo(table.dtype).eps
        if max(self.categories, default=0) > exact:
            raise ValueError(
                f"The table of `TableFeatures` should be of a type that has every code. Found"
                f" {table.dtype}, exact to {exact:g}, and {max(self.categories)} codes. Keep it in"
                " float32 or float64, for instance by `precision=32` or a mixed precision."
            )
        if self.training and self.numeric and len(table) == 1:
            raise ValueError(
                "`TableFeatures` should be trained on two or more rows at a time, because batch"
                " norm standardises by their statistics. Found one. Raise `batch_size`, and leave"
                " out an incomplete last batch by `drop_last=True`."
            )

    def _check_codes(self, codes: Float[Tensor, "N categories"]) -> None:
        limits = codes.new_tensor(self.categories)
        wrong = (codes < 0) | (codes >= limits) | (codes != codes.floor())
        if wrong.any():
            column = int(wrong.any(0).nonzero()[0])
            raise ValueError(
                f"The table of `TableFeatures` should have codes from 0 to"
                f" {self.categories[column] - 1} in column {self.numeric + column}. Found"
                f" {float(codes[wrong[:, column], column][0]):g}. Raise its entry of `categories`,"
                " or map what it stands for to a code."
            )


def _rule_of_thumb(codes: int) -> int:
    return min(600, round(1.6 * codes**0.56))
