import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from lightning_mtl.data.augmentation.modalities import MODALITIES, Distance, Labels, change_view
from lightning_mtl.data.augmentation.transforms import (
    ColorJitter,
    Compose,
    RandomHorizontalFlip,
    RandomRotation,
    RandomZoom,
    Resize,
)
from lightning_mtl.data.augmentation.views import flip, resize, rotation, zoom
from lightning_mtl.data.geometry import backproject, normals_from_depth, unit

SIZE = (60, 80)
INTRINSICS = torch.tensor([[70.0, 0.0, 41.0], [0.0, 70.0, 28.0], [0.0, 0.0, 1.0]])
VIEWS = {
    "flip": flip(SIZE),
    "zoom_in": zoom(SIZE, 1.37, place=(0.2, 0.9), tilt_normals=True),
    "zoom_out": zoom(SIZE, 0.8, tilt_normals=True),
    "rotation": rotation(SIZE, 25.0),
    "larger": resize(SIZE, (90, 110)),
    "smaller": resize(SIZE, (45, 50)),
}
PLANES = [(0.0, 0.0, -1.0), (0.0, -1.0, -1.0), (0.6, 0.3, -1.0)]

each_view = pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)


def plane_sample(direction: tuple[float, float, float], size=SIZE) -> dict[str, Tensor]:
    """A tilted plane n·X = -2 in closed form, with every kind of label."""
    normal = F.normalize(torch.tensor(direction), dim=0)
    rays = backproject(torch.ones(1, *size), INTRINSICS)
    depth = (-2 / torch.einsum("c,chw->hw", normal, rays))[None]
    return {
        "image": torch.rand(3, *size),
        "segmentation": torch.randint(5, size),
        "human_parts": torch.randint(5, size),
        "saliency": torch.randint(2, size).float(),
        "edges": torch.randint(2, size).float(),
        "annotators": torch.randint(2, (3, *size)).float(),
        "depth": depth,
        "disparity": 1 / depth,
        "normals": normal[:, None, None].expand(3, *size).clone(),
        "keypoints": torch.rand(2, *size),
        "attributes": torch.randint(2, (4,)).float(),
        "left": torch.tensor(3),
        "right": torch.tensor(8),
        "intrinsics": INTRINSICS,
    }


def pixel_ramp(size=SIZE) -> Tensor:
    v, u = torch.meshgrid(torch.arange(size[0]), torch.arange(size[1]), indexing="ij")
    return torch.stack([u, v, torch.ones_like(u)]).float()


def covered(view) -> Tensor:
    """Pixels of the new view whose whole neighbourhood lay in the old one."""
    return eroded(view.warp(torch.ones(1, *SIZE), False, 0.0))


def eroded(mask: Tensor) -> Tensor:
    return -F.max_pool2d(-F.pad(mask, (2, 2, 2, 2)), 5, stride=1)[0] > 0


@each_view
def test_the_declared_pixel_map_is_where_the_pixels_go(view):
    """The picture u of pixel columns and rows shows, at p', the place A⁻¹ p' that it came from."""
    old = view.warp(pixel_ramp(), True, 0.0)
    new = torch.einsum("ij,jhw->ihw", view.pixels.float(), old)
    inside = covered(view)
    assert inside.sum() > 0.3 * inside.numel()
    errors = (new - pixel_ramp(tuple(inside.shape)))[:2, inside]
    # An antialiasing filter on a grid shifts single pixels a little, and none of them on average.
    assert errors.abs().max() < 0.15
    assert errors.mean(1).abs().max() < 0.005

    nearest = torch.einsum("ij,jhw->ihw", view.pixels.float(), view.warp(pixel_ramp(), False, 0.0))
    errors = (nearest - pixel_ramp(tuple(inside.shape)))[:2, inside]
    enlargement = view.pixels[:2, :2].abs().sum(1).max()
    assert errors.abs().max() <= 0.5 * enlargement + 1e-3


@each_view
@pytest.mark.parametrize("direction", PLANES)
def test_depth_normals_and_intrinsics_still_describe_one_plane(view, direction):
    """n'·X' = const with X' back-projected from the new depth: exact but for nearest depth."""
    sample = change_view(plane_sample(direction), view, MODALITIES)
    points = backproject(sample["depth"], sample["intrinsics"])
    offsets = (sample["normals"] * points).sum(0)[covered(view)]
    assert offsets.std() < 0.015 * offsets.mean().abs()


@each_view
@pytest.mark.parametrize("direction", PLANES)
def test_normals_agree_with_those_computed_from_the_new_depth(view, direction):
    sample = change_view(plane_sample(direction), view, MODALITIES)
    computed = normals_from_depth(sample["depth"], sample["intrinsics"], window=9, max_jump=0.3)
    inside = covered(view) & computed.any(0)
    mean = unit(computed[:, inside].mean(1)[:, None, None])[:, 0, 0]
    assert (mean @ sample["normals"][:, inside]).min() > 0.9995


