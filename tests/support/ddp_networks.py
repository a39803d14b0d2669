"""Train every network on two gloo ranks, without a weighting and with one of gradients."""

import sys
import warnings

from lightning_mtl.callbacks import MGDA
from tests.support.architectures import ARCHITECTURES, loader, training_module
from tests.support.ranks import distance_between_replicas, save_of_first
from tests.support.toy import parameters, quiet_trainer


def main() -> None:
    warnings.simplefilter("ignore")
    results = {}
    for name, expected in ARCHITECTURES.items():
        for way in ("none", "MGDA"):
            module = training_module(name, expected.encoders[-1])
            trainer = quiet_trainer(
                max_epochs=2,
                devices=2,
                strategy="ddp",
                limit_val_batches=0,
                callbacks=[MGDA()] if way == "MGDA" else [],
            )
            trainer.fit(module, loader(name, samples=8))
            assert trainer.global_step == 4
            results[f"{name} {way}"] = distance_between_replicas(parameters(module))
    save_of_first(results, sys.argv[1])


if __name__ == "__main__":
    main()
