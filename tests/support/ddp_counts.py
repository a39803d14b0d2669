"""Train the toy that counts its labels on two gloo ranks, as a user's script would."""

import sys
import warnings

from tests.support.counted import train_routes
from tests.support.ranks import save_of_first


def main() -> None:
    warnings.simplefilter("ignore")
    results = {accumulate: train_routes(2, accumulate) for accumulate in (1, 2)}
    save_of_first(results, sys.argv[1])


if __name__ == "__main__":
    main()
