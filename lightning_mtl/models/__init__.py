"""Networks: an input in, one prediction per task out."""

from lightning_mtl.models.adapters.low_rank_adapters import LowRankAdapters
from lightning_mtl.models.branching.learning_to_branch import LearningToBranch
from lightning_mtl.models.decoder_focused.jtrl import JTRL
from lightning_mtl.models.decoder_focused.mti_net import MTINet
from lightning_mtl.models.decoder_focused.pad_net import PADNet
from lightning_mtl.models.decoder_focused.pap_net import PAPNet
from lightning_mtl.models.decoder_focused.psd import PSD
from lightning_mtl.models.deep_supervision import DeeplySupervisedNetwork
from lightning_mtl.models.dense_network import DenseNetwork
from lightning_mtl.models.encoder_focused.astmt import ASTMT
from lightning_mtl.models.encoder_focused.cross_stitch import CrossStitch
from lightning_mtl.models.encoder_focused.mtan import MTAN
from lightning_mtl.models.encoder_focused.nddr_cnn import NDDRCNN
from lightning_mtl.models.experts.low_rank_experts import LowRankExperts
from lightning_mtl.models.features.image import ImageFeatures
from lightning_mtl.models.features.table import TableFeatures
from lightning_mtl.models.lenet import LeNet
from lightning_mtl.models.mixtures.cgc import CGC
from lightning_mtl.models.mixtures.dselect_k import DSelectK
from lightning_mtl.models.mixtures.mmoe import MMoE
from lightning_mtl.models.mixtures.ple import PLE
from lightning_mtl.models.network import MultiTaskNetwork
from lightning_mtl.models.pooled_encoder import PooledEncoder
from lightning_mtl.models.shared_encoder import SharedEncoder
from lightning_mtl.models.transformer_decoders.inverted_pyramid import InvertedPyramidTransformer

__all__ = [
    "ASTMT",
    "CGC",
    "JTRL",
    "MTAN",
    "NDDRCNN",
    "PLE",
    "PSD",
    "CrossStitch",
    "DSelectK",
    "DeeplySupervisedNetwork",
    "DenseNetwork",
    "ImageFeatures",
    "InvertedPyramidTransformer",
    "LeNet",
    "LearningToBranch",
    "LowRankAdapters",
    "LowRankExperts",
    "MMoE",
    "MTINet",
    "MultiTaskNetwork",
    "PADNet",
    "PAPNet",
    "PooledEncoder",
    "SharedEncoder",
    "TableFeatures",
]
