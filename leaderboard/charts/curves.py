"""Curves of removal: what is left of a decision while pixels are taken away, with its band."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter

from ..removal import Curve
from ..style import Style
from .looks import Look
from .marks import legend, line, panels, per_row

_LEAST, _HEIGHT = 2.2, 1.9
"""Width and height of a panel, inches."""


def draw_curves(
    curves: Sequence[Curve],
    appearance: Mapping[str, Look],
    controls: Sequence[str],
    path: Path,
    style: Style | None = None,
) -> Path:
    """Draw curves, a panel a task and metric: the mean over the samples, and its 95 % interval at each step by itself.

    Args:
        curves: What `leaderboard.removal.removal_curves` read, or some of them.
        appearance: Explainers that are drawn -> how; those without a curve are not in a panel.
        controls: Which of them are controls: the legend says it.
        path: Where to write it; .png, .pdf or .svg by its suffix. Missing folders are made.
        style: The look.

    Raises:
        ValueError: there is no curve of these explainers.
    """
    curves = [one for one in curves if one.explainer in appearance]
    if not curves:
        raise ValueError(
            "no curve of these tasks, metrics and explainers was kept: `bench run --save-attributions` keeps those of "
            "deletion and insertion"
        )
    there = {name: look for name, look in appearance.items() if name in {one.explainer for one in curves}}
    kinds = list(dict.fromkeys((one.task, one.metric) for one in curves))
    style = style or Style()
    rows = -(-len(kinds) // per_row(style.inches, len(kinds), _LEAST * style.scale))
    with style.drawing(style.scale * (rows * _HEIGHT + 0.15 * (1 + len(there) // 3))) as figure:
        for axis, kind in zip(panels(figure, len(kinds), _LEAST * style.scale), kinds, strict=True):
            own = {one.explainer: one for one in curves if (one.task, one.metric) == kind}
            _draw(axis, [own[name] for name in there if name in own], there)
        legend(figure, there, controls, with_markers=False)
        return style.save(figure, path)


def _draw(axis: Axes, curves: Sequence[Curve], appearance: Mapping[str, Look]) -> None:
    for one in curves:
        look = appearance[one.explainer]
        axis.fill_between(one.removed, one.low, one.high, color=look.colour, alpha=0.12, linewidth=0)
        axis.plot(one.removed, one.mean, gid=one.explainer, **line(look))
    size = max(curves, key=lambda one: one.n_samples).size
    axis.set_title(f"{curves[0].task}\n{curves[0].metric}, {size}", loc="left")
    axis.set(xlabel=f"pixels {curves[0].verb}", ylabel="probability of the target", xlim=(0, 1))
    axis.set_ylim(bottom=min(0.0, axis.get_ylim()[0]))
    axis.xaxis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))
