"""Encoders whose stages feed one another and the heads: the cut must not count a path twice."""

import pytest

from lightning_mtl.callbacks import MGDA, GradNorm, MaxGNR
from tests.support.toy import Skipping, quiet_trainer, toy_loader
from tests.test_family import Witness

WEIGHTINGS = {
    "GradNorm": GradNorm,
    "MGDA": MGDA,
    "MGDA(last_layer)": lambda: MGDA(gradients="last_layer"),
    "MGDA(every_n_steps)": lambda: MGDA(every_n_steps=3),
    "MaxGNR": lambda: MaxGNR(warmup_steps=2),
}


@pytest.mark.parametrize("joined", [True, False])
@pytest.mark.parametrize("name", WEIGHTINGS)
def test_weights_reproduce_the_gradient_behind_skip_connections(name: str, joined: bool) -> None:
    witness = Witness(absent_is_zero=False)
    quiet_trainer(callbacks=[WEIGHTINGS[name](), witness]).fit(Skipping(joined), toy_loader())
    assert witness.worst < 1e-5


def test_features_are_found_where_they_are_joined() -> None:
    witness = Witness(absent_is_zero=False)
    weighting = MGDA(gradients="features")
    quiet_trainer(callbacks=[weighting, witness]).fit(Skipping(joined=True), toy_loader())
    assert witness.worst < 1e-5


def test_features_that_cannot_be_found_are_an_error_that_says_what_to_do() -> None:
    trainer = quiet_trainer(callbacks=[MGDA(gradients="features")])
    with pytest.raises(ValueError, match="join_features"):
        trainer.fit(Skipping(joined=False), toy_loader())
