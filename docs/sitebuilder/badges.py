"""The properties of a weighting as short labels, told from its class, its docstring and runs."""

import inspect
import re
from dataclasses import dataclass
from typing import Literal

from lightning_mtl.callbacks import GramianWeighting, LossWeighting, Weighting
from lightning_mtl.catalogue import price
from sitebuilder.properties import Properties, properties

Tone = Literal["yes", "partly", "no", "plain"]

OPPOSES: dict[str, tuple[str, Tone]] = {
    "never": ("opposes no task", "yes"),
    "if dependent": ("opposes no task, if gradients are independent", "partly"),
    "sometimes": ("may oppose a task", "no"),
}
CANCELS = "a `prior` cancels on the shared parameters"
"""What a docstring says where the scale of a loss does not matter; a test holds it to that."""
UNDER_ADAM = re.compile(
    r"with adam the scale of a loss no longer matters|scale of a loss does not matter under adam"
)
"""What those say whose tasks have optimizer states of their own."""


@dataclass(frozen=True)
class Badge:
    """A short label.

    Attributes:
        text: what it says.
        tone: whether that is what one may wish for.
        topic: which property it is about, as in the explanation of all badges.
    """

    text: str
    tone: Tone
    topic: str

    def __str__(self) -> str:
        """The badge in MyST Markdown."""
        return f"[{self.text}]{{.badge .badge-{self.tone}}}"


def badges(kind: type[Weighting]) -> list[Badge]:
    """The badges of a weighting, in the order of their explanation."""
    needs = "losses" if issubclass(kind, LossWeighting) else "gradients"
    measured = properties(kind)
    return [
        Badge(f"needs {needs}", "plain", "needs"),
        scale(kind),
        *(_conflict(measured) if measured else ()),
        sharded(kind),
        Badge(f"step: {price(kind).partition(',')[0]}", "plain", "cost"),
        Badge(f"memory: {memory(kind)}", "plain", "memory"),
    ]


def scale(kind: type[Weighting]) -> Badge:
    """Whether the factors of losses matter to the update of the shared parameters."""
    text = " ".join((inspect.getdoc(kind) or "").split()).lower()
    if CANCELS in text:
        but = ", but for the length" if "but for the length" in text else ""
        return Badge(f"scale-free{but}", "yes", "scale")
    if UNDER_ADAM.search(text):
        return Badge("scale-free under Adam", "partly", "scale")
    if "that of the object given" in text:
        return Badge("scale: that of the object given", "plain", "scale")
    return Badge("depends on the scale of losses", "no", "scale")


def sharded(kind: type[Weighting]) -> Badge:
    """Whether it works where parameters are sharded."""
    if issubclass(kind, LossWeighting):
        depends: object = kind.depends_on_losses
        # Of some it depends on arguments; here it is that of the default ones.
        if kind().depends_on_losses if isinstance(depends, property) else depends:
            return Badge("FSDP: without accumulation", "partly", "fsdp")
        return Badge("FSDP: yes", "yes", "fsdp")
    if issubclass(kind, GramianWeighting) and kind.takes_probes and not kind.needs_rows:
        return Badge('FSDP: with gradients="probes"', "partly", "fsdp")
    return Badge("FSDP: no", "no", "fsdp")


def memory(kind: type[Weighting]) -> str:
    """The numbers that it holds beside what plain training does, with default arguments."""
    kept = price(kind).partition(", and ")[2]
    if issubclass(kind, LossWeighting):
        return "K"
    if issubclass(kind, GramianWeighting) and "shared" not in kind.places:
        return "K x features"
    if "B_last" in price(kind):
        return "K x one layer"
    if "n optimizer states" in kept:
        return kept.removesuffix(" of the trunk")
    if kept and "K P numbers for each state" in kept:
        return "K P, and K optimizer states"
    return "2 K P" if kept else "K P"


def _conflict(measured: Properties) -> list[Badge]:
    text, tone = OPPOSES[measured.opposes]
    stops = measured.stops_when_stationary
    return [
        Badge(text, tone, "conflict"),
        Badge(
            "stops where Pareto-stationary" if stops else "moves where Pareto-stationary",
            "yes" if stops else "plain",
            "stationary",
        ),
    ]
