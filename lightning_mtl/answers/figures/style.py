"""What the figures of an answer have in common: one colour and marker for each method."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullFormatter

from lightning_mtl.monitors.charts import FEW, SPAN

MARKERS = ("o", "s", "^", "D", "v", "p", "h")
"""Markers, in turn: methods differ in print without colours, too."""

WIDTH = 7.0
"""Width of a figure in inches: readable in a column of text."""

REFERENCE = "0.35"
"""The grey of lines that things are compared with."""


Color = str | tuple[float, float, float]
"""As matplotlib takes it."""


@dataclass(frozen=True)
class Style:
    """How a method looks in all figures."""

    color: Color
    marker: str

    def entry(self) -> Line2D:
        """The marker alone, for a legend."""
        return Line2D([], [], color=self.color, marker=self.marker, ms=7, mec="white", ls="none")


def colors(count: int) -> list[Color]:
    """Colours that differ, none too bright for white."""
    if count <= FEW:
        return [f"C{index}" for index in range(count)]
    spread = [colormaps["turbo"](index / (count - 1)) for index in range(count)]
    return [(0.85 * red, 0.85 * green, 0.85 * blue) for red, green, blue, _ in spread]


def styles(methods: Sequence[str]) -> dict[str, Style]:
    """The style of each method, in the order of the methods."""
    return {
        method: Style(color, MARKERS[index % len(MARKERS)])
        for index, (method, color) in enumerate(zip(methods, colors(len(methods)), strict=True))
    }


def literal(text: str) -> str:
    """A text as it is: a dollar sign does not begin a formula."""
    return text.replace("$", r"\$")


def shorten(text: str, length: int = 32) -> str:
    """A name for a figure; the middle of a long one is left out, since ends tell more."""
    if len(text) <= length:
        return literal(text)
    head = (length - 1) // 2
    return literal(f"{text[:head]}…{text[-(length - 1 - head) :]}")


def tidy(axes: Axes) -> None:
    """A light grid, and no frame at the top and on the right."""
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)


def legend(figure: Figure, entries: Mapping[str, Line2D]) -> None:
    """One legend beneath the panels, with as many columns as fit the names; makes room for it.

    Args:
        figure: with panels.
        entries: what the line or the marker of each name looks like.
    """
    entry = 0.5 + 0.085 * max(map(len, entries))
    columns = max(1, min(len(entries), int(figure.get_figwidth() / entry)))
    rows = -(-len(entries) // columns)
    figure.set_figheight(figure.get_figheight() + 0.23 * rows)
    figure.legend(
        list(entries.values()),
        list(entries),
        loc="outside lower center",
        ncols=columns,
        fontsize="small",
        frameon=False,
    )


def scale(axes: Axes, values: Sequence[float]) -> None:
    """A log axis for values that span decades; linear around 0 if some are 0 or negative."""
    sizes = [abs(value) for value in values if value]
    if not sizes or max(sizes) <= SPAN * min(sizes):
        return
    if min(values) > 0:
        axes.set_yscale("log")
        steps = (1.0,) if max(sizes) > 1000 * min(sizes) else (1.0, 2.0, 5.0)
        axes.yaxis.set_major_locator(LogLocator(subs=steps))
        axes.yaxis.set_minor_formatter(NullFormatter())
    else:
        axes.set_yscale("symlog", linthresh=max(min(sizes), max(sizes) / 1000))
    axes.yaxis.set_major_formatter("{x:g}")
