"""The trade-off plane: its ground, its points, and names placed so that none covers anything.

The points are a table with a row an arm, as `srlib.plots.trade_off` makes it:
    name="direct", group="none", x=0.30, y=0.95, low=…, high=…, low_y=…, high_y=…, colour, marker
What stands behind them, small and without a name (`srlib.plots.cloud`), gives way where it can.
Places are counted in pixels of the final layout. The method is our own and greedy: each text
takes the nearest free spot, in the order of the points.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from matplotlib.text import Text
from matplotlib.ticker import MaxNLocator

from ..errors import UserError
from .looks import AXES, PERCENT, is_narrow, key_place, wrapped

FAR = [12, 16, 22, 30, 40, 55, 75, 100, 140]  # points of type, from a text to its point
SHORT = 6  # letters: names up to this stand in the plane where longer ones give way to numbers


def draw_plane(ax: Axes, xs: tuple[float, float], ys: tuple[float, float]) -> None:
    """Prepare the plane: both axes from where to where. What is better, the labels' arrows say."""
    for axis, limit, (low, high) in ((ax.xaxis, ax.set_xlim, xs), (ax.yaxis, ax.set_ylim, ys)):
        limit(low - 0.06 * (high - low), high + 0.06 * (high - low))  # room for marks on the edge
        ticks = MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)
        axis.set_ticks([tick for tick in ticks if low - 1e-9 <= tick <= high + 1e-9])
        axis.set_major_formatter(PERCENT)


def draw_points(ax: Axes, points: pd.DataFrame, arrows_from: str | None) -> None:
    """Draw the points with their intervals, and the arrows that lead from one of them to all."""
    for p in points.itertuples():
        ax.hlines(p.y, p.low, p.high, p.colour, lw=0.9, alpha=0.5, zorder=2)
        ax.vlines(p.x, p.low_y, p.high_y, p.colour, lw=0.9, alpha=0.5, zorder=2)
        ax.plot(p.x, p.y, p.marker, color=p.colour, ms=8, mec="white", mew=0.8, zorder=4)
    if arrows_from is None:
        return
    if arrows_from not in set(points["name"]):
        raise UserError(f"arrows_from={arrows_from!r} is not in the figure: name an arm that is")
    start = points[points["name"] == arrows_from].iloc[0]
    for p in points[points["name"] != arrows_from].itertuples():
        arrow = {"arrowstyle": "->", "color": "#a6a6a6", "shrinkA": 5, "shrinkB": 6, "lw": 0.9}
        ax.annotate("", (p.x, p.y), (start.x, start.y), arrowprops=arrow, zorder=1)


def _free_spot(at: np.ndarray, half: np.ndarray, taken: np.ndarray, far: list, rivals: np.ndarray):
    """Return the nearest middle (pixels) for a box of half sizes `half`, or None.

    Free is what covers none of the boxes `taken` and is no nearer to a rival point than to its own.
    """
    sides = [(1, 1), (1, -1), (-1, 1), (-1, -1), (1, 0), (-1, 0), (0, 1), (0, -1)]
    for distance in far:
        for side in np.array([*sides, (0.5, 1), (-0.5, 1), (0.5, -1), (-0.5, -1)]):
            middle = at + side * (half + distance)
            low, high = middle - half - (5, 1), middle + half + (5, 1)
            gaps = np.linalg.norm(np.maximum(np.abs([at, *rivals] - middle) - half, 0), axis=1)
            covers = ((low < taken[:, 2:]) & (taken[:, :2] < high)).all(axis=1).any()
            if not covers and gaps[0] <= gaps.min() + 0.5:
                return middle
    return None


