"""When two scores of the same thing are the same score."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

RELATIVE, ABSOLUTE = 1e-2, 1e-3


def deviations(scores: ArrayLike, others: ArrayLike) -> NDArray[np.float64]:
    """(N,) how far scores are apart, in units of what is tolerated: up to 1 they agree.

    |a - b| over `ABSOLUTE` + `RELATIVE` · max(|a|, |b|). 0 where both are undefined (nan), infinite where one is.
    """
    a, b = np.asarray(scores, dtype=np.float64), np.asarray(others, dtype=np.float64)
    tolerated = ABSOLUTE + RELATIVE * np.maximum(np.abs(a), np.abs(b))
    apart = np.where(np.isnan(a) | np.isnan(b), np.inf, np.abs(a - b) / tolerated)
    return np.where(np.isnan(a) & np.isnan(b), 0.0, apart)
