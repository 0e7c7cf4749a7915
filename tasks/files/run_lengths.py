"""Masks as run lengths in a string, as the COCO API writes them [1].

Decoded here, with care: pycocotools (2.0.11) crashes on damaged strings, and makes pixels of nothing for empty ones.

[1] maskApi.c of the COCO API: numbers of 5 bits a character from "0" on, lowest first; the sixth bit says that more
follow, the fifth of the last is the sign. From the fourth run on, what is written is the difference to the run before
the last.
"""

import numpy as np
from numpy.typing import NDArray


def decoded(counts: str, height: int, width: int) -> NDArray[np.bool_]:
    """(height, width), True in every second run; the runs go down the columns and begin with what is False.

    >>> decoded("13", 2, 2).tolist()
    [[False, True], [True, True]]

    Raises:
        ValueError: these are no runs, or they do not cover the image.
    """
    runs: list[int] = []
    for number in _numbers(counts):
        runs.append(number + (runs[-2] if len(runs) > 2 else 0))
    if any(run < 0 for run in runs) or sum(runs) != height * width:
        raise ValueError(f"its runs cover {sum(run for run in runs if run > 0)} pixels, not {height * width}")
    values = np.arange(len(runs)) % 2 == 1
    return np.repeat(values, runs).reshape(width, height).T


def encoded(mask: NDArray[np.bool_]) -> str:
    """The runs of an (H, W) mask, as `decoded` reads them.

    >>> encoded(np.array([[False, True], [True, True]]))
    '13'
    """
    flat = np.concatenate([[False], mask.T.ravel()])
    edges = np.flatnonzero(flat[1:] != flat[:-1])
    runs = np.diff(np.concatenate([[0], edges, [mask.size]])).tolist()
    return "".join(_characters(run - (runs[at - 2] if at > 2 else 0)) for at, run in enumerate(runs))


def _numbers(text: str) -> list[int]:
    numbers, number, shift = [], 0, 0
    for character in text:
        bits = ord(character) - 48
        if not 0 <= bits < 64 or shift > 60:
            raise ValueError(f"{character!r} is no part of a run")
        number |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            numbers.append(number - (1 << shift) if bits & 16 else number)
            number = shift = 0
    if shift:
        raise ValueError("its runs are cut short")
    return numbers


def _characters(number: int) -> str:
    text = ""
    while True:
        bits, number = number & 31, number >> 5
        if number == (-1 if bits & 16 else 0):
            return text + chr(bits + 48)
        text += chr((bits | 32) + 48)
