"""The figure of two conflicting tasks: its landscape, its trainings, its numbers and its text."""

import importlib
import math
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from matplotlib.image import imread

from lightning_mtl.callbacks import MGDA, EqualWeighting
from lightning_mtl.catalogue import weightings

FIGURES = Path(__file__).resolve().parents[2] / "docs/figures"
PAIR = ["--weightings", "EqualWeighting", "MGDA"]


class Modules:
    """The modules of the figure, as the command finds them beside itself."""

    def __init__(self) -> None:
        self.command = importlib.import_module("trajectories")
        for name in ("landscape", "descent", "methods", "ends", "panels"):
            setattr(self, name, importlib.import_module(f"two_tasks.{name}"))

    landscape: ModuleType
    descent: ModuleType
    methods: ModuleType
    ends: ModuleType
    panels: ModuleType


@pytest.fixture
def modules(monkeypatch: pytest.MonkeyPatch) -> Modules:
    monkeypatch.syspath_prepend(str(FIGURES))
    return Modules()


def paper_losses(x: float, h: float) -> tuple[float, float]:
    """The functions as the paper writes them out, each task for itself, before scale and offset."""
    f_1 = math.log(max(abs(0.5 * (-x - 7) - math.tanh(-h)), 0.000005)) + 6
    f_2 = math.log(max(abs(0.5 * (-x + 3) + math.tanh(-h) + 2), 0.000005)) + 6
    g_1 = ((-x + 7) ** 2 + 0.1 * (-h - 8) ** 2) / 10 - 20
    g_2 = ((-x - 7) ** 2 + 0.1 * (-h - 8) ** 2) / 10 - 20
    c_1 = max(math.tanh(0.5 * h), 0)
    c_2 = max(math.tanh(-0.5 * h), 0)
    return c_1 * f_1 + c_2 * g_1, c_1 * f_2 + c_2 * g_2


def gradients(modules: Modules, x: float, h: float) -> torch.Tensor:
    """The gradient of each task at a point, one row each."""
    point = torch.tensor([x, h], dtype=torch.float64)
    return torch.autograd.functional.jacobian(
        lambda point: modules.landscape.task_losses(point[0], point[1]), point
    )


def test_losses_are_those_of_the_paper_scaled_and_above_zero(modules: Modules) -> None:
    points = np.random.default_rng(0).uniform(-11, 11, (200, 2))
    twin = np.array([paper_losses(*point) for point in points])
    expected = (twin + 21) * [0.1, 1.0]
    np.testing.assert_allclose(modules.landscape.task_losses_at(points), expected, rtol=1e-12)


def test_losses_have_known_values(modules: Modules) -> None:
    # The middle of the plane, the bottom of the first bowl, the floor of the first valley.
    points = np.array([[0.0, 0.0], [7.0, -8.0], [-7 + 2 * math.tanh(5), 5.0]])
    floor, bowl = math.tanh(2.5), math.tanh(4)
    expected = [2.1, 0.1 * (21 - 20 * bowl), 0.1 * (21 + floor * (math.log(5e-6) + 6))]
    np.testing.assert_allclose(modules.landscape.task_losses_at(points)[:, 0], expected)


def test_gradients_have_known_values(modules: Modules) -> None:
    # At h = -8 the bowls are flat along h, but for their factor c = tanh(-h / 2).
    factor, slope = math.tanh(4), -0.5 / math.cosh(4) ** 2
    expected = [
        [0.1 * factor * (0 - 7) / 5, 0.1 * slope * (4.9 - 20)],
        [factor * (0 + 7) / 5, slope * (4.9 - 20)],
    ]
    actual = gradients(modules, 0.0, -8.0)
    torch.testing.assert_close(actual, torch.tensor(expected, dtype=torch.float64))


def test_losses_are_positive_everywhere(modules: Modules) -> None:
    ticks = np.linspace(-12, 12, 241)
    points = np.stack(np.meshgrid(ticks, ticks), -1).reshape(-1, 2)
    assert (modules.landscape.task_losses_at(points) >= modules.landscape.SCALES).all()


