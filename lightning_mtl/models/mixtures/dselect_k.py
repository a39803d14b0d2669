"""`DSelectK`: experts that all tasks share, of which each task comes to use at most k."""

from collections.abc import Mapping, Sequence
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from lightning_mtl.checks import check_number
from lightning_mtl.engine.graph import join_features
from lightning_mtl.models.features.backbone import features_of
from lightning_mtl.models.features.mlp import check_layers, towers
from lightning_mtl.models.mixtures.dselect_gate import DSelectGate
from lightning_mtl.models.mixtures.expert import Experts
from lightning_mtl.models.mixtures.gate import mixture
from lightning_mtl.models.network import MultiTaskNetwork

__all__ = ["DSelectK"]


class DSelectK(MultiTaskNetwork):
    """A mixture of shared experts with sparse, differentiable gates: at most k experts for a task.

    A gate is the mean, weighted by softmax(α), of k selectors r(z), whose entries are products of
    smooth steps of the numbers z, one for each bit of an expert's index (see `DSelectGate`):

        y_t = h^t(sum_i q^t_i f_i(x)),  q^t = q(α^t, Z^t) = sum_{l=1..k} softmax(α^t)_l r(z^(l))

    for the tower h^t of task t and the experts f_i. The loss of each task is trained with a penalty
    on its gate, λ sum_l h(r(z^(l))), where h is the entropy; if the number n of experts is no power
    of two, with sum_l 1 / sum_{i<=n} r(z^(l))_i as well. With static gates α and Z are parameters
    of the task; with `per_example` gates they are linear in the features of the sample, and the
    penalty is its mean over the samples.

    `DensePrediction` adds the penalty by `training_losses`; a loop of one's own has to call it too.

    Hazimeh et al., "DSelect-k: Differentiable Selection in the Mixture of Experts with Applications
    to Multi-Task Learning", NeurIPS 2021, section 3; the second penalty is from its supplement.

    Deviations: the second penalty is lower by its least value, 1 for each selector, so that it
    vanishes once only experts are chosen; gradients are the same. Both are kept finite at zero by
    1e-6, and per-example gates have a bias, as in the released code. That code adds up the penalty
    over the samples of a batch; here it is their mean, as in the objective of the paper.

    Args:
        channels: outputs by task.
        backbone: maps the input to features `(N, F)`; `None` takes the input as it is.
        in_features: number of features, where `backbone.out_features` does not say it.
        experts: number of experts n, from 2.
        k: the most experts that a task comes to use, from 1 to `experts`.
        per_example: whether each sample has experts of its own, or all samples of a task have the
            same.
        gamma: width of the part where the smooth step rises, above 0; the wider, the later gates
            become sparse.
        entropy: weight λ of the entropy of the selectors, from 0; the paper searches for it.
        hidden: widths of an expert's layers, at least one.
        tower: widths of a tower's layers before the logits; none is a linear head.
        dropout: probability of a feature to be zero in training, after each layer.

    Raises:
        ValueError: if the number of features is not known, or an argument is out of range.

    Example:
        >>> import torch
        >>> network = DSelectK({"click": 1, "rating": 5}, in_features=3, experts=4, k=2)
        >>> {task: tuple(logits.shape) for task, logits in network(torch.rand(2, 3)).items()}
        {'click': (2, 1), 'rating': (2, 5)}
    """

    def __init__(
        self,
        channels: Mapping[str, int],
        backbone: nn.Module | None = None,
        in_features: int | None = None,
        experts: int = 8,
        k: int = 2,
        per_example: bool = False,
        gamma: float = 1.0,
        entropy: float = 0.1,
        hidden: Sequence[int] = (64,),
        tower: Sequence[int] = (32,),
        dropout: float = 0.0,
    ) -> None:
        check_number("DSelectK", "experts", experts, 2)
        check_number("DSelectK", "k", k, 1, experts)
        check_number("DSelectK", "entropy", entropy, 0)
        check_number("DSelectK", "gamma", gamma, 1e-6)
        check_layers("DSelectK", hidden, tower, dropout)
        super().__init__()
        self.entropy = entropy
        self.backbone, features = features_of("DSelectK", backbone, in_features)
        self.experts = Experts(experts, features, hidden, dropout)
        decided_by = features if per_example else None
        self.gates = nn.ModuleDict(
            {task: DSelectGate(experts, k, decided_by, gamma) for task in channels}
        )
        self.towers = towers(channels, hidden[-1], tower, dropout)
        self._penalties: dict[str, Tensor] = {}

    def forward(self, inputs: Float[Tensor, "N ..."]) -> dict[str, Float[Tensor, "N C"]]:
        """The logits of each task; in training, keeps the penalties for `training_losses`."""
        features = self.backbone(inputs)
        features, experts = join_features([features, self.experts(features)])
        gates: dict[str, Any] = dict(self.gates.items())
        selectors = {task: gate.selectors(features) for task, gate in gates.items()}
        if self.training:
            self._penalties = {
                task: gate.penalty(selectors[task], self.entropy) for task, gate in gates.items()
            }
        return {
            task: self.towers[task](mixture(gate.weights(features, selectors[task]), experts))
            for task, gate in gates.items()
        }

    def training_losses(self, losses: dict[str, Float[Tensor, ""]]) -> dict[str, Float[Tensor, ""]]:
        """The loss of each task, with the penalty of its gate in the latest `forward`."""
        penalties, self._penalties = self._penalties, {}
        if not penalties:
            # A network in evaluation mode, as a frozen one is, has no gate to train.
            return losses
        return {task: loss + penalties[task] for task, loss in losses.items()}

    def __getstate__(self) -> dict[str, Any]:
        # Tensors with a graph can be neither copied nor saved.
        return {**self.__dict__, "_penalties": {}}
