"""Train on rooms with every weighting on two gloo ranks, as a user's script would."""

import sys
import warnings
from typing import Any

from torch import Tensor

from tests.support.ranks import distance_between_replicas, save_of_first
from tests.support.rooms import EPOCHS, ROOMS_EXAMPLES, RoomsData, small_module
from tests.support.toy import parameters, quiet_trainer, weights


def trained(name: str, devices: int, batch_size: int) -> tuple[Tensor, Tensor]:
    """The parameters, and the last weights, after twenty steps."""
    settings: dict[str, Any] = {"devices": devices, "max_epochs": EPOCHS}
    if devices > 1:
        settings["strategy"] = "ddp"
    module = small_module()
    trainer = quiet_trainer(callbacks=[ROOMS_EXAMPLES[name]()], **settings)
    trainer.fit(module, RoomsData(batch_size))
    return parameters(module), weights(module)


def main() -> None:
    warnings.simplefilter("ignore")
    results = {}
    for name in ROOMS_EXAMPLES:
        mine, last = trained(name, devices=2, batch_size=2)
        results[name] = mine
        results[f"weights {name}"] = last
        results[f"replicas {name}"] = distance_between_replicas(mine)
    save_of_first(results, sys.argv[1])


if __name__ == "__main__":
    main()
