"""Figures from tidy tables: each function takes a DataFrame, draws on one Axes and returns it.

The input is the metrics table of `srlib.metrics.tidy`, a row of which is
    arm="direct", data="advbench", metric="refusal_rate", value=0.8, n=10, low=0.490, high=0.943
Nothing but positions is computed here: figures redraw from saved results. Colours (see
`srlib.plot_style`) are told apart with any colour vision; marks and hatches say the same again.
Letters have 11 points or more, for a wall. Titles are plain ones: put your own with
`ax.set_title(…, loc="left")`. `before_after` and `forest` live in `srlib.plot_claims`, `curves`,
`frontiers`, `growth` and `pairs_bars` in `srlib.plot_training`, `confusion`, `detail`, `intentions`
and `thought_and_answer` in `srlib.plot_failures`, `mitigations` in `srlib.plot_mitigations`.
"""

from __future__ import annotations

import re
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from srlib.errors import UserError
from srlib.metrics import tidy
from srlib.plot_claims import VERDICTS, before_after, forest
from srlib.plot_failures import confusion, detail, intentions, thought_and_answer
from srlib.plot_labels import draw_plane, draw_points, name_points
from srlib.plot_mitigations import mitigations
from srlib.plot_style import (
    AXES,
    BAD,
    BETTER,
    COLOURS,
    GOOD,
    INK,
    MARKERS,
    PALE,
    PERCENT,
    count_text,
    head,
    metric_name,
    new_axes,
    pick,
    require,
    stack,
    style,
    unique,
    wrapped,
)
from srlib.plot_training import curves, frontiers, growth, pairs_bars

__all__ = ["AXES", "BAD", "BETTER", "CLASSES", "COLOURS", "GOOD", "INK", "MARKERS", "PALE"]
__all__ += ["PERCENT", "VERDICTS", "answer_classes", "before_after", "forest", "heat", "save"]
__all__ += ["curves", "frontiers", "growth", "pairs_bars", "style", "trade_off"]
__all__ += ["confusion", "detail", "intentions", "mitigations", "thought_and_answer"]

# answer class: metric, colour, ink on it, hatch; in order, from safe to not known
CLASSES = {
    "refusal": ("refusal_rate", "#0072B2", "white", None),
    "partial refusal": ("partial_refusal_rate", "#9AD0F2", INK, None),
    "filtered": ("filtered_rate", "#7FCBB0", INK, "xx"),
    "truncated": ("truncated_rate", "#555555", "white", "///"),
    "unscored": ("unscored_rate", "#FFFFFF", INK, "..."),
    "incoherent": ("incoherent_rate", "#A6A6A6", INK, None),
    "off topic": ("off_topic_rate", "#F0E442", INK, "\\\\"),
    "compliance": ("attack_success_rate", "#D55E00", "white", None),
}


def _both(across: pd.DataFrame, up: pd.DataFrame, label: str, hue: str | None) -> pd.DataFrame:
    """Return a row a point: name, group, x, y, their intervals (…_y those of y), colour, marker."""
    met = unique(across, label).merge(unique(up, label), on=label, suffixes=("", "_y"))
    met = met.dropna(subset=["value", "value_y"])
    if met.empty:
        raise UserError(f"no {label} has both measures: measure both for one {label} at least")
    # Columns of its own alone: a table's may be called x, name or group.
    points = met[["low", "high", "n", "low_y", "high_y", "n_y"]]
    points = points.assign(x=met["value"], y=met["value_y"], name=met[label], group="")
    if hue is not None:
        require(met, hue)
        kinds = met[hue].convert_dtypes().astype(object)  # 4.0 beside a gap is 4
        points["group"] = kinds.where(kinds.notna(), "none").map(str)
    points = points.sort_values("group", key=lambda g: pd.factorize(g)[0], kind="stable")
    turns = pd.factorize(points["group"])[0]
    points["colour"] = [COLOURS[turn % len(COLOURS)] for turn in turns]
    points["marker"] = [MARKERS[turn % len(MARKERS)] for turn in turns]
    return points


def trade_off(
    metrics: pd.DataFrame,
    x: str = "exact_match",
    y: str = "refusal_rate",
    hue: str | None = None,
    label: str = "arm",
    reasoning: str | None = None,
    harmful: str | None = None,
    arrows_from: str | None = None,
    xmax: float = 1.0,
    ymax: float = 1.0,
    ax: Axes | None = None,
    ymin: float = 0.0,
) -> Axes:
    """Draw the trade-off plane: a point an arm, thin lines for both 95 % intervals.

    `reasoning` and `harmful` name the data sets of x and y where the table has several; `hue` is a
    column that gives colour and mark; `arrows_from` an arm from which arrows lead to all others;
    `xmax` and `ymax` end the axes early, for values that all lie low; `ymin` starts y late. Names
    stand beside the points; where they find no room, numbers do, with a key at the right. Many
    arms read best with `hue` and a `label` column of names of 6 letters or less: no key of names.
    """
    across, up = pick(metrics, x, reasoning, "reasoning"), pick(metrics, y, harmful, "harmful")
    points = _both(across, up, label, hue)
    for end, name, high in ((xmax, "xmax", points["high"]), (ymax, "ymax", points["high_y"])):
        if high.max() > 1.06 * end:
            raise UserError(f"{name}={end} cuts off an interval up to {high.max():.2f}: raise it")
    if (low := points["low_y"].min()) < 1.06 * ymin - 0.06 * ymax:
        raise UserError(f"ymin={ymin} cuts off an interval down to {low:.2f}: lower it")
    direct, lines = len(points) <= 8, len(points) + points["group"].nunique()
    ax = new_axes(
        ax, 7.5 if direct and not hue else 11, 6.5 if direct else max(7.2, 1 + 0.22 * lines)
    )
    draw_plane(ax, x, y, (0, xmax), (ymin, ymax))
    names = [across["data"].iloc[0], up["data"].iloc[0]]
    ax.set(
        xlabel=wrapped(f"{metric_name(x)}  ({names[0]})"),
        ylabel=wrapped(f"{metric_name(y)}  ({names[1]})"),
    )
    counts = f"{names[0]} {count_text(points['n'])}, {names[1]} {count_text(points['n_y'])}"
    lost = len(set(across[label]) | set(up[label])) - len(points)
    left_out = f"; {lost} without both measures left out" if lost else ""
    head(ax, "Reasoning against safety", f"{counts}; lines: 95 % intervals{left_out}")
    draw_points(ax, points, arrows_from)
    name_points(ax, points, hue, direct)
    return ax


