"""Cross-Stitch and NDDR-CNN: one network per task, which exchange features after stages."""

from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from lightning_mtl import DensePrediction
from lightning_mtl.models import NDDRCNN, CrossStitch, SharedEncoder
from lightning_mtl.models.encoder_focused.cross_stitch import CrossStitchUnit
from lightning_mtl.models.encoder_focused.nddr_cnn import NDDRUnit
from lightning_mtl.tasks import Depth, Segmentation
from tests.support.sharing import can_be_cut, differences
from tests.support.toy import quiet_trainer

CHANNELS = {"segmentation": 5, "depth": 1, "normals": 3}
KINDS = pytest.mark.parametrize("kind", [CrossStitch, NDDRCNN], ids=["cross-stitch", "nddr"])
ENCODER = "tu-test_resnet"


def image(*size: int) -> Tensor:
    torch.manual_seed(1)
    return torch.rand(2, 3, *size)


def alone(network: CrossStitch | NDDRCNN, inputs: Tensor) -> dict[str, Tensor]:
    """What the network of each task predicts by itself."""
    return {task: own(inputs)[task] for task, own in network.networks.items()}


@KINDS
@pytest.mark.parametrize("encoder", ["resnet18", "mobilenet_v2", "tu-convnext_atto"])
def test_predictions_have_the_size_of_the_image(kind: type, encoder: str) -> None:
    predictions = kind(CHANNELS, encoder, decoder="fpn")(image(50, 70))
    assert {task: tuple(found.shape) for task, found in predictions.items()} == {
        task: (2, channels, 50, 70) for task, channels in CHANNELS.items()
    }


def test_cross_stitch_with_identities_is_separate_networks() -> None:
    network = CrossStitch(CHANNELS, ENCODER, alpha=1.0).eval()
    found, expected = network(image(64, 96)), alone(network, image(64, 96))
    for task in CHANNELS:
        torch.testing.assert_close(found[task], expected[task], atol=1e-6, rtol=1e-5)


def test_cross_stitch_with_other_weights_is_not() -> None:
    network = CrossStitch(CHANNELS, ENCODER).eval()
    found, expected = network(image(64, 96)), alone(network, image(64, 96))
    assert all(not torch.allclose(found[t], expected[t], atol=1e-4) for t in CHANNELS)


def test_nddr_with_beta_zero_depends_on_no_other_task() -> None:
    network = NDDRCNN(CHANNELS, ENCODER, alpha=1.0, beta=0.0).eval()
    before = network(image(64, 96))
    with torch.no_grad():
        for parameter in network.networks["normals"].parameters():
            parameter.normal_()
    after = network(image(64, 96))
    assert torch.equal(before["segmentation"], after["segmentation"])
    assert torch.equal(before["depth"], after["depth"])
    assert not torch.allclose(before["normals"], after["normals"])


def test_nddr_with_beta_zero_and_positive_features_is_its_own_network() -> None:
    """Batch norm in evaluation divides by sqrt(1 + eps), and ReLU leaves what is positive."""
    network = NDDRCNN(CHANNELS, ENCODER, alpha=1.0, beta=0.0).eval()
    for unit in network.units.values():
        for fusion in unit.fusions:
            fusion[1].eps = 0.0
    found, expected = network(image(64, 96)), alone(network, image(64, 96))
    for task in CHANNELS:
        torch.testing.assert_close(found[task], expected[task], atol=1e-5, rtol=1e-5)


def test_a_cross_stitch_unit_mixes_channel_by_channel() -> None:
    torch.manual_seed(0)
    unit = CrossStitchUnit(torch.rand(3, 3), width=4)
    unit.coefficients.data.uniform_()
    maps = [torch.rand(2, 4, 5, 6) for _ in range(3)]
    for i, found in enumerate(unit(maps)):
        expected = sum(unit.coefficients[i, j].view(4, 1, 1) * maps[j] for j in range(3))
        torch.testing.assert_close(found, expected)


def test_an_nddr_unit_starts_with_weighted_sums_of_the_tasks() -> None:
    unit = NDDRUnit(torch.tensor([[0.8, 0.2], [0.1, 0.9]]), width=3).eval()
    one, two = torch.rand(2, 3, 4, 5), torch.rand(2, 3, 4, 5)
    found = unit([one, two])
    scale = (1 + unit.fusions[0][1].eps) ** -0.5
    torch.testing.assert_close(found[0], (0.8 * one + 0.2 * two) * scale)
    torch.testing.assert_close(found[1], (0.1 * one + 0.9 * two) * scale)