@each_view
def test_uncovered_pixels_are_invalid_and_covered_ones_keep_their_labels(view):
    sample = plane_sample((0.0, 0.0, -1.0))
    seen = change_view(sample, view, MODALITIES)
    uncovered = view.warp(torch.ones(1, *SIZE), False, 0.0)[0] == 0
    for name in ("segmentation", "human_parts", "saliency", "edges"):
        assert seen[name].dtype == sample[name].dtype
        assert (seen[name][uncovered] == 255).all()
        assert set(seen[name][~uncovered].unique().tolist()) == set(sample[name].unique().tolist())
    assert not seen["depth"][0][uncovered].any()
    assert not seen["disparity"][0][uncovered].any()
    assert (seen["depth"][0][~uncovered] > 0).all()
    # Pictures and normals are interpolated, and may differ in the rim.
    outside = eroded(uncovered[None].float())
    assert not seen["normals"][:, outside].any()
    assert not seen["image"][:, outside].any()
    assert seen["normals"][:, covered(view)].any(0).all()


@each_view
def test_normals_are_unit_or_zero(view):
    sample = plane_sample((0.0, -1.0, -1.0))
    sample["normals"] = unit(torch.randn(3, *SIZE))
    sample["normals"][:, torch.rand(SIZE) < 0.4] = 0
    lengths = change_view(sample, view, MODALITIES)["normals"].norm(dim=0)
    assert torch.minimum(lengths, (lengths - 1).abs()).max() < 1e-5
    assert 0 < (lengths > 0).float().mean() < 1


@each_view
def test_invalid_pixels_do_not_bleed(view):
    sample = plane_sample((0.0, 0.0, -1.0))
    hidden = torch.rand(SIZE) < 0.4
    for name, invalid in (("segmentation", 255), ("edges", 255), ("depth", 0), ("normals", 0)):
        sample[name] = torch.where(hidden, invalid, sample[name])
    seen = change_view(sample, view, MODALITIES)
    assert set(seen["segmentation"].unique().tolist()) <= {0, 1, 2, 3, 4, 255}
    assert set(seen["edges"].unique().tolist()) <= {0, 1, 255}
    depths = seen["depth"][seen["depth"] > 0]
    assert torch.allclose(depths, 2 * view.points[2, 2].float())
    normals = seen["normals"][:, seen["normals"].any(0)]
    assert torch.allclose(normals, torch.tensor([[0.0], [0.0], [-1.0]]), atol=1e-6)


@each_view
@pytest.mark.parametrize("name", sorted(MODALITIES.keys() - {"image"}))
def test_any_subset_of_entries_moves_as_in_the_whole_sample(view, name):
    sample = plane_sample((0.0, -1.0, -1.0))
    whole = change_view(sample, view, MODALITIES)
    part = change_view({"image": sample["image"], name: sample[name]}, view, MODALITIES)
    assert part.keys() == {"image", name}
    assert torch.equal(part[name], whole[name])


def test_two_flips_restore_the_sample():
    sample = plane_sample((0.6, 0.3, -1.0))
    flipped = RandomHorizontalFlip(1.0)(sample)
    assert torch.equal(flipped["image"], sample["image"].flip(-1))
    assert torch.equal(flipped["normals"][0], -sample["normals"][0].flip(-1))
    restored = RandomHorizontalFlip(1.0)(flipped)
    assert all(torch.allclose(restored[name], sample[name]) for name in sample)


def test_a_quarter_turn_is_counter_clockwise():
    size = (8, 8)
    sample = plane_sample((0.6, 0.3, -1.0), size)
    turned = change_view(sample, rotation(size, 90.0), MODALITIES)
    for name in ("image", "segmentation", "edges", "depth", "keypoints"):
        assert torch.allclose(turned[name], torch.rot90(sample[name], 1, (-2, -1)), atol=1e-4)
    x, y, z = sample["normals"][:, 0, 0]
    expected = torch.stack([y, -x, z])[:, None, None].expand(3, *size)
    assert torch.allclose(turned["normals"], expected, atol=1e-5)


def test_zoom_by_two_divides_depth_and_multiplies_disparity():
    sample = plane_sample((0.0, -1.0, -1.0))
    seen = change_view(sample, zoom(SIZE, 2.0, place=(0.0, 1.0)), MODALITIES)
    quarter = sample["depth"][:, :30, 40:]
    repeated = quarter.repeat_interleave(2, 1).repeat_interleave(2, 2)
    assert torch.allclose(seen["depth"], repeated / 2)
    assert torch.allclose(seen["disparity"], 2 / repeated)
    assert torch.equal(seen["segmentation"][::2, ::2], sample["segmentation"][:30, 40:])


