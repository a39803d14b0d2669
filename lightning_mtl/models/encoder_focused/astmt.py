"""Attentive single-tasking of multiple tasks."""

import math
from collections.abc import Mapping
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from lightning_mtl.checks import check_number
from lightning_mtl.models.decoders.build import Decoder
from lightning_mtl.models.dense_network import DenseNetwork
from lightning_mtl.models.encoder_focused.task_discriminator import TaskDiscriminator
from lightning_mtl.models.encoder_focused.task_encoder import task_encoder
from lightning_mtl.models.encoders.dilation import Dilation
from lightning_mtl.models.shared_encoder import SharedEncoder

__all__ = ["ASTMT"]


class ASTMT(DenseNetwork):
    """One pass per task through an encoder whose convolutions are shared and whose norms are not.

    Maninis, Radosavovic & Kokkinos, "Attentive Single-Tasking of Multiple Tasks", CVPR 2019,
    section 3. Each task has, at every residual block, a 1 x 1 convolution beside each larger one
    (residual adapter, zero at the start), squeeze-and-excitation at the end of the residual branch,
    and batch norm of its own. With `adversarial` above 0, the loss of task t becomes
    (1 - w) L_t + w L_d: the cross entropy L_d of a discriminator that reads, at each pixel, the
    task off the normalised gradient dL_t/dfeatures, and whose own gradient is reversed for the
    network, times 2 / (1 + exp(-10 p)) - 1, with p the share of the training that is done.

    Deviations: the decoder is one for each task, as in the other networks here, not shared and
    conditioned. All tasks are trained in one step, unless the weighting trains them in turn.
    Gradients are reversed at the features of the last stage. Squeeze-and-excitation is on
    any encoder, in addition to what it has of its own.

    Args:
        channels: output channels by task.
        encoder: name of an encoder of residual blocks: a ResNet, RegNet, MobileNet or EfficientNet.
        encoder_weights: as smp has them; `None` starts from scratch and downloads nothing.
        decoder: as in `SharedEncoder`.
        output_stride: of the encoder, as in `SharedEncoder`; the paper has 16.
        adapters: whether there are residual adapters.
        squeeze_reduction: by how much squeeze-and-excitation narrows its channels, at least 1; 0
            leaves it out.
        adversarial: w, the weight of the adversarial loss, 0 to 1; the paper has .01. Above 0, the
            gradients at the features are differentiated again: at least twice the time.
        discriminator_lr_multiplier: what the learning rate is multiplied by for the discriminator.
        in_channels: channels of the image.
        dilation: of a ResNet with `output_stride` 8 or 16, "smp" or "survey", see `build_encoder`.

    Raises:
        ValueError: if an argument is out of range, or the encoder or the decoder does not fit.
    """

    def __init__(
        self,
        channels: Mapping[str, int],
        encoder: str = "resnet18",
        encoder_weights: str | None = None,
        decoder: Decoder = "unet",
        output_stride: int = 32,
        adapters: bool = True,
        squeeze_reduction: int = 16,
        adversarial: float = 0.0,
        discriminator_lr_multiplier: float = 10.0,
        in_channels: int = 3,
        dilation: Dilation = "smp",
    ) -> None:
        check_number("ASTMT", "squeeze_reduction", squeeze_reduction, 0)
        check_number("ASTMT", "adversarial", adversarial, 0, 1)
        check_number("ASTMT", "discriminator_lr_multiplier", discriminator_lr_multiplier, 0)
        super().__init__(32, in_channels)
        baseline = SharedEncoder(
            channels,
            encoder,
            encoder_weights,
            decoder,
            output_stride,
            in_channels,
            dilation=dilation,
        )
        width = baseline.encoder.out_channels[-1]
        self.encoders = nn.ModuleDict(
            {task: task_encoder(baseline.encoder, adapters, squeeze_reduction) for task in channels}
        )
        self.decoders, self.heads = baseline.decoders, baseline.heads
        self.discriminator = TaskDiscriminator(width, list(channels)) if adversarial else None
        self.adversarial = adversarial
        self.discriminator_lr_multiplier = discriminator_lr_multiplier
        self.reversal = 1.0
        self._features: dict[str, Tensor] = {}

    def predict(self, image: Float[Tensor, "N I H W"]) -> dict[str, Float[Tensor, "N C h w"]]:
        """A pass of the encoder and of the decoder for each task."""
        features = {task: encoder(image) for task, encoder in self.encoders.items()}
        if self.discriminator is not None and self.training:
            self._features = {task: own[-1] for task, own in features.items()}
        return {
            task: self.heads[task](decoder(features[task]))
            for task, decoder in self.decoders.items()
        }

    def training_losses(self, losses: dict[str, Float[Tensor, ""]]) -> dict[str, Float[Tensor, ""]]:
        """The losses with their adversarial parts. Called after the predictions of each batch."""
        features, self._features = self._features, {}
        # A network in evaluation mode, as a frozen one is, has kept no features.
        if self.discriminator is None or not features:
            return losses
        weight = self.adversarial
        return {
            task: (1 - weight) * loss
            + weight * self.discriminator.loss(task, loss, features[task], self.reversal)
            for task, loss in losses.items()
        }

    def lr_multiplier(self, name: str) -> float:
        """`discriminator_lr_multiplier` for the discriminator, 1 for all else."""
        return self.discriminator_lr_multiplier if name.startswith("discriminator.") else 1.0

    def may_compile(self, name: str) -> bool:
        """No decoder of an adversarial network: it is differentiated twice, code only once."""
        return not (self.adversarial and name.startswith("decoders."))

    def start_epoch(self, progress: float) -> None:
        """Let the reversed gradient grow with the share of the training that is done."""
        self.reversal = 2 / (1 + math.exp(-10 * progress)) - 1

    def __getstate__(self) -> dict[str, Any]:
        # Tensors with a graph can be neither copied nor saved.
        return {**self.__dict__, "_features": {}}
