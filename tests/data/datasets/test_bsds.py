import pytest
import torch

from lightning_mtl.data import BSDS500, BSDS500DataModule, collate
from tests.support import layouts


@pytest.fixture
def root(tmp_path):
    layouts.bsds(tmp_path)
    return tmp_path


@pytest.mark.parametrize(("agreement", "expected"), [(0.5, (1, 1, 255)), (0.7, (1, 255, 255))])
def test_edges_are_where_enough_annotators_have_drawn(root, agreement, expected):
    edges = BSDS500(root, agreement=agreement)[0]["edges"]
    assert tuple(edges[5, [10, 20, 30]].tolist()) == expected
    columns = torch.ones(48, dtype=torch.bool)
    columns[[10, 20, 30]] = False
    assert not edges[:, columns].any()


def test_the_share_must_leave_an_edge(root):
    with pytest.raises(ValueError, match=r"`agreement` should lie in \[0, 1\). Found 1"):
        BSDS500(root, agreement=1)


def test_portraits_are_turned_together_with_their_drawings(root):
    landscape, portrait = BSDS500(root)[0], BSDS500(root)[1]
    assert portrait["image"].shape == landscape["image"].shape
    assert portrait["annotators"].shape == landscape["annotators"].shape
    assert torch.equal(portrait["annotators"].rot90(-1, (-2, -1))[:, 10], torch.ones(3, 32))


def test_batches_keep_the_annotators_of_each_image_apart(root):
    samples = [BSDS500(root)[i] for i in range(2)]
    samples[1]["annotators"] = samples[1]["annotators"][:2]
    batch = collate(samples)
    assert [tuple(drawn.shape) for drawn in batch["annotators"]] == [(3, 32, 48), (2, 32, 48)]
    assert batch["edges"].shape == (2, 32, 48)
    del samples[0]["annotators"]
    assert [len(drawn) for drawn in collate(samples)["annotators"]] == [0, 2]


def test_annotators_are_for_evaluation(root):
    data = BSDS500DataModule(root, batch_size=1)
    for stage in ("fit", "test"):
        data.setup(stage)
    assert "annotators" not in next(iter(data.train_dataloader()))
    for loader in (data.val_dataloader(), data.test_dataloader()):
        assert [len(drawn) for drawn in next(iter(loader))["annotators"]] == [3]


@pytest.mark.parametrize(("split", "count"), [("train", 10), ("val", 4), ("test", 6)])
def test_the_real_drawings_are_thin_and_of_one_shape(shared_data, split, count):
    dataset = BSDS500(shared_data / "bsds500/BSDS500/data", split)
    assert len(dataset) == count
    for sample in dataset:
        assert sample["image"].shape == (3, 321, 481)
        assert sample["annotators"].shape[0] >= 4
        assert set(sample["annotators"].unique().tolist()) == {0, 1}
        assert 0.002 < sample["annotators"].mean() < 0.15
        drawn = sample["annotators"].any(0)
        assert torch.equal(sample["edges"] != 0, drawn)


def test_the_real_portraits_show_the_drawing_over_the_contour(shared_data):
    """Intensities change more under drawn contours than beside them, in every real image."""
    for sample in BSDS500(shared_data / "bsds500/BSDS500/data", "train"):
        grey = sample["image"].mean(0)
        change = (grey[1:, 1:] - grey[1:, :-1]).abs() + (grey[1:, 1:] - grey[:-1, 1:]).abs()
        contour = sample["annotators"].any(0)[1:, 1:]
        assert change[contour].mean() > 1.1 * change[~contour].mean()