def _boxes(ax: Axes, points: pd.DataFrame, px: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the points, what no text may cover, and the interval lines, in pixels."""
    xy, low, high = (
        ax.transData.transform(points[names])
        for names in (["x", "y"], ["low", "low_y"], ["high", "high_y"])
    )
    (x0, y0), (x1, y1), inf = *ax.get_window_extent().get_points(), 1e6
    walls = [(-inf, -inf, x0, inf), (x1, -inf, inf, inf)]
    walls += [(-inf, -inf, inf, y0), (-inf, y1, inf, inf)]
    across = np.c_[low[:, 0], xy[:, 1], high[:, 0], xy[:, 1]]
    upward = np.c_[xy[:, 0], low[:, 1], xy[:, 0], high[:, 1]]
    dots = np.c_[xy - 5 * px, xy + 5 * px]
    return xy, np.concatenate([dots, walls]), np.concatenate([across, upward])


def label_points(
    ax: Axes,
    points: pd.DataFrame,
    texts: list[str],
    far: list[float],
    path: Sequence = (),
    behind: Sequence = (),
) -> bool:
    """Write each text by its point, clear of points, texts and borders; no room: none, False.

    Texts stand close by, off the interval lines, off the level and upright pieces of a `path` of
    (x, y) and off small marks `behind` at (x, y), if that can be. `far`: distances (points of type)
    to try after that, with a line from the text to its point.
    """
    ax.figure.draw_without_rendering()  # places are counted in pixels: the layout must be final
    px = ax.figure.dpi / 72
    xy, taken, bars = _boxes(ax, points, px)
    if len(path):
        ends = ax.transData.transform(path)
        pieces = np.c_[np.minimum(ends[:-1], ends[1:]), np.maximum(ends[:-1], ends[1:])]
        bars = np.concatenate([bars, pieces])
    if len(behind):
        marks = ax.transData.transform(behind)
        bars = np.concatenate([bars, np.c_[marks - 3 * px, marks + 3 * px]])
    look = {"ha": "center", "va": "center", "fontweight": "bold", "textcoords": "offset points"}
    look["path_effects"] = [withStroke(linewidth=3, foreground="white")]
    near, far = [3 * px, 6 * px, 10 * px], [f * px for f in far]
    notes = []
    for at, p, text in zip(xy, points.itertuples(), texts, strict=True):
        line = {"arrowstyle": "-", "color": p.colour, "lw": 0.8, "shrinkA": 0, "shrinkB": 4}
        notes.append(ax.annotate(text, (p.x, p.y), (0, 0), **look, color=p.colour, arrowprops=line))
        box = Text.get_window_extent(notes[-1])  # the words without the line
        half = np.array([box.width, box.height]) / 2
        plans = [(np.concatenate([taken, bars]), near, xy), (taken, near, xy), (taken, far, xy[:0])]
        spots = ((_free_spot(at, half, *plan), plan[1] is far) for plan in plans)
        spot, lined = next((s for s in spots if s[0] is not None), (None, False))
        if spot is None:
            for note in notes:
                note.remove()
            return False
        notes[-1].set_position((spot - at) / px)
        notes[-1].arrow_patch.set_visible(lined)
        taken = np.concatenate([taken, [(*(spot - half), *(spot + half))]])
    return True


def _key(ax: Axes, handles: list[Line2D], hue: str | None) -> None:
    look = {"labelspacing": 0.25, "handlelength": 1 if hue else 0}
    title = None if hue is None else wrapped(AXES.get(hue, hue), 30)
    columns = 1 if is_narrow(ax) else 1 + len(handles) // 45
    ax.legend(handles=handles, **key_place(ax), **look, title=title, ncols=columns)


def _together(ax: Axes, points: pd.DataFrame, texts: pd.Series, behind: np.ndarray) -> bool:
    """Write the texts, one for points that coincide, far off and with a line where need be."""
    places = points.assign(text=texts).groupby(["x", "y"], sort=False)
    firsts, words = points.loc[places.head(1).index], list(places["text"].agg(",".join))
    return label_points(ax, firsts, words, FAR, behind=behind)


def name_points(
    ax: Axes,
    points: pd.DataFrame,
    hue: str | None,
    far: list[float] | None,
    behind: np.ndarray,
    more: list[Line2D],
) -> None:
    """Write names beside the points, or else numbers with a key; hue has a legend either way.

    `far`: how far off names may stand (see `label_points`), None for numbers from the start;
    `behind`: the places of what stands behind; `more`: entries that end the legend.
    """

    def mark(p, text: str) -> Line2D:
        shape = {"marker": "" if hue is None else p.marker, "color": p.colour, "mec": "white"}
        return Line2D([], [], ls="", **shape, ms=9, label=text)

    firsts = points.drop_duplicates("group").itertuples() if hue is not None else ()
    if entries := [*(mark(p, wrapped(p.group, 30)) for p in firsts), *more]:
        _key(ax, entries, hue)
    names = [wrapped(name, 16 if is_narrow(ax) else 22) for name in points["name"]]
    if far is not None and label_points(ax, points, names, far, behind=behind):
        return
    names = points["name"].map(str)
    if names.str.len().max() <= SHORT and _together(ax, points, names.map(wrapped), behind):
        return
    handles, numbers = {}, {i: str(n) for n, i in enumerate(points.index, start=1)}
    for group, part in points.groupby("group", sort=False):
        if hue is not None:
            handles[Line2D([], [], ls="", label=wrapped(group, 30))] = "bold"
        for p in part.itertuples():
            handles[mark(p, wrapped(f"{numbers[p.Index]}  {p.name}", 36))] = "normal"
    handles |= dict.fromkeys(more, "normal")
    _key(ax, list(handles), hue)
    for text, weight in zip(ax.get_legend().get_texts(), handles.values(), strict=True):
        text.set_fontweight(weight)
    _together(ax, points, pd.Series(numbers), behind)
