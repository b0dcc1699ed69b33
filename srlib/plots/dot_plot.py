"""What demonstrations do (`plots.dots`): one figure, a panel a measure, a dot an arm.

It takes the metrics table of `srlib.metrics.tidy` with by=("arm", "data", "k", "m"), say:
    arm="few-shot k=8 m=2", data="harmful", k=8, m=2, metric="refusal_rate", value=0.81, n=48,
    low=0.679, high=0.897
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, to_hex
from matplotlib.lines import Line2D

from .frontier_lines import WORDS
from .looks import MARKERS, NARROW, PALE, count_text, head, metric_name, wrapped
from .panels import DASHED, NOTE, key, level, measured, panels

SHOTS = ("exact_match", "refusal_rate", "over_refusal_rate")
RAMP = LinearSegmentedColormap.from_list("ramp", ["#7FC1EA", "#0072B2", "#10243A"])  # pale to dark


def _ramp(values: Collection) -> dict:
    """Return a look for each value, pale to dark: in grey, too, they keep their order."""
    shades = np.linspace(0, 1, len(values)) if len(values) > 1 else [0.5]
    return {
        value: {"color": to_hex(RAMP(shade)), "marker": MARKERS[i % len(MARKERS)], "ls": ""}
        for i, (value, shade) in enumerate(zip(values, shades, strict=True))
    }


def dots(
    metrics: pd.DataFrame,
    x: str = "k",
    hue: str = "m",
    measures: Sequence[str] = SHOTS,
    base: str | None = None,
    data: Collection[str] = (),
    width: float | None = None,
) -> Axes:
    """Draw a dot and its 95 % interval an arm: a panel a measure, `x` across, `hue` as shade and
    mark, all from 0 to 100 %.

    `base` names an arm to draw as a dashed level, its interval a band; `data` the data sets to keep
    where a measure has several; `width` is the figure's (inches): panels of a narrow one are
    stacked. Arms without `x` or `hue` are left out.
    """
    tables = measured(metrics, measures, x, hue, base, data)
    everyone = pd.concat([rows for rows, _ in tables])
    sizes = np.unique(everyone[x])
    looks = _ramp(sorted(everyone[hue].unique()))
    each = max(2.9, 0.8 + 0.24 * len(sizes) * len(looks))
    width = width or each * len(measures) + 2.6
    stacked = width < NARROW
    height = 1.2 + 2.7 * len(measures) if stacked else 4.6
    axes = panels(len(measures), width, height, stacked)
    for ax, measure, (rows, alone) in zip(axes, measures, tables, strict=True):
        level(ax, alone)
        for turn, (name, look) in enumerate(looks.items()):
            part = rows[rows[hue] == name]
            at = np.searchsorted(sizes, part[x]) + (turn - (len(looks) - 1) / 2) * 0.7 / len(looks)
            ax.vlines(at, part["low"], part["high"], look["color"], lw=1.6, zorder=2)
            ax.plot(at, part["value"], **look, ms=9, mec="white", mew=0.8, zorder=3)
        ax.set_xticks(range(len(sizes)), [f"{size:,.10g}" for size in sizes])
        ax.set_xlim(-0.6, len(sizes) - 0.4)
        ax.grid(False, axis="x")
        head(ax, metric_name(measure), f"{rows['data'].iloc[0]}, {count_text(rows['n'])}")
    words = [name if isinstance(name, str) else f"{name:,.10g}" for name in looks]
    entries = {w: Line2D([], [], **looks[name], ms=9) for w, name in zip(words, looks, strict=True)}
    entries |= {} if base is None else {base: Line2D([], [], color=PALE, ls=DASHED)}
    key(axes, entries, wrapped(WORDS.get(hue, hue), 24), f"{WORDS.get(x, x)}; {NOTE}")
    return axes[0]