def test_gradients_oppose_each_other_on_the_pareto_front(modules: Modules) -> None:
    for x, h in modules.landscape.pareto_front(count=15)[1:-1]:
        first, second = gradients(modules, x, h)
        cosine = torch.nn.functional.cosine_similarity(first, second, dim=0)
        assert float(cosine) == pytest.approx(-1, abs=1e-6)


def test_the_front_ends_at_the_optimum_of_each_task(modules: Modules) -> None:
    front = modules.landscape.pareto_front(count=3)
    assert gradients(modules, *front[-1])[0].abs().max() < 1e-6
    assert gradients(modules, *front[0])[1].abs().max() < 1e-6


def test_no_point_of_the_plane_dominates_the_front(modules: Modules) -> None:
    ticks = np.linspace(-11, 11, 177)
    plane = modules.landscape.task_losses_at(np.stack(np.meshgrid(ticks, ticks), -1).reshape(-1, 2))
    front = modules.landscape.task_losses_at(modules.landscape.pareto_front(count=29))
    assert not (plane[None] < front[:, None] - 1e-9).all(-1).any()


def test_distance_is_to_the_nearest_point_of_the_front(modules: Modules) -> None:
    front = modules.landscape.pareto_front()
    points = front[[0, 140]] + [[-3.0, -4.0], [0.0, 2.0]]
    distances = modules.landscape.distance_to_front(points, front)
    np.testing.assert_allclose(distances, [5, 2], atol=0.02)


def test_a_quarter_of_each_loss_remains_in_the_middle_of_the_front(modules: Modules) -> None:
    remaining = modules.landscape.remaining(modules.landscape.pareto_front(count=3))
    np.testing.assert_allclose(remaining, [[1, 0], [0.25, 0.25], [0, 1]], atol=0.01)


def test_equal_weights_take_the_path_of_adam_on_the_sum(modules: Modules) -> None:
    """A literal twin, without a Trainer."""
    start, steps = (-8.5, 7.5), 30
    path = modules.descent.descend(EqualWeighting(), start, steps)
    point = torch.tensor(start, requires_grad=True)
    optimizer = torch.optim.Adam([point], betas=modules.descent.BETAS)
    twin = [list(start)]
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = modules.descent.LR * min(1, 3 * (steps - step) / steps)
        optimizer.zero_grad()
        modules.landscape.task_losses(point[0], point[1]).sum().backward()
        optimizer.step()
        twin.append(point.tolist())
    assert path.shape == (steps + 1, 2)
    np.testing.assert_allclose(path, twin, atol=1e-4)


def test_a_length_that_epochs_cannot_share_is_an_error(modules: Modules) -> None:
    with pytest.raises(ValueError, match=r"multiple of 10, .* Found 25\. Use 20"):
        modules.descent.descend(MGDA(), (0.0, 0.0), 25)


def test_every_weighting_is_shown_or_named_as_left_out(modules: Modules) -> None:
    shown = {type(modules.methods.make(kind)) for kind in modules.methods.shown_weightings()}
    left_out = {kind.__name__ for kind in set(weightings()) - shown}
    assert left_out == set(modules.methods.LEFT_OUT)


def test_random_weightings_take_the_same_path_again(modules: Modules) -> None:
    kinds = [kind for kind in modules.methods.shown_weightings() if "Random" in kind.__name__]
    first, second = (modules.command.trajectories(kinds, steps=10) for _ in range(2))
    assert kinds
    assert all(np.array_equal(first[name], second[name]) for name in first)


def ends(modules: Modules, *xs: float, away: float = 0.0) -> list:
    paths = [np.array([[0.0, 0.0], [x, -8.36 + away]]) for x in xs]
    return [modules.ends.end_of("Rule", path) for path in paths]


@pytest.mark.parametrize(
    ("xs", "away", "expected"),
    [
        ((-1.0, 0.0, 2.0), 0.0, "balanced"),
        ((4.0, 6.0, 7.0), 0.0, "first"),
        ((-4.0, -6.0, -7.0), 0.0, "second"),
        ((-4.0, 0.0, 0.0), 0.0, "by_start"),
        ((-1.0, 0.0, 2.0), 0.5, "on_the_way"),
    ],
    ids=["middle", "right end", "left end", "scattered", "above"],
)
def test_a_verdict_says_where_the_ends_are(
    modules: Modules, xs: tuple[float, ...], away: float, expected: str
) -> None:
    found = ends(modules, *xs, away=away)
    assert modules.ends.verdict(found) == expected
    assert modules.ends.verdicts(found)[expected] == ["Rule"]


