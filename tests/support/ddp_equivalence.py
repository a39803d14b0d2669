"""Train the toy with some weightings on several gloo ranks, as a user's script would."""

import sys
import warnings

from tests.support.equivalence import RULES, fit, rank_run
from tests.support.parts import Parts, PartsData
from tests.support.ranks import distance_between_replicas, save_of_first
from tests.support.toy import parameters
from tests.support.weightings import PRIOR


def main() -> None:
    file, column, *names = sys.argv[1:]
    warnings.simplefilter("ignore")
    run = rank_run(column)
    results = {}
    for name in names:
        for accumulate in run.windows(name):
            module = fit(
                name,
                Parts(),
                PartsData(run.batches),
                weighting=RULES[name](prior=PRIOR) if run.prior else None,
                devices=run.ranks,
                strategy="ddp",
                accumulate_grad_batches=accumulate,
            )
            mine = parameters(module)
            results[name, accumulate] = mine, distance_between_replicas(mine)
    save_of_first(results, file)


if __name__ == "__main__":
    main()