def heat(
    metrics: pd.DataFrame,
    metric: str,
    rows: str = "k",
    columns: str = "m",
    data: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw a heat map of one metric over two columns of the table, value and n in each cell.

    The colours (cividis) always run from 0 to 100 %, so that two maps compare at a glance.
    """
    import seaborn as sns

    require(metrics, rows, columns)
    cells = pick(metrics, metric, data, "data").dropna(subset=[rows, columns, "value"])
    cells = unique(cells.convert_dtypes(), rows, columns)
    if cells.empty:
        raise UserError(f"no row of {metric} has both {rows} and {columns}: fill these columns")
    wide = cells.pivot(index=rows, columns=columns, values="value").astype(float)
    ax = new_axes(ax, 2.6 + 1.25 * wide.shape[1], 2.0 + 0.85 * wide.shape[0])
    bar = {"format": PERCENT, "label": metric_name(metric)}
    look = {"vmin": 0, "vmax": 1, "cmap": "cividis", "cbar_kws": bar, "linewidths": 1.5}
    sns.heatmap(wide, ax=ax, **look)
    for _, cell in cells.iterrows():
        at = wide.columns.get_loc(cell[columns]) + 0.5, wide.index.get_loc(cell[rows]) + 0.5
        ink = "black" if cell["value"] > 0.5 else "white"
        words = f"{cell['value']:.0%}\nn = {cell['n']}"
        ax.text(*at, words, color=ink, ha="center", va="center")
    ax.invert_yaxis()
    ax.tick_params(rotation=0)
    ax.set(xlabel=AXES.get(columns, columns), ylabel=AXES.get(rows, rows), facecolor="#eeeeee")
    name = f"{metric_name(metric)} ({cells['data'].iloc[0]})"
    ax.set_title(wrapped(name), loc="left", fontweight="bold", pad=12)
    return ax


def answer_classes(
    table: pd.DataFrame,
    order: list[str] | None = None,
    data: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw a bar of 100 % an arm, shared out by answer class; takes a graded or metrics table."""
    if "label" in table:
        table = tidy(table[table["kind"] == "harmful"])
    refusals = unique(pick(table, "refusal_rate", data, "data"), "arm").set_index("arm")
    table = table[table["data"] == refusals["data"].iloc[0]]
    arms = list(refusals.index) if order is None else list(order)
    if missing := [arm for arm in arms if arm not in refusals.index]:
        raise UserError(f"order names {missing[0]!r}: the table has {', '.join(refusals.index)}")
    ax = new_axes(ax, 10.5, 2.2 + 0.44 * len(arms))
    shares = {
        name: pick(table, metric, None, "data").set_index("arm")["value"].reindex(arms).fillna(0)
        for name, (metric, *_) in CLASSES.items()
    }
    rare = ("unscored", "filtered")  # named only where there are some
    looks = {n: look[1:] for n, look in CLASSES.items() if n not in rare or shares[n].any()}
    stack(ax, pd.DataFrame(shares), looks, refusals.loc[arms, "n"])
    ax.set_xlabel(wrapped(f"share of the answers ({refusals['data'].iloc[0]})"))
    ax.set_title("Answers to harmful requests", loc="left", fontweight="bold", pad=50)
    return ax


def save(figure: Axes | Figure, folder: str | Path, name: str) -> tuple[Path, Path]:
    """Write folder/figures/name.png (200 dpi) and .svg; return both paths.

    The same figure gives the same bytes: no dates, and ids in the SVG drawn from a fixed salt.
    """
    if not re.fullmatch(r"\w[\w. =+-]*", name):
        raise UserError(f"figure name {name!r}: give a plain file name, no folder")
    figure = figure if isinstance(figure, Figure) else figure.figure
    target = Path(folder) / "figures"
    target.mkdir(parents=True, exist_ok=True)
    png, svg = target / f"{name}.png", target / f"{name}.svg"
    tight = {"bbox_inches": "tight", "pad_inches": 0.15}
    with plt.rc_context({"svg.hashsalt": "srlib"}):
        figure.savefig(png, dpi=200, metadata={"Software": None}, **tight)
        figure.savefig(svg, metadata={"Date": None}, **tight)
    return png, svg
