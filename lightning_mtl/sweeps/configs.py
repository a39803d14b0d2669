"""The config of a run, made from the whole config of the sweep: a function for each change."""

from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

Config = dict[str, Any]

DROPPED = ("ModelCheckpoint", "MetricTable", "PredictionGrid", "PredictionWriter")
"""Callbacks that write or compute what no one would look at in a hundred runs."""

COST_METER = "lightning_mtl.sweeps.cost_meter.CostMeter"


def run_config(
    config: Config,
    folder: Path,
    weighting: Any,
    seed: int,
    rate_key: str,
    factor: float,
    keep_checkpoints: bool = False,
) -> Config:
    """The config of one run, which `lightning-mtl fit --config` takes.

    Args:
        config: whole, as the sweep was given it.
        folder: of the run.
        weighting: the value of its key.
        seed: of everything.
        rate_key: where the learning rate stands, such as `model.init_args.optimizer.init_args.lr`.
        factor: of the learning rate.
        keep_checkpoints: whether the run writes checkpoints.
    """
    made = deepcopy(config)
    made["weighting"] = weighting
    made["seed_everything"] = seed
    if factor != 1:
        replace(made, rate_key, read(made, rate_key) * factor)
    trainer = made.setdefault("trainer", {})
    trainer["logger"] = [
        {
            "class_path": "lightning.pytorch.loggers.CSVLogger",
            "init_args": {"save_dir": str(folder), "name": "", "version": "log"},
        }
    ]
    trainer["enable_progress_bar"] = False
    trainer["enable_checkpointing"] = keep_checkpoints
    kept = [part for part in _callbacks(trainer) if keep_checkpoints or _name(part) not in DROPPED]
    meter = {"class_path": COST_METER, "init_args": {"file": str(folder / "costs.json")}}
    trainer["callbacks"] = [*kept, meter]
    return made


def learning_rate_key(config: Config, given: str | None = None) -> str:
    """Where the learning rate of a config stands, in dotted form.

    Args:
        config: whole.
        given: the key, if the user says it.

    Raises:
        ValueError: if there is no number at that key, or none or several could be it.
    """
    if given is not None:
        value = _found(config, given)
        if not _is_rate(value):
            raise ValueError(
                f"`--learning_rate` should be the key of a positive number in the config, such as"
                f" `model.init_args.optimizer.init_args.lr`. Found {value!r} at `{given}`."
            )
        return given
    keys = [
        key
        for key, value in leaves(config.get("model"), "model")
        if key.rpartition(".")[2] in ("lr", "learning_rate") and _is_rate(value)
    ]
    if len(keys) != 1:
        raise ValueError(
            "The config should have one learning rate under `model`, named `lr` or `learning_rate`."
            f" Found {keys or 'none'}. Say which number is to be tried by `--learning_rate KEY`, or"
            " give `--learning_rates 1` to try no others."
        )
    return keys[0]


def check_budget(config: Config) -> None:
    """Raise unless the config says how long a run takes.

    Raises:
        ValueError: if training would not end.
    """
    trainer = config.get("trainer") or {}
    if not any((trainer.get(key) or 0) > 0 for key in ("max_epochs", "max_steps")):
        raise ValueError(
            "The config of a sweep should say how long each run trains. Found neither"
            " `trainer.max_epochs` nor `trainer.max_steps`. Set one of them."
        )


def read(config: Config, key: str) -> Any:
    """The value at a dotted key.

    Raises:
        KeyError: if there is none.
    """
    value: Any = config
    for part in key.split("."):
        value = value[part]
    return value


def replace(config: Config, key: str, value: Any) -> None:
    """Set the value at a dotted key, which is there."""
    outer, _, last = key.rpartition(".")
    read(config, outer)[last] = value


def leaves(value: Any, key: str) -> Iterator[tuple[str, Any]]:
    """Every value of nested names that is none of them itself, with its dotted key."""
    if isinstance(value, dict):
        for name, part in value.items():
            yield from leaves(part, f"{key}.{name}")
    else:
        yield key, value


def _found(config: Config, key: str) -> Any:
    try:
        return read(config, key)
    except (KeyError, TypeError):
        return "nothing"


def _is_rate(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value > 0


def _callbacks(trainer: dict[str, Any]) -> list[Any]:
    given = trainer.get("callbacks") or []
    return given if isinstance(given, list) else [given]


def _name(callback: Any) -> str:
    path = callback.get("class_path", "") if isinstance(callback, dict) else str(callback)
    return str(path).rpartition(".")[2]
