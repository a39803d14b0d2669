"""What a rule on products of independent parts is given on two gloo ranks."""

import sys
import warnings

import torch
from torch import Tensor

from lightning_mtl.weightings.bases.cross_gramian_weighting import CrossGramianWeighting
from tests.support.ranks import save_of_first
from tests.support.toy import PartlyLabelled, Toy, ToyData, quiet_trainer

KINDS: dict[str, type[Toy]] = {"toy": Toy, "partly": PartlyLabelled}


class Witness(CrossGramianWeighting):
    """Keeps what it is given, and answers with ones."""

    def weights(self, losses: Tensor, gramian: Tensor) -> Tensor:
        self.seen = gramian
        return torch.ones_like(losses)


def seen(kind: str, place: str, accumulate: int) -> Tensor:
    """The matrix of the first optimizer step."""
    rule = Witness(gradients=place)
    trainer = quiet_trainer(
        callbacks=[rule],
        devices=2,
        strategy="ddp",
        max_steps=1,
        accumulate_grad_batches=accumulate,
    )
    trainer.fit(KINDS[kind](), ToyData(4))
    return rule.seen


def main() -> None:
    warnings.simplefilter("ignore")
    results = {
        f"{kind} {place} {accumulate}": seen(kind, place, accumulate)
        for kind in KINDS
        for place in ("shared", "last_layer")
        for accumulate in (1, 2)
    }
    save_of_first(results, sys.argv[1])


if __name__ == "__main__":
    main()
