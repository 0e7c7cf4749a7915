"""How explainers look: a colour and a symbol for each, the same in every figure, on the page and on paper."""

from dataclasses import dataclass

from ..standings import Standings
from ..style import COLOURS, CONTROL

SYMBOLS = ("circle", "square", "diamond", "triangle-up", "x", "star", "cross", "pentagon", "hexagram", "bowtie")
DASHES = ("solid", "dash", "dot", "dashdot")


@dataclass(frozen=True)
class Look:
    """How an explainer looks, the same in every figure."""

    colour: str
    symbol: str
    """Of `SYMBOLS`; ending in -open: not filled."""
    dash: str
    """Of `DASHES`."""


def looks(found: Standings) -> dict[str, Look]:
    """Of every explainer, dealt out in the order of the standings."""
    dealt = {}
    n_controls = 0
    for at, place in enumerate(found.order()):
        name = found.explainers.names[place]
        if place < found.explainers.n_ranked:
            lap = at // len(COLOURS)
            dealt[name] = Look(
                COLOURS[at % len(COLOURS)], SYMBOLS[(at + lap) % len(SYMBOLS)], DASHES[lap % len(DASHES)]
            )
        else:
            dealt[name] = Look(CONTROL, f"{SYMBOLS[n_controls % len(SYMBOLS)]}-open", DASHES[1 + n_controls % 3])
            n_controls += 1
    return dealt
