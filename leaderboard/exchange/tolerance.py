"""When two scores of the same thing are the same score."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

RELATIVE, ABSOLUTE = 1e-2, 1e-3
"""What is tolerated. On a processor with other instructions 1.2 % of scores were further apart, nearly all of them by a
jump (pixels that change places in an order), which no tolerance would cover: measured in docs/exchange.md."""


def deviations(scores: ArrayLike, others: ArrayLike) -> NDArray[np.float64]:
    """(N,) how far scores are apart, in units of what is tolerated: up to 1 they agree.

    |a - b| over `ABSOLUTE` + `RELATIVE` · max(|a|, |b|). 0 where both are undefined (nan), infinite where one is.
    """
    a, b = np.asarray(scores, dtype=np.float64), np.asarray(others, dtype=np.float64)
    tolerated = ABSOLUTE + RELATIVE * np.maximum(np.abs(a), np.abs(b))
    apart = np.where(np.isnan(a) | np.isnan(b), np.inf, np.abs(a - b) / tolerated)
    return np.where(np.isnan(a) & np.isnan(b), 0.0, apart)
