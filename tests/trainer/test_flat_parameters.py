"""Under FSDP1, whose parameters are flat, losses are weighted as on one device."""

from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.support.ddp_flat import OF_GRADIENTS, OF_LOSSES, SIZE, VARIANTS, Run
from tests.support.ranks import outputs_of
from tests.support.toy import Graded, GradedData, parameters, quiet_trainer, weights
from tests.support.weightings import EXAMPLES, has_moved

OF_THIS_STEP = [name for name in OF_LOSSES if EXAMPLES[name]().depends_on_losses]


@pytest.fixture(scope="module", params=[1, 2], ids=["one rank", "two ranks"])
def flat(request: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[Run, Any], str]:
    """The parameters or the error of each run, and what all of them printed."""
    file = tmp_path_factory.mktemp("flat") / "results.pt"
    ranks = request.param
    codes, printed = outputs_of("ddp_flat", str(file), str(ranks), ranks=ranks)
    assert codes == [0] * ranks, printed[-4000:]
    return loaded(file), printed


def loaded(file: Path) -> dict[Run, Any]:
    return {Run(*run): found for run, found in torch.load(file).items()}


@cache
def on_one_device(name: str, accumulate: int = 1) -> Tensor:
    run, module = Run(name, accumulate), Graded()
    trainer = quiet_trainer(**run.settings)
    trainer.fit(module, GradedData(SIZE))
    assert has_moved(name, weights(module))
    return parameters(module)


def assert_equal(found: Any, expected: Tensor, run: Run) -> None:
    assert isinstance(found, Tensor), (run, found)
    torch.testing.assert_close(
        found, expected, atol=1e-5, rtol=1e-4, msg=lambda text: f"{run}: {text}"
    )


@pytest.mark.parametrize("name", ["none", *OF_LOSSES])
def test_losses_are_weighted_as_on_one_device(name: str, flat: Any) -> None:
    found, _ = flat
    for accumulate, nested in VARIANTS:
        run = Run(name, accumulate, nested)
        if name in OF_THIS_STEP and accumulate > 1:
            rule = type(EXAMPLES[name]()).__name__
            assert f"`{rule}` under gradient accumulation should have whole" in found[run]
        else:
            assert_equal(found[run], on_one_device(name, accumulate), run)


@pytest.mark.parametrize("nested", [False, True], ids=["one unit", "nested units"])
def test_probes_leave_no_trace_as_long_as_weights_are_1(nested: bool, flat: Any) -> None:
    found, _ = flat
    run = Run("MGDA(probes)", nested=nested)
    assert_equal(found[run], on_one_device("none"), run)


@pytest.mark.parametrize("name", [*OF_GRADIENTS, "AlternatingUpdates"])
def test_weightings_of_gradients_are_refused_with_the_ways_out(name: str, flat: Any) -> None:
    found, _ = flat
    error = found[Run(name)]
    assert "Found `OnHost`, which shards them" in error
    assert 'a strategy that keeps whole parameters, such as `"ddp"`' in error


def test_no_count_of_shared_parameters_is_shown_as_none_are_known(flat: Any) -> None:
    _, printed = flat
    assert "a step costs" in printed
    assert "shared: " not in printed
