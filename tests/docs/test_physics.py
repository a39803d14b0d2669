"""The comparison on Helmholtz's equation: the equation, the losses, the equal time, the choices."""

import csv
import importlib
import io
import math
import runpy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.support.toy import quiet_trainer

FOLDER = Path(__file__).resolve().parents[2] / "docs/evidence/physics"
PARTS = ("problem", "network", "methods", "budget", "runs", "plan", "answer")


@pytest.fixture
def physics(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The modules of the comparison, as the command finds them beside itself."""
    monkeypatch.syspath_prepend(str(FOLDER))
    return SimpleNamespace(**{name: importlib.import_module(f"helmholtz.{name}") for name in PARTS})


@pytest.fixture
def command(physics: SimpleNamespace) -> Callable[[list[str]], None]:
    return runpy.run_path(str(FOLDER / "compare.py"))["main"]


def second_differences(function: Callable[[Tensor], Tensor], points: Tensor) -> Tensor:
    """The Laplacian by central differences, a literal twin of what autograd computes."""
    step = 1e-3
    total = torch.zeros(len(points), 1, dtype=points.dtype)
    for axis in range(2):
        shift = torch.zeros(2, dtype=points.dtype)
        shift[axis] = step
        total += function(points + shift) - 2 * function(points) + function(points - shift)
    return total / step**2


def interior(count: int = 20) -> Tensor:
    return torch.rand(count, 2, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


def test_the_solution_solves_the_equation(physics: SimpleNamespace) -> None:
    problem, points = physics.problem, interior()
    left = second_differences(problem.solution, points)
    left += problem.WAVE_NUMBER**2 * problem.solution(points)
    torch.testing.assert_close(left, problem.source(points), atol=1e-2, rtol=1e-4)


def test_the_solution_is_zero_on_each_of_the_four_sides(physics: SimpleNamespace) -> None:
    points = next(iter(physics.problem.Points(seed=0, count=80)))["boundary"]
    assert len(points) == 40
    for axis in range(2):
        for end in range(2):
            assert (points[:, axis] == end).sum() == 10
    torch.testing.assert_close(
        physics.problem.solution(points), torch.zeros(40, 1), atol=1e-5, rtol=0
    )


def test_points_are_new_in_each_batch_and_sensors_are_not(physics: SimpleNamespace) -> None:
    stream = iter(physics.problem.Points(seed=0))
    first, second = next(stream), next(stream)
    assert not torch.equal(first["interior"], second["interior"])
    assert torch.equal(first["sensors"], second["sensors"])
    again = next(iter(physics.problem.Points(seed=0)))
    assert all(torch.equal(again[name], values) for name, values in first.items())


def test_no_point_that_errors_are_measured_at_is_trained_on(physics: SimpleNamespace) -> None:
    problem = physics.problem
    trained = next(iter(problem.Points(seed=0)))
    for measured in (problem.held_out_points(), problem.grid_points()):
        inside = measured[((measured > 0) & (measured < 1)).all(1)]
        distances = torch.cdist(inside, torch.cat([trained["interior"], trained["sensors"]]))
        assert distances.min() > 0


def test_the_residual_has_the_laplacian_of_the_network(physics: SimpleNamespace) -> None:
    torch.manual_seed(0)
    network, points = physics.network.HelmholtzNetwork(width=8).double(), interior()
    with torch.no_grad():
        expected = second_differences(network, points)
        expected += physics.problem.WAVE_NUMBER**2 * network(points)
    expected -= physics.problem.source(points)
    found = network.residual(points)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4, check_stride=False)


def test_all_losses_of_the_solution_are_zero(physics: SimpleNamespace) -> None:
    network = physics.network.HelmholtzNetwork()

    class Solution(nn.Module):
        def forward(self, scaled: Tensor) -> Tensor:
            return physics.problem.solution((scaled + 1) / 2)

    network.layers = Solution()
    batch = next(iter(physics.problem.Points(seed=0)))
    losses = network.task_losses({name: points.double() for name, points in batch.items()})
    assert max(losses.values()) < 1e-15
    assert physics.network.relative_error(network, interior()) < 1e-12


def test_a_network_that_predicts_zero_is_wrong_by_all_of_the_solution(
    physics: SimpleNamespace,
) -> None:
    network = physics.network.HelmholtzNetwork()
    nn.init.zeros_(network.layers[-1].weight)
    assert physics.network.relative_error(network, physics.problem.grid_points()) == 1


@pytest.mark.parametrize("method", ["norm_balance", "gradnorm"])
def test_every_parameter_is_shared(physics: SimpleNamespace, method: str) -> None:
    network = physics.network.HelmholtzNetwork(width=8)
    network.log_tasks = True
    shared: list[set[Tensor]] = []
    network.on_train_batch_end = lambda *_: shared.append(set(network.shared_parameters()))
    trainer = quiet_trainer(callbacks=[physics.methods.weighting(method)], max_steps=2)
    loader = torch.utils.data.DataLoader(physics.problem.Points(seed=0, count=8), batch_size=None)
    trainer.fit(network, loader)
    assert shared == [set(network.parameters())] * 2
    assert all(weight > 0 for weight in network.task_weights.values())


def test_fixed_weights_without_a_weight_are_an_error(physics: SimpleNamespace) -> None:
    with pytest.raises(ValueError, match=r"`weighting\(residual=\)` should be .* Found none"):
        physics.methods.weighting("fixed")


def test_training_ends_when_its_seconds_are_spent_and_the_rate_is_zero(
    physics: SimpleNamespace,
) -> None:
    seconds = iter([5.0, 5.0, 6.0, 6.0, 7.0, 9.0, 9.5])
    budget = physics.budget.CpuBudget(4.0, clock=lambda: next(seconds))
    group: dict[str, Any] = {"lr": 0.2}
    trainer = SimpleNamespace(optimizers=[SimpleNamespace(param_groups=[group])], should_stop=False)
    rates, stops = [], []
    budget.on_train_start(trainer, None)
    for _ in range(3):
        budget.on_train_batch_start(trainer)
        budget.on_train_batch_end(trainer)
        rates.append(group["lr"])
        stops.append(trainer.should_stop)
    cosines = [math.cos(math.pi * share) for share in (0, 0.25, 1)]
    assert rates == pytest.approx([0.2 * (1 + cosine) / 2 for cosine in cosines])
    assert stops == [False, False, True]


def test_a_run_takes_its_cpu_seconds_and_depends_on_its_seed_alone(
    physics: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticks = iter(range(10**6))
    counted = physics.budget.CpuBudget
    monkeypatch.setattr(
        physics.runs, "CpuBudget", lambda seconds: counted(seconds, clock=lambda: next(ticks))
    )
    run = physics.runs.Run("equal", 3e-3, seed=1, seconds=9)
    first, again = physics.runs.train(run), physics.runs.train(run)
    # The clock is read before each step and after it.
    assert first.steps == 5
    assert first == again
    assert first.weights == {"residual": 1, "boundary": 1, "data": 1}
    other = physics.runs.train(replace(run, seed=2))
    assert other.test_error != first.test_error


def result(physics: SimpleNamespace, method: str, error: float, **changes: Any) -> Any:
    settings = {"lr": 3e-3, "seed": 0, "seconds": 1.0} | changes
    held_out = settings.pop("held_out_error", error)
    run = physics.runs.Run(method, **settings)
    weights = {"residual": 0.5, "boundary": 1.0, "data": 2.0}
    return physics.runs.Result(run, 10, held_out, error, weights)


def test_trials_have_every_setting_once_on_a_seed_of_their_own(physics: SimpleNamespace) -> None:
    methods = physics.methods
    runs = physics.plan.trials(methods.METHODS, 1.0)
    rates, others = len(methods.LEARNING_RATES), len(methods.METHODS) - 1
    assert len(runs) == len({run.name for run in runs}) == rates * (others + len(methods.GRID))
    assert {run.seed for run in runs} == {physics.plan.TRIAL_SEED}
    finals = physics.plan.repeated(runs, 5)
    assert {run.seed for run in finals} == set(range(5))


def test_settings_are_chosen_by_held_out_points_and_not_by_the_test(
    physics: SimpleNamespace,
) -> None:
    tried = [
        result(physics, "fixed", 0.1, held_out_error=0.4, residual=0.1),
        result(physics, "fixed", 0.9, held_out_error=0.2, residual=0.01),
        result(physics, "equal", 0.3),
    ]
    chosen = physics.plan.chosen(tried)
    assert chosen == {"fixed": tried[1].run, "equal": tried[2].run}


@pytest.fixture
def trained(physics: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of runs that were trained, or would have been."""
    names: list[str] = []

    def train(run: Any) -> Any:
        names.append(run.name)
        error = {"equal": 0.5, "upgrad": 0.25}.get(run.method, run.residual or 1) * (1 + run.lr)
        weights = {"residual": 1.0, "boundary": 1.0, "data": 1.0}
        return physics.runs.Result(run, 3, error, error + 0.01 * run.seed, weights)

    monkeypatch.setattr(physics.runs, "train", train)
    return names


def test_runs_whose_files_exist_are_not_repeated(
    physics: SimpleNamespace, trained: list[str], tmp_path: Path
) -> None:
    runs = physics.plan.trials(["equal"], 1.0)
    first = list(physics.runs.results(runs[:1], tmp_path, jobs=1))
    both = list(physics.runs.results(runs, tmp_path, jobs=1))
    assert trained == [run.name for run in runs]
    assert both[0] == first[0]
    assert [each.run for each in both] == runs


def test_a_folder_of_runs_of_another_length_is_refused(
    physics: SimpleNamespace, trained: list[str], tmp_path: Path
) -> None:
    run = physics.plan.trials(["equal"], 1.0)[0]
    list(physics.runs.results([run], tmp_path, jobs=1))
    with pytest.raises(ValueError, match=r"should be the result of .*seconds=2.*Use the"):
        list(physics.runs.results([replace(run, seconds=2.0)], tmp_path, jobs=1))


def test_the_command_tries_chooses_repeats_and_answers(
    command: Callable[[list[str]], None], trained: list[str], tmp_path: Path
) -> None:
    arguments = [str(tmp_path), "--methods", "equal", "fixed", "--seconds", "1", "--seeds", "2"]
    command(arguments)
    assert len(trained) == len(set(trained)) == 2 + 10 + 2 * 2
    assert trained[-4:] == [
        *(f"equal_lr0.003_seed{seed}" for seed in range(2)),
        *(f"fixed_w1e-05_lr0.003_seed{seed}" for seed in range(2)),
    ]
    assert (tmp_path / "errors.png").stat().st_size > 1000
    assert "| fixed (1e-05, 1, 1) |" in (tmp_path / "answer.md").read_text()
    rows = {name: len(read(tmp_path / name)) for name in ("answer.csv", "trials.csv")}
    assert rows == {"answer.csv": 4, "trials.csv": 12}
    trained.clear()
    command(arguments)
    assert not trained


def read(file: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(file.read_text())))