def test_ends_are_the_same_after_csv(modules: Modules) -> None:
    found = ends(modules, -4.0, 2.0)
    assert modules.ends.read_csv(modules.ends.csv_text(found)) == found


def test_a_panel_shows_each_path_from_start_to_end(modules: Modules) -> None:
    axes = Figure().subplots()
    paths = [np.array([[0.0, 0.0], [1.0, 1.0], [x, 2.0]]) for x in (3.0, 4.0)]
    modules.panels.panel(axes, "Rule", paths)
    points = [tuple(line.get_xydata()[0]) for line in axes.lines if len(line.get_xydata()) == 1]
    assert points == [(0, 0), (3, 2), (0, 0), (4, 2)]
    assert axes.get_title() == "Rule"


def test_the_command_writes_figure_numbers_and_caption(modules: Modules, tmp_path: Path) -> None:
    out = tmp_path / "new/pair.png"
    modules.command.main(["--out", str(out), "--steps", "10", *PAIR])
    assert imread(out).shape[1] == 1800
    found = modules.ends.read_csv(out.with_suffix(".csv").read_text())
    assert [end.weighting for end in found] == ["EqualWeighting"] * 3 + ["MGDA"] * 3
    assert "not at the front after 10 steps: `EqualWeighting`, `MGDA`." in " ".join(
        out.with_suffix(".md").read_text().split()
    )


def test_an_unknown_weighting_is_an_error(
    modules: Modules, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    with pytest.raises(SystemExit):
        modules.command.main(["--out", str(tmp_path / "a.png"), "--weightings", "Nobody"])
    assert "Found ['Nobody']" in capsys.readouterr().err


def test_numbers_and_caption_in_the_repository_belong_together(modules: Modules) -> None:
    found = modules.ends.read_csv((FIGURES / "trajectories.csv").read_text())
    shown = [kind.__name__ for kind in modules.methods.shown_weightings()]
    # If the catalogue has changed, the command draws the figure anew.
    assert [end.weighting for end in found] == [name for name in shown for _ in range(3)]
    caption = modules.command.caption(found, modules.command.STEPS)
    assert (FIGURES / "trajectories.md").read_text() == caption


def test_the_caption_follows_the_numbers(modules: Modules) -> None:
    found = modules.ends.read_csv((FIGURES / "trajectories.csv").read_text())
    astray = [replace(end, distance=1.0) for end in found]
    caption = " ".join(modules.command.caption(astray, steps=300).split())
    assert "At the front" not in caption
    assert "not at the front after 300 steps: " in caption


def test_the_figure_in_the_repository_is_small(modules: Modules) -> None:
    path = FIGURES / "trajectories.png"
    assert path.stat().st_size < 1_000_000
    assert imread(path).shape[1] == 1800


@pytest.mark.slow
def test_the_whole_figure_shows_what_its_caption_says(modules: Modules, tmp_path: Path) -> None:
    modules.command.main(["--out", str(tmp_path / "all.png")])
    found = modules.ends.read_csv((tmp_path / "all.csv").read_text())
    kept = modules.ends.read_csv((FIGURES / "trajectories.csv").read_text())
    starts = [(end.weighting, end.start_x, end.start_h) for end in found]
    assert starts == [(end.weighting, end.start_x, end.start_h) for end in kept]
    for name, x in (("EqualWeighting", 7 * (0.1 - 1) / (0.1 + 1)), ("FixedWeighting", 0.0)):
        # Both weigh the losses by constants, whose weighted sum has one minimum on the front.
        ends = [end for end in found if end.weighting == name]
        assert [end.x for end in ends] == pytest.approx([x] * 3, abs=0.05)
        assert max(end.distance for end in ends) < 0.05
