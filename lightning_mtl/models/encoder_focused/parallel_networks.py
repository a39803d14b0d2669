"""`ParallelNetworks`, one network per task with an exchange of features after stages."""

from abc import ABC, abstractmethod
from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lightning_mtl.checks import check_number
from lightning_mtl.engine.graph import join_features
from lightning_mtl.models.decoders.build import Decoder
from lightning_mtl.models.dense_network import DenseNetwork
from lightning_mtl.models.encoder_focused.single_task_start import load_single_tasks
from lightning_mtl.models.encoders.dilation import Dilation
from lightning_mtl.models.encoders.stages import all_features, encoder_stages, run
from lightning_mtl.models.shared_encoder import SharedEncoder

__all__ = ["ParallelNetworks", "own_and_other"]


class ParallelNetworks(DenseNetwork, ABC):
    """A single-task network for each task, whose encoders exchange features after some stages.

    Args:
        channels: output channels by task.
        encoder: name of an encoder whose stages run one by one: a ResNet, a MobileNet, or a
            convolutional `tu-` encoder of timm.
        encoder_weights: as smp has them; `None` starts from scratch and downloads nothing.
        decoder: as in `SharedEncoder`; the survey has "deeplabv3".
        output_stride: of the encoders, as in `SharedEncoder`; the survey has 8.
        alpha: initial weight of a task's own features, at least 0. The survey has .9 for two tasks,
            .8 for five.
        beta: initial weight of those of each other task, at least 0; by default what makes the
            weights of a task sum to one.
        unit_lr_multiplier: what the learning rate is multiplied by for the units of the exchange.
        checkpoints: by task, a checkpoint of `DensePrediction` with a `SharedEncoder` of the task
            alone, from which its network starts.
        in_channels: channels of the image.
        dilation: of a ResNet with `output_stride` 8 or 16, "smp" or "survey", see `build_encoder`.

    Raises:
        FileNotFoundError: if a checkpoint is missing.
        ValueError: if an argument is out of range, the encoder or the decoder does not fit, or a
            checkpoint is of another network.
    """

    first_level = 2
    """The level of the first stage after which features are exchanged."""

    def __init__(
        self,
        channels: Mapping[str, int],
        encoder: str = "resnet18",
        encoder_weights: str | None = None,
        decoder: Decoder = "unet",
        output_stride: int = 32,
        alpha: float = 0.9,
        beta: float | None = None,
        unit_lr_multiplier: float = 100.0,
        checkpoints: dict[str, str] | None = None,
        in_channels: int = 3,
        dilation: Dilation = "smp",
    ) -> None:
        owner = type(self).__name__
        check_number(owner, "unit_lr_multiplier", unit_lr_multiplier, 0)
        start = own_and_other(owner, len(channels), alpha, beta)
        super().__init__(32, in_channels)
        self.unit_lr_multiplier = unit_lr_multiplier
        networks = {
            task: SharedEncoder(
                {task: number},
                encoder,
                encoder_weights,
                decoder,
                output_stride,
                in_channels,
                dilation=dilation,
            )
            for task, number in channels.items()
        }
        one = next(iter(networks.values())).encoder
        levels = [stage.level for stage in encoder_stages(one) if stage.level >= self.first_level]
        self.units: Mapping[str, nn.Module] = nn.ModuleDict(  # type: ignore[assignment]
            {str(level): self.build_unit(start, one.out_channels[level]) for level in levels}
        )
        if checkpoints is not None:
            load_single_tasks(owner, networks, checkpoints)
        self.networks: Mapping[str, SharedEncoder] = nn.ModuleDict(networks)  # type: ignore[assignment]

    @abstractmethod
    def build_unit(self, start: Float[Tensor, "K K"], width: int) -> nn.Module:
        """A new unit, which maps the features of all tasks at one stage to as many new ones.

        Args:
            start: how much of the features of each task (columns) goes into each (rows) at first.
            width: channels of the features.
        """

    def lr_multiplier(self, name: str) -> float:
        """`unit_lr_multiplier` for the units, 1 for the networks."""
        return self.unit_lr_multiplier if name.startswith("units.") else 1.0

    def may_compile(self, name: str) -> bool:
        """No unit: it makes features for each task from those of all."""
        return not name.startswith("units.")

    def predict(self, image: Float[Tensor, "N I H W"]) -> dict[str, Float[Tensor, "N C h w"]]:
        """The encoders stage by stage, then each decoder on the features of its own encoder."""
        maps: list[Tensor] = [image] * len(self.networks)
        features: list[list[Tensor]] = []
        encoders = [encoder_stages(network.encoder) for network in self.networks.values()]
        *inner, last = zip(*encoders, strict=True)
        for stages in inner:
            maps = [run(stage.blocks, own) for stage, own in zip(stages, maps, strict=True)]
            level = str(stages[0].level)
            maps = self.units[level](maps) if level in self.units else maps
            features.append(maps)
        maps = [run(stage.blocks, own) for stage, own in zip(last, maps, strict=True)]
        # What the last unit makes is of one task each, but for what it is made of.
        features = _joined([*features, maps])
        features[-1] = self.units[str(last[0].level)](features[-1])
        return {
            task: network.decode(task, all_features(image, own))
            for (task, network), own in zip(
                self.networks.items(), zip(*features, strict=True), strict=True
            )
        }


def _joined(features: list[list[Tensor]]) -> list[list[Tensor]]:
    """The same features of each level and task, through one joint."""
    joined = iter(join_features([own for maps in features for own in maps]))
    return [[next(joined) for _ in maps] for maps in features]


def own_and_other(owner: str, tasks: int, alpha: float, beta: float | None) -> Float[Tensor, "K K"]:
    """The weights that each task starts with: `alpha` of its own features, `beta` of the others'.

    Args:
        owner: the class whose arguments they are, for messages.
        tasks: K, their number.
        alpha: on the diagonal.
        beta: elsewhere; by default what makes rows sum to one.

    Raises:
        ValueError: if a weight is negative.
    """
    check_number(owner, "alpha", alpha, 0)
    if beta is None:
        beta = (1 - alpha) / max(tasks - 1, 1)
        check_number(owner, "alpha", alpha, 0, 1, "Or set `beta`, by which it need not be.")
    check_number(owner, "beta", beta, 0)
    return beta + (alpha - beta) * torch.eye(tasks)