@pytest.mark.parametrize("name", ["seconds", "seeds", "jobs"])
def test_settings_of_zero_are_refused(
    command: Callable[[list[str]], None],
    name: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        command([str(tmp_path), f"--{name}", "0"])
    assert f"`--{name}` should be positive. Found 0." in capsys.readouterr().err


def table(physics: SimpleNamespace, results: list[Any]) -> dict[str, list[str]]:
    """The cells of each row of the answer, by method."""
    lines = physics.answer.markdown(results, 1.0).splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if "|" in line]
    return {row[0]: row[1:] for row in rows}


def test_means_are_geometric_and_ratios_beyond_the_noise_are_bold(
    physics: SimpleNamespace,
) -> None:
    errors = {"equal": [0.4, 0.9], "fixed": [0.0398, 0.0402], "upgrad": [0.02, 2.0]}
    results = [
        result(physics, method, error, seed=seed, residual=0.1 if method == "fixed" else None)
        for method, each in errors.items()
        for seed, error in enumerate(each)
    ]
    rows = table(physics, results)
    assert rows["equal"][:4] == ["60", "0.347 to 1.04e+04", "", "15"]
    assert rows["fixed (0.1, 1, 1)"][2] == "0.067"
    assert rows["upgrad"][0] == "20"
    assert rows["upgrad"][4:] == ["10", "0.5, 1, 2", "0.003"]


