"""Networks: an input in, one prediction per task out."""

from lightning_mtl.models.deep_supervision import DeeplySupervisedNetwork
from lightning_mtl.models.dense_network import DenseNetwork
from lightning_mtl.models.encoder_focused.astmt import ASTMT
from lightning_mtl.models.encoder_focused.cross_stitch import CrossStitch
from lightning_mtl.models.encoder_focused.mtan import MTAN
from lightning_mtl.models.encoder_focused.nddr_cnn import NDDRCNN
from lightning_mtl.models.lenet import LeNet
from lightning_mtl.models.network import MultiTaskNetwork
from lightning_mtl.models.pooled_encoder import PooledEncoder
from lightning_mtl.models.shared_encoder import SharedEncoder

__all__ = [
    "ASTMT",
    "MTAN",
    "NDDRCNN",
    "CrossStitch",
    "DeeplySupervisedNetwork",
    "DenseNetwork",
    "LeNet",
    "MultiTaskNetwork",
    "PooledEncoder",
    "SharedEncoder",
]
