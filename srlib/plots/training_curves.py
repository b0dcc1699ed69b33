"""Figures of training: loss curves, refusals in pairs.

Use them as `plots.curves` and `plots.pairs_bars`. The first takes a row a logged step:
    arm="long-CoT", step=10, tokens=20480, loss=1.31
the second the metrics table of `srlib.metrics.tidy`, by=("arm", "data", "family", "amount"), say:
    arm="reflective 16", data="advbench", family="reflective", amount=16, metric="refusal_rate",
    value=0.92, n=100, low=0.850, high=0.959
More rows and families of arms live in `srlib.plots.panels` and `srlib.plots.frontier_lines`.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import EngFormatter

from ..errors import UserError
from .frontier_lines import WORDS, frontiers, looks_of, numbers
from .looks import (
    COLOURS,
    INK,
    MARKERS,
    PALE,
    count_text,
    head,
    key_place,
    metric_name,
    new_axes,
    wrapped,
)
from .panels import DASHED, NOTE, growth, level, measured, panels

__all__ = ["curves", "frontiers", "growth", "pairs_bars"]

HATCHES = [None, "///", "...", "xx"]


def curves(
    losses: pd.DataFrame,
    x: str = "tokens",
    y: str = "loss",
    hue: str = "arm",
    smoothing: float = 0.8,
    ax: Axes | None = None,
) -> Axes:
    """Draw training curves: the logged values faint, an exponential mean of them on top.

    `smoothing` is the weight of the past, a logged step (0: none, below 1), with the start
    corrected as TensorBoard does. The key beside the figure is in the order in which the curves
    end, from high to low, and gives the smoothed value there.
    """
    if lacking := [c for c in (x, y, hue) if c not in losses]:
        raise UserError(f"the table of losses lacks {', '.join(lacking)}: give a row a logged step")
    if not 0 <= smoothing < 1:
        raise UserError(f"smoothing={smoothing}: give a number from 0 to below 1")
    rows = losses.assign(**{c: numbers(losses, c) for c in (x, y)})
    rows = rows[np.isfinite(rows[[x, y]]).all(axis=1)].sort_values(x, kind="stable")
    if rows.empty:
        raise UserError(f"no row has both {x} and {y}: give the values that training logged")
    looks = looks_of(losses[hue].unique())
    ax = new_axes(ax, 10, 5.5)
    ends = []
    for turn, (name, look) in enumerate(looks.items()):
        line = rows[rows[hue] == name]
        if line.empty:
            ends.append((-np.inf, look, wrapped(f"{name}  (no values)", 34)))
            continue
        smooth = line[y].ewm(alpha=1 - smoothing, adjust=True).mean()
        ax.plot(line[x], line[y], color=look["color"], lw=0.8, alpha=0.25, zorder=2)
        every = (0.05 + 0.3 * turn / len(looks), 0.3)  # marks of two arms stand apart
        marks = {"markevery": every, "ms": 7, "mec": "white", "mew": 0.8}
        ax.plot(line[x], smooth, **look, **marks, lw=1.8, zorder=3)
        ax.plot(line[x].iloc[-1], smooth.iloc[-1], **look, ms=7, mec="white", mew=0.8, zorder=4)
        ends.append((smooth.iloc[-1], look, wrapped(f"{name}  {smooth.iloc[-1]:.2f}", 34)))
    ends.sort(key=lambda end: -end[0])
    handles = [Line2D([], [], **look, ms=8, mec="white", label=said) for _, look, said in ends]
    ax.legend(handles=handles, **key_place(ax), title=f"{WORDS.get(hue, hue)}, last {y}")
    ax.xaxis.set_major_formatter(EngFormatter(sep=""))
    ax.set(xlabel=WORDS.get(x, x), ylabel=wrapped(y), ylim=(min(0, rows[y].min()), None))
    lost = len(losses) - len(rows)
    left_out = f"; {lost} without a value left out" if lost else ""
    head(
        ax, "Training curves", f"faint: as logged; bold: exponential mean, {smoothing:g}{left_out}"
    )
    return ax


def _pale(colour: str) -> tuple[float, ...]:
    return tuple(1 - 0.35 * (1 - part) for part in to_rgb(colour))


def pairs_bars(
    metrics: pd.DataFrame,
    measures: Sequence[str] = ("refusal_rate", "over_refusal_rate"),
    x: str = "amount",
    hue: str = "family",
    base: str | None = None,
    data: Collection[str] = (),
) -> Axes:
    """Draw refusals beside over-refusals: a panel a value of `hue`, a bar a measure at each `x`.

    A thin line is the 95 % interval; a dot tops each bar, so that 0 % is told from not measured.
    `base` names an arm to draw as dashed levels; `data` the data sets to keep where a measure has
    several. Returns the first Axes, like all figures of several panels.
    """
    tables = measured(metrics, measures, x, hue, base, data)
    everyone = pd.concat([rows for rows, _ in tables])
    sizes, families = np.unique(everyone[x]), list(everyone[hue].unique())
    width = 0.8 / len(measures)
    wide = max(2.6, 0.7 + 0.3 * len(sizes) * len(measures))
    figure_width = max(6.5, wide * len(families) + 0.8)
    axes = panels(len(families), figure_width, 4.8)
    handles = []
    for turn, (measure, (rows, alone)) in enumerate(zip(measures, tables, strict=True)):
        colour, hatch = COLOURS[turn % len(COLOURS)], HATCHES[turn % len(HATCHES)]
        look = {"facecolor": _pale(colour), "edgecolor": colour, "hatch": hatch, "lw": 0.8}
        for ax, name in zip(axes, families, strict=True):
            part = rows[rows[hue] == name]
            at = np.searchsorted(sizes, part[x]) + (turn - (len(measures) - 1) / 2) * width
            ax.bar(at, part["value"], 0.92 * width, **look, zorder=2)
            ax.vlines(at, part["low"], part["high"], INK, lw=1, zorder=3)
            ax.plot(at, part["value"], MARKERS[turn], color=colour, ms=7, mec="white", zorder=4)
            level(ax, alone, colour)
        counts = f"{rows['data'].iloc[0]}, {count_text(rows['n'])}"
        handles.append(Patch(**look, label=wrapped(f"{metric_name(measure)}  ({counts})", 60)))
    for ax, name in zip(axes, families, strict=True):
        ax.set_title(wrapped(name, 8 * wide), loc="left", fontweight="bold", fontsize=12)
        ax.set_xticks(range(len(sizes)), [f"{size:,.10g}" for size in sizes])
        ax.set_xlim(-0.6, len(sizes) - 0.4)
        ax.grid(False, axis="x")
    if base is not None:
        handles.append(Line2D([], [], color=PALE, ls=DASHED, label=wrapped(base, 40)))
    figure, columns = axes[0].figure, max(1, int(figure_width / 3.7))
    figure.legend(handles=handles, loc="outside upper left", frameon=False, ncols=columns)
    figure.supxlabel(f"{WORDS.get(x, x)}; {NOTE}", fontsize=12)
    return axes[0]
