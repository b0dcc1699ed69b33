"""What stands behind the named points of a plane: other trainings, other arms; small and pale.

A cloud is a table with a row a training, as `srlib.analysis.reference.trainings` gives it:
    arm="long-openo1 ×536", family="long CoT", seed=3, exact_match=0.48, refusal_rate=0.02
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from .looks import PALE, require

GREY = "#9A9A9A"  # arms of a kind that has no colour of its own


def matched(
    cloud: pd.DataFrame | None, looks: dict, columns: tuple[str, ...], x: str, y: str
) -> pd.DataFrame:
    """Return the cloud's points x, y, colour, marker: those that some point in front stands for.

    `looks`: a name -> (colour, marker); it is looked up in each of `columns` that the cloud has, in
    their order. Trainings of other names, and those without both measures, are left out. UserError
    where the cloud lacks a measure, or all of `columns`.
    """
    if cloud is None or cloud.empty:
        nothing = pd.DataFrame(columns=["x", "y", "colour", "marker"])
        return nothing.astype({"x": float, "y": float})
    require(cloud, x, y)
    known = [column for column in columns if column in cloud]
    require(cloud, *(known or columns[:1]))
    names = pd.Series(None, cloud.index, dtype=object)
    for column in known:
        names = names.where(names.notna(), cloud[column].where(cloud[column].isin(list(looks))))
    points = cloud.assign(_name=names).dropna(subset=["_name", x, y])
    if {"arm", "seed"} <= set(points):  # one training may be in several families
        points = points.drop_duplicates(["arm", "seed"])
    colours, markers = ([looks[name][part] for name in points["_name"]] for part in (0, 1))
    return pd.DataFrame({"x": points[x], "y": points[y], "colour": colours, "marker": markers})


def draw_faint(ax: Axes, points: pd.DataFrame) -> None:
    """Draw points (x, y, colour, marker) small, pale and without intervals."""
    for (colour, marker), part in points.groupby(["colour", "marker"], sort=False):
        look = {"color": colour, "alpha": 0.35, "ms": 6, "mec": "none", "zorder": 1.5}
        ax.plot(part["x"], part["y"], marker, **look)


def entry(words: str) -> Line2D:
    """Return a legend's entry for what stands behind."""
    return Line2D([], [], ls="", marker="o", color=PALE, alpha=0.45, ms=6, mec="none", label=words)


def reach(limits: tuple[float, float], values: pd.Series) -> tuple[float, float]:
    """Return the limits of an axis, moved out to values that stand behind, to the next 5 points."""
    if values.empty:
        return limits
    low, high = np.floor(20 * values.min()) / 20, np.ceil(20 * values.max()) / 20
    return min(limits[0], low), max(limits[1], high)