def test_by_default_the_weights_of_a_task_sum_to_one() -> None:
    network = CrossStitch(CHANNELS, ENCODER, alpha=0.8)
    for unit in network.units.values():
        torch.testing.assert_close(unit.coefficients.sum(1), torch.ones_like(unit.coefficients[0]))
        assert unit.coefficients[0, 0, 0].item() == pytest.approx(0.8)


def test_units_stand_after_every_stage_and_nddr_has_one_after_the_stem() -> None:
    assert list(CrossStitch(CHANNELS, ENCODER).units) == ["2", "3", "4", "5"]
    assert list(NDDRCNN(CHANNELS, ENCODER).units) == ["1", "2", "3", "4", "5"]


@KINDS
def test_encoders_and_units_are_shared_and_decoders_are_not(kind: type) -> None:
    network, inputs = kind(CHANNELS, ENCODER), image(64, 64)
    expected = {
        "networks.*.encoder.*": "shared",
        # What the last unit makes goes to the decoder of its task alone.
        "units.5.fusions.0.*": "segmentation",
        "units.5.fusions.1.*": "depth",
        "units.5.fusions.2.*": "normals",
        "units.*": "shared",
        "networks.{task}.*": "{task}",
    }
    assert not differences(network, inputs, expected)
    assert can_be_cut(network, inputs)


@KINDS
def test_the_learning_rate_of_units_is_multiplied(kind: type) -> None:
    network = kind({"depth": 1}, ENCODER, unit_lr_multiplier=7.0)
    found = {name: network.lr_multiplier(name) for name, _ in network.named_parameters()}
    assert {found[name] for name in found if name.startswith("units.")} == {7.0}
    assert {found[name] for name in found if name.startswith("networks.")} == {1.0}


def single_task_run(task: Depth | Segmentation, folder: Path) -> str:
    network = DensePrediction([task], lambda c: SharedEncoder(c, ENCODER, decoder="fpn"))
    frame = {"image": torch.rand(3, 64, 64), "depth": torch.rand(1, 64, 64) + 1}
    frame["segmentation"] = torch.zeros(64, 64, dtype=torch.long)
    trainer = quiet_trainer(max_steps=1)
    loader = DataLoader([frame, frame], batch_size=2)
    trainer.fit(network, loader, loader)
    trainer.save_checkpoint(folder / f"{task.name}.ckpt")
    return str(folder / f"{task.name}.ckpt")


@KINDS
def test_it_starts_from_single_task_checkpoints(kind: type, tmp_path: Path) -> None:
    torch.manual_seed(0)
    files = {t.name: single_task_run(t, tmp_path) for t in (Depth(), Segmentation(5))}
    network = kind({"depth": 1, "segmentation": 5}, ENCODER, decoder="fpn", checkpoints=files)
    for task, file in files.items():
        saved = torch.load(file, weights_only=True)["state_dict"]
        for name, value in network.networks[task].state_dict().items():
            assert torch.equal(value, saved[f"network.{name}"])


@KINDS
def test_a_checkpoint_of_another_network_is_an_error_that_says_so(
    kind: type, tmp_path: Path
) -> None:
    file = single_task_run(Depth(), tmp_path)
    with pytest.raises(ValueError, match=r"one task under the same name.* Found another network"):
        kind({"depth": 1}, "resnet18", decoder="fpn", checkpoints={"depth": file})
    with pytest.raises(FileNotFoundError, match=r"Found none at .*no\.ckpt, for the task `depth`"):
        kind({"depth": 1}, ENCODER, checkpoints={"depth": "no.ckpt"})
    with pytest.raises(ValueError, match=r"one file for each of the tasks \['depth'\]"):
        kind({"depth": 1}, ENCODER, checkpoints={"edges": file})


@KINDS
@pytest.mark.parametrize(
    "arguments",
    [{"alpha": -0.1}, {"beta": -1.0}, {"alpha": 1.5}, {"unit_lr_multiplier": -1}],
    ids=["negative alpha", "negative beta", "alpha above one", "negative multiplier"],
)
def test_arguments_out_of_range_are_errors(kind: type, arguments: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="Found"):
        kind(CHANNELS, ENCODER, **arguments)


def test_sizes_are_those_of_the_survey() -> None:
    """80 and 102 million parameters for two tasks of NYUD on ResNet-50."""
    published = {"encoder": "resnet50", "decoder": "deeplabv3", "output_stride": 8}
    with torch.device("meta"):
        for kind, millions in ((CrossStitch, 80), (NDDRCNN, 102)):
            network = kind({"segmentation": 40, "depth": 1}, **published)
            found = sum(parameter.numel() for parameter in network.parameters()) / 1e6
            assert found == pytest.approx(millions, rel=0.01)