def test_zoom_leaves_normals_unless_told_to_tilt_them():
    sample = plane_sample((0.6, 0.3, -1.0))
    x, y, z = sample["normals"][:, 0, 0]
    plain = change_view(sample, zoom(SIZE, 2.0), MODALITIES)["normals"]
    tilted = change_view(sample, zoom(SIZE, 2.0, tilt_normals=True), MODALITIES)["normals"]
    assert torch.allclose(plain, sample["normals"], atol=1e-6)
    expected = F.normalize(torch.stack([x, y, 2 * z]), dim=0)[:, None, None]
    assert torch.allclose(tilted, expected.expand_as(tilted), atol=1e-6)


def test_depth_is_scaled_before_an_invalid_value_is_filled_in():
    sample = {"image": torch.rand(3, 8, 8), "far": torch.full((1, 8, 8), 4.0)}
    modalities = {**MODALITIES, "far": Distance(invalid=-1)}
    seen = change_view(sample, zoom((8, 8), 0.5), modalities)["far"]
    assert seen.unique().tolist() == [-1.0, 8.0]


def test_a_downscaled_image_is_antialiased():
    bright_columns = (torch.arange(80) % 4 == 0).float()
    sample = {"image": bright_columns.expand(3, *SIZE)}
    seen = Resize((15, 20))(sample)["image"]
    assert torch.allclose(seen[:, :, 2:-2], torch.full((3, 15, 16), 0.25), atol=0.1)


@pytest.mark.parametrize(
    "transform",
    [RandomHorizontalFlip(), RandomZoom((0.7, 1.5)), RandomRotation(20), ColorJitter()],
    ids=lambda transform: type(transform).__name__,
)
def test_random_transforms_draw_from_torchs_generator_alone(transform):
    sample = plane_sample((0.0, -1.0, -1.0))
    before = {name: value.clone() for name, value in sample.items()}
    drawn = []
    for seed in (1, 1, 2, 3, 4, 5):
        torch.manual_seed(seed)
        drawn.append(transform(sample)["image"])
    assert torch.equal(drawn[0], drawn[1])
    assert any(not torch.equal(drawn[0], other) for other in drawn[2:])
    assert all(torch.equal(sample[name], before[name]) for name in sample)


def test_random_zoom_covers_its_range():
    sample = {"image": torch.rand(3, 240, 320), "depth": torch.full((1, 240, 320), 1.0)}
    transform = RandomZoom((1.0, 2.0))
    scales = [1 / float(transform(sample)["depth"].max()) for _ in range(60)]
    assert 0.995 <= min(scales) < 1.15
    assert 1.85 < max(scales) <= 2.005


def test_colours_change_the_image_only():
    sample = plane_sample((0.0, -1.0, -1.0))
    seen = ColorJitter(0.5, 0.5, 0.5, 0.1)(sample)
    assert not torch.equal(seen["image"], sample["image"])
    assert seen["image"].min() >= 0 and seen["image"].max() <= 1
    assert all(seen[name] is sample[name] for name in sample if name != "image")


def test_compose_applies_its_transforms_in_order():
    transform = Compose([Resize((30, 40)), RandomHorizontalFlip(1.0)])
    sample = plane_sample((0.0, -1.0, -1.0))
    expected = RandomHorizontalFlip(1.0)(Resize((30, 40))(sample))
    assert all(torch.equal(value, expected[name]) for name, value in transform(sample).items())
    assert transform(sample)["normals"].shape == (3, 30, 40)


def test_an_entry_that_no_modality_describes_is_an_error():
    sample = {"image": torch.rand(3, 8, 8), "roughness": torch.rand(8, 8)}
    with pytest.raises(ValueError, match=r"Found \['roughness'\]. Describe it in `modalities`"):
        RandomRotation(5)(sample)
    seen = RandomRotation(5, {**MODALITIES, "roughness": Labels()})(sample)
    assert seen["roughness"].shape == (8, 8)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: RandomHorizontalFlip(1.5), r"probability=\)` .*from 0 to 1. Found 1.5"),
        (lambda: RandomZoom((0.0, 1.0)), "`scales` should be positive"),
        (lambda: RandomZoom((1.5, 1.0)), "`scales` should be positive and in order"),
        (lambda: RandomRotation(-1), r"degrees=\)` should be at least 0. Found -1"),
        (lambda: Resize((0, 4)), "`size` should be positive"),
    ],
    ids=["probability", "scale of zero", "scales out of order", "degrees", "size"],
)
def test_arguments_out_of_range_are_errors(build, message):
    with pytest.raises(ValueError, match=message):
        build()
