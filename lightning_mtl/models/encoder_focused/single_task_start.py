"""Networks that begin with what single-task networks have learned."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn

__all__ = ["load_single_tasks"]

PREFIX = "network."
"""Where `DensePrediction` keeps its network in a checkpoint."""


def load_single_tasks(
    owner: str, networks: Mapping[str, nn.Module], checkpoints: Mapping[str, str]
) -> None:
    """Give each network the parameters and buffers of a single-task run.

    Args:
        owner: the class whose argument `checkpoints` is, for messages.
        networks: by task.
        checkpoints: by task, files that Lightning wrote while `DensePrediction` trained such a
            network on this task alone.

    Raises:
        FileNotFoundError: if a file is missing.
        ValueError: if the tasks are others, or a file holds another network.
    """
    if set(checkpoints) != set(networks):
        raise ValueError(
            f"`{owner}(checkpoints=)` should have one file for each of the tasks"
            f" {sorted(networks)}. Found {sorted(checkpoints)}. Name all, or leave them out."
        )
    for task, file in checkpoints.items():
        if not Path(file).is_file():
            raise FileNotFoundError(
                f"`{owner}(checkpoints=)` should name existing files. Found none at {file}, for the"
                f" task `{task}`. Train it alone first, or leave `checkpoints` out: a checkpoint of"
                f" `{owner}` itself needs none."
            )
        saved = torch.load(file, map_location="cpu", weights_only=True)
        state = saved.get("state_dict", {}) if isinstance(saved, dict) else {}
        own = {key[len(PREFIX) :]: value for key, value in state.items() if key.startswith(PREFIX)}
        try:
            networks[task].load_state_dict(own)
        except RuntimeError as error:
            lines = str(error).splitlines()
            raise ValueError(
                f"`{owner}(checkpoints=)` should name checkpoints of a `SharedEncoder` that was"
                f" trained on one task under the same name, with the same encoder, decoder and"
                f" channels. Found another network in {file}, for the task `{task}`:"
                f" {' '.join(lines[1:2]).strip()} Train it alone with these arguments first."
            ) from error
