"""How far estimates of the Gramian are from the exact one, at fixed parameters."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from lightning_mtl.engine.gradients import gramian
from lightning_mtl.engine.probing.averages import DECAY, updated
from lightning_mtl.engine.probing.averages import gramian as averaged
from lightning_mtl.engine.probing.perturbation import perturbed, relative_size_for
from lightning_mtl.engine.probing.probe import slopes
from tests.benchmarks.step_networks import Batch, Split
from tests.engine.sketching.measuring import errors, exact_rows, relative_errors

Losses = Callable[[], dict[str, Tensor]]


def root_mean_square_errors(
    network: Split, batch: Batch, precision: str, rows: int, seeds: int, probes: int
) -> dict[str, float]:
    """The error of each estimate, in units of |g_i| |g_j|.

    Args:
        network: in training mode.
        batch: on its device.
        precision: of the Trainer.
        rows: of a sketch.
        seeds: over how many sketches to take the mean.
        probes: how many are averaged, as training does.
    """
    bf16 = precision == "bf16-mixed"

    def run() -> dict[str, Tensor]:
        with torch.autocast(batch["image"].device.type, torch.bfloat16, enabled=bf16):
            return network.losses(batch)

    sketched = errors(network.encoder, lambda: list(run().values()), rows, range(seeds))
    exact = gramian(exact_rows(network.encoder, lambda: list(run().values())))
    probed = relative_errors(_probed(network, run, precision, probes).to(exact), exact)
    return {"sketch": _root_mean_square(sketched), "probes": _root_mean_square(probed)}


@torch.no_grad()
def _probed(network: Split, run: Losses, precision: str, probes: int) -> Float[Tensor, "K K"]:
    """The average of several probes, with the decay of training."""
    losses = run()
    names = [name for name, _ in network.named_parameters() if name.startswith("encoder.")]
    count = len(losses)
    moment = torch.zeros(count, count, dtype=torch.float64)
    weight = torch.zeros_like(moment)
    for seed in range(probes):
        with perturbed(network, network, names, seed, relative_size_for(precision)) as size:
            z = slopes(run(), losses, size)
        moment, weight = updated(moment, weight, z.to(moment), DECAY)
    return averaged(moment, weight)


def _root_mean_square(numbers: Tensor) -> float:
    return float(numbers.square().mean().sqrt())
