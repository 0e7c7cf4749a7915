"""What the commands that draw share: where to, and how it looks."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from leaderboard.style import DIVERGING, FONT_SIZE, FORMATS, Style

from ..errors import UserError
from .console import told


def checked(param: typer.CallbackParam, path: Path | None) -> Path | None:
    """The callback of an option that names a picture.

    Raises:
        UserError: the suffix is no format.
    """
    if path is not None and path.suffix not in FORMATS:
        raise UserError(f"{param.opts[0]} {path}: give it the ending .png, .pdf or .svg")
    return path


Out = Annotated[
    Path, typer.Option("--out", metavar="FILE", callback=checked, help="Where to draw it: .png, .pdf or .svg.")
]


def _option(*names: str, **settings: Any) -> Any:
    return typer.Option(*names, rich_help_panel="Look of the picture", **settings)


@dataclass(frozen=True)
class Look:
    """How a picture looks."""

    width: Annotated[
        float | None, _option("--width", metavar="MM", min=20, max=1000, help="85 fits a column, 180 a page.")
    ] = None
    font: Annotated[str, _option("--font", metavar="FAMILY", help="That is installed.")] = "DejaVu Sans"
    font_size: Annotated[float, _option("--font-size", metavar="POINTS", min=3, max=30)] = FONT_SIZE
    dpi: Annotated[int, _option("--dpi", min=30, max=1200, help="Dots an inch, for .png.")] = 150

    def style(self) -> Style:
        """
        Raises:
            UserError: there is no such font or colour map.
        """
        with told():
            return Style(**vars(self))


@dataclass(frozen=True)
class SignedLook(Look):
    """How a picture of what has a sign looks."""

    colours: Annotated[
        str, _option("--colours", "--cmap", metavar="NAME", help="For or against: one of matplotlib's diverging maps.")
    ] = DIVERGING


USUAL, SIGNED = Look(), SignedLook()
