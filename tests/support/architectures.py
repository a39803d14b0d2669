"""Every network of the package: how it is built, on which encoders, and what its tasks share."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.data import DataLoader
from torchvision.ops import SqueezeExcitation

from lightning_mtl import DensePrediction
from lightning_mtl.models import (
    ASTMT,
    CGC,
    JTRL,
    MTAN,
    NDDRCNN,
    PLE,
    PSD,
    CrossStitch,
    DSelectK,
    ImageFeatures,
    InvertedPyramidTransformer,
    LearningToBranch,
    LowRankAdapters,
    LowRankExperts,
    MMoE,
    MTINet,
    PADNet,
    PAPNet,
    PooledEncoder,
    SharedEncoder,
)
from lightning_mtl.tasks import Classification, Depth, Normals, Regression, Segmentation, Task

RESNET, MOBILENET = "resnet18", "mobilenet_v2"
TRANSFORMER, CONVOLUTIONAL = "tu-test_vit", "tu-test_efficientnet"
ANY = (RESNET, MOBILENET, TRANSFORMER)
STAGEWISE = (RESNET, MOBILENET, CONVOLUTIONAL)
"""Where a network does something between the stages or within the blocks of an encoder."""

Build = Callable[[Mapping[str, int], str], nn.Module]


@dataclass(frozen=True)
class Architecture:
    """A network and what is expected of it.

    Attributes:
        build: from the channels of the tasks and the name of an encoder.
        encoders: three that it works on.
        sharing: who owns the parameters whose names match a pattern, see `differences`; or what
            lists that for the network.
        tasks: how many tasks it can have at most.
        dense: whether it predicts something at every pixel.
    """

    build: Build
    encoders: tuple[str, ...]
    sharing: Mapping[str, str] | Callable[[nn.Module], Mapping[str, str]]
    tasks: int = 3
    dense: bool = True


def dense(network: type[nn.Module], **arguments: object) -> Build:
    """A network for images; its parts are narrow, since tests run on a CPU."""
    return lambda channels, encoder: partial(network, **arguments)(channels, encoder=encoder)


def of_features(network: type[nn.Module], **arguments: object) -> Build:
    """A network for features, which here are those of an image."""
    return lambda channels, encoder: network(channels, ImageFeatures(encoder), **arguments)


HARD = {"encoder.*": "shared", "*.{task}.*": "{task}"}
PARALLEL = {
    "networks.*.encoder.*": "shared",
    "units.5.fusions.0.*": "one",
    "units.5.fusions.1.*": "two",
    "units.5.fusions.2.*": "three",
    "units.*": "shared",
    "networks.{task}.*": "{task}",
}


def conditioned(network: nn.Module) -> dict[str, str]:
    """Batch norm, adapters and squeeze-and-excitation are of a task, all other parts shared."""
    owners = {}
    for name, module in network.named_modules():
        kinds = (_BatchNorm, SqueezeExcitation)
        if name.startswith("encoders.") and (isinstance(module, kinds) or name.endswith("adapter")):
            owners[f"{name}.*"] = name.split(".")[1]
    # The discriminator reads the losses, not the predictions.
    others = {"discriminator.*": "", "encoders.*": "shared", "*.{task}.*": "{task}"}
    return owners | others


REFINED = {
    **dict.fromkeys(
        [f"{part}.{{task}}.*" for part in ("initial", "mixtures", "transfers", "heads")], "{task}"
    ),
    "distillation.targets.{task}.*": "{task}",
    "*": "shared",
}
MULTI_SCALE = {
    "initial.?.{task}.*": "{task}",
    "distillation.?.targets.{task}.*": "{task}",
    "heads.{task}.*": "{task}",
    "*": "shared",
}
IN_TURNS = {"heads.?.{task}.*": "{task}", "turns.7.*": "two", "*": "shared"}
JOINT_TOKENS = {
    "preliminary_heads.{task}.*": "{task}",
    "heads.{task}.*": "{task}",
    "*": "shared",
}
ROUTED = {
    **dict.fromkeys(
        [
            *(f"{part}.{{task}}.*" for part in ("initial", "initial_heads", "heads")),
            *(f"blocks.?.{part}.{{task}}.*" for part in ("routers", "specific", "norms")),
        ],
        "{task}",
    ),
    "*": "shared",
}
ADAPTED = {"*.of_task.{task}.*": "{task}", **HARD, "baseline.encoder.*": "shared"}
GATED = {"gates.{task}.*": "{task}", "towers.{task}.*": "{task}", "*": "shared"}
EXTRACTED = {
    "levels.0.gates.{task}.*": "{task}",
    "levels.1.gates.{task}.*": "{task}",
    "levels.1.own.{task}.*": "{task}",
    "towers.{task}.*": "{task}",
    "*": "shared",
}
CUSTOMISED = {
    "level.own.{task}.*": "{task}",
    "level.gates.{task}.*": "{task}",
    "towers.{task}.*": "{task}",
    "*": "shared",
}
BRANCHED = {"task_choices.{task}*": "{task}", "towers.{task}.*": "{task}", "*": "shared"}

ARCHITECTURES = {
    "SharedEncoder": Architecture(dense(SharedEncoder, decoder="fpn"), ANY, HARD),
    "SharedEncoder(linear)": Architecture(dense(SharedEncoder, decoder="linear"), ANY, HARD),
    "CrossStitch": Architecture(dense(CrossStitch, decoder="fpn"), STAGEWISE, PARALLEL),
    "NDDRCNN": Architecture(dense(NDDRCNN, decoder="fpn"), STAGEWISE, PARALLEL),
    "MTAN": Architecture(
        dense(MTAN, decoder="fpn"),
        STAGEWISE,
        {
            "baseline.encoder.*": "shared",
            "refinements.*": "shared",
            "*.{task}.*": "{task}",
        },
    ),
    "ASTMT": Architecture(dense(ASTMT, decoder="fpn"), STAGEWISE, conditioned),
    "adversarial ASTMT": Architecture(
        dense(ASTMT, decoder="fpn", adversarial=0.01), STAGEWISE, conditioned
    ),
    "PADNet": Architecture(dense(PADNet, width=16), ANY, REFINED),
    "MTINet": Architecture(dense(MTINet, widths=(8, 8, 16, 16)), ANY, MULTI_SCALE),
    "PAPNet": Architecture(dense(PAPNet, width=16, affinity_width=8), ANY, REFINED),
    "JTRL": Architecture(dense(JTRL, width=8), ANY, IN_TURNS, tasks=2),
    "PSD": Architecture(dense(PSD, width=16, affinity_width=8), ANY, REFINED),
    "InvertedPyramid": Architecture(dense(InvertedPyramidTransformer), ANY, JOINT_TOKENS),
    "LowRankExperts": Architecture(dense(LowRankExperts, width=16), ANY, ROUTED),
    "LowRankAdapters": Architecture(dense(LowRankAdapters), (TRANSFORMER,), ADAPTED),
    "PooledEncoder": Architecture(dense(PooledEncoder), ANY, HARD, dense=False),
    "MMoE": Architecture(of_features(MMoE), ANY, GATED, dense=False),
    "CGC": Architecture(of_features(CGC), ANY, CUSTOMISED, dense=False),
    "PLE": Architecture(of_features(PLE, levels=2), ANY, EXTRACTED, dense=False),
    "DSelectK": Architecture(of_features(DSelectK), ANY, GATED, dense=False),
    "LearningToBranch": Architecture(of_features(LearningToBranch), ANY, BRANCHED, dense=False),
}
TASKS = ("one", "two", "three")
CASES = [
    (name, encoder) for name, expected in ARCHITECTURES.items() for encoder in expected.encoders
]


def channels_of(name: str) -> dict[str, int]:
    """Three tasks, or as many as the network can have."""
    return dict(zip(TASKS[: ARCHITECTURES[name].tasks], (1, 5, 2), strict=False))


def built(name: str, encoder: str) -> nn.Module:
    torch.manual_seed(0)
    return ARCHITECTURES[name].build(channels_of(name), encoder)


def tasks_of(name: str) -> list[Task]:
    """As many tasks as the network can have, of different kinds."""
    if ARCHITECTURES[name].dense:
        tasks = [Depth(name="one"), Segmentation(5, name="two"), Normals(name="three")]
    else:
        tasks = [Regression("one"), Classification(5, name="two")]
        tasks.append(Regression("three", 2))
    return tasks[: ARCHITECTURES[name].tasks]


def batch(name: str, samples: int) -> dict[str, Tensor]:
    """Images of noise with targets of noise."""
    torch.manual_seed(2)
    if ARCHITECTURES[name].dense:
        normals = nn.functional.normalize(torch.randn(samples, 3, 32, 40), dim=1)
        targets = (torch.rand(samples, 1, 32, 40) + 1, torch.randint(5, (samples, 32, 40)), normals)
    else:
        targets = (torch.rand(samples, 1), torch.randint(5, (samples,)), torch.rand(samples, 2))
    return {"image": torch.rand(samples, 3, 32, 40), **dict(zip(TASKS, targets, strict=True))}


def loader(name: str, samples: int = 4) -> DataLoader[dict[str, Tensor]]:
    """Batches of two."""
    whole = batch(name, samples)
    keys = ["image", *(task.name for task in tasks_of(name))]
    return DataLoader([{key: whole[key][i] for key in keys} for i in range(samples)], batch_size=2)


def training_module(name: str, encoder: str) -> DensePrediction:
    """The ready-made module with a network, from a fixed seed."""
    torch.manual_seed(0)
    return DensePrediction(
        tasks_of(name),
        lambda channels: ARCHITECTURES[name].build(channels, encoder),
        optimizer=lambda parameters: torch.optim.SGD(parameters, lr=1e-3),
    )
