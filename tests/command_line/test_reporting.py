"""`compare` of sweeps and of plain runs, and its report."""

import json

import pytest

from lightning_mtl.cli import main
from tests.support.swept_folder import write_sweep


@pytest.fixture
def sweep(tmp_path):
    return write_sweep(tmp_path / "sweep", seeds=3)


def test_a_sweep_alone_shows_its_answer_and_renews_its_report(sweep, capsys):
    main(["compare", str(sweep)])
    shown = " ".join(capsys.readouterr().out.split())
    assert "Delta_MTL" in shown
    assert "other" in shown
    answer = json.loads((sweep / "report" / "answer.json").read_text())
    assert answer
    assert (sweep / "report" / "report.html").is_file()


def test_a_sweep_beside_a_run_is_a_table_over_its_single_tasks(sweep, capsys):
    main(["compare", str(sweep), f"mine={sweep / 'runs' / 'other' / 'seed_0'}"])
    shown = capsys.readouterr().out
    assert "delta_mtl" in shown
    assert "mine" in shown
    assert not (sweep / "report").exists()


def test_metrics_that_are_named_are_a_table_too(sweep, capsys):
    main(["compare", str(sweep), "--metrics", "val/labels/Score"])
    shown = capsys.readouterr().out
    assert "0.5" in shown
    assert not (sweep / "report").exists()


def test_plain_runs_get_a_report_where_they_ask_for_one(sweep, tmp_path, capsys):
    runs = [
        f"{method}={sweep / 'runs' / method / f'seed_{seed}'}"
        for method in ("equal", "other")
        for seed in range(3)
    ]
    better = ["--higher_is_better", "val/labels/Score", "--lower_is_better", "val/depth/Error"]
    baselines = ["--baselines", "{val/depth/Error: 1.0, val/labels/Score: 0.5}"]
    main(["compare", *runs, *better, *baselines, "--report", str(tmp_path / "report")])
    written = (tmp_path / "report" / "answer.md").read_text()
    assert "equal" in written
    assert "Delta_MTL" in written
    assert str(tmp_path / "report" / "report.html") in capsys.readouterr().out.replace("\n", "")


def test_a_report_on_metrics_of_ones_own_asks_for_their_directions(sweep, tmp_path, capsys):
    run = f"a={sweep / 'runs' / 'equal' / 'seed_0'}"
    with pytest.raises(SystemExit):
        main(["compare", run, "--report", str(tmp_path / "report")])
    assert "Name each of them in `higher_is_better` or in" in capsys.readouterr().err
