"""The runs of a sweep: all of them are known before the first one starts."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any

from lightning_mtl.answers.records import Measure
from lightning_mtl.sweeps.files import write_whole
from lightning_mtl.sweeps.methods import Method

TRIAL_SEED = 1000
"""The seed of all trials: none of those by which methods are judged."""

FILE = "plan.json"


@dataclass(frozen=True)
class Choice:
    """What a trial tries, and what the best one hands to the runs that are judged.

    Args:
        learning_rate: factor of the learning rate of the config.
        weights: which point of the method's grid, where it has one.
    """

    learning_rate: float = 1.0
    weights: int = 0


@dataclass(frozen=True)
class Run:
    """One training of a method.

    Args:
        method: that is trained.
        seed: of everything; `TRIAL_SEED` for a trial.
        choice: of a trial; `None` where the best one is taken.
    """

    method: Method
    seed: int
    choice: Choice | None = None

    @property
    def key(self) -> str:
        """The place of the run within the sweep's folder, such as `equal/seed_0`."""
        if self.choice is None:
            return f"{self.method.folder}/seed_{self.seed}"
        point = f"_weights_{self.choice.weights}" if self.method.grid else ""
        return f"{self.method.folder}/trial_rate_{self.choice.learning_rate:g}{point}"


@dataclass(frozen=True)
class Plan:
    """Everything that a sweep will do, as saved in its folder.

    Args:
        measures: how each task is judged.
        methods: in the order in which they are shown; single tasks come first.
        seeds: by which methods are judged.
        learning_rates: factors of the config's learning rate that every method may choose from.
        rate_key: where the learning rate stands in the configs.
        reference: the method that others are compared with.
        keep_checkpoints: whether runs write checkpoints.
    """

    measures: tuple[Measure, ...]
    methods: tuple[Method, ...]
    seeds: tuple[int, ...]
    learning_rates: tuple[float, ...]
    rate_key: str
    reference: str
    keep_checkpoints: bool = False

    def choices(self, method: Method) -> list[Choice]:
        """All that the trials of a method choose from."""
        points = range(max(1, len(method.grid)))
        return [Choice(rate, point) for rate, point in product(self.learning_rates, points)]

    def trials(self, method: Method) -> list[Run]:
        """The trials of a method; none where there is nothing to choose."""
        choices = self.choices(method)
        return [Run(method, TRIAL_SEED, each) for each in choices] if len(choices) > 1 else []

    def judged(self, methods: Iterable[Method]) -> list[Run]:
        """The runs by which methods are compared: one seed of all of them after the other."""
        return [Run(method, seed) for seed, method in product(self.seeds, list(methods))]

    def measure_of(self, task: str) -> Measure:
        """How a task is judged."""
        return next(measure for measure in self.measures if measure.task == task)

    @property
    def single(self) -> list[Method]:
        """The single-task baselines, over which Delta_MTL is taken."""
        return [method for method in self.methods if method.task is not None]

    @property
    def compared(self) -> list[Method]:
        """The methods that train all tasks."""
        return [method for method in self.methods if method.task is None]

    @cached_property
    def phases(self) -> "tuple[Phase, ...]":
        """Groups of runs; those of one level need the results of the levels before."""
        found = [Phase(each.name, self.trials(each), 0) for each in self.single]
        found.append(Phase("seeds of single tasks", self.judged(self.single), 1))
        found += [Phase(each.name, self.trials(each), 2) for each in self.compared]
        found.append(Phase("seeds", self.judged(self.compared), 3))
        return tuple(phase for phase in found if phase.runs)

    def runs(self) -> Iterator[Run]:
        """All runs of all phases, in the order of these."""
        for phase in self.phases:
            yield from phase.runs

    def save(self, folder: Path) -> None:
        """Write the plan into the folder of the sweep."""
        write_whole(folder / FILE, json.dumps(asdict(self), indent=1))

    @classmethod
    def load(cls, folder: Path) -> "Plan":
        """The plan in the folder of a sweep.

        Raises:
            FileNotFoundError: if there is none.
        """
        if not (folder / FILE).is_file():
            raise FileNotFoundError(
                f"`{folder}` should be the folder of a sweep, with its `{FILE}`. Found none. Give"
                " the `--folder` of a sweep that was started."
            )
        values = json.loads((folder / FILE).read_text(encoding="utf-8"))
        return cls(
            measures=tuple(Measure(**each) for each in values["measures"]),
            methods=tuple(
                Method(**(each | {"grid": tuple(each["grid"])})) for each in values["methods"]
            ),
            seeds=tuple(values["seeds"]),
            learning_rates=tuple(values["learning_rates"]),
            rate_key=values["rate_key"],
            reference=values["reference"],
            keep_checkpoints=values["keep_checkpoints"],
        )


@dataclass(frozen=True)
class Phase:
    """Runs that may take place side by side.

    Args:
        name: of the study that holds them.
        runs: of the phase.
        level: phases of one level may take place side by side, after all of lower levels.
    """

    name: str
    runs: Sequence[Run]
    level: int


def merged(old: Plan, new: Plan) -> Plan:
    """The plan of a sweep that is started again, perhaps with more methods or seeds.

    Args:
        old: the plan in its folder.
        new: what is asked for now.

    Raises:
        ValueError: if runs of the two would not be comparable.
    """
    same = ("measures", "learning_rates", "rate_key", "reference")
    for name in same:
        if getattr(old, name) != getattr(new, name):
            raise ValueError(
                f"A sweep that is started again should have the same `{name}`."
                f" {_difference(getattr(old, name), getattr(new, name))} Give another `--folder`."
            )
    known = {method.name: method for method in old.methods}
    for method in new.methods:
        if known.setdefault(method.name, method) != method:
            raise ValueError(
                f"A sweep that is started again should keep what its methods are. Found another"
                f" `{method.name}`. Give another `--folder`."
            )
    seeds = tuple(sorted({*old.seeds, *new.seeds}))
    return Plan(
        measures=new.measures,
        methods=tuple(known.values()),
        seeds=seeds,
        learning_rates=new.learning_rates,
        rate_key=new.rate_key,
        reference=new.reference,
        keep_checkpoints=new.keep_checkpoints,
    )


def _difference(old: Any, new: Any) -> str:
    return f"Found {new!r}, where it had {old!r}."
