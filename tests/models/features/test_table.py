import pytest
import torch
from torch import nn

from lightning_mtl.models.features.table import TableFeatures


def table(*codes: float) -> torch.Tensor:
    """One numeric column, and one of codes."""
    column = torch.tensor(codes)
    return torch.stack([torch.linspace(-3, 7, len(codes)), column], dim=1)


def test_numbers_are_standardised_by_the_batch_and_later_by_running_means():
    backbone, rows = TableFeatures(2), torch.randn(64, 2) * torch.tensor([5.0, 0.1]) + 3
    found = backbone(rows)
    torch.testing.assert_close(found.mean(0), torch.zeros(2), atol=1e-5, rtol=0)
    torch.testing.assert_close(found.var(0, correction=0), torch.ones(2), atol=1e-2, rtol=0)
    for _ in range(100):
        backbone(rows)
    torch.testing.assert_close(backbone.eval()(rows), found, atol=0.05, rtol=0)


def test_a_code_becomes_its_row_of_the_embedding_after_the_numbers():
    backbone = TableFeatures(1, [3], embedding=4).eval()
    found = backbone(table(2, 0, 1))
    assert backbone.out_features == found.shape[1] == 5
    torch.testing.assert_close(found[:, 1:], backbone.embeddings[0].weight[[2, 0, 1]])


def test_each_column_of_codes_has_its_own_embedding():
    backbone = TableFeatures(0, [2, 3], embedding=2)
    found = backbone(torch.tensor([[1.0, 2.0]]))
    expected = torch.cat([backbone.embeddings[0].weight[1], backbone.embeddings[1].weight[2]])
    torch.testing.assert_close(found[0], expected)


@pytest.mark.parametrize(("codes", "width"), [(2, 2), (10, 6), (1000, 77), (10**7, 600)])
def test_an_embedding_is_as_wide_as_the_rule_of_thumb_says(codes, width):
    with torch.device("meta"):
        assert TableFeatures(0, [codes]).out_features == width


@pytest.mark.parametrize("code", [3.0, -1.0, 0.5, float("nan")])
def test_a_value_that_is_no_code_is_an_error_that_says_where(code):
    with pytest.raises(ValueError, match=rf"from 0 to 2 in column 1\. Found {code:g}"):
        TableFeatures(1, [3])(table(0, code))


def test_a_type_that_cannot_tell_codes_apart_is_an_error():
    backbone = TableFeatures(0, [300]).bfloat16()
    with pytest.raises(ValueError, match=r"bfloat16, exact to 256, and 300 codes"):
        backbone(torch.zeros(2, 1, dtype=torch.bfloat16))


def test_a_table_of_integers_is_an_error():
    with pytest.raises(TypeError, match=r"floating type. Found torch.int64"):
        TableFeatures(0, [3])(torch.zeros(2, 1, dtype=torch.int64))


def test_other_columns_are_an_error():
    with pytest.raises(ValueError, match=r"shape \(N, 2\). Found \(4, 3\)"):
        TableFeatures(1, [3])(torch.zeros(4, 3))


def test_one_row_cannot_be_standardised_in_training_but_afterwards():
    backbone = TableFeatures(1)
    with pytest.raises(ValueError, match=r"two or more rows .* Found one"):
        backbone(torch.ones(1, 1))
    assert backbone.eval()(torch.ones(1, 1)).shape == (1, 1)


@pytest.mark.parametrize(
    "arguments",
    [
        {"numeric": -1},
        {"numeric": 0},
        {"numeric": 1, "categories": [0]},
        {"numeric": 1, "categories": [3], "embedding": 0},
    ],
    ids=["less than no column", "no column", "no code", "no feature"],
)
def test_arguments_out_of_range_are_errors(arguments):
    with pytest.raises(ValueError, match="Found"):
        TableFeatures(**arguments)


def test_gradients_reach_every_embedding():
    backbone = TableFeatures(1, [2, 2])
    backbone(torch.tensor([[0.0, 1.0, 0.0], [1.0, 0.0, 1.0]])).sum().backward()
    assert len(list(backbone.parameters())) == 2
    assert all(parameter.grad is not None for parameter in backbone.parameters())


def test_an_exported_backbone_gives_the_same_numbers_for_any_number_of_rows():
    backbone, rows = TableFeatures(1, [3]).eval(), table(0, 1, 2)
    shapes = {"table": {0: torch.export.Dim("rows")}}
    exported = torch.export.export(backbone, (rows,), dynamic_shapes=shapes).module()
    more = torch.cat([rows, rows])
    torch.testing.assert_close(exported(more), backbone(more))


def test_it_is_compiled_as_one_graph():
    backbone = nn.Sequential(TableFeatures(1, [3])).eval()
    compiled = torch.compile(backbone, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(table(0, 1)), backbone(table(0, 1)))
