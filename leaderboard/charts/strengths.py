"""Robustness by strength: how much a map keeps while the image is changed more and more."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

from ..strengths import ENDINGS, Change, of_explainer
from ..style import Style
from .looks import Look
from .marks import legend, line, marker, panels, per_row

_LEAST, _HEIGHT = 2.0, 1.9
"""Width and height of a panel, inches."""


def draw_strengths(
    changes: Sequence[Change],
    appearance: Mapping[str, Look],
    controls: Sequence[str],
    path: Path,
    style: Style | None = None,
) -> Path:
    """Draw scores by strength, a panel a task and kind of change, with bands: 95 % intervals over the samples.

    Args:
        changes: What `leaderboard.strengths.by_strength` found, or some of them.
        appearance: Explainers that are drawn -> how; those without a score are not in a panel.
        controls: Which of them are controls: the legend says it.
        path: Where to write it; .png, .pdf or .svg by its suffix. Missing folders are made.
        style: The look.

    Raises:
        ValueError: no metric has two strengths, or none of these explainers a score of it.
    """
    judged = {name for one in changes for name in appearance if len(of_explainer(one, name))}
    if not judged:
        raise ValueError(
            "these results have no metric of robustness in two strengths: `bench run --metrics rotation_mild,rotation,"
            "rotation_strong` adds them, and `bench list metrics` knows more"
        )
    there = {name: look for name, look in appearance.items() if name in judged}
    style = style or Style()
    rows = -(-len(changes) // per_row(style.inches, len(changes), _LEAST * style.scale))
    with style.drawing(style.scale * (rows * _HEIGHT + 0.15 * (1 + len(there) // 3))) as figure:
        for axis, change in zip(panels(figure, len(changes), _LEAST * style.scale), changes, strict=True):
            _draw(axis, change, there)
        legend(figure, there, controls)
        return style.save(figure, path)


def _draw(axis: Axes, change: Change, appearance: Mapping[str, Look]) -> None:
    words = [word for word in ENDINGS.values() if word in set(change.rows.strength)]
    for name, look in appearance.items():
        own = of_explainer(change, name)
        if len(own):
            places = [words.index(word) for word in own.index]
            low, mean, high = own[["low", "mean", "high"]].to_numpy(dtype=np.float64).T
            axis.fill_between(places, low, high, color=look.colour, alpha=0.12, linewidth=0)
            axis.plot(places, mean, gid=name, **{**marker(look), **line(look)})
    higher = "higher" if bool(change.rows.higher_is_better.iloc[0]) else "lower"
    axis.set_xticks(range(len(words)), words)
    axis.set_xlim(-0.15, len(words) - 0.85)
    axis.set_title(f"{change.task}\n{change.base}", loc="left")
    axis.set(xlabel="strength", ylabel=f"score ({higher} is better)")
