"""Compact letters: who shares a letter cannot be told apart.

Reference:
    Piepho, An algorithm for a letter-based representation of all-pairwise comparisons, J. Computational and Graphical
    Statistics 13 (2004).
"""

from collections.abc import Sequence
from string import ascii_lowercase, ascii_uppercase

import numpy as np
from numpy.typing import NDArray


def groups(separable: NDArray[np.bool_]) -> list[frozenset[int]]:
    """The largest groups of which no two members are separable, by insertion and absorption.

    Args:
        separable: (K, K), symmetric.

    Returns:
        The groups, those with the first members first. Two are in one group exactly where they are not separable;
        everybody is in one group at least.

    >>> groups(np.array([[False, False, True], [False, False, False], [True, False, False]]))
    [frozenset({0, 1}), frozenset({1, 2})]
    """
    found = {frozenset(range(len(separable)))} if len(separable) else set()
    for first, second in zip(*np.nonzero(np.triu(separable, 1)), strict=True):
        for group in [group for group in found if first in group and second in group]:
            found.remove(group)
            for part in (group - {int(first)}, group - {int(second)}):
                if not any(part <= other for other in found):
                    found = {other for other in found if not other <= part} | {part}
    return sorted(found, key=sorted)


def letters(separable: NDArray[np.bool_]) -> list[str]:
    """The letters (K,) of each: two share one exactly where they are not separable; the first begins with a.

    >>> letters(np.array([[False, False, True], [False, False, False], [True, False, False]]))
    ['a', 'ab', 'b']
    """
    found = groups(separable)
    return ["".join(_letter(at) for at, group in enumerate(found) if one in group) for one in range(len(separable))]


def ordered_letters(separable: NDArray[np.bool_], order: Sequence[int]) -> list[str]:
    """As `letters`, dealt out along the order: a is a letter of the first in it."""
    places = np.asarray(order, dtype=np.intp)
    dealt = letters(separable[np.ix_(places, places)])
    return [dealt[place] for place in np.argsort(places)]


def _letter(at: int) -> str:
    """a … z, A … Z, then a2 and on."""
    alphabet = ascii_lowercase + ascii_uppercase
    return alphabet[at % len(alphabet)] + (str(at // len(alphabet) + 1) if at >= len(alphabet) else "")
