"""Whether a figure lies within its page."""

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from lightning_mtl.answers.records import Measure
from tests.answers.examples import MEASURES, planted

LONG = {"equal": 0.0} | {f"uncertainty $weighting$ number {index}": 0.01 for index in range(13)}
FIVE = (
    *MEASURES,
    *(Measure(name, f"val/{name}/oddly long F", True) for name in ("edges", "parts")),
)
HARD = {
    "six methods": planted(),
    "long names": planted(LONG, measures=FIVE),
    "two methods": planted({"equal": 0.0, "a": 0.1}, seeds=2),
    "one seed": planted(seeds=1),
}


def sides_left(figure: Figure) -> list[str]:
    """The sides of a figure over which something that is drawn leaves it."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    drawn, page = figure.get_tightbbox(canvas.get_renderer()), figure.bbox_inches
    slack = 0.02
    over = {
        "left": page.x0 - drawn.x0,
        "bottom": page.y0 - drawn.y0,
        "right": drawn.x1 - page.x1,
        "top": drawn.y1 - page.y1,
    }
    return [side for side, length in over.items() if length > slack]
