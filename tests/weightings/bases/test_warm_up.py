"""A warm-up that fills the whole run is told, as its results are not those of the rule."""

import pytest

from lightning_mtl.callbacks import STCH, ExcessMTL, MaxGNR, Weighting
from tests.support.toy import Toy, quiet_trainer, toy_loader

pytestmark = pytest.mark.filterwarnings("error:.*should have a warm-up")

LONG = {
    "MaxGNR": lambda: MaxGNR(),
    "MaxGNR, solved now and then": lambda: MaxGNR(warmup_steps=2, every_n_steps=2),
    "ExcessMTL": lambda: ExcessMTL(warmup_steps=4),
    "STCH": lambda: STCH(warmup_epochs=2),
}
SHORT = {
    "MaxGNR": lambda: MaxGNR(warmup_steps=3),
    "ExcessMTL": lambda: ExcessMTL(),
    "STCH": lambda: STCH(warmup_epochs=1),
}


def fit(weighting: Weighting, **settings) -> None:
    """Four steps in two epochs."""
    trainer = quiet_trainer(callbacks=[weighting], **settings)
    trainer.fit(Toy(), toy_loader(4))


@pytest.mark.parametrize("name", LONG)
def test_a_warm_up_that_never_ends_is_a_warning(name: str) -> None:
    # Warnings are errors in these tests, so that this one ends the run.
    with pytest.raises(UserWarning, match=r"should have a warm-up that ends within the run. Found"):
        fit(LONG[name](), max_epochs=2, limit_train_batches=2)


@pytest.mark.parametrize("name", SHORT)
def test_a_warm_up_that_ends_is_none(name: str) -> None:
    fit(SHORT[name](), max_epochs=2, limit_train_batches=2)
