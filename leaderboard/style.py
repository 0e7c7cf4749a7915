"""How pictures look, for papers: one font, sizes in points, widths in millimetres, colours that the colour-blind see.

    style = Style(width=85, font="DejaVu Serif")
    with style.drawing(height=3) as figure:
        …
        style.save(figure, Path("ranks.pdf"))

Fonts are embedded as TrueType (journals refuse Type 3), so that text in a PDF stays text; an SVG has outlines, and
looks the same where the font is missing. Same records, same file: no date is written into it.

Reference:
    Okabe and Ito, Color universal design, 2008: the colours of lines.
"""

import difflib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib import colormaps, font_manager, rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import Colormap
from matplotlib.figure import Figure

FORMATS = (".png", ".pdf", ".svg")
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")
"""Of lines, in turn."""
CONTROL = "#888888"
"""Of explainers that are compared with and not ranked."""
DIVERGING = "RdBu_r"
"""Colours of maps, from against the class to for it."""

FONT_SIZE = 7.0
"""What journals ask for in figures, points."""
INCH = 25.4
"""In millimetres."""
FULL_WIDTH = 180.0
"""Of charts, unless asked otherwise, mm: two columns of a journal."""

_DATELESS: dict[str, dict[str, Any]] = {".pdf": {"CreationDate": None}, ".svg": {"Date": None}, ".png": {}}


@dataclass(frozen=True)
class Style:
    """The look of a picture.

    Raises:
        ValueError: the font or the colours are not known here; the message names what is near.
    """

    width: float | None = None
    """Of the picture, mm; None: `FULL_WIDTH` for charts, what they need for sheets of pictures."""
    font: str = "DejaVu Sans"
    """A family."""
    font_size: float = FONT_SIZE
    """Points; headings and captions keep their ratio to it."""
    colours: str = DIVERGING
    """Name of matplotlib's, for what has a sign."""
    dpi: int = 150
    """Dots an inch, for .png."""

    def __post_init__(self) -> None:
        if self.colours not in colormaps:
            some = "RdBu_r, PuOr_r, coolwarm, berlin"
            raise ValueError(_unknown("colour map", self.colours, sorted(colormaps), some))
        if not _installed(self.font):
            raise ValueError(_unknown("font", self.font, sorted(_families()), "DejaVu Sans, DejaVu Serif"))

    @property
    def signed(self) -> Colormap:
        return colormaps[self.colours]

    @property
    def scale(self) -> float:
        """Size of the font over the usual one: what room text needs grows with it."""
        return self.font_size / FONT_SIZE

    @property
    def inches(self) -> float:
        """Width of a chart."""
        return (self.width or FULL_WIDTH) / INCH

    @contextmanager
    def context(self) -> Iterator[None]:
        """Drawing and saving belong in it."""
        with rc_context(self._settings()):
            yield

    @contextmanager
    def drawing(self, height: float, layout: Any = "constrained") -> Iterator[Figure]:
        """A figure as wide as the style says and so many inches high, to be drawn and saved within the context."""
        with self.context():
            figure = Figure(figsize=(self.inches, height), layout=layout)
            FigureCanvasAgg(figure)
            yield figure

    def save(self, figure: Figure, path: Path) -> Path:
        """Write a figure; the suffix decides the format, missing folders are made. In the context of its drawing.

        Raises:
            ValueError: the suffix is none of `FORMATS`.
        """
        check_suffix(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=self.dpi, metadata=_DATELESS[path.suffix])
        return path

    def _settings(self) -> Any:
        return {
            "font.family": [self.font],
            "font.size": self.font_size,
            "axes.titlesize": self.font_size,
            "axes.titleweight": "bold",
            "axes.labelsize": self.font_size,
            "figure.titlesize": self.font_size,
            "figure.titleweight": "bold",
            "figure.labelsize": self.font_size,
            "xtick.labelsize": self.font_size,
            "ytick.labelsize": self.font_size,
            "legend.fontsize": self.font_size,
            "legend.frameon": False,
            "axes.linewidth": 0.6,
            "xtick.major.width": 0.6,
            "ytick.major.width": 0.6,
            "xtick.minor.width": 0.4,
            "ytick.minor.width": 0.4,
            "xtick.major.size": 2.5,
            "ytick.major.size": 2.5,
            "xtick.minor.size": 1.5,
            "ytick.minor.size": 1.5,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "grid.color": "0.9",
            "grid.linewidth": 0.5,
            "axes.axisbelow": True,
            "lines.linewidth": 1.0,
            "lines.markersize": 4.0,
            "pdf.fonttype": 42,
            "ps.fonttype": 42,
            "svg.hashsalt": "heatmark",
            "text.parse_math": False,  # an explainer may be called $x_1$
        }


def check_suffix(path: Path) -> None:
    """
    Raises:
        ValueError: pictures are not written in this format.
    """
    if path.suffix not in FORMATS:
        raise ValueError(f"{path}: give it the ending {', '.join(FORMATS[:-1])} or {FORMATS[-1]}")


def _installed(family: str) -> bool:
    if family in _families():
        return True
    # matplotlib lists fonts once: those that were installed later are not among them.
    listed = {font.fname for font in font_manager.fontManager.ttflist}
    for path in font_manager.findSystemFonts():
        if path not in listed and family.replace(" ", "").lower() in Path(path).name.replace(" ", "").lower():
            font_manager.fontManager.addfont(path)
    return family in _families()


def _families() -> set[str]:
    return {font.name for font in font_manager.fontManager.ttflist}


def _unknown(what: str, name: str, known: list[str], some: str) -> str:
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.6)
    return f"no {what} is called {name!r} here: {'did you mean ' + ' or '.join(near) if near else f'there are {some}'}"