def test_a_difference_beyond_the_noise_is_bold_and_another_is_not(
    physics: SimpleNamespace,
) -> None:
    errors = {
        "equal": [0.5, 0.52, 0.48],
        "softadapt": [0.49, 0.52, 0.5],
        "config": [0.1, 0.11, 0.1],
    }
    results = [
        result(physics, method, error, seed=seed)
        for method, each in errors.items()
        for seed, error in enumerate(each)
    ]
    rows = table(physics, results)
    assert rows["config"][2] == "**0.21**"
    assert rows["softadapt"][2] == "1"
    assert rows["config"][3] == ""


def test_one_seed_has_no_interval(physics: SimpleNamespace) -> None:
    rows = table(physics, [result(physics, "equal", 0.5)])
    assert rows["equal"][:2] == ["50", "one seed"]
    assert len(physics.answer.picture([result(physics, "equal", 0.5)]).axes) == 1


def test_methods_are_named_once_and_built_anew(physics: SimpleNamespace) -> None:
    methods: ModuleType = physics.methods
    assert len(set(methods.METHODS)) == len(methods.METHODS) == len(methods.BUILDERS) + 1
    assert methods.weighting("equal") is not methods.weighting("equal")


@pytest.mark.slow
def test_balanced_norms_beat_equal_weights_at_equal_time(physics: SimpleNamespace) -> None:
    errors = {
        method: physics.runs.train(physics.runs.Run(method, 3e-3, 0, 8.0)).test_error
        for method in ("equal", "norm_balance")
    }
    assert errors["norm_balance"] < 0.5 * errors["equal"]
